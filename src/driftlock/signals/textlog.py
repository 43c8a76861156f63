"""Text logs for the command line: chunks of lines as canonical lines with times, and session keys.

Owns: splitting text into lines, JSON lines, and keys by pattern. Must not know: detection, terminals.
Everything is linear in its input; patterns run in Rust's regex engine, which has no backtracking.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from driftlock.errors import UsageError
from driftlock.signals.batch import Lines
from driftlock.signals.log_text import (
    ATTRIBUTES_BYTES_MAX,
    ATTRIBUTES_MAX,
    BODY_BYTES_MAX,
    CUT,
    KEY_BYTES_MAX,
    LIST,
    MAP,
    SEVERITY_BYTES_MAX,
    TEXT,
    VALUE_BYTES_MAX,
    double_text,
)
from driftlock.signals.masking import DEFAULT_MASKING, Masking
from driftlock.signals.patterns import extracted
from driftlock.signals.shapes import Shapes, shapes_of
from driftlock.signals.text_time import YEAR_UNKNOWN, find_format, line_times

JSON_PROBED_LINES = 20
BODY_KEYS = ("message", "msg", "log", "body")
TIME_KEYS = ("time", "timestamp", "ts", "@timestamp")
LEVEL_KEYS = ("level", "severity", "levelname", "lvl")
TIME_NS_MAX = 2**63 - 1

Index = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TextBatch:
    """The lines of a chunk of text, blank ones too: row i is `data[starts[i]:ends[i]]`.

    `canonical` and `templates` are as in `LogBatch`; `time_ns` is 0 for a line without a timestamp. `shapes`
    are the rows', or None where they were not asked for: of JSON lines.
    """

    canonical: Lines
    templates: npt.NDArray[np.uint64]
    time_ns: Index
    starts: Index
    ends: Index
    shapes: Shapes | None = None

    def __len__(self) -> int:
        return len(self.starts)


def text_batch(data: bytes, *, year: int = YEAR_UNKNOWN, masking: Masking = DEFAULT_MASKING) -> TextBatch:
    """Canonical lines and times of a chunk of whole lines.

    The format of the timestamps is that of most of the first lines; `year` is for formats without one. In
    JSON lines the body is the field message, msg, log or body, with the level before it and the other
    scalar fields behind it, and the time is the field time, timestamp, ts or @timestamp.
    """
    buffer = np.frombuffer(data, dtype=np.uint8)
    starts, ends = line_bounds(buffer)
    if _is_json(data, starts, ends):
        return TextBatch(*_json_batch(data, starts, ends, year, masking), starts, ends)
    time_ns = line_times(buffer, starts, ends, find_format(buffer, starts, ends), year=year)
    shapes = shapes_of(buffer, starts, ends)
    canonical, templates = masking.canonical_by_shape(buffer, starts, ends, shapes)
    return TextBatch(canonical, templates, time_ns, starts, ends, shapes)


def line_bounds(buffer: npt.NDArray[np.uint8]) -> tuple[Index, Index]:
    """Start and end of each line; a last line needs no line break."""
    breaks = np.flatnonzero(buffer == ord("\n"))
    starts = np.concatenate([np.zeros(1, dtype=np.int64), breaks + 1])
    ends = np.concatenate([breaks, np.array([len(buffer)])])
    if starts[-1] == len(buffer):
        return starts[:-1], ends[:-1]
    return starts, ends


@dataclass(frozen=True, slots=True)
class LineKeys:
    """The key of each line: `names[codes[i]]`, or none where the code is -1. Names in order of appearance."""

    names: list[bytes]
    codes: Index

    def of_lines(self, *, missing: bytes) -> list[bytes]:
        """The key of each line, `missing` where there is none."""
        names = [*self.names, missing]  # -1 is the last
        return [names[code] for code in self.codes.tolist()]


def extract_keys(data: bytes, pattern: str) -> LineKeys:
    """What the first group of `pattern` (the whole match when it has none) matches in each line of a chunk.

    The lines are those of `line_bounds`. The pattern is in the syntax of Rust's regex crate: no look-around,
    no back-references, linear time. Raises `UsageError` for a pattern that it refuses.
    """
    if not data:
        return LineKeys([], np.zeros(0, np.int64))
    text = data.decode("utf-8", "replace").removesuffix("\n")
    found = extracted(pl.Series([text]).str.split("\n").explode(), pattern)
    names = found.unique(maintain_order=True).drop_nulls()
    numbers = pl.Series(range(len(names)), dtype=pl.Int64)
    codes = found.replace_strict(names, numbers, default=-1, return_dtype=pl.Int64)
    return LineKeys([name.encode() for name in names], codes.to_numpy())


def check_pattern(pattern: str) -> None:
    """Raise `UsageError` when `extract_keys` would refuse the pattern, or it is empty and names nothing."""
    if not pattern:
        raise UsageError("The pattern is empty: all lines would have the same key.")
    extracted(pl.Series(["x"], dtype=pl.String), pattern)


# ---- JSON lines


def _is_json(data: bytes, starts: Index, ends: Index) -> bool:
    probed = [
        data[s:e].strip() for s, e in zip(starts[:JSON_PROBED_LINES], ends[:JSON_PROBED_LINES], strict=True)
    ]
    filled = [line for line in probed if line]
    return bool(filled) and sum(line.startswith(b"{") and line.endswith(b"}") for line in filled) * 2 > len(
        filled
    )


def _json_batch(
    data: bytes, starts: Index, ends: Index, year: int, masking: Masking
) -> tuple[Lines, npt.NDArray[np.uint64], Index]:
    decode = msgspec.json.Decoder().decode
    lines: list[bytes] = []
    stamps: list[bytes] = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        raw = data[start:end]
        try:
            value = decode(raw) if raw.lstrip().startswith(b"{") else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            value = None
        lines.append(raw if value is None else json_line(value, raw))
        stamps.append(b"" if value is None else json_stamp(value))
    text, bounds = _joined(lines)
    return *masking.canonical_by_shape(text, bounds[:-1], bounds[1:]), _stamp_times(stamps, year)


def _stamp_times(stamps: list[bytes], year: int) -> Index:
    text, bounds = _joined(stamps)
    starts, ends = bounds[:-1], bounds[1:]
    filled = ends > starts
    form = find_format(text, starts[filled], ends[filled])
    return line_times(text, starts, ends, form, year=year)


def _joined(lines: list[bytes]) -> tuple[npt.NDArray[np.uint8], Index]:
    return np.frombuffer(b"".join(lines), dtype=np.uint8), np.cumsum([0, *map(len, lines)], dtype=np.int64)


def json_line(value: dict[str, Any], raw: bytes) -> bytes:
    """`level body key=value …`, or the raw line when it has no body."""
    body_key = next((key for key in BODY_KEYS if isinstance(value.get(key), str)), None)
    if body_key is None:
        return raw
    body = value[body_key].encode()
    level_key = next((key for key in LEVEL_KEYS if isinstance(value.get(key), str)), None)
    level = value[level_key].encode()[:SEVERITY_BYTES_MAX] if level_key else b""
    left_out = {body_key, level_key, *TIME_KEYS}
    rest = [(key.encode(), one) for key, one in value.items() if key not in left_out][:ATTRIBUTES_MAX]
    parts = [level, body if len(body) <= BODY_BYTES_MAX else body[:BODY_BYTES_MAX] + CUT, *_json_fields(rest)]
    return b" ".join(part for part in parts if part)


def _json_fields(pairs: list[tuple[bytes, Any]]) -> list[bytes]:
    parts: list[bytes] = []
    size = 0
    for key, value in sorted(pairs, key=lambda pair: pair[0]):
        part = key[:KEY_BYTES_MAX] + b"=" + _json_value(value)
        size += len(part) + 1
        if size > ATTRIBUTES_BYTES_MAX:
            break
        parts.append(part)
    return parts


def _json_value(value: Any) -> bytes:
    if isinstance(value, str):
        text = value.encode()
        if len(text) > VALUE_BYTES_MAX:
            return TEXT
        return b'"' + text + b'"' if b" " in text else text
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int):
        return str(value).encode()
    if value is None:
        return b""
    if isinstance(value, float):
        return double_text(value)
    return LIST if isinstance(value, list) else MAP


def json_stamp(value: dict[str, Any]) -> bytes:
    """The time of a JSON line as text; numbers as ISO, by their magnitude."""
    stamp = next((value[key] for key in TIME_KEYS if key in value), None)
    if isinstance(stamp, str):
        return stamp.encode()
    if isinstance(stamp, bool) or not isinstance(stamp, int | float) or not 0 < stamp < TIME_NS_MAX:
        return b""
    while stamp >= 100_000_000_000:
        stamp /= 1000
    return datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()
