"""Which session a log record or an LLM call belongs to: what configured attributes say, else a pattern.

Owns: these choices as one value with its name, and the rules by which a key is read and made safe to keep.
`log_session.py` finds the same attributes in compiled code; a test holds the two equal. Must not know:
detection.

The first configured attribute that has a string, whole number or truth value names the session, among the
record's own first, then among its resource's. Of a repeated attribute the first such value counts. A log
record without one belongs to the session that the pattern finds in its body, unless it is of the GenAI
conventions: what was said to a model never names anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from driftlock.errors import UsageError
from driftlock.signals.attributes import CONVERSATION
from driftlock.signals.keys import RESOURCE_BYTES_CACHED_MAX, RESOURCES_CACHED_MAX, key_text, redacted_value
from driftlock.signals.patterns import PATTERN_CHARS_MAX, extracted, text_column
from driftlock.signals.redaction import redact_name

ATTRIBUTES_MAX = 16
ATTRIBUTE_BYTES_MAX = 256
KEY_CHARS_MAX = 96
"""A longer key keeps its beginning and ends with a digest: a thousand of them lie in a stream's state."""
VALUE_CHARS_MAX = 1_024
"""Of a longer value only a digest is looked at: to redact it would take its time."""
KEYS_CACHED_MAX = 16_384


@dataclass(frozen=True, slots=True)
class Sessions:
    """Attributes that name a session, the first that is present counts, and a pattern for bodies or none."""

    attributes: tuple[str, ...] = (CONVERSATION,)
    pattern: str = ""

    @classmethod
    def of(cls, *, attributes: Sequence[str] = (CONVERSATION,), pattern: str = "") -> Sessions:
        """From what a user gives; the one attribute `none` is none. Raises `UsageError`."""
        names = () if tuple(attributes) == ("none",) else tuple(dict.fromkeys(attributes))
        if len(names) > ATTRIBUTES_MAX:
            raise UsageError(
                f"There are {len(names)} session attributes; at most {ATTRIBUTES_MAX} are taken."
            )
        for name in names:
            if not 0 < len(name.encode("utf-8", "surrogatepass")) <= ATTRIBUTE_BYTES_MAX:
                raise UsageError(f"A session attribute has 1 to {ATTRIBUTE_BYTES_MAX} bytes: {name[:80]!r}.")
        if len(pattern) > PATTERN_CHARS_MAX:
            raise UsageError(f"The session pattern has more than {PATTERN_CHARS_MAX} characters.")
        if pattern:
            extracted(pl.Series(["x"], dtype=pl.String), pattern)
        return cls(names, pattern)

    @property
    def version(self) -> str:
        """A digest of choices beside the default, empty for the default.

        Streams fed under different choices hold different records, so it is part of what their states say.
        """
        if self == DEFAULT_SESSIONS:
            return ""
        digest = hashlib.blake2b(digest_size=8, person=b"driftlock-sessio")
        for part in (self.pattern, *self.attributes):
            raw = part.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        return f"+{digest.hexdigest()}"


DEFAULT_SESSIONS = Sessions()


def attribute_key(attributes: Iterable[Any], names: tuple[str, ...], redact: tuple[str, ...]) -> bytes:
    """The key that attributes of a record or a resource name, or none (empty)."""
    if not names:
        return b""
    found: dict[str, str] = {}
    for item in attributes:
        if item.key in names and item.key not in found:
            text = value_text(item.value)
            if text:
                found[item.key] = text
    name = next((name for name in names if name in found), None)
    return b"" if name is None else session_key(name, found[name], redact)


def resource_attribute_key(raw: bytes, names: tuple[str, ...], redact: tuple[str, ...]) -> bytes:
    """`attribute_key` of a serialized `Resource`, which must be valid."""
    if not any(name in raw for name in encoded(names)):  # far cheaper than reading it
        return b""
    if len(raw) <= RESOURCE_BYTES_CACHED_MAX:
        return _cached_resource_key(raw, names, redact)
    return attribute_key(Resource.FromString(raw).attributes, names, redact)


def body_keys(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    pattern: str,
    redact: tuple[str, ...],
) -> list[bytes]:
    """The key that the pattern's first group (else the whole match) finds in each body, or none (empty).

    Body i is `buffer[starts[i]:ends[i]]`, read as `patterns.text_column` says.
    """
    found = extracted(text_column(buffer, starts, ends), pattern).to_list()
    keys = {text: session_key("", text, redact) for text in set(found) if text}
    return [keys.get(text, b"") for text in found]


def value_text(value: Any) -> str:
    """A string as it is, a whole number in digits, true or false; empty for what names no session."""
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return str(value.string_value)
    if kind == "int_value":
        return str(value.int_value)
    return ("true" if value.bool_value else "false") if kind == "bool_value" else ""


@lru_cache(maxsize=KEYS_CACHED_MAX)
def _cached_key(name: str, value: str, redact: tuple[str, ...]) -> bytes:
    # Pure, and bounded by this and VALUE_CHARS_MAX: a session has many records.
    shown = redacted_value(name, value, redact) if name else redact_name(value, redact)
    return key_text(shown, chars_max=KEY_CHARS_MAX).encode("utf-8", "replace")


def session_key(name: str, value: str, redact: tuple[str, ...]) -> bytes:
    """A session's key as it is kept and shown: without what belongs to the classes `redact`, in one line.

    Distinct values have distinct keys, but for the control characters and spaces in and around them. Empty
    when nothing else is left of the value.
    """
    if len(value) > VALUE_CHARS_MAX:
        digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        value = f"<long>~{digest}"
    return _cached_key(name, value, redact)


@lru_cache(maxsize=64)
def encoded(names: tuple[str, ...]) -> tuple[bytes, ...]:
    """The names of attributes as bytes."""
    return tuple(name.encode("utf-8", "surrogatepass") for name in names)


@lru_cache(maxsize=RESOURCES_CACHED_MAX)
def _cached_resource_key(raw: bytes, names: tuple[str, ...], redact: tuple[str, ...]) -> bytes:
    return attribute_key(Resource.FromString(raw).attributes, names, redact)
