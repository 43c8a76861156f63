"""The metric series of one partition: the core's bank of series, and what people call each series."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

from driftlock.core.series import REFUSED, SeriesBank, SeriesSettings, SeriesVerdicts
from driftlock.core.series_text import point_verdict
from driftlock.core.verdict import Verdict
from driftlock.engine.finding import Finding
from driftlock.signals.batch import PointBatch


class _Stored(msgspec.Struct, frozen=True):
    bank: bytes
    names: dict[int, str]


class MetricSeries:
    """Series of many streams, scored together. A series without room in the bank is counted, not scored."""

    def __init__(self, settings: SeriesSettings) -> None:
        self._settings = settings
        self._bank = SeriesBank(settings)
        self._names: dict[int, str] = {}
        self.dirty = False
        self.refused_points = 0
        """Points of series that found no room in the bank: counted, not scored."""

    @property
    def state_bytes(self) -> int:
        """Bytes held by the series' states."""
        return self._bank.state_bytes

    def __len__(self) -> int:
        return len(self._bank)

    def observe(
        self,
        batch: PointBatch,
        rows: npt.NDArray[np.int64],
        *,
        position: int,
        base: int,
        received_ns: int,
        config_version: int,
    ) -> list[Finding]:
        """Scores the given rows of a batch, in order, and returns a finding for each alarm."""
        self.dirty = True
        for series, name in batch.names.items():
            if len(self._names) < self._settings.series_max:
                self._names.setdefault(series, name)
        verdicts = self._bank.observe(
            batch.series[rows], batch.time_ns[rows], batch.value[rows], batch.cumulative[rows]
        )
        self.refused_points += int((verdicts.status == REFUSED).sum())
        findings = []
        for index in np.flatnonzero(verdicts.alarm):
            row = int(rows[index])
            series = int(batch.series[row])
            verdict = self._verdict(batch, row, verdicts, int(index), base + row)
            findings.append(
                Finding(
                    batch.keys[batch.stream[row]],
                    verdict,
                    position,
                    received_ns,
                    config_version,
                    metadata={"series": self._names.get(series, ""), "value": float(batch.value[row])},
                )
            )
        return findings

    def _verdict(
        self, batch: PointBatch, row: int, verdicts: SeriesVerdicts, index: int, event: int
    ) -> Verdict:
        series = int(batch.series[row])
        name = self._names.get(series, f"series {series:016x}")
        return point_verdict(
            verdicts,
            index,
            key=f"{series:016x}",
            name=name,
            position=event,
            time_ns=int(batch.time_ns[row]),
            reading=float(batch.value[row]),
        )

    def dump(self) -> bytes:
        """The bank and the names, for a checkpoint."""
        self.dirty = False
        return msgspec.msgpack.encode(_Stored(self._bank.snapshot(), self._names))

    def load(self, data: bytes) -> None:
        """The inverse of `dump`."""
        stored = msgspec.msgpack.decode(data, type=_Stored)
        self._bank = SeriesBank.restore(self._settings, stored.bank)
        self._names = dict(stored.names)
