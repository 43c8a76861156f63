"""Text of others at the terminal: names, keys and lines that must not steer it, nor pass for something else.

Owns which characters are never written as they are, and what is written for those that a terminal has not.
Must not know what a text means.
"""

from __future__ import annotations

import codecs
import io
import re
from typing import TextIO

# Controls of ASCII and of Latin-1 (which some terminals obey), line separators, what turns the direction of
# writing around (with it, a text can be made to read as another), and surrogates, which cannot be written.
_TURNS = "\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_STEERS = re.compile(f"[\x00-\x1f\x7f-\x9f{_TURNS}]")
_STEERS_IN_FAULTS = re.compile(f"[\x00-\x09\x0b-\x1f\x7f-\x9f{_TURNS}]")
_STEERS_IN_JSON = re.compile(f"[\x7f-\x9f{_TURNS}]")
_INSTEAD = "�"


def write_any_text(stream: TextIO) -> None:
    """Let `stream` escape, as JSON does, what its encoding has not, instead of failing."""
    codecs.register_error("driftlock-json", _escaped)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="driftlock-json")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)), error.end


def plain(text: str) -> str:
    """`text` in one line, with a mark in the place of what would steer a terminal."""
    return _STEERS.sub(_INSTEAD, text)


def plain_lines(text: str) -> str:
    """`plain` for a text of our own in several lines."""
    return _STEERS_IN_FAULTS.sub(_INSTEAD, text)


def plain_json(line: str) -> str:
    """A line of JSON with the same meaning, in which what a terminal may obey is escaped, too."""
    return _STEERS_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
