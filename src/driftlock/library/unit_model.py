"""Units of lines against a model of others: what the estimators and the online scorer for text share.

Owns the way from whole units to `core.log_model`, scored without being learned. `LogStream` always learns
what it scores; an estimator must not. Bounded like a stream: 512 templates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from driftlock.core.coder import CodedUnit, coded_unit
from driftlock.core.coder_numbers import Numbers
from driftlock.core.log_model import LogModel
from driftlock.core.templates import IdArray, TemplateTable
from driftlock.library.inputs import LinesIn, lines_of
from driftlock.signals.canonical import hash_lines
from driftlock.signals.line_batch import joined
from driftlock.signals.masking import DEFAULT_MASKING


class UnitModel:
    """The coders of `core.log_model` over whole units. Copies and pickles like any object."""

    def __init__(self) -> None:
        self._templates = TemplateTable()
        self._model = LogModel(self._templates, ends=True)
        self._marks = np.zeros(self._templates.capacity, np.int32)

    def learn_baseline(self, units: Sequence[LinesIn]) -> None:
        """Learns units as a whole, trimmed of those that are the strangest among them."""
        ids = [self._ids(unit, evicts=False) for unit in units]
        self._reserve()
        for one, numbers, _ in ids:
            self._model.numbers.take(one, numbers)
        # coded by what all of them were, as others will be: ids that grow are strange only to earlier ones
        self._model.learn_baseline([self._unit(one, numbers, learns=False) for one, numbers, _ in ids])

    def learn(self, unit: LinesIn) -> None:
        """Learns one more unit, behind the gate of the model."""
        ids, numbers, evicted = self._ids(unit, evicts=True)
        if evicted:
            self._model.forget(evicted)
        self._reserve()
        coded = self._unit(ids, numbers, learns=True)
        self._model.learn(coded, self._model.assess(coded))

    def bits(self, unit: LinesIn) -> float:
        """The bits of a unit given what was learned; nothing is learned of it."""
        before = self._templates.state()
        coded = self._coded(unit)
        bits = self._model.assess(coded).score
        self._templates.load(before)
        return bits

    def _coded(self, unit: LinesIn) -> CodedUnit:
        ids, numbers, _ = self._ids(unit, evicts=False)
        self._reserve()
        return self._unit(ids, numbers, learns=False)

    def _unit(self, ids: IdArray, numbers: Numbers, *, learns: bool) -> CodedUnit:
        told = self._model.numbers.take(ids, numbers, learns=learns).of_units(np.array([0, len(ids)]))
        bits, cause = float(told.bits[0]), int(told.causes[0])
        return coded_unit(ids, self._marks, number_bits=bits, number_cause=cause)

    def _reserve(self) -> None:
        if len(self._marks) < self._templates.capacity:
            self._marks = np.zeros(self._templates.capacity, np.int32)
            self._model.reserve(self._templates.capacity)

    def _ids(self, unit: LinesIn, *, evicts: bool) -> tuple[IdArray, Numbers, list[int]]:
        """The ids and numbers of a unit's lines, blank ones left out, and which ids were taken from older
        templates."""
        raw = [line for line in lines_of(unit) if line.strip()] or [b""]
        buffer, bounds = joined(raw)
        lines = DEFAULT_MASKING.canonical(buffer, bounds[:-1], bounds[1:])
        hashes = hash_lines(lines)
        parts: list[IdArray] = [np.zeros(0, np.int32)]
        gone: list[int] = []
        row = 0
        while row < len(raw):
            ids, evicted = self._templates.ids(
                hashes[row:],
                lines.buffer,
                lines.offsets[row:-1],
                lines.offsets[row + 1 :],
                pinned=(lambda: np.concatenate(parts)) if evicts else None,
            )
            gone += evicted
            parts.append(ids)
            row += len(ids)
        return np.concatenate(parts), lines.numbers, gone
