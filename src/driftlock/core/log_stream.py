"""One stream of log lines or spans: assembles units, scores them before learning them, decides on alarms.

Owns a stream's whole state and its order of work: unit complete → score → rank among the calibration set →
decide → explain if it alarms → learn. The first units are the baseline: learned as a whole, trimmed, and the
calibration set's first members by leave-one-out scores, which are exchangeable with later scores as long as
the stream is. State is bounded, and a function of the events and clocks handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from driftlock.core.calibration_hours import NO_HOUR, CalibrationByHour, Rank, hour_of, hours_of
from driftlock.core.coder import coded_unit
from driftlock.core.coder_calls import NO_CALLS, UNTOLD, Callers, Calls, find_callers
from driftlock.core.decision import Cause, Decision, Evidence
from driftlock.core.edetector import Drift, DriftDetector
from driftlock.core.episode import BlockEpisodes, Episode
from driftlock.core.explanation import Significance
from driftlock.core.log_baseline import Baseline, StoredBaseline
from driftlock.core.log_model import Assessment, LogModel
from driftlock.core.log_run import NEEDS_ROOM, REACHES_THRESHOLD, WINDOW, Found, found_for
from driftlock.core.log_settings import LogSettings
from driftlock.core.log_units import BlockAssembler, Units, Waiting
from driftlock.core.log_windows import Ended, Window
from driftlock.core.packing import compress, decompress, pack, unpack
from driftlock.core.permutation import seed_of
from driftlock.core.session_store import SessionStore
from driftlock.core.telling import Teller
from driftlock.core.templates import IdArray, Pinned, TemplateTable
from driftlock.core.verdict import Verdict, WarmUp

__all__ = ["Assembled", "LogSettings", "LogStream"]

SNAPSHOT_FORMAT = 6
END_BITS_MAX = 0.15
"""A session whose end costs no more ended where nine in ten with the same last lines do."""
Hashes = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Assembled:
    """Units assembled by the caller: names, and where and when each began and ended.

    Unit i's events are the rows from `bounds[i]` to `bounds[i + 1]`; every unit has one at least.
    """

    keys: Sequence[str]
    bounds: Int64s
    first: Int64s
    last: Int64s
    first_time_ns: Int64s
    last_time_ns: Int64s

    @property
    def clocks(self) -> Int64s:
        """The stream's clock at each unit."""
        return np.maximum.accumulate(self.last_time_ns)

    def of(self, low: int, high: int, ids: IdArray) -> Units:
        """The units from `low` to `high`, with the ids of all their events."""
        rows = slice(low, high)
        span = (self.first[rows], self.last[rows], self.first_time_ns[rows], self.last_time_ns[rows])
        return Units.new(self.keys[rows], ids, self.bounds[low : high + 1] - self.bounds[low], span)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the session store is told of units: learned by the students, at an expected end, alarmed."""

    taught: npt.NDArray[np.bool_]
    over: npt.NDArray[np.bool_]
    alarmed: npt.NDArray[np.bool_]

    @classmethod
    def none(cls, units: int) -> _Judged:
        return cls(*(np.zeros(units, np.bool_) for _ in range(3)))

    def note(self, units: Units, low: int, high: int, found: Found) -> None:
        rows = slice(low, high)
        self.taught[rows] = found.taught[rows]
        self.over[rows] = found.end_bits[rows] <= END_BITS_MAX
        self.alarmed[rows] = units.alarmed[rows]


class LogStream:
    """A log stream's detector. Not thread-safe; one owner.

    Without `tells`, alarms come without explanation, measures and detail, which take some 50 ms each.
    """

    def __init__(self, settings: LogSettings, *, tells: bool = True) -> None:
        self._settings = settings
        self._tells = tells
        self._templates = TemplateTable(operations=settings.calls)
        self._model = LogModel(self._templates, ends=settings.mode == "session", calls=settings.calls)
        self._calibration = CalibrationByHour(
            settings.calibration_max,
            threshold=settings.p_value_threshold,
        )
        self._hour = NO_HOUR  # of the last unit
        self._decision = Decision(
            p_value_threshold=settings.p_value_threshold,
            alert_budget=settings.alert_budget,
        )
        self._episodes = BlockEpisodes(settings.p_value_threshold)
        self._drift = DriftDetector(alert_budget=settings.alert_budget)
        self._blocks = BlockAssembler(settings.hop_size)
        self._sessions = SessionStore(settings)
        self._marks = np.zeros(self._templates.capacity, np.int32)
        self._warming = Waiting()
        self._baseline: StoredBaseline | None = None
        self._window = Window(settings.blocks_per_window)
        self._units_seen = 0

    def add(
        self,
        templates: Hashes,
        buffer: npt.NDArray[np.uint8],
        starts: Int64s,
        ends: Int64s,
        times_ns: Int64s,
        positions: Int64s,
        *,
        sessions: Sequence[bytes] | None = None,
        calls: Calls | None = None,
        heads: Int64s | None = None,
        now_ns: int,
    ) -> list[Verdict]:
        """Takes events in order; returns the verdicts on the units that are complete now.

        Row i is an event: its template's hash, its canonical line `buffer[starts[i]:ends[i]]`, its time (0
        if unknown) and its position (increasing). In session mode `sessions` has its key; events with an
        empty key belong to no unit and are counted. With the setting `calls`, `calls` are their spans and
        parents, and `heads` how many bytes of each line name its operation; without, they do not say.
        `now_ns` is the stream's clock.
        """
        if not self._settings.calls:
            calls, heads = NO_CALLS, None
        elif calls is None:
            calls = np.tile(np.array([[0, UNTOLD]], np.uint16), (len(templates), 1))
        verdicts = self.tick(now_ns)
        row = 0
        while row < len(templates):
            part = slice(row, None)
            ids, evicted = self._templates.ids(
                templates[part],
                buffer,
                starts[part],
                ends[part],
                pinned=self._pinned(),
                heads=None if heads is None else heads[part],
            )
            self._forget(evicted)
            part = slice(row, row + len(ids))
            if sessions is None or self._settings.mode == "block":
                blocks = self._blocks.add(ids, positions[part], times_ns[part])
                verdicts += self._take(blocks, now_ns)
            else:
                keys = sessions[part]
                places, texts = (positions[part], times_ns[part]), self._templates.texts_when_new
                for units in self._sessions.add(
                    ids, keys, *places, now_ns=now_ns, calls=calls[part], texts=texts
                ):
                    verdicts += self._take(units, now_ns)
            row += len(ids)
        return verdicts

    def tick(self, now_ns: int) -> list[Verdict]:
        """Closes sessions that are silent at `now_ns`; returns the verdicts on them."""
        return self._take(self._sessions.idle(now_ns), now_ns)

    def flush(self, now_ns: int = 0) -> list[Verdict]:
        """Ends the input: closes all sessions, drops an unfinished block; returns the last verdicts."""
        self._blocks.flush()
        return self._take(self._sessions.flush(), now_ns)

    def add_units(
        self,
        units: Assembled,
        templates: Hashes,
        buffer: npt.NDArray[np.uint8],
        starts: Int64s,
        ends: Int64s,
        *,
        now_ns: int | None = None,
    ) -> list[Verdict]:
        """Takes units that the caller has assembled from whole input; returns the verdicts on them.

        Rows are the units' events as in `add`, one unit after the other. Unless `now_ns` is given, the clock
        at each unit is that of its last event or of an earlier one, whichever is later.
        """
        clocks = units.clocks if now_ns is None else np.full(len(units.keys), now_ns)
        verdicts: list[Verdict] = []
        row = judged = 0
        begun = np.zeros(0, np.int32)  # the ids of a unit whose other events wait for room
        while row < len(templates):
            part = slice(row, None)
            pinned = None if self._baseline is None else (lambda held=begun: held)
            ids, evicted = self._templates.ids(
                templates[part], buffer, starts[part], ends[part], pinned=pinned
            )
            self._forget(evicted)
            row += len(ids)
            upto = int(np.searchsorted(units.bounds, row, side="right")) - 1
            held = np.concatenate([begun, ids])
            whole = int(units.bounds[upto] - units.bounds[judged])
            if upto > judged:
                verdicts += self._take(units.of(judged, upto, held[:whole]), clocks[judged:upto])
            begun, judged = held[whole:], upto
        return verdicts

    @property
    def in_episode(self) -> bool:
        """Whether an alarm's episode is still open."""
        return self._episodes.open

    def end_episode(self) -> Episode | None:
        """Ends the open episode, if any: its stream has ended, or begins to learn anew."""
        return self._episodes.end()

    @property
    def open_sessions(self) -> int:
        """Sessions that only time, or their events, will complete."""
        return self._sessions.open

    @property
    def overflowed(self) -> int:
        """Events whose template found no room."""
        return self._templates.overflowed

    @property
    def warm_up(self) -> WarmUp:
        """Progress to the first verdict; size and p are those of the set for the last unit's hour."""
        ready = self._baseline is not None
        size = self._calibration.size(self._hour)
        earliest = 1.0 / (1 + size)
        allowed = earliest <= self._settings.p_value_threshold
        return WarmUp(
            "learning" if not ready else "ready" if allowed else "calibrating",
            self._units_seen,
            self._settings.units_needed,
            size,
            earliest,
        )

    @property
    def baseline_ref(self) -> str:
        """SHA-256 of `baseline_bytes()` in hex, empty before the baseline is complete."""
        return self._baseline.ref if self._baseline is not None else ""

    def baseline_bytes(self) -> bytes:
        """The encoded baseline (see `log_baseline`), empty before it is complete."""
        return self._baseline.data if self._baseline is not None else b""

    @property
    def state_bytes(self) -> int:
        """Bytes held, nearly."""
        stored = len(self._baseline.compressed) if self._baseline is not None else 0
        parts = (
            self._templates,
            self._model,
            self._calibration,
            self._decision,
            self._episodes,
            self._drift,
            self._blocks,
            self._sessions,
            self._warming,
            self._window,
        )
        return sum(part.nbytes for part in parts) + stored + self._marks.nbytes

    def _pinned(self) -> Pinned | None:
        """The ids of templates that an unfinished unit names or the window explains; None while warming."""
        if self._baseline is None:
            return None
        if self._settings.mode == "session":
            return self._sessions.ids_in_use
        return lambda: np.concatenate([self._blocks.pending, *self._window.ids])

    def _forget(self, evicted: list[int]) -> None:
        if evicted:
            self._model.forget(evicted)
            self._decision.forget(evicted)
            self._sessions.forget(evicted)

    def _take(self, units: Units | None, now_ns: int | Int64s) -> list[Verdict]:
        """Judges and learns units; `now_ns` is the clock at all or at each."""
        if units is None:
            return []
        verdicts: list[Verdict] = []
        judged, found = _Judged.none(len(units)), found_for(units.bounds)
        hours = hours_of(units.last_time_ns)
        callers = self._callers(units)
        row = 0
        while row < len(units):
            if len(self._marks) < self._templates.capacity:
                self._marks = np.zeros(self._templates.capacity, np.int32)
                self._model.reserve(self._templates.capacity)
            if self._baseline is None:
                self._units_seen += 1
                self._warm(units.part(row, row + 1))
                row += 1
                continue
            stop, why = row, NEEDS_ROOM
            if self._window.full:
                stop, why = self._model.run(
                    units,
                    callers,
                    hours,
                    row,
                    found,
                    calibration=self._calibration,
                    threshold=self._settings.p_value_threshold,
                    before=self._window.earlier_scores,
                )
            if stop > row:
                verdicts += self._passed(units, row, stop, found, now_ns)
                judged.note(units, row, stop, found)
                self._units_seen += stop - row
                self._hour = hour_of(int(units.last_time_ns[stop - 1]))
            if stop < len(units):
                clock = now_ns if isinstance(now_ns, int) else int(now_ns[stop])
                known = 0 if why == REACHES_THRESHOLD else None
                verdicts.append(self._single(units, stop, callers, judged, clock, known=known))
                self._units_seen += 1
            row = stop + 1
        self._sessions.settle(units, judged.taught, judged.over, judged.alarmed)
        self._leave_room()
        return verdicts

    def _leave_room(self) -> None:
        """Tells the sessions what the rest takes: all that changes with units judged, and nothing else, so
        that it does not depend on how events come in calls."""
        parts = self._calibration.nbytes + self._decision.nbytes + self._model.table_bytes
        self._sessions.leave_room(parts + (len(self._baseline.compressed) if self._baseline else 0))

    def _passed(self, units: Units, low: int, high: int, found: Found, now_ns: int | Int64s) -> list[Verdict]:
        """The verdicts on units that the kernel took, none of which reached the threshold."""
        windows = self._window.pass_on(units, low, high, found, ends=self._model.ends)
        self._decision.pass_over(high - low, float(found.bits[low:high, WINDOW].max()))
        p_values = (1 + found.reached[low:high, 0]) / (1 + found.reached[low:high, 1])
        self._follow_drift(units, low, windows, p_values, now_ns)
        numbers = zip(
            windows,
            found.bits[low:high, WINDOW].tolist(),
            p_values.tolist(),
            found.reached[low:high, 1].tolist(),
            units.known[low:high].tolist(),
            strict=True,
        )
        ref = self.baseline_ref
        verdicts = [
            Verdict(*ended[:6], score, p_value, ended.surprise_bits, size, False, known, "unit", "low", ref)
            for ended, score, p_value, size, known in numbers
        ]
        for at, row in enumerate(range(low, high)):
            if not self._episodes.open:
                break
            reached, held, of_hour = found.reached[row].tolist()
            verdicts[at] = self._with_episode(verdicts[at], Rank(reached, held, bool(of_hour)))
        return verdicts

    def _follow_drift(
        self, units: Units, low: int, windows: list[Ended], p_values: Float64s, now_ns: int | Int64s
    ) -> None:
        """Hands the e-detector the p-values of new windows that share no unit."""
        ordinal = np.arange(self._units_seen + 1, self._units_seen + 1 + len(windows))
        apart = np.flatnonzero((units.known[low : low + len(windows)] == 0) & self._is_whole_window(ordinal))
        if len(apart):
            rows = apart.tolist()
            clocks = np.full(len(apart), now_ns) if isinstance(now_ns, int) else now_ns[low + apart]
            began = np.array([windows[row].first_time_ns for row in rows])
            self._drift.update_many(
                p_values[apart], np.array([windows[row].first for row in rows]), began, clocks
            )

    def _callers(self, units: Units) -> Callers:
        """Who called each event: in its whole unit, and among those that were known before."""
        if not self._settings.calls:
            return np.zeros((2, 0), np.uint32)
        callers = np.zeros((2, len(units.ids)), np.uint32)
        if len(units.calls):
            find_callers(
                units.ids, units.bounds, units.known, units.calls, self._templates.operations, callers
            )
        return callers

    def _single(
        self, units: Units, row: int, callers: Callers, judged: _Judged, now_ns: int, *, known: int | None
    ) -> Verdict:
        """One unit by the plain methods; `known` is 0 when what was learned of it is taken back already."""
        halved = self._model.halved
        before = int(units.known[row]) if known is None else known
        own = slice(units.bounds[row], units.bounds[row + 1])
        if before:
            earlier = coded_unit(units.ids[own][:before], self._marks, callers[1, own][:before])
            self._model.unlearn(earlier, taught=bool(units.taught[row]))
        coded = coded_unit(units.ids[own], self._marks, callers[0, own])
        assessment = self._model.assess(coded)
        self._window.add(units, row, coded, assessment)
        verdict = self._judge(units, row, assessment, now_ns)
        judged.taught[row] = self._model.learn(coded, assessment)
        judged.alarmed[row] = verdict.alarm or bool(units.alarmed[row])
        if self._model.ends:
            judged.over[row] = assessment.end_bits <= END_BITS_MAX
        self._hour = hour_of(verdict.last_time_ns)
        self._calibration.add(verdict.score, self._hour)
        if self._model.halved != halved:
            self._sessions.forget_learned()
            units.known[row + 1 :] = 0
        return verdict

    def _warm(self, unit: Units) -> None:
        self._warming.add(unit)
        if self._settings.baseline_complete(self._warming.units, self._warming.events):
            self._learn_baseline()

    def _learn_baseline(self) -> None:
        warming, self._warming = self._warming.whole(), Waiting()
        callers = self._callers(warming)[0]
        units = [
            coded_unit(warming.ids[low:high], self._marks, callers[low:high])
            for low, high in pairwise(warming.bounds.tolist())
        ]
        assessments, kept = self._model.learn_baseline(units)
        # ids are given in order of appearance: higher ones belong to events that came in the same call
        named = range(1 + int(warming.ids.max()))
        texts = [(int(self._templates.hashes[t]), self._templates.text(t)) for t in named]
        self._baseline = StoredBaseline.of(
            Baseline(
                texts,
                [unit.ids for unit in units],
                kept,
                int(warming.first[0]),
                int(warming.last[-1]),
                {"shape": self._settings.shape, "coders": self._model.versions()},
                [unit.callers for unit in units],
            )
        )
        scored: list[tuple[float, Assessment]] = []
        for row, (coded, assessment) in enumerate(zip(units, assessments, strict=True)):
            self._window.add(warming, row, coded, assessment)
            if self._window.full:
                score = self._window.score
                self._hour = hour_of(int(warming.last_time_ns[row]))
                self._calibration.add(score, self._hour)
                scored.append((score, assessment))
        everything = self._calibration.whole
        for score, assessment in scored:
            reached = everything.at_least(score) - 1
            p_value = (1 + reached) / everything.size
            self._decision.observe(Evidence(score, p_value, reached == 0, _cause(assessment), False, 0))
        none = np.zeros(len(warming), np.bool_)
        self._sessions.settle(warming, np.array(kept), none, none)

    def _judge(self, units: Units, row: int, assessment: Assessment, now_ns: int) -> Verdict:
        score, hour = self._window.score, hour_of(int(units.last_time_ns[row]))
        rank = self._calibration.rank(score, hour)
        p_value = rank.p_value
        record = rank.reached == 0 and (not rank.of_hour or self._calibration.whole.at_least(score) == 0)
        evidence = Evidence(
            score, p_value, record, *self._cause(), now_ns, record_of_hour=rank.of_hour and rank.reached == 0
        )
        alarm = self._alarms(units, row, evidence)
        oldest = self._window.oldest
        if not units.known[row] and self._is_whole_window(np.array(self._units_seen + 1)):
            self._drift.update(p_value, first=oldest.first, first_time_ns=oldest.first_time_ns, now_ns=now_ns)
        drift = self._drifted(alarm)
        told: dict[str, Any] = {}
        if (alarm or drift) and self._tells:
            usual, high = (self._calibration.quantile(share, hour) for share in (0.5, 0.99))
            facts = Significance(score, p_value, rank.size, rank.reached, usual, of_hour=rank.of_hour)
            seed = seed_of(self.baseline_ref, oldest.first, int(units.last[row]))
            told = self._told(facts, high, seed, drift)
        verdict = Verdict(
            key=self._window.key(units.keys[row]),
            first=oldest.first,
            last=int(units.last[row]),
            first_time_ns=oldest.first_time_ns,
            last_time_ns=int(units.last_time_ns[row]),
            events=self._window.events,
            score=score,
            p_value=p_value,
            surprise_bits=self._window.surprise_bits,
            calibration_size=rank.size,
            alarm=alarm or drift is not None,
            events_known=int(units.known[row]),
            kind="drift" if drift else "unit",
            baseline_ref=self.baseline_ref,
            **told,
        )
        return self._with_episode(verdict, rank, alarm=alarm)

    def _with_episode(self, verdict: Verdict, rank: Rank, *, alarm: bool = False) -> Verdict:
        """The verdict with the episode that its unit belongs to; sessions are events of their own."""
        if self._settings.mode == "session" or not (alarm or self._episodes.open):
            return verdict
        hour, score, time_ns = hour_of(verdict.last_time_ns), verdict.score, verdict.last_time_ns
        episode: Episode | None
        if alarm:
            name = (verdict.key, verdict.first, verdict.last)
            begun = Episode.begun(*name, time_ns=time_ns, score=score, p_value=rank.p_value)
            episode = self._episodes.begin(begun, hour)
        else:
            episode = self._episodes.take(verdict.last, time_ns=time_ns, score=score, rank=rank, hour=hour)
        return verdict if episode is None else msgspec.structs.replace(verdict, episode=episode)

    def _cause(self) -> tuple[Cause, bool]:
        """What the window's strangest block is put down to, and whether that is a line, or a call of an
        operation by another, that was never learned."""
        made = max(self._window.recent, key=lambda block: block.assessment.score).assessment
        kind, template = _cause(made)
        if kind == "call":
            operation = int(self._templates.operations[template])
            return (kind, template), self._model.calls.counts(operation, made.caller)[0] == 0
        return (kind, template), bool(kind == "presence" and self._model.presence.df[template] == 0)

    def _alarms(self, units: Units, row: int, evidence: Evidence) -> bool:
        if units.alarmed[row]:  # one alarm a unit, however long it goes on
            self._decision.observe(evidence)
            return False
        return self._decision.decide(evidence, inside=self._episodes.open)

    def _told(self, facts: Significance, high: float, seed: str, drift: Drift | None) -> dict[str, Any]:
        assert self._baseline is not None
        teller = Teller(self._templates, self._model, self._baseline.load(), self._settings.byte_coder)
        return teller.told(
            self._window.explained(self._marks), facts, high_score=high, seed=seed, drift=drift
        )

    def _is_whole_window(self, number: Int64s) -> npt.NDArray[np.bool_]:
        """Whether the window that ends with the stream's n-th unit shares no unit with the last such one."""
        return np.asarray(number % self._settings.blocks_per_window == 0)

    def _drifted(self, alarm: bool) -> Drift | None:
        """The lasting change that is told with this unit, if any: in its alarm, or in one of its own."""
        if self._drift.due and (alarm or self._decision.spend()):
            return self._drift.tell(silent=self._settings.calibration_max // self._settings.blocks_per_window)
        return None

    def renewed(self) -> LogStream:
        """A stream that learns its baseline anew, from its next events. Nothing that was learned or is open
        goes over; what was spent of the alert budget does."""
        stream = LogStream(self._settings, tells=self._tells)
        stream._decision.take_over_spending(self._decision)
        return stream

    def snapshot(self) -> bytes:
        """The whole state: a stream restored from it continues with the same verdicts, bit for bit."""
        state = {
            "format": SNAPSHOT_FORMAT,
            "shape": self._settings.shape,
            "templates": self._templates.state(),
            "model": self._model.state(),
            "calibration": self._calibration.state(),
            "hour": self._hour,
            "decision": self._decision.state(),
            "episode": self._episodes.state(),
            "drift": self._drift.state(),
            "blocks": self._blocks.state(),
            "sessions": self._sessions.state(),
            "warming": self._warming.whole().state() if self._warming.units else None,
            "baseline": [self._baseline.compressed, self._baseline.ref] if self._baseline else None,
            "window": self._window.state(),
            "units_seen": self._units_seen,
        }
        return compress(pack(state))

    @classmethod
    def restore(cls, settings: LogSettings, data: bytes) -> LogStream:
        """A stream that continues where `snapshot` was taken.

        Thresholds, budgets and limits may differ from then. If mode or sizes do, the state means nothing any
        more, and the stream starts anew.
        """
        stream = cls(settings)
        state = unpack(decompress(data))
        if state["shape"] != settings.shape or state["format"] != SNAPSHOT_FORMAT:
            return stream
        stream._load(state)
        return stream

    def _load(self, state: dict[str, Any]) -> None:
        self._templates.load(state["templates"])
        self._model.load(state["model"])
        self._calibration.load(state["calibration"])
        self._hour = state["hour"]
        self._decision.load(state["decision"])
        self._episodes.load(state["episode"])
        self._drift.load(state["drift"])
        self._blocks.load(state["blocks"])
        self._sessions.load(state["sessions"])
        self._marks = np.zeros(len(self._model.presence.df), np.int32)
        if state["warming"]:
            self._warming.add(Units.of_state(state["warming"]))
        self._baseline = StoredBaseline(*state["baseline"]) if state["baseline"] else None
        self._window.load(state["window"])
        self._leave_room()
        self._units_seen = state["units_seen"]


def _cause(assessment: Assessment) -> tuple[str, int]:
    """What a unit's surprise is put down to: a template's presence, how often it occurs, or who called it."""
    causes = (("presence", assessment.presence), ("count", assessment.count), ("call", assessment.call))
    kind, part = max(causes, key=lambda cause: cause[1].bits)  # the first of equals
    return kind, part.template
