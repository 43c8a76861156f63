"""Which attribute of a log record names its session, for the compiled walk: the rules of `sessions.py`.

Owns: what the walk is told of the attributes wanted, and what it tells. Must not know: messages, redaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from driftlock.signals.kernel import inner
from driftlock.signals.log_compose import BOOL, INT, STRING
from driftlock.signals.wire import BAD, varint

# What the walk tells of a record: the kind of the value that names its session (0: none), which of the
# attributes wanted it is, the value (a number, or where its text begins), and where its text ends.
SESSION_KIND, SESSION_NAME, SESSION_VALUE, SESSION_END = range(4)
SESSION_COLUMNS = 4
LENGTH_BITS = 62
"""The longest length with a bit of its own: an int64 has no more."""


class Wanted(NamedTuple):
    """The attributes wanted: attribute j is `names[bounds[j]:bounds[j + 1]]`.

    Bit i of `lengths` is set if one of them has i bytes, bit `LENGTH_BITS` for longer ones: with it, most
    attributes are passed over without a look at their keys.
    """

    names: npt.NDArray[np.uint8]
    bounds: npt.NDArray[np.int64]
    lengths: int


@lru_cache(maxsize=64)
def wanted(names: Sequence[bytes]) -> Wanted:
    """What the walk is told of these names."""
    bounds = np.cumsum([0, *map(len, names)], dtype=np.int64)
    bounds.flags.writeable = False
    lengths = 0
    for name in names:
        lengths |= 1 << min(len(name), LENGTH_BITS)
    return Wanted(np.frombuffer(b"".join(names), dtype=np.uint8), bounds, lengths)


@inner
def names_session(b, key, key_end, kind, value, value_end, sought, session, row):  # type: ignore[no-untyped-def]
    """Whether a key is one wanted; if its value can name the session, and none before did, that is told."""
    names, bounds, count, _ = sought
    name = _place_of(b, key, key_end - key, names, bounds, count)
    if name < 0:
        return False
    at = row * SESSION_COLUMNS
    if name < session[at + SESSION_NAME]:
        if kind == STRING and value < value_end:
            session[at + SESSION_VALUE], session[at + SESSION_END] = value, value_end
            session[at + SESSION_KIND], session[at + SESSION_NAME] = kind, name
        elif kind in (INT, BOOL):
            session[at + SESSION_VALUE], _ = varint(b, value, value_end)
            session[at + SESSION_KIND], session[at + SESSION_NAME] = kind, name
    return True


@inner
def _place_of(b, key, size, names, bounds, count):  # type: ignore[no-untyped-def]
    """Which of the attributes wanted this key is; -1 for none."""
    for j in range(count):
        start = bounds[j]
        if bounds[j + 1] - start == size:
            same = True
            for i in range(size):
                same &= b[key + i] == names[start + i]
            if same:
                return np.int64(j)
    return BAD
