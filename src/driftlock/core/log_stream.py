"""One stream of log lines or spans: assembles units, scores them before learning them, decides on alarms.

Owns a stream's whole state and its order of work: unit complete → score → rank among the calibration set →
decide → explain if it alarms → learn. The first units are the baseline: learned as a whole, trimmed, and the
calibration set's first members by leave-one-out scores, which are exchangeable with later scores as long as
the stream is. State is bounded, and a function of the events and clocks handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.core.calibration import Calibration
from driftlock.core.coder import CodedUnit, Part, coded_unit
from driftlock.core.coder_bytes import ByteCoder, byte_coder
from driftlock.core.coder_zstd import measures
from driftlock.core.combination import of_verdict
from driftlock.core.decision import Decision, Evidence
from driftlock.core.edetector import Drift, DriftDetector
from driftlock.core.explanation import Explained, Explainer, Significance, drift_detail, drift_sentence
from driftlock.core.log_baseline import Baseline, StoredBaseline
from driftlock.core.log_model import Assessment, LogModel
from driftlock.core.log_run import (
    COUNT,
    NEEDS_ROOM,
    PRESENCE,
    REACHES_THRESHOLD,
    SCORE,
    SET,
    SURPRISE,
    WINDOW,
    Found,
    found_for,
)
from driftlock.core.log_settings import LogSettings
from driftlock.core.log_units import BlockAssembler, Units, Waiting
from driftlock.core.packing import compress, decompress, pack, pack_array, unpack, unpack_array
from driftlock.core.permutation import permutation_test, pool_places, seed_of, told
from driftlock.core.session_store import SessionStore
from driftlock.core.severity import severity_of
from driftlock.core.templates import IdArray, Pinned, TemplateTable
from driftlock.core.verdict import Verdict, WarmUp

__all__ = ["Assembled", "LogSettings", "LogStream"]

SNAPSHOT_FORMAT = 2
END_BITS_MAX = 0.15
"""A session whose end costs no more ended where nine in ten with the same last lines do."""
BLOCKS_EXPLAINED_MAX = 32
"""Of a window of more blocks than this, only the last ones are kept for explanation."""

Hashes = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Span:
    """Where and when a scored unit began and ended, its score and its code length."""

    key: str
    events: int
    first: int
    first_time_ns: int
    score: float
    surprise_bits: float


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
        self._templates = TemplateTable()
        self._model = LogModel(self._templates, ends=settings.mode == "session")
        self._calibration = Calibration(settings.calibration_max)
        self._decision = Decision(
            p_value_threshold=settings.p_value_threshold,
            alert_budget=settings.alert_budget,
            episodes=settings.mode == "block",
        )
        self._drift = DriftDetector(alert_budget=settings.alert_budget)
        self._blocks = BlockAssembler(settings.hop_size)
        self._sessions = SessionStore(settings)
        self._marks = np.zeros(self._templates.capacity, np.int32)
        self._warming = Waiting()
        self._baseline: StoredBaseline | None = None
        self._window: deque[_Span] = deque(maxlen=settings.blocks_per_window)
        self._recent: deque[Explained] = deque(maxlen=min(settings.blocks_per_window, BLOCKS_EXPLAINED_MAX))
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
        now_ns: int,
    ) -> list[Verdict]:
        """Takes events in order; returns the verdicts on the units that are complete now.

        Row i is an event: its template's hash, its canonical line `buffer[starts[i]:ends[i]]`, its time (0
        if unknown) and its position (increasing). In session mode `sessions` has its key; events with an
        empty key belong to no unit and are counted. `now_ns` is the stream's clock.
        """
        verdicts = self.tick(now_ns)
        row = 0
        while row < len(templates):
            part = slice(row, None)
            ids, evicted = self._templates.ids(
                templates[part], buffer, starts[part], ends[part], pinned=self._pinned()
            )
            self._forget(evicted)
            part = slice(row, row + len(ids))
            if sessions is None or self._settings.mode == "block":
                blocks = self._blocks.add(ids, positions[part], times_ns[part])
                verdicts += self._take(blocks, now_ns)
            else:
                keys = sessions[part]
                for units in self._sessions.add(ids, keys, positions[part], times_ns[part], now_ns=now_ns):
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
    ) -> list[Verdict]:
        """Takes units that the caller has assembled from whole input; returns the verdicts on them.

        Rows are the units' events as in `add`, one unit after the other. The clock at each unit is that of
        its last event or of an earlier one, whichever is later.
        """
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
                verdicts += self._take(units.of(judged, upto, held[:whole]), units.clocks[judged:upto])
            begun, judged = held[whole:], upto
        return verdicts

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
        """Progress to the first verdict."""
        ready = self._baseline is not None
        earliest = self._calibration.earliest_p
        allowed = earliest <= self._settings.p_value_threshold
        return WarmUp(
            "learning" if not ready else "ready" if allowed else "calibrating",
            self._units_seen,
            self._settings.units_needed,
            self._calibration.size,
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
        recent = sum(200 + 16 * len(block.unit) for block in self._recent) + 200 * len(self._window)
        parts = (
            self._templates,
            self._model,
            self._calibration,
            self._decision,
            self._drift,
            self._blocks,
            self._sessions,
            self._warming,
        )
        return sum(part.nbytes for part in parts) + stored + recent + self._marks.nbytes

    def _pinned(self) -> Pinned | None:
        """The ids of templates that an unfinished unit names or the window explains; None while warming."""
        if self._baseline is None:
            return None
        if self._settings.mode == "session":
            return self._sessions.ids_in_use
        return lambda: np.concatenate([self._blocks.pending, *(block.unit.ids for block in self._recent)])

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
            if len(self._window) == self._settings.blocks_per_window:
                stop, why = self._model.run(
                    units,
                    row,
                    found,
                    calibration=self._calibration,
                    threshold=self._settings.p_value_threshold,
                    before=[span.score for span in self._window][1:],
                )
            if stop > row:
                verdicts += self._passed(units, row, stop, found, now_ns)
                judged.note(units, row, stop, found)
                self._units_seen += stop - row
            if stop < len(units):
                clock = now_ns if isinstance(now_ns, int) else int(now_ns[stop])
                verdicts.append(
                    self._single(units, stop, judged, clock, known=0 if why == REACHES_THRESHOLD else None)
                )
                self._units_seen += 1
            row = stop + 1
        self._sessions.settle(units, judged.taught, judged.over, judged.alarmed)
        return verdicts

    @property
    def _in_blocks(self) -> bool:
        return self._settings.blocks_per_window > 1

    def _passed(self, units: Units, low: int, high: int, found: Found, now_ns: int | Int64s) -> list[Verdict]:
        """The verdicts on units that the kernel took, none of which reached the threshold."""
        windows, surprises = _windows(list(self._window)[1:], units, low, high, found)
        highest = float(found.bits[low:high, WINDOW].max())
        self._decision.pass_over(high - low, highest)
        for row in range(max(low, high - self._settings.blocks_per_window), high):
            self._window.append(_span_of(units, row, found))
        for row in range(max(low, high - (self._recent.maxlen or 1)), high):
            self._recent.append(
                _explained_row(units, row, found, self._marks, signs_more=int(self._model.ends))
            )
        scores, reached = found.bits[low:high, WINDOW].tolist(), found.reached[low:high].tolist()
        known, ref = units.known[low:high].tolist(), self.baseline_ref
        verdicts = [
            Verdict(*span, score, (1 + r) / (1 + size), surprise, size, False, before, "unit", "low", ref)
            for span, surprise, score, (r, size), before in zip(
                windows, surprises, scores, reached, known, strict=True
            )
        ]
        clocks = repeat(now_ns) if isinstance(now_ns, int) else now_ns[low:high].tolist()
        for number, verdict, clock in zip(count(self._units_seen + 1), verdicts, clocks, strict=False):
            if not verdict.events_known and self._is_whole_window(number):
                self._note_drift(verdict.p_value, verdict.first, verdict.first_time_ns, clock)
        return verdicts

    def _single(self, units: Units, row: int, judged: _Judged, now_ns: int, *, known: int | None) -> Verdict:
        """One unit by the plain methods; `known` is 0 when what was learned of it is taken back already."""
        halved = self._model.halved
        before = int(units.known[row]) if known is None else known
        if before:
            earlier = coded_unit(units.ids_of(row)[:before], self._marks)
            self._model.unlearn(earlier, taught=bool(units.taught[row]))
        coded = coded_unit(units.ids_of(row), self._marks)
        assessment = self._model.assess(coded)
        self._remember(units, row, coded, assessment)
        verdict = self._judge(units, row, assessment, now_ns)
        judged.taught[row] = self._model.learn(coded, assessment)
        judged.alarmed[row] = verdict.alarm or bool(units.alarmed[row])
        if self._model.ends:
            judged.over[row] = assessment.order_shares[-1] * len(assessment.order_shares) <= END_BITS_MAX
        self._calibration.add(verdict.score)
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
        units = [coded_unit(warming.ids_of(row), self._marks) for row in range(len(warming))]
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
            )
        )
        scored: list[tuple[float, Assessment]] = []
        for row, (coded, assessment) in enumerate(zip(units, assessments, strict=True)):
            self._remember(warming, row, coded, assessment)
            if len(self._window) == self._settings.blocks_per_window:
                score = sum(span.score for span in self._window)
                self._calibration.add(score)
                scored.append((score, assessment))
        for score, assessment in scored:
            reached = self._calibration.at_least(score) - 1
            p_value = (1 + reached) / self._calibration.size
            self._decision.observe(Evidence(score, p_value, reached == 0, _cause(assessment), 0))
        none = np.zeros(len(warming), np.bool_)
        self._sessions.settle(warming, np.array(kept), none, none)

    def _remember(self, units: Units, row: int, coded: CodedUnit, assessment: Assessment) -> None:
        self._recent.append(Explained(coded, assessment))
        self._window.append(
            _Span(
                units.keys[row],
                len(coded),
                int(units.first[row]),
                int(units.first_time_ns[row]),
                assessment.score,
                assessment.surprise_bits,
            )
        )

    def _judge(self, units: Units, row: int, assessment: Assessment, now_ns: int) -> Verdict:
        score = sum(span.score for span in self._window)
        reached = self._calibration.at_least(score)
        p_value = (1 + reached) / (1 + self._calibration.size)
        strangest = max(self._recent, key=lambda block: block.assessment.score).assessment
        cause = _cause(strangest)
        unseen = cause[0] == "presence" and self._model.presence.df[cause[1]] == 0
        evidence = Evidence(score, p_value, reached == 0, cause, now_ns, unseen=bool(unseen))
        alarm = False
        if units.alarmed[row]:  # one alarm a unit, however long it goes on
            self._decision.observe(evidence)
        else:
            alarm = self._decision.decide(evidence)
        oldest, number = self._window[0], self._units_seen + 1
        if not units.known[row] and self._is_whole_window(number):
            self._note_drift(p_value, oldest.first, oldest.first_time_ns, now_ns)
        drift = self._drifted(alarm)
        told = (
            self._tell(
                Significance(score, p_value, self._calibration.size, reached, self._usual()),
                seed_of(self.baseline_ref, oldest.first, int(units.last[row])),
                drift,
            )
            if (alarm or drift) and self._tells
            else {}
        )
        return Verdict(
            key=_window_key(oldest.key, units.keys[row]) if self._in_blocks else units.keys[row],
            first=oldest.first,
            last=int(units.last[row]),
            first_time_ns=oldest.first_time_ns,
            last_time_ns=int(units.last_time_ns[row]),
            events=sum(span.events for span in self._window),
            score=score,
            p_value=p_value,
            surprise_bits=sum(span.surprise_bits for span in self._window),
            calibration_size=self._calibration.size,
            alarm=alarm or drift is not None,
            events_known=int(units.known[row]),
            kind="drift" if drift else "unit",
            baseline_ref=self.baseline_ref,
            **told,
        )

    def _note_drift(self, p_value: float, first: int, first_time_ns: int, now_ns: int) -> None:
        self._drift.update(p_value, first=first, first_time_ns=first_time_ns, now_ns=now_ns)

    def _is_whole_window(self, number: int) -> bool:
        """Whether the window that ends with the stream's n-th unit shares no unit with the last such one."""
        return number % self._settings.blocks_per_window == 0

    def _drifted(self, alarm: bool) -> Drift | None:
        """The lasting change that is told with this unit, if any: in its alarm, or in one of its own."""
        if self._drift.due and (alarm or self._decision.spend()):
            return self._drift.tell(silent=self._settings.calibration_max // self._settings.blocks_per_window)
        return None

    def _usual(self) -> float:
        return self._calibration.quantile(0.5)

    def _tell(self, facts: Significance, seed: str, drift: Drift | None) -> dict[str, Any]:
        """The costly parts of a verdict: explanation, measures, severity."""
        assert self._baseline is not None
        baseline = self._baseline.load()
        blocks = list(self._recent)
        explainer = Explainer(self._templates, self._model, baseline)
        text = b"\n".join(self._templates.text(t) for block in blocks for t in block.unit.ids.tolist())
        references = baseline.references(len(text))
        detail = explainer.detail(blocks, facts.score)
        coder_of = byte_coder(self._settings.byte_coder)
        primed, coder = coder_of(b"\n".join(baseline.references(8 * 1024))), coder_of(b"")
        detail["text"] = {
            "bits_given_baseline": primed.code_length_bits(text),
            "bits_alone": coder.code_length_bits(text),
            "coder": coder.name,
            "version": coder.version,
        }
        detail["significance"] = self._significance(facts, baseline, seed, coder)
        sentence = explainer.sentence(blocks, facts)
        if drift:
            detail["drift"] = drift_detail(drift)
            sentence = f"{drift_sentence(drift)} {sentence}"
        return {
            "severity": severity_of(
                facts.score, usual=facts.usual_score, high=self._calibration.quantile(0.99)
            ),
            "measures": measures(text or b"\n", references or [b"\n"], coder=coder),
            "explanation": sentence,
            "detail": detail,
        }

    def _significance(
        self, facts: Significance, baseline: Baseline, seed: str, coder: ByteCoder
    ) -> dict[str, Any]:
        window = [b"\n".join(self._templates.text(t) for t in b.unit.ids.tolist()) for b in self._recent]
        units = [baseline.text(unit) for unit in pool_places(len(baseline.units))]
        permuted = permutation_test(window, units, seed=seed, coder=coder)
        return {
            "p_conformal": facts.p_value,
            "p_permutation": permuted.p_value,
            "p_combined": of_verdict(facts.p_value, permuted.p_value),
            "permutation": told(permuted),
        }

    def snapshot(self) -> bytes:
        """The whole state: a stream restored from it continues with the same verdicts, bit for bit."""
        state = {
            "format": SNAPSHOT_FORMAT,
            "shape": self._settings.shape,
            "templates": self._templates.state(),
            "model": self._model.state(),
            "calibration": self._calibration.state(),
            "decision": self._decision.state(),
            "drift": self._drift.state(),
            "blocks": self._blocks.state(),
            "sessions": self._sessions.state(),
            "warming": self._warming.whole().state() if self._warming.units else None,
            "baseline": [self._baseline.compressed, self._baseline.ref] if self._baseline else None,
            "window": [
                [s.key, s.events, s.first, s.first_time_ns, s.score, s.surprise_bits] for s in self._window
            ],
            "recent": [_explained_state(block) for block in self._recent],
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
        self._decision.load(state["decision"])
        self._drift.load(state["drift"])
        self._blocks.load(state["blocks"])
        self._sessions.load(state["sessions"])
        self._marks = np.zeros(len(self._model.presence.df), np.int32)
        if state["warming"]:
            self._warming.add(Units.of_state(state["warming"]))
        self._baseline = StoredBaseline(*state["baseline"]) if state["baseline"] else None
        self._window.extend(_Span(*raw) for raw in state["window"])
        self._recent.extend(_explained_of(raw, self._marks) for raw in state["recent"])
        self._units_seen = state["units_seen"]


def _cause(assessment: Assessment) -> tuple[str, int]:
    """What a unit's surprise is put down to: a template's presence, or how often it occurs."""
    presence, count = assessment.presence, assessment.count
    return ("count", count.template) if count.bits > presence.bits else ("presence", presence.template)


def _window_key(oldest: str, newest: str) -> str:
    return f"{oldest} to {newest.removeprefix('block ')}"


def _windows(
    earlier: Sequence[_Span], units: Units, low: int, high: int, found: Found
) -> tuple[Iterator[tuple[str, int, int, int, int, int]], list[float]]:
    """Key, first, last, first and last time and events of the window that each unit ends; surprise bits."""
    blocks = len(earlier) + 1
    keys = units.keys[low:high]
    if earlier:
        oldest = [*(span.key for span in earlier), *keys]
        keys = [_window_key(first, last) for first, last in zip(oldest, keys, strict=False)]
    count = high - low
    first = np.concatenate([[span.first for span in earlier], units.first[low:high]])[:count]
    began = np.concatenate([[span.first_time_ns for span in earlier], units.first_time_ns[low:high]])[:count]
    events = np.concatenate([[0], [span.events for span in earlier], units.sizes()[low:high]]).cumsum()
    bits = [span.surprise_bits for span in earlier]
    # on the grid of bits, sums and their differences are exact
    surprise = np.concatenate([[0.0], bits, found.bits[low:high, SURPRISE]]).cumsum()
    columns = (
        first.astype(np.int64),
        units.last[low:high],
        began.astype(np.int64),
        units.last_time_ns[low:high],
        (events[blocks:] - events[:-blocks]).astype(np.int64),
    )
    rows = zip(keys, *(column.tolist() for column in columns), strict=True)
    return rows, (surprise[blocks:] - surprise[:-blocks]).tolist()


def _span_of(units: Units, row: int, found: Found) -> _Span:
    bits = found.bits[row]
    return _Span(
        units.keys[row],
        int(units.bounds[row + 1] - units.bounds[row]),
        int(units.first[row]),
        int(units.first_time_ns[row]),
        float(bits[SCORE]),
        float(bits[SURPRISE]),
    )


def _explained_row(
    units: Units, row: int, found: Found, marks: npt.NDArray[np.int32], *, signs_more: int
) -> Explained:
    """A unit of the kernel's as it is explained, should the window that it is in alarm."""
    bits, templates = found.bits[row].tolist(), found.templates[row].tolist()
    begin = int(units.bounds[row]) + row
    shares = found.shares[begin : begin + int(units.bounds[row + 1] - units.bounds[row]) + signs_more].copy()
    made = Assessment(
        bits[SCORE],
        bits[SURPRISE],
        Part(bits[PRESENCE], templates[0]),
        Part(bits[COUNT], templates[1]),
        bits[SET],
        shares,
    )
    return Explained(coded_unit(units.ids_of(row).copy(), marks), made)


def _explained_state(block: Explained) -> list[Any]:
    made = block.assessment
    parts = [made.presence.bits, made.presence.template, made.count.bits, made.count.template]
    shares = pack_array(made.order_shares)
    return [pack_array(block.unit.ids), made.score, made.surprise_bits, made.set_bits, parts, shares]


def _explained_of(raw: list[Any], marks: npt.NDArray[np.int32]) -> Explained:
    ids, score, surprise_bits, set_bits, parts, shares = raw
    made = Assessment(
        score, surprise_bits, Part(*parts[:2]), Part(*parts[2:]), set_bits, unpack_array(shares)
    )
    return Explained(coded_unit(unpack_array(ids), marks), made)
