"""What a log stream has learned: four coders over its templates, the gate, and how a unit's score is made.

The presence coder is the teacher and learns every unit. The students (order, count, set) learn a unit only if
the teacher did not find it suspicious against its own last thousand scores: contamination wrecks the coders
of order, and a mode that becomes common is admitted again, so that drift is followed. A baseline is learned
as a whole, then trimmed of what it finds strangest itself by leave-one-out scores. The score of a unit is the
sum of its parts in bits; counts weigh half, for many an ordinary unit has one odd count, and so do sets, for
a rare template makes a rare set: at their full weight they would tell the same thing twice.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from driftlock.core.calibration import Calibration
from driftlock.core.calibration_hours import COLUMNS, HOURS, NO_HOUR, CalibrationByHour
from driftlock.core.coder import CodedUnit, Coder, Part
from driftlock.core.coder_calls import UNKNOWN, CallCoder, Callers
from driftlock.core.coder_context import ContextCoder
from driftlock.core.coder_count import CountCoder
from driftlock.core.coder_numbers import (
    NO_CAUSE,
    NumberBits,
    NumberCoder,
    Strange,
    follow_levels,
    number_bits,
)
from driftlock.core.coder_presence import PresenceCoder
from driftlock.core.coder_set import SetCoder
from driftlock.core.coder_volume import VolumeCoder
from driftlock.core.counters import CounterTable
from driftlock.core.log_run import (
    CALL,
    COUNT,
    COUNT_WEIGHT,
    GATE_P,
    NUMBER,
    PRESENCE,
    SCORE,
    SET,
    SET_WEIGHT,
    SURPRISE,
    TALLIES,
    Found,
    Learned,
    Ranked,
    Table,
    found_for,
    run_units,
)
from driftlock.core.log_units import Units
from driftlock.core.templates import IdArray, TemplateTable

_T = TypeVar("_T")

GATE_SCORES = 1_000
TRIMMED_SHARE = 0.075
TRIM_ROUNDS = 2


class Assessment(msgspec.Struct, frozen=True):  # a struct, for one is made for every unit
    """A unit's score before it is learned, in bits, and what it is made of.

    `score` is exactly presence.bits + order_shares.sum() + count.bits + set_bits + call.bits + number.bits,
    counts and sets weighted already. `count` is of no template where the number of all events is farther off.
    `caller` is that of the call (`coder_calls`), `number_cause` what is strange of the number
    (`coder_numbers`). `order_shares` has one entry a symbol: the unit's events and, for sessions, its end.
    `order_notes` are what the context coder is to know of the unit, and `end_bits` what the last symbol costs
    alone; empty and 0 once it is learned.
    """

    score: float
    surprise_bits: float
    presence: Part
    count: Part
    set_bits: float
    call: Part
    caller: int
    number: Part
    number_cause: int
    order_shares: npt.NDArray[np.float64]
    order_notes: npt.NDArray[np.float64]
    end_bits: float = 0.0


class LogModel:
    """The coders of one stream. Not thread-safe."""

    def __init__(
        self, templates: TemplateTable, *, ends: bool, calls: bool = False, volumes: bool = False
    ) -> None:
        self.presence = PresenceCoder()
        self.count = CountCoder()
        self.ends = ends
        self._order = ContextCoder(templates, ends=ends)
        self._set = SetCoder(templates)
        self.calls = CallCoder(templates, active=calls)
        self.numbers = NumberCoder(templates)
        self.volume = VolumeCoder(active=volumes)
        self._teacher_scores = Calibration(GATE_SCORES, exact=True)
        self._templates = templates

    @property
    def _students(self) -> tuple[Coder, ...]:
        every = (self._order, self.count, self._set, self.calls)
        return (*every, self.volume) if self.volume.active else every

    @property
    def _coders(self) -> tuple[Coder, ...]:
        return (self.presence, *self._students)

    def versions(self) -> dict[str, int]:
        """The version of each coder."""
        versions = {coder.name: coder.version for coder in self._coders}
        return {**versions, self.numbers.name: self.numbers.version}

    def assess(self, unit: CodedUnit) -> Assessment:
        """Scores a unit against what was learned before it."""
        presence = self.presence.code(unit)
        order = self._order.code_symbols(unit)
        count = self.count.code(unit)
        weighted = Part(COUNT_WEIGHT * count.bits, count.template)
        if len(unit):  # that nothing came is told by the order, and twice it would outrank a flood
            weighted = max(
                weighted, self.volume.code(unit), key=lambda part: part.bits
            )  # the first of equals
        set_bits = SET_WEIGHT * self._set.code(unit).bits
        call_bits, event = self.calls.code_event(unit)
        call = Part(call_bits, int(unit.ids[event]) if event >= 0 else -1)
        number = number_part(number_bits(self.numbers.levels, unit.number_bits), unit.number_cause)
        return Assessment(
            score=presence.bits + order.bits + weighted.bits + set_bits + call.bits + number.bits,
            surprise_bits=order.total_bits,
            presence=presence,
            count=weighted,
            set_bits=set_bits,
            call=call,
            caller=int(unit.callers[event]) if event >= 0 else UNKNOWN,
            number=number,
            number_cause=unit.number_cause,
            order_shares=order.shares,
            order_notes=order.notes,
            end_bits=order.end_bits,
        )

    def run(
        self,
        units: Units,
        callers: Callers,
        hours: npt.NDArray[np.int64],
        first: int,
        found: Found,
        *,
        calibration: CalibrationByHour,
        threshold: float,
        before: Sequence[float],
    ) -> tuple[int, int]:
        """Assesses and learns units from `first` on at a stretch, and adds their scores to the calibration.

        `callers` are those of all events, `hours` are `hours_of` the units. Fills the rows of `found`;
        returns the first unit not taken, and why (see `log_run`). `before` has the scores of the blocks that
        share a window with the first unit, oldest first.
        """
        tallies = self._tallies(self._teacher_scores, calibration.whole)
        stop, why = run_units(
            units.ids,
            units.bounds,
            units.events(),
            units.known,
            units.taught,
            callers,
            units.numbers,
            hours,
            first,
            self._learned(),
            Ranked(
                self._teacher_scores.scores,
                self._teacher_scores.size_max,
                calibration.whole.scores,
                calibration.whole.size_max,
                calibration.scores,
                calibration.hour_max,
                calibration.tallies,
                calibration.least,
                threshold,
            ),
            tallies,
            np.array(before, np.float64),
            found,
        )
        self._take_tallies(tallies, self._teacher_scores, calibration.whole)
        return int(stop), int(why)

    def _learned(self) -> Learned:
        """What the coders hold, for the kernel."""
        return Learned(
            self._templates.hashes,
            self.ends,
            self.presence.df,
            self.presence.marks,
            self.count.histogram,
            _table(self._order.table),
            self._order.gains,
            self._order.steps,
            _table(self._set.table),
            self._templates.operations,
            _table(self.calls.table),
            self.numbers.levels,
            self.volume.histogram,
        )

    def _tallies(self, teacher: Calibration, calibration: Calibration) -> npt.NDArray[np.int64]:
        order, sets, calls = self._order.table, self._set.table, self.calls.table
        units = [coder.units for coder in (self.presence, self.count, self._order, self._set, self.calls)]
        slots = [each for table in (order, sets, calls) for each in (table.taken, table.swept)]
        rings = [each for ring in (teacher, calibration) for each in (ring.size, ring.next, ring.added)]
        return np.array([*units, *slots, *rings], np.int64)

    def _take_tallies(
        self, tallies: npt.NDArray[np.int64], teacher: Calibration, calibration: Calibration
    ) -> None:
        order, sets, calls = self._order.table, self._set.table, self.calls.table
        values = tallies.tolist()
        assert len(values) == TALLIES
        self.presence.units, self.count.units, self._order.units, self._set.units = values[:4]
        self.calls.units = values[4]
        order.taken, order.swept, sets.taken, sets.swept, calls.taken, calls.swept = values[5:11]
        teacher.size, teacher.next, teacher.added = values[11:14]
        calibration.size, calibration.next, calibration.added = values[14:]

    def unlearn(self, unit: CodedUnit, *, taught: bool) -> None:
        """Takes back a unit that was learned, by the students too if `taught`."""
        self.presence.learn(unit, -1)
        for student in self._students if taught else ():
            student.learn(unit, -1)

    @property
    def halved(self) -> int:
        """How often counters were halved: what was learned before that cannot be taken back exactly."""
        return sum(coder.halved for coder in self._coders)

    def learn(self, unit: CodedUnit, assessment: Assessment) -> bool:
        """Learns a unit that was assessed: the teacher always, the students behind the gate (returns it)."""
        suspicion = self._teacher_scores.p_value(assessment.presence.bits)
        self._teacher_scores.add(assessment.presence.bits)
        self.presence.learn(unit)
        follow_levels(self.numbers.levels, unit.number_bits)
        if suspicion > GATE_P:
            self._teach(unit, assessment.order_notes)
        return suspicion > GATE_P

    def _teach(self, unit: CodedUnit, order_notes: npt.NDArray[np.float64]) -> None:
        self._order.follow(order_notes)
        for student in self._students:
            student.learn(unit)

    def learn_baseline(self, units: Sequence[CodedUnit]) -> tuple[list[Assessment], list[bool]]:
        """Learns a baseline, trimmed; returns leave-one-out assessments of all units, and which were kept."""
        for unit in units:
            self.presence.learn(unit)
            follow_levels(self.numbers.levels, unit.number_bits)
        kept = [True] * len(units)
        for _ in range(TRIM_ROUNDS):
            kept = self._trim(units, kept)
        for unit, inside in zip(units, kept, strict=True):
            if inside:
                self._teach(unit, self._order.code_symbols(unit).notes)
        self._order.follow_anew([])  # these knew too little to be like later ones
        assessments = self._with_steps(self._leave_one_out(units, kept), kept)
        for assessment in assessments:
            self._teacher_scores.add(assessment.presence.bits)
        return assessments, kept

    def _leave_one_out(self, units: Sequence[CodedUnit], kept: Sequence[bool]) -> list[Assessment]:
        """Each unit's assessment by all the others, the kernel's where it is learned and tables have room."""
        ids = np.concatenate([unit.ids for unit in units])
        sizes = np.array([len(unit) for unit in units])
        bounds = np.concatenate([[0], np.cumsum(sizes)])
        callers = np.tile(np.concatenate([unit.callers for unit in units]), (2, 1))
        numbers = NumberBits(
            np.array([unit.number_bits for unit in units], np.float32),
            np.array([unit.number_cause for unit in units], np.int32),
        )
        found, spare = found_for(bounds, notes=len(units)), (Calibration(1), Calibration(1))
        nothing = np.zeros((HOURS, 0), np.float32), 0, np.zeros((HOURS, COLUMNS), np.int64), 0, 0.0, False
        ranked = Ranked(spare[0].scores, 1, spare[1].scores, 1, *nothing)
        taught, hours = np.ones(len(units), np.bool_), np.full(len(units), NO_HOUR, np.int64)
        # of stretches of units kept that hold something: the kernel takes nothing back of an empty one
        ends_at = [*np.flatnonzero(~np.array(kept) | (sizes == 0)).tolist(), len(units)]
        volumes = np.array([unit.volume for unit in units], np.int64)
        made: list[Assessment] = []
        while len(made) < len(units):
            row = len(made)
            end = ends_at[bisect_left(ends_at, row)]
            tallies = self._tallies(*spare)
            known = sizes.astype(np.int32)
            stop, _ = run_units(
                ids, bounds[: end + 1], volumes, known, taught, callers, numbers, hours, row, self._learned(),
                ranked, tallies, np.zeros(0), found,
            )  # fmt: skip
            self._take_tallies(tallies, *spare)
            made += [
                assessed(found, each, bounds, numbers.causes, ends=self.ends, notes=found.notes[each].copy())
                for each in range(row, stop)
            ]
            if stop < len(units):
                made += _leave_one_out(self._coders, units[stop : stop + 1], [kept[stop]], self.assess)
        return made

    def _with_steps(self, assessments: Sequence[Assessment], kept: Sequence[bool]) -> list[Assessment]:
        self._order.follow_anew(
            [a.order_notes for a, inside in zip(assessments, kept, strict=True) if inside]
        )
        return [
            replace(a, score=a.score + self._order.add_step(a.order_shares, a.order_notes, own=inside))
            for a, inside in zip(assessments, kept, strict=True)
        ]

    def _trim(self, units: Sequence[CodedUnit], kept: list[bool]) -> list[bool]:
        bits = _leave_one_out((self.presence,), units, kept, lambda unit: self.presence.code(unit).bits)
        strangest = np.argsort(-np.array(bits), kind="stable")[: int(TRIMMED_SHARE * len(units))]
        keep = [True] * len(units)
        for index in strangest.tolist():
            keep[index] = False
        for unit, before, after in zip(units, kept, keep, strict=True):
            if before != after:
                self.presence.learn(unit, 1 if after else -1)
        return keep

    def reserve(self, capacity: int) -> None:
        """Makes room for template ids below `capacity`."""
        for coder in self._coders:
            coder.reserve(capacity)

    def forget(self, templates: list[int]) -> None:
        """Drops what was learned of evicted templates."""
        for coder in self._coders:
            coder.forget(templates)
        self.numbers.forget(templates)

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""
        return {
            "coders": {coder.name: coder.state() for coder in self._coders},
            "numbers": self.numbers.state(),
            "teacher_scores": self._teacher_scores.state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        for coder in self._coders:
            coder.load(state["coders"][coder.name])
        self.numbers.load(state["numbers"])
        self._teacher_scores.load(state["teacher_scores"])

    @property
    def table_bytes(self) -> int:
        """Bytes of the tables that grow with what is learned, not with the number of templates."""
        return self._order.table.nbytes + self._set.table.nbytes + self.calls.table.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        coders = sum(coder.nbytes for coder in self._coders)
        return coders + self.numbers.nbytes + self._teacher_scores.nbytes


def assessed(
    found: Found,
    row: int,
    bounds: npt.NDArray[np.int64],
    number_causes: IdArray,
    *,
    ends: bool,
    notes: npt.NDArray[np.float64],
) -> Assessment:
    """The assessment that the kernel made of a unit; `notes` are those of the unit, or empty."""
    bits, templates = found.bits[row].tolist(), found.templates[row].tolist()
    signs = (bounds[row + 1] - bounds[row] + ends) or 1  # nothing is a sign, too
    shares = found.shares[bounds[row] + row : bounds[row] + row + signs].copy()
    presence, count, call = map(Part, (bits[PRESENCE], bits[COUNT], bits[CALL]), templates)
    return Assessment(
        bits[SCORE],
        bits[SURPRISE],
        presence,
        count,
        bits[SET],
        call,
        int(found.caller[row]),
        number_part(bits[NUMBER], int(number_causes[row])),
        int(number_causes[row]),
        shares,
        notes,
        float(found.end_bits[row]) if len(notes) else 0.0,
    )


def _leave_one_out(
    coders: Sequence[Coder],
    units: Sequence[CodedUnit],
    kept: Sequence[bool],
    score: Callable[[CodedUnit], _T],
) -> list[_T]:
    """The score of each unit with the unit itself unlearned, if it was learned at all."""
    scores = []
    for unit, inside in zip(units, kept, strict=True):
        for coder in coders if inside else ():
            coder.learn(unit, -1)
        scores.append(score(unit))
        for coder in coders if inside else ():
            coder.learn(unit)
    return scores


def number_part(bits: float, cause: int) -> Part:
    """A unit's part for its strangest number, and the template that has it."""
    return Part(bits, Strange.of(cause).template if cause != NO_CAUSE else -1)


def _table(table: CounterTable) -> Table:
    return Table(table.keys, table.counts, table.links, table.slots_max)
