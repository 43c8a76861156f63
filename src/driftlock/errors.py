"""Errors that a person or a client can act on.

Owns: the typed faults that come from outside (bad input, unreachable servers, refused starts). Our own
broken invariants are `assert`s, not errors of this module. Every error carries the sentence a person reads.
"""

from __future__ import annotations


class DriftlockError(Exception):
    """A fault with one clear sentence for the person and, where there is one, what to do next.

    `exit_code` is what the command line ends with.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DriftlockError):
    """The command line, a setting or a pattern does not make sense."""

    exit_code = 2


class InputError(DriftlockError):
    """A file or stream of input cannot be read as what it claims to be."""

    exit_code = 3


class StartError(DriftlockError):
    """Driftlock cannot start here: a port, a folder, a disk or a server is in the way."""

    exit_code = 4


class UnavailableError(DriftlockError):
    """PostgreSQL, NATS or Driftlock itself cannot be reached now; trying again may help."""

    exit_code = 5


class MalformedTelemetryError(DriftlockError):
    """Telemetry that is not valid OTLP: never retryable (HTTP 400, gRPC INVALID_ARGUMENT)."""


class TooLargeError(DriftlockError):
    """A request beyond a named size limit, also after decompression (HTTP 413, RESOURCE_EXHAUSTED)."""
