"""Numbers that stay: a status, an error number, an exit code say how something ended.

Owns: step 6 of the grammar in `canonical.py`. Must not know: how numbers are written.
"""

from __future__ import annotations

import numpy as np

from driftlock.signals.chars import CLASS, DIGIT, LETTER
from driftlock.signals.kernel import inner
from driftlock.signals.secrets import suffixes

RESULT_GAP_BYTES_MAX = 4

_RESULTS = suffixes(("status", "code", "statuscode", "errno", "exit", "signal", "response"))
_GAP = np.zeros(256, dtype=np.bool_)
_GAP[list(b" :=\"'(\\")] = True


@inner
def names_result(b, line, p, e, n):  # type: ignore[no-untyped-def]
    """Whether the number [p, e) says how something ended: a status, an error number, an exit code."""
    if p - line < 2:
        return False
    if e - p == 3 and b[p - 1] == 32 and (e == n or b[e] == 32 or b[e] == 10):
        if b[p - 2] == 34 and 49 <= b[p] <= 53:
            return True
        if _http_version_before(b, line, p - 1):
            return True
    q = p
    while q > line and p - q < RESULT_GAP_BYTES_MAX and _GAP[b[q - 1]]:
        q -= 1
    if q == p:
        return False
    for row in range(len(_RESULTS)):
        start = _name_start(b, line, q, row)
        if start >= 0 and (start == line or not CLASS[b[start - 1]] & LETTER or 65 <= b[start] <= 90):
            return True
    return False


@inner
def _http_version_before(b, line, p):  # type: ignore[no-untyped-def]
    q = p
    while q > line and p - q < 3 and (CLASS[b[q - 1]] & DIGIT or b[q - 1] == 46):
        q -= 1
    return (
        q < p
        and q - line >= 5
        and b[q - 1] == 47
        and b[q - 2] == 80
        and b[q - 3] == 84
        and b[q - 4] == 84
        and b[q - 5] == 72
    )


@inner
def _name_start(b, line, e, row):  # type: ignore[no-untyped-def]
    p = e
    for i in range(_RESULTS.shape[1]):
        want = _RESULTS[row, i]
        if want == 0:
            break
        p -= 1
        if p < line or b[p] | 32 != want:
            return -1
    return p
