"""Patterns that users give: in Rust's regex engine, through polars, which has no backtracking.

Owns: what a pattern may be, and running it over many lines at once. Time is linear in the text for every
pattern; a pattern that would need backtracking (look-around, back-references) or a huge automaton is refused
where it is given. Must not know: what lines mean.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from driftlock.errors import UsageError

PATTERN_CHARS_MAX = 500
PATTERNS_MAX = 32
NAME_CHARS_MAX = 24

# No digits: the typed masking that follows would take them for a number.
_NAME = re.compile(rf"[a-z][a-z_-]{{0,{NAME_CHARS_MAX - 1}}}")
# A line that a pattern sees has no such byte: the canonical form would make it a space in any case.
_SEPARATOR = 0x1E
_PROBES = ("", " ", "a", "a b", "0", "a-1.b:c/d", "é")
_SYNTAX = "Patterns are in the syntax of Rust's regex crate: no look-around and no back-references."

Bytes = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pattern:
    """What matches `regex` reads `<name>`."""

    name: str
    regex: str


def parse_patterns(texts: Sequence[str]) -> tuple[Pattern, ...]:
    """Patterns from `NAME=REGEX`, in order. Raises `UsageError` with one sentence for what cannot be used."""
    if len(texts) > PATTERNS_MAX:
        raise UsageError(f"There are {len(texts)} patterns to mask; at most {PATTERNS_MAX} are taken.")
    patterns = tuple(_parsed(text) for text in texts)
    names = [pattern.name for pattern in patterns]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"The name {name!r} of a pattern to mask is given twice.")
    return patterns


def _parsed(text: str) -> Pattern:
    name, equals, regex = text.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise UsageError(
            f"The pattern to mask {text[:80]!r} is not NAME=REGEX.",
            hint=f"A name has up to {NAME_CHARS_MAX} lower-case letters, `-` and `_`: order-id=ORD-[0-9]+",
        )
    if not 0 < len(regex) <= PATTERN_CHARS_MAX:
        raise UsageError(f"The pattern of {name!r} must have 1 to {PATTERN_CHARS_MAX} characters.")
    found = extracted(pl.Series(_PROBES, dtype=pl.String), regex, group=0)
    if "" in found:
        raise UsageError(f"The pattern of {name!r} matches the empty text, so it would stand everywhere.")
    return Pattern(name, regex)


def masked(
    buffer: Bytes, starts: Index, ends: Index, patterns: Sequence[Pattern]
) -> tuple[Bytes, Index, Index]:
    """Each line `buffer[starts[i]:ends[i]]` with the patterns replaced in order, as new buffer and bounds.

    Bytes that are not UTF-8 become `?`, as in the canonical form.
    """
    if not len(starts):
        return buffer, starts, ends
    column = text_column(buffer, starts, ends)
    for pattern in patterns:
        column = column.str.replace_all(pattern.regex, f"<{pattern.name}>")
    joined = column.str.join(chr(_SEPARATOR)).to_list()[0].encode()
    found = np.frombuffer(joined, dtype=np.uint8)
    cuts = np.flatnonzero(found == _SEPARATOR)
    assert len(cuts) == len(starts) - 1
    return found, np.concatenate([[0], cuts + 1]), np.concatenate([cuts, [len(found)]])


def text_column(buffer: Bytes, starts: Index, ends: Index) -> pl.Series:
    """Each line `buffer[starts[i]:ends[i]]` as text; bytes that are no UTF-8 become `?`, 0x1E a space."""
    if not len(starts):
        return pl.Series(dtype=pl.String)
    held = np.where(buffer == _SEPARATOR, np.uint8(32), buffer).tobytes()
    lines = [held[s:e] for s, e in zip(starts.tolist(), ends.tolist(), strict=True)]
    text = bytes([_SEPARATOR]).join(lines).decode("utf-8", _QUESTION_MARKS)
    return pl.Series([text], dtype=pl.String).str.split(chr(_SEPARATOR)).explode()


def _question_marks(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "?" * (error.end - error.start), error.end


_QUESTION_MARKS = "driftlock-question-marks"
codecs.register_error(_QUESTION_MARKS, _question_marks)


def extracted(lines: pl.Series, pattern: str, *, group: int | None = None) -> pl.Series:
    """What a group (without one: the first, else the whole match) matches in each line, or None.

    Raises `UsageError` for a pattern that the engine refuses.
    """
    wanted = group if group is not None else 1 if _has_group(pattern) else 0
    try:
        return lines.str.extract(pattern, wanted)
    except pl.exceptions.PolarsError as error:
        raise UsageError(f"the pattern {pattern!r} cannot be used: {_fault(error)}", hint=_SYNTAX) from error


def _has_group(pattern: str) -> bool:
    """Whether a pattern has a capturing group: `(`, `(?P<` or `(?<`, outside classes and escapes."""
    depth = position = 0
    while position < len(pattern):
        c = pattern[position]
        if c == "\\":
            position += 1
        elif c == "[":
            depth += 1
        elif c == "]" and depth:
            depth -= 1
        elif c == "(" and not depth:
            rest = pattern[position + 1 : position + 4]
            if not rest.startswith("?") or rest.startswith(("?P<", "?<")):
                return True
        position += 1
    return False


def _fault(error: Exception) -> str:
    """The sentence of the regex engine within what polars says around it."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    sizes = [line.removeprefix("regex error:").strip() for line in lines if "size limit" in line]
    return (told or sizes or lines or [type(error).__name__])[0]
