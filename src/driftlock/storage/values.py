"""Makes values storable: what PostgreSQL or JSON refuses is replaced visibly, never dropped and never fatal.

PostgreSQL text has no NUL and no lone surrogates; JSON has no NaN and no infinities. Telemetry has all of
them, and a hostile name must not cost an anomaly its row.
"""

from __future__ import annotations

import math
from typing import Any, SupportsFloat

REPLACEMENT = "\ufffd"
JSON_DEPTH_MAX = 32
JSON_TOO_DEEP = "… (too deep)"
INT64_MAX = 2**63 - 1


def clean_text(text: str) -> str:
    """The text with NUL and lone surrogates replaced by U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean_optional(text: str | None) -> str | None:
    """`clean_text`, passing None on."""
    return None if text is None else clean_text(text)


def clean_float(value: SupportsFloat | None) -> float | None:
    """A finite float, or None for None, NaN and infinities: the caller tells which were lost."""
    if value is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def clean_json(value: Any, depth: int = 0) -> Any:
    """The value as plain JSON data: strings cleaned, non-finite floats and huge integers as strings.

    Bytes become hex, numpy scalars and arrays numbers and lists, anything else its `str`. Nested deeper than
    `JSON_DEPTH_MAX` it is cut with a mark.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int):
        return _clean_int(int(value))
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _name_of(value)
    if depth >= JSON_DEPTH_MAX:
        return JSON_TOO_DEEP
    if isinstance(value, dict):
        return {clean_text(str(k)): clean_json(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean_json(item, depth + 1) for item in value]
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if hasattr(value, "tolist"):
        return clean_json(value.tolist(), depth)
    return clean_text(str(value))


def _clean_int(value: int) -> int | str:
    # beyond 64 bits most JSON readers, msgspec among them, lose digits or refuse
    return value if -INT64_MAX <= value <= INT64_MAX else str(value)


def _name_of(value: float) -> str:
    # the names that protobuf's JSON form uses
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
