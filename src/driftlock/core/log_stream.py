"""One stream of log lines or spans: assembles units, scores them before learning them, has them judged.

Owns a stream's whole state and its order of work: unit complete → score → judge (`log_judge`) → explain if it
alarms → learn. The first units are the baseline: learned as a whole, trimmed, and the
calibration set's first members by leave-one-out scores, which are exchangeable with later scores as long as
the stream is. State is bounded, and a function of the events and clocks handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.core.calibration_hours import hours_of
from driftlock.core.coder import coded_unit
from driftlock.core.coder_calls import NO_CALLS, UNTOLD, Callers, Calls, find_callers
from driftlock.core.coder_numbers import NumberBits, Numbers, Strange
from driftlock.core.decision import Cause
from driftlock.core.edetector import Drift
from driftlock.core.episode import Episode
from driftlock.core.explanation import Significance
from driftlock.core.log_baseline import Baseline, StoredBaseline
from driftlock.core.log_judge import Judge
from driftlock.core.log_model import Assessment, LogModel, assessed
from driftlock.core.log_run import NEEDS_ROOM, REACHES_THRESHOLD, Found, found_for
from driftlock.core.log_settings import LogSettings
from driftlock.core.log_units import Assembled, BlockAssembler, Units, Waiting
from driftlock.core.lull import Lulls
from driftlock.core.packing import compress, decompress, pack, unpack
from driftlock.core.session_store import SessionStore
from driftlock.core.telling import Teller
from driftlock.core.templates import Pinned, TemplateTable
from driftlock.core.time_blocks import TimeBlockAssembler
from driftlock.core.verdict import Verdict, WarmUp

__all__ = ["LogSettings", "LogStream"]

SNAPSHOT_FORMAT = 8
_NO_SLOT = np.full(1, -1, np.int32)
END_BITS_MAX = 0.15
"""A session whose end costs no more ended where nine in ten with the same last lines do."""
Hashes = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]


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
        self._model = LogModel(
            self._templates,
            ends=settings.mode == "session",
            calls=settings.calls,
            volumes=settings.mode == "time",
        )
        self._judge = Judge(settings, unseen=self._is_unseen, tell=self._told if tells else None)
        self._blocks = (
            TimeBlockAssembler(settings.block_ns)
            if settings.mode == "time"
            else BlockAssembler(settings.hop_size)
        )
        self._sessions = SessionStore(settings)
        self._marks = np.zeros(self._templates.capacity, np.int32)
        self._warming = Waiting()
        self._baseline: StoredBaseline | None = None
        self._lulls = Lulls()
        self._leave_room()

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
        numbers: Numbers | None = None,
        now_ns: int,
    ) -> list[Verdict]:
        """Takes events in order; returns the verdicts on the units that are complete now.

        Row i is an event: its template's hash, its canonical line `buffer[starts[i]:ends[i]]`, its time (0
        if unknown) and its position (increasing). In session mode `sessions` has its key; events with an
        empty key belong to no unit and are counted. With the setting `calls`, `calls` are their spans and
        parents, and `heads` how many bytes of each line name its operation; without, they do not say.
        `numbers` are the magnitudes of each line's numbers (`coder_numbers`). `now_ns` is the stream's clock;
        in mode time what it was before these events, whose own times move on from there: a time that cannot
        be trusted is to be handed in as the clock's (`time_blocks`).
        """
        numbers = np.zeros(len(templates), np.uint32) if numbers is None else numbers
        if not self._settings.calls:
            calls, heads = NO_CALLS, None
        elif calls is None:
            calls = np.tile(np.array([[0, UNTOLD]], np.uint32), (len(templates), 1))
        verdicts = self.tick(now_ns)
        after_lulls = self._lulls.before(times_ns) if self._settings.mode == "block" and len(times_ns) else []
        row, stops = 0, [*after_lulls, len(templates)]
        while row < len(templates):
            if row == stops[0]:
                self._lulls.end(self._judge.end_episode())
                stops.pop(0)
            part = slice(row, stops[0])
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
            strange = self._model.numbers.take(ids, numbers[part])
            if sessions is None or self._settings.mode != "session":
                blocks = self._blocks.add(ids, strange, positions[part], times_ns[part], now_ns=now_ns)
                verdicts += self._lulls.told(self._take_blocks(blocks, now_ns))
            else:
                events, texts = (ids, sessions[part], positions[part], times_ns[part]), self._bytes_when_new
                for units in self._sessions.add(
                    *events, numbers=strange, now_ns=now_ns, calls=calls[part], texts=texts
                ):
                    verdicts += self._take(units, now_ns)
            row += len(ids)
        return verdicts

    def tick(self, now_ns: int) -> list[Verdict]:
        """Closes sessions that are silent, or blocks of time that are over, at `now_ns`; returns the verdicts
        on them."""
        blocks = self._take_blocks(self._blocks.move(now_ns), now_ns)
        return blocks + self._take(self._sessions.idle(now_ns), now_ns)

    def interrupt(self, now_ns: int) -> None:
        """Says that nobody listened up to `now_ns`: that nothing came is no silence then."""
        self._blocks.interrupt(now_ns)

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
        numbers: Numbers | None = None,
        now_ns: int | None = None,
    ) -> list[Verdict]:
        """Takes units that the caller has assembled from whole input; returns the verdicts on them.

        Rows are the units' events as in `add`, one unit after the other. Unless `now_ns` is given, the clock
        at each unit is that of its last event or of an earlier one, whichever is later.
        """
        numbers = np.zeros(len(templates), np.uint32) if numbers is None else numbers
        clocks = units.clocks if now_ns is None else np.full(len(units.keys), now_ns)
        verdicts: list[Verdict] = []
        row = judged = 0
        begun = np.zeros(0, np.int32)  # the ids of a unit whose other events wait for room
        told = NumberBits.none(0)
        while row < len(templates):
            part = slice(row, None)
            pinned = None if self._baseline is None else (lambda held=begun: held)
            ids, evicted = self._templates.ids(
                templates[part], buffer, starts[part], ends[part], pinned=pinned
            )
            self._forget(evicted)
            told = told.then(self._model.numbers.take(ids, numbers[row : row + len(ids)]))
            row += len(ids)
            upto = int(np.searchsorted(units.bounds, row, side="right")) - 1
            held = np.concatenate([begun, ids])
            whole = int(units.bounds[upto] - units.bounds[judged])
            if upto > judged:
                complete = units.of(judged, upto, held[:whole], told)
                verdicts += self._take(complete, clocks[judged:upto])
            begun, told, judged = held[whole:], told.part(slice(whole, None)), upto
        return verdicts

    @property
    def in_episode(self) -> bool:
        """Whether an alarm's episode is still open."""
        return self._judge.in_episode

    def end_episode(self) -> Episode | None:
        """Ends the open episode, if any: its stream has ended, or begins to learn anew."""
        return self._judge.end_episode()

    @property
    def open_sessions(self) -> int:
        """Sessions that only time, or their events, will complete."""
        return self._sessions.open

    @property
    def waits_for_block(self) -> bool:
        """Whether the end of a block of time will be told by the clock alone."""
        return self._blocks.waits_for_clock

    @property
    def late_events(self) -> int:
        """Events of a block of time that was over when they came."""
        return self._blocks.late_events

    @property
    def overflowed(self) -> int:
        """Events whose template found no room."""
        return self._templates.overflowed

    @property
    def warm_up(self) -> WarmUp:
        """Progress to the first verdict; size and p are those of the set for the last unit's hour."""
        ready = self._baseline is not None
        size = self._judge.calibration_size
        earliest = 1.0 / (1 + size)
        allowed = earliest <= self._settings.p_value_threshold
        return WarmUp(
            "learning" if not ready else "ready" if allowed else "calibrating",
            self._judge.units_seen,
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
        parts = (self._templates, self._model, self._judge, self._blocks, self._sessions, self._warming)
        return sum(part.nbytes for part in parts) + stored + self._marks.nbytes

    def _pinned(self) -> Pinned | None:
        """The ids of templates that an unfinished unit names or the window explains; None while warming."""
        if self._baseline is None:
            return None
        if self._settings.mode == "session":
            return self._sessions.ids_in_use
        return lambda: np.concatenate([self._blocks.pending, *self._judge.window.ids])

    def _forget(self, evicted: list[int]) -> None:
        if evicted:
            self._model.forget(evicted)
            self._judge.forget(evicted)
            self._sessions.forget(evicted)
            self._leave_room()

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
                self._judge.units_seen += 1
                self._warm(units.part(row, row + 1))
                row += 1
                continue
            stop, why = row, NEEDS_ROOM
            if self._judge.window.full:
                stop, why = self._model.run(
                    units,
                    callers,
                    hours,
                    row,
                    found,
                    calibration=self._judge.calibration,
                    threshold=self._settings.p_value_threshold,
                    before=self._judge.window.earlier_scores,
                )
            if stop > row:
                verdicts += self._judge.passed(
                    units, row, stop, found, now_ns, ends=self._model.ends, ref=self.baseline_ref
                )
                judged.note(units, row, stop, found)
            if stop < len(units):
                clock = now_ns if isinstance(now_ns, int) else int(now_ns[stop])
                made = None
                if why == REACHES_THRESHOLD:
                    notes = found.notes[0].copy()
                    made = assessed(
                        found, stop, units.bounds, units.number_causes, ends=self._model.ends, notes=notes
                    )
                verdicts.append(self._single(units, stop, callers, judged, clock, made))
            row = stop + 1
        self._sessions.settle(units, judged.taught, judged.over, judged.alarmed)
        self._leave_room()
        return verdicts

    def _take_blocks(self, units: Units | None, now_ns: int) -> list[Verdict]:
        """Judges and learns blocks; whatever closes those of time, the clock is that of their ends."""
        if units is None or self._settings.mode != "time":
            return self._take(units, now_ns)
        return self._take(units, units.last_time_ns + 1)

    def _leave_room(self) -> None:
        """Tells the sessions what the rest takes: all that changes with units judged or templates evicted,
        and nothing else, so that it depends neither on how events come in calls nor on restarts."""
        parts = self._judge.growing_bytes + self._model.table_bytes
        self._sessions.leave_room(parts + (len(self._baseline.compressed) if self._baseline else 0))

    @property
    def _bytes_when_new(self) -> npt.NDArray[np.uint16]:
        texts = self._templates.texts_when_new
        return texts + self._model.numbers.bytes_when_new(len(texts))

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
        self,
        units: Units,
        row: int,
        callers: Callers,
        judged: _Judged,
        now_ns: int,
        assessment: Assessment | None,
    ) -> Verdict:
        """One unit by the plain methods; with an assessment, what was learned of it is taken back already."""
        halved = self._model.halved
        before = int(units.known[row]) if assessment is None else 0
        own = slice(units.bounds[row], units.bounds[row + 1])
        if before:
            earlier = coded_unit(units.ids[own][:before], self._marks, callers[1, own][:before])
            self._model.unlearn(earlier, taught=bool(units.taught[row]))
        coded = coded_unit(units.ids[own], self._marks, callers[0, own], **_facts_of(units, row))
        assessment = assessment or self._model.assess(coded)
        verdict = self._judge.judge(units, row, coded, assessment, now_ns, ref=self.baseline_ref)
        judged.taught[row] = self._model.learn(coded, assessment)
        judged.alarmed[row] = verdict.alarm or bool(units.alarmed[row])
        if self._model.ends:
            judged.over[row] = assessment.end_bits <= END_BITS_MAX
        if self._model.halved != halved:
            self._sessions.forget_learned()
            units.known[row + 1 :] = 0
        return verdict

    def _warm(self, unit: Units) -> None:
        self._warming.add(replace(unit, slots=_NO_SLOT))  # sessions change places until the baseline is whole
        if self._settings.baseline_complete(self._warming.units, self._warming.events):
            self._learn_baseline()

    def _learn_baseline(self) -> None:
        warming, self._warming = self._warming.whole(), Waiting()
        callers = self._callers(warming)[0]
        units = [
            coded_unit(warming.ids[low:high], self._marks, callers[low:high], **_facts_of(warming, row))
            for row, (low, high) in enumerate(pairwise(warming.bounds.tolist()))
        ]
        assessments, kept = self._model.learn_baseline(units)
        # ids are given in order of appearance: higher ones belong to events that came in the same call
        named = range(1 + int(warming.ids.max(initial=0)))
        texts = [(int(self._templates.hashes[t]), self._templates.text(t)) for t in named]
        self._baseline = StoredBaseline.of(
            Baseline(
                texts,
                [unit.ids for unit in units],
                kept,
                int(warming.first[0]),
                int(warming.last[-1]),
                {"shape": self._settings.shape, "coders": self._model.versions()},
                warming.numbers,
                [unit.callers for unit in units],
                warming.volumes.tolist(),
            )
        )
        self._judge.begin(warming, units, assessments)
        none = np.zeros(len(warming), np.bool_)
        held = replace(warming, slots=self._sessions.slots_of(warming.first))
        self._sessions.settle(held, np.array(kept), none, none)

    def _is_unseen(self, cause: Cause, made: Assessment) -> bool:
        """Whether a cause is a line, a call of an operation by another, or a magnitude never learned."""
        kind, template = cause
        if kind == "call":
            operation = int(self._templates.operations[template])
            return self._model.calls.counts(operation, made.caller)[0] == 0
        if kind == "number":
            return Strange.of(made.number_cause).unseen
        return bool(kind == "presence" and template >= 0 and self._model.presence.df[template] == 0)

    def _told(self, facts: Significance, high: float, seed: str, drift: Drift | None) -> dict[str, Any]:
        assert self._baseline is not None
        teller = Teller(self._templates, self._model, self._baseline.load(), self._settings.byte_coder)
        return teller.told(
            self._judge.window.explained(self._marks), facts, high_score=high, seed=seed, drift=drift
        )

    def renewed(self) -> LogStream:
        """A stream that learns its baseline anew, from its next events. Nothing that was learned or is open
        goes over; what was spent of the alert budget does."""
        stream = LogStream(self._settings, tells=self._tells)
        stream._judge.take_over_spending(self._judge)
        return stream

    def snapshot(self) -> bytes:
        """The whole state: a stream restored from it continues with the same verdicts, bit for bit."""
        state = {
            "format": SNAPSHOT_FORMAT,
            "shape": self._settings.shape,
            "templates": self._templates.state(),
            "model": self._model.state(),
            "judge": self._judge.state(),
            "blocks": self._blocks.state(),
            "sessions": self._sessions.state(),
            "warming": self._warming.whole().state() if self._warming.units else None,
            "baseline": [self._baseline.compressed, self._baseline.ref] if self._baseline else None,
            "lulls": self._lulls.state(),
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
        self._judge.load(state["judge"])
        self._blocks.load(state["blocks"])
        self._sessions.load(state["sessions"])
        self._marks = np.zeros(len(self._model.presence.df), np.int32)
        if state["warming"]:
            self._warming.add(Units.of_state(state["warming"]))
        self._baseline = StoredBaseline(*state["baseline"]) if state["baseline"] else None
        self._lulls.load(state["lulls"])
        self._leave_room()


def _facts_of(units: Units, row: int) -> dict[str, Any]:
    """A unit's strangest number and its volume, as `coded_unit` takes them."""
    bits, cause = float(units.number_bits[row]), int(units.number_causes[row])
    return {"number_bits": bits, "number_cause": cause, "volume": int(units.events()[row])}
