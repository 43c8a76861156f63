"""From a fault to what an OTLP client is told: one table for both transports.

After `opentelemetry-proto/docs/specification.md`. A client retries HTTP 429, 502, 503, 504 and gRPC
UNAVAILABLE, or RESOURCE_EXHAUSTED with RetryInfo; everything else makes it drop the data. So only faults
that will stay are answered so.
"""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from driftlock.errors import DriftlockError, MalformedTelemetryError, TooLargeError, UnavailableError

RETRY_AFTER_S = 1


class OverloadedError(UnavailableError):
    """The collector holds as much as it may."""


class UnsupportedMediaError(DriftlockError):
    """A content type or encoding that OTLP does not have."""


class TooSlowError(DriftlockError):
    """The client did not finish its request in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`retry_after_s` is set where trying again may help. `outcome` labels the metric."""

    outcome: str
    http: int
    grpc: grpc.StatusCode
    retry_after_s: int | None = None

    @property
    def grpc_number(self) -> int:
        return int(self.grpc.value[0])


# The first match counts: subclasses stand above their bases.
_TABLE: tuple[tuple[type[Exception], Answer], ...] = (
    (MalformedTelemetryError, Answer("malformed", 400, grpc.StatusCode.INVALID_ARGUMENT)),
    (TooLargeError, Answer("too_large", 413, grpc.StatusCode.RESOURCE_EXHAUSTED)),
    (UnsupportedMediaError, Answer("unsupported", 415, grpc.StatusCode.UNIMPLEMENTED)),
    (TooSlowError, Answer("too_slow", 408, grpc.StatusCode.DEADLINE_EXCEEDED)),
    (OverloadedError, Answer("overloaded", 503, grpc.StatusCode.UNAVAILABLE, RETRY_AFTER_S)),
    (UnavailableError, Answer("unavailable", 503, grpc.StatusCode.UNAVAILABLE, RETRY_AFTER_S)),
)
_OURS = Answer("internal", 500, grpc.StatusCode.INTERNAL)


def answer_for(error: Exception) -> Answer:
    """What to tell for this fault; anything unforeseen is our own."""
    return next((answer for kind, answer in _TABLE if isinstance(error, kind)), _OURS)


def sentence_for(error: Exception) -> str:
    """What to say; nothing of an unforeseen fault is told to the outside."""
    return (
        error.message if isinstance(error, DriftlockError) else "an internal error; the log file tells more"
    )
