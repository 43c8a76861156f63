"""The OTLP JSON form, read into protobuf messages.

Owns: the differences of OTLP JSON from the protobuf JSON mapping (hex ids, integer enums only, unknown
fields ignored) after `opentelemetry-proto/docs/specification.md`, "JSON Protobuf Encoding".
`google.protobuf.json_format` would read ids as base64. Must not know: partitions, responses.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from driftlock.errors import MalformedTelemetryError

# upb refuses messages nested deeper than 100, and what is written here must be readable there.
MESSAGE_DEPTH_MAX = 96

_ID_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id"})

Convert = Callable[[Any, str], Any]


def parse_json(raw: bytes, message: Message) -> None:
    """Fill `message` from OTLP JSON. Raises `MalformedTelemetryError` with the path of what is wrong."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedTelemetryError(f"not valid JSON: {error}") from error
    try:
        _fill(message, value, "", 1)
    except (ValueError, TypeError, OverflowError) as error:
        raise MalformedTelemetryError(f"not valid OTLP JSON: {error}") from error


def _fill(message: Message, value: Any, where: str, depth: int) -> None:
    if not isinstance(value, dict):
        _bad(where, "an object")
    if depth > MESSAGE_DEPTH_MAX:
        raise MalformedTelemetryError(f"OTLP JSON is nested deeper than {MESSAGE_DEPTH_MAX} messages")
    fields = _fields(message.DESCRIPTOR)
    for name, item in value.items():
        field = fields.get(name)
        if field is None or item is None:
            continue
        path = f"{where}.{name}" if where else name
        attribute, repeated, convert = field
        if convert is None:
            _fill_messages(message, attribute, repeated, item, path, depth)
        elif repeated:
            getattr(message, attribute).extend([convert(one, path) for one in _array(item, path)])
        else:
            setattr(message, attribute, convert(item, path))


def _fill_messages(
    message: Message, attribute: str, repeated: bool, item: Any, path: str, depth: int
) -> None:
    child = getattr(message, attribute)
    if repeated:
        for one in _array(item, path):
            _fill(child.add(), one, path, depth + 1)
        return
    child.SetInParent()
    _fill(child, item, path, depth + 1)


@cache
def _fields(descriptor: Descriptor) -> dict[str, tuple[str, bool, Convert | None]]:
    return {
        field.json_name: (field.name, field.is_repeated, _converter(field)) for field in descriptor.fields
    }


def _converter(field: FieldDescriptor) -> Convert | None:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return None
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _hex_bytes if field.name in _ID_FIELDS else _base64_bytes
    if field.type == FieldDescriptor.TYPE_STRING:
        return _string
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _boolean
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return _number
    if field.type == FieldDescriptor.TYPE_ENUM:
        return _enum
    return _integer


def _array(value: Any, path: str) -> list[Any]:
    return value if isinstance(value, list) else _bad(path, "an array")


def _string(value: Any, path: str) -> str:
    return value if isinstance(value, str) else _bad(path, "a string")


def _boolean(value: Any, path: str) -> bool:
    return value if isinstance(value, bool) else _bad(path, "true or false")


def _enum(value: Any, path: str) -> int:
    # The specification forbids enum names in OTLP JSON.
    if isinstance(value, bool) or not isinstance(value, int):
        return _bad(path, "an integer (enum names are not allowed in OTLP JSON)")
    return value


def _integer(value: Any, path: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and len(value) <= 20 and value.lstrip("-").isascii():
        try:
            return int(value)
        except ValueError:
            pass
    return _bad(path, "an integer")


def _number(value: Any, path: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and len(value) <= 64:
        try:
            return float(value)
        except ValueError:
            pass
    return _bad(path, "a number")


def _hex_bytes(value: Any, path: str) -> bytes:
    try:
        return binascii.unhexlify(_string(value, path))
    except ValueError:
        return _bad(path, "a hexadecimal id")


def _base64_bytes(value: Any, path: str) -> bytes:
    text = _string(value, path).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return _bad(path, "base64")


def _bad(path: str, wanted: str) -> NoReturn:
    raise MalformedTelemetryError(f"OTLP JSON: {path or 'the request'} must be {wanted}")
