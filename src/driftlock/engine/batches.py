"""Messages of the log as batches, and which of a batch's rows go where, under which key of a unit.

Owns the way from a payload to rows by stream. Must not know: detectors, findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from driftlock.engine.settings import EngineSettings
from driftlock.signals.batch import LogBatch, PointBatch, SpanBatch, StreamKey
from driftlock.signals.logs import decode_logs
from driftlock.signals.points import decode_points
from driftlock.signals.spans import decode_spans

Rows = npt.NDArray[np.int64]


def decode(
    kind: str, payload: bytes, tenant: str, settings: EngineSettings
) -> LogBatch | SpanBatch | PointBatch | None:
    """The batch of a message of telemetry; None for other messages. Raises `MalformedTelemetryError`."""
    attributes, masking, sessions = settings.attributes, settings.masking, settings.sessions
    if kind == "logs":
        return decode_logs(payload, tenant=tenant, attributes=attributes, masking=masking, sessions=sessions)
    if kind == "traces":
        return decode_spans(payload, tenant=tenant, attributes=attributes, masking=masking, sessions=sessions)
    if kind == "metrics":
        return decode_points(payload, tenant=tenant, attributes=attributes, redact=masking.redact)
    return None


def rows_by_stream(stream: npt.NDArray[np.int32], streams: int) -> Iterator[tuple[int, Rows]]:
    """For each stream that occurs, in the order of `keys`, its row numbers in order."""
    if not len(stream):
        return
    if streams == 1:
        yield 0, np.arange(len(stream), dtype=np.int64)
        return
    order = np.argsort(stream, kind="stable")
    bounds = np.searchsorted(stream[order], np.arange(streams + 1))
    for index in range(streams):
        if bounds[index] < bounds[index + 1]:
            yield index, order[bounds[index] : bounds[index + 1]]


def unit_keys(batch: LogBatch | SpanBatch, key: StreamKey, rows: Rows) -> Sequence[bytes]:
    """The key of each row's unit: its session's in a stream of sessions, else its trace id in hex."""
    if key.unit:
        return [batch.sessions[row] for row in rows.tolist()]
    digits = batch.trace_id[rows].tobytes().hex().encode()
    return [digits[i : i + 32] for i in range(0, len(digits), 32)]
