"""Lines handed in one by one or by the thousand: canonical lines and times, decided line by line.

Owns the choice of each line's form and the state that it needs. Unlike `textlog.text_batch`, which looks at a
chunk as a whole, nothing here depends on how lines are cut into calls. Must not know detection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from driftlock.signals.batch import Lines
from driftlock.signals.masking import DEFAULT_MASKING
from driftlock.signals.text_time import FORMATS, YEAR_UNKNOWN, line_times
from driftlock.signals.textlog import json_line, json_stamp

VOTES = 20
"""Lines with a timestamp after which a source's format is settled; until then the leading one holds."""

ROWS_A_VOTE_MAX = 8_192
"""Lines without timestamps are looked at in every format for ever, so many at once."""

Int64s = npt.NDArray[np.int64]

_DECODE = msgspec.json.Decoder().decode


class LineReader:
    """Reads one source's lines. Its state is what the first lines said about the format of their times."""

    def __init__(self, votes: Sequence[int] | None = None, *, year: int = YEAR_UNKNOWN) -> None:
        self._votes = list(votes) if votes is not None else [0] * len(FORMATS)
        self._year = year

    @property
    def votes(self) -> list[int]:
        """The state: how many of the first lines had a time in each format."""
        return list(self._votes)

    def read(self, lines: Sequence[bytes]) -> tuple[Lines, npt.NDArray[np.int64]]:
        """The canonical line and the time (nanoseconds since 1970, 0 without) of each line.

        A line that is a JSON object with a body (message, msg, log, body) is read as `textlog` reads it, any
        other as text.
        """
        objects = [_json_object(line) for line in lines]
        bodies = [
            raw if value is None else json_line(value, raw) for raw, value in zip(lines, objects, strict=True)
        ]
        stamps = [
            raw if value is None else json_stamp(value) for raw, value in zip(lines, objects, strict=True)
        ]
        buffer, bounds = joined(bodies)
        canonical = DEFAULT_MASKING.canonical(buffer, bounds[:-1], bounds[1:])
        return canonical, self._times(stamps)

    def _times(self, stamps: Sequence[bytes]) -> npt.NDArray[np.int64]:
        buffer, bounds = joined(stamps)
        starts, ends = bounds[:-1], bounds[1:]
        times = np.zeros(len(stamps), np.int64)
        row, rows = 0, VOTES
        while row < len(stamps) and sum(self._votes) < VOTES:
            row += self._vote(
                buffer, starts[row : row + rows], ends[row : row + rows], times[row : row + rows]
            )
            rows = min(2 * rows, ROWS_A_VOTE_MAX)
        if row < len(stamps):
            form = FORMATS[int(np.argmax(self._votes))]
            times[row:] = line_times(buffer, starts[row:], ends[row:], form, year=self._year)
        return times

    def _vote(self, buffer: npt.NDArray[np.uint8], starts: Int64s, ends: Int64s, times: Int64s) -> int:
        """Writes the times of some of the first lines, each in the format that leads with it; returns of how
        many, for with one of them the choice may be settled."""
        read = [line_times(buffer, starts, ends, form, year=self._year) for form in FORMATS]
        if len(starts) == 1:  # without arrays: a fifth of what a call of one line costs
            for place, found_ns in enumerate(read):
                self._votes[place] += bool(found_ns[0] > 0)
            times[0] = read[self._votes.index(max(self._votes))][0]
            return 1
        found = np.stack(read)
        votes = np.array(self._votes)[:, None] + np.cumsum(found > 0, axis=1)
        before = votes.sum(axis=0) - (found > 0).sum(axis=0)
        rows = int(np.count_nonzero(before < VOTES))
        times[:rows] = found[votes[:, :rows].argmax(axis=0), np.arange(rows)]
        self._votes = votes[:, rows - 1].tolist()
        return rows


def joined(lines: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The lines in one buffer, and their bounds: line i is `buffer[bounds[i]:bounds[i + 1]]`."""
    bounds = np.zeros(len(lines) + 1, np.int64)
    np.cumsum([len(line) for line in lines], out=bounds[1:])
    return np.frombuffer(b"".join(lines), np.uint8), bounds


def _json_object(line: bytes) -> dict[str, Any] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        value = _DECODE(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
