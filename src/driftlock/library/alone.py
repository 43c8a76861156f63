"""One call at a time: what keeps two threads from working on one detector's state at once.

Owns the guard only. It is not a lock to wait at: which thread came first would then decide what was learned.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from driftlock.errors import DriftlockError

_P = ParamSpec("_P")
_R = TypeVar("_R")


class ConcurrentUseError(DriftlockError):
    """A detector was called while another thread's call on it was not finished."""


class Guarded(Protocol):
    """What has a lock of its own for `alone`."""

    _busy: threading.Lock


_Self = TypeVar("_Self", bound=Guarded)


def alone(method: Callable[Concatenate[_Self, _P], _R]) -> Callable[Concatenate[_Self, _P], _R]:
    """A method that raises ConcurrentUseError instead of running while another such method runs."""

    @wraps(method)
    def guarded(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> Any:
        if not self._busy.acquire(blocking=False):
            raise ConcurrentUseError(
                f"{type(self).__name__} is in use by another thread; it is not thread-safe",
                hint="use one for each thread, or a lock around all calls on it",
            )
        try:
            return method(self, *args, **kwargs)
        finally:
            self._busy.release()

    return guarded
