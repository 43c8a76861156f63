"""How much of a path stays: its first segments, and more where it is the route of a request.

Owns: the limits in step 7 of the grammar in `canonical.py`. Must not know: what replaces the rest.
Directories differ from run to run; the routes of a service are few, and which one it is matters.
"""

from __future__ import annotations

from driftlock.signals.chars import CLASS, WORD, names
from driftlock.signals.kernel import inner

PATH_SEGMENTS_MAX = 2
ROUTE_SEGMENTS_MAX = 4

_METHODS = names("GET POST PUT PATCH DELETE HEAD OPTIONS")
METHOD_BYTES_MAX = _METHODS.shape[1] - 1


@inner
def stays(b, line, chunk, slashes):  # type: ignore[no-untyped-def]
    """Whether a path keeps the segment that follows its slash of this number, counted from 1."""
    if slashes <= PATH_SEGMENTS_MAX:
        return True
    return slashes <= ROUTE_SEGMENTS_MAX and _follows_method(b, line, chunk)


@inner
def _follows_method(b, line, chunk):  # type: ignore[no-untyped-def]
    """Whether an HTTP method in capitals and one space stand before the chunk."""
    e = chunk - 1
    if e <= line or b[e] != 32:
        return False
    p = e
    while p > line and e - p <= METHOD_BYTES_MAX and CLASS[b[p - 1]] & WORD:
        p -= 1
    if e - p > METHOD_BYTES_MAX:
        return False
    for row in range(len(_METHODS)):
        i = 0
        while i < e - p and _METHODS[row, i] == b[p + i]:
            i += 1
        if i == e - p and i > 0 and _METHODS[row, i] == 0:
            return True
    return False
