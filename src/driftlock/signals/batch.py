"""Columnar batches: what decoding telemetry yields, and what the engine feeds to the core.

Owns the shapes only. One batch comes from one message of the log and keeps the message's record order.
Arrays are parallel: row i of each describes record i. `stream` indexes `keys`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Signal = Literal["logs", "metrics", "traces", "llm"]
StreamUnit = Literal["", "session"]
SIGNALS: tuple[Signal, ...] = ("logs", "metrics", "traces", "llm")


@dataclass(frozen=True, slots=True)
class StreamKey:
    """What the events of a stream share. `attributes` are the configured resource attributes, sorted.

    `unit` is "session" where a session key groups the events; else they are cut into what is usual for the
    signal, traces or blocks. Units of two kinds are not alike, so a service's sessions are a stream apart.
    """

    tenant: str
    signal: Signal
    service: str
    attributes: tuple[tuple[str, str], ...] = ()
    unit: StreamUnit = ""

    @property
    def id(self) -> uuid.UUID:
        """A stable UUID (version 8) of the key: BLAKE2b over its length-prefixed parts."""
        parts = [self.tenant, self.signal, self.service, *(p for pair in self.attributes for p in pair)]
        if self.unit:  # one part more: no attributes make so many
            parts.append(self.unit)
        digest = hashlib.blake2b(digest_size=16, person=b"driftlock-stream")
        for part in parts:
            raw = part.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        raw_id = bytearray(digest.digest())
        raw_id[6] = 0x80 | (raw_id[6] & 0x0F)
        raw_id[8] = 0x80 | (raw_id[8] & 0x3F)
        return uuid.UUID(bytes=bytes(raw_id))

    @property
    def name(self) -> str:
        """What a person reads: `service` or `service{key=value,…}`, of sessions with `unit=session` last."""
        told = [f"{k}={v}" for k, v in self.attributes]
        if self.unit:
            told.append(f"unit={self.unit}")
        return f"{self.service}{{{','.join(told)}}}" if told else self.service

    @property
    def of_sessions(self) -> StreamKey:
        """The stream of the same events' sessions."""
        return replace(self, unit="session")


@dataclass(frozen=True, slots=True)
class Lines:
    """Canonical lines in one buffer: item i is `buffer[offsets[i]:offsets[i + 1]]`.

    `numbers` has the magnitudes of each line's numbers (`magnitudes.py`).
    """

    buffer: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> bytes:
        return self.buffer[self.offsets[index] : self.offsets[index + 1]].tobytes()


@dataclass(frozen=True, slots=True)
class LogBatch:
    """Log records in canonical form. Times in nanoseconds since 1970, 0 when the record has none.

    `canonical` holds one canonical line a record (no newline inside), `template` its 64-bit hash,
    `trace_id` (n, 16) bytes, zero when absent. `severity` is the OTLP severity number, 0 to 24. `sessions`
    has the session key of each record, empty for none; it is empty as a whole where no record has one.
    """

    keys: Sequence[StreamKey]
    stream: npt.NDArray[np.int32]
    time_ns: npt.NDArray[np.int64]
    severity: npt.NDArray[np.uint8]
    trace_id: npt.NDArray[np.uint8]
    canonical: Lines
    template: npt.NDArray[np.uint64]
    sessions: Sequence[bytes] = ()

    def __len__(self) -> int:
        return len(self.stream)


@dataclass(frozen=True, slots=True)
class SpanBatch:
    """Spans (of the signals traces and llm) in canonical form, with their durations before their numbers.

    `duration_ns` is end minus start, never negative. `status` is the OTLP status code (2 is an error).
    `sessions` as in `LogBatch`. `calls` (n, 2) are 32-bit hashes of each span's id and its parent's, 2 or
    more, 0 where there is none, 1 where what is told is no id. The first `heads` bytes of a line name its
    operation.
    """

    keys: Sequence[StreamKey]
    stream: npt.NDArray[np.int32]
    time_ns: npt.NDArray[np.int64]
    duration_ns: npt.NDArray[np.int64]
    status: npt.NDArray[np.uint8]
    trace_id: npt.NDArray[np.uint8]
    canonical: Lines
    template: npt.NDArray[np.uint64]
    calls: npt.NDArray[np.uint32]
    heads: npt.NDArray[np.int64]
    sessions: Sequence[bytes] = ()

    def __len__(self) -> int:
        return len(self.stream)


@dataclass(frozen=True, slots=True)
class PointBatch:
    """Metric points as plain series of floats: a series is a metric name, an attribute set and a field.

    `series` is a 64-bit hash of stream, metric name, attributes and field; `names` maps each hash in this
    batch to what a person reads, `name{a=b} field`. Histograms and summaries yield the fields count, sum
    and mean; cumulative sums are passed on as they are with `cumulative` set, the core takes differences.
    Values are finite: points that are not finite are left out and counted in `skipped`.
    """

    keys: Sequence[StreamKey]
    stream: npt.NDArray[np.int32]
    time_ns: npt.NDArray[np.int64]
    series: npt.NDArray[np.uint64]
    value: npt.NDArray[np.float64]
    cumulative: npt.NDArray[np.bool_]
    names: dict[int, str]
    skipped: int

    def __len__(self) -> int:
        return len(self.stream)
