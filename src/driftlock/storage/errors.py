"""What the database refuses, in domain words: the API turns each into its own problem type."""

from __future__ import annotations

from driftlock.errors import DriftlockError


class StorageError(DriftlockError):
    """A write or read that the database's rules refuse."""


class NotFoundError(StorageError):
    """No such row for this tenant."""


class StaleError(StorageError):
    """The row changed since the caller read it (`current` is its revision now)."""

    def __init__(self, message: str, *, current: int) -> None:
        super().__init__(message)
        self.current = current


class ConflictError(StorageError):
    """A row with this identity exists already, or a key was used for something else."""


class InvalidValueError(StorageError):
    """A value outside what the schema allows."""


class FencedError(StorageError):
    """A checkpoint would move a partition backwards: another owner was here, or the log was exchanged."""
