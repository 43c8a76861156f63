"""What a message of the log is: OTLP protobuf bytes, and headers that say how to read them.

The payload is a standard Export{Logs,Metrics,Trace}ServiceRequest, so that any OTLP tool can replay the log.
A tick carries no payload: it moves a partition's clock on when no telemetry arrives, and because it is in
the log, a replay sees the same clock. A refresh asks that a stream learns a new baseline; its payload is the
stream's id and the request's, 16 bytes each, and as it is in the log, a replay learns anew at the same place.
The received time of a message is the only clock a detector knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["logs", "metrics", "traces", "tick", "refresh"]

STREAM_NAME = "DRIFTLOCK"
SUBJECT_PREFIX = "driftlock.otlp"

HEADER_KIND = "Driftlock-Kind"
HEADER_TENANT = "Driftlock-Tenant"
HEADER_RECEIVED_NS = "Driftlock-Received-Ns"
HEADER_MESSAGE_ID = "Nats-Msg-Id"


def subject(partition: int) -> str:
    """The subject of a partition."""
    return f"{SUBJECT_PREFIX}.{partition:04d}"


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message of the log. `position` is its sequence number in the log, 0 before it was appended."""

    kind: Kind
    tenant: str
    received_ns: int
    payload: bytes
    position: int = 0
