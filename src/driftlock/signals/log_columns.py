"""The columns that the compiled walk over log records fills.

Owns: their shapes. Must not know: how they are read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from driftlock.signals.log_session import SESSION_COLUMNS

TRACE_ID_BYTES = 16


class Columns(NamedTuple):
    """What is told of each record: the number of its resource, its fields, what names its session.

    Record i's body lies at `text[body[i, 0]:body[i, 1]]`; `body` has no rows where that is not asked for.
    """

    owner: npt.NDArray[np.int64]
    time_ns: npt.NDArray[np.int64]
    severity: npt.NDArray[np.uint8]
    trace_id: npt.NDArray[np.uint8]
    genai: npt.NDArray[np.bool_]
    session: npt.NDArray[np.int64]
    body: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, records: int, *, bodies: bool) -> Columns:
        return cls(
            np.empty(records, np.int64),
            np.empty(records, np.int64),
            np.empty(records, np.uint8),
            np.empty((records, TRACE_ID_BYTES), np.uint8),
            np.empty(records, np.bool_),
            np.empty((records, SESSION_COLUMNS), np.int64),
            np.empty((records if bodies else 0, 2), np.int64),
        )
