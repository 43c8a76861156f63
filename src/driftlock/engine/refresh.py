"""A refresh: the wish, carried by the log, that a stream learns a new baseline, and how far it has come.

Owns the payload of a message of kind `refresh` and the mark that it leaves on a stream. Must not know who
asked.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import msgspec

from driftlock.errors import MalformedTelemetryError
from driftlock.signals.batch import StreamKey

ID_BYTES = 16


class RefreshMark(msgspec.Struct, frozen=True):
    """What a stream keeps of its latest refresh: which, where in the log, and its baseline until then."""

    id: uuid.UUID
    position: int
    baseline_before: str


@dataclass(frozen=True, slots=True)
class RefreshStatus:
    """How far a refresh has come; `baseline_after` is empty until the new baseline is complete."""

    id: uuid.UUID
    key: StreamKey
    position: int
    baseline_before: str
    baseline_after: str


def parse_refresh(payload: bytes) -> tuple[uuid.UUID, uuid.UUID]:
    """The ids of the stream and of the refresh. Raises MalformedTelemetryError for anything else."""
    if len(payload) != 2 * ID_BYTES:
        raise MalformedTelemetryError(f"a refresh has {2 * ID_BYTES} bytes, not {len(payload)}")
    return uuid.UUID(bytes=payload[:ID_BYTES]), uuid.UUID(bytes=payload[ID_BYTES:])
