"""Stream keys from OTLP resources, and the partition a key belongs to.

Owns: which resource attributes name a stream, how hostile or missing names are made harmless, and the
stable hash from key to partition. Must not know: records, numba, detection.

A key is safe to store and print: no control characters, bounded length, and redacted. The
partition leaves the signal out, because GenAI logs and GenAI spans share one `llm` stream, and a stream must
have one owner.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from driftlock.signals.batch import Signal, StreamKey
from driftlock.signals.redaction import redact, redact_name

SERVICE_ATTRIBUTE = "service.name"
SERVICE_UNKNOWN = "unknown_service"
KEY_TEXT_CHARS_MAX = 200
REDACTED_CHARS_MAX = 16_384
"""Of a longer text, what is searched for secrets before the cut: the beginning that may be kept, and more."""
RESOURCE_BYTES_CACHED_MAX = 1024
RESOURCES_CACHED_MAX = 16_384

KeyParts = tuple[str, tuple[tuple[str, str], ...]]

_HARMLESS = dict.fromkeys((*range(32), *range(127, 160), 8232, 8233), "�")


def key_parts(resource: Resource, attributes: tuple[str, ...], classes: tuple[str, ...] = ()) -> KeyParts:
    """Service name and the configured attributes (sorted, those present) of a resource.

    Of a repeated key the first value counts. `classes` as in `key_text`.
    """
    wanted = {SERVICE_ATTRIBUTE, *attributes}
    found: dict[str, str] = {}
    for item in resource.attributes:
        if item.key in wanted and item.key not in found:
            found[item.key] = key_text(_scalar_text(item.value), classes)
    service = found.get(SERVICE_ATTRIBUTE) or SERVICE_UNKNOWN
    named = sorted({name for name in attributes if found.get(name)} - {SERVICE_ATTRIBUTE})
    return service, tuple((name, found[name]) for name in named)


def key_text(text: str, classes: tuple[str, ...] = (), *, chars_max: int = KEY_TEXT_CHARS_MAX) -> str:
    """`text` without control characters, and no longer than a name may be.

    A longer one keeps its beginning and ends with a digest of the whole, so distinct names stay distinct. Of
    such a one, what belongs to the `classes` of redaction goes before the cut: half a key has no form.
    """
    clean = text.translate(_HARMLESS).strip()
    if len(clean) <= chars_max:
        return clean
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    kept = redact(clean[:REDACTED_CHARS_MAX], classes)
    return kept[: chars_max - len(digest) - 1] + "~" + digest


def partition_of(tenant: str, parts: KeyParts, partitions: int) -> int:
    """The partition that owns every stream of this tenant, service and attributes."""
    service, named = parts
    digest = hashlib.blake2b(digest_size=8, person=b"driftlock-part")
    for part in (tenant, service, *(text for pair in named for text in pair)):
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return int.from_bytes(digest.digest(), "little") % partitions


def resource_partition(raw: bytes, tenant: str, attributes: tuple[str, ...], partitions: int) -> int:
    """The partition of a serialized `Resource`, which must be valid."""
    if len(raw) <= RESOURCE_BYTES_CACHED_MAX:
        return _cached_partition(raw, tenant, attributes, partitions)
    return partition_of(tenant, key_parts(Resource.FromString(raw), attributes), partitions)


def resource_key(
    raw: bytes, tenant: str, signal: Signal, attributes: tuple[str, ...], redact: tuple[str, ...]
) -> StreamKey:
    """The stream key of a serialized `Resource`, which must be valid."""
    if len(raw) <= RESOURCE_BYTES_CACHED_MAX:
        return _cached_key(raw, tenant, signal, attributes, redact)
    return stream_key(Resource.FromString(raw), tenant, signal, attributes, redact)


def stream_key(
    resource: Resource, tenant: str, signal: Signal, attributes: tuple[str, ...], redact: tuple[str, ...]
) -> StreamKey:
    """The stream key of a resource, without what belongs to the classes `redact`.

    The partition follows from the names as they came, and so do the digests that keep redacted names apart:
    one key is never owned by two partitions.
    """
    service, named = key_parts(resource, attributes, redact)
    shown = tuple((name, redacted_value(name, value, redact)) for name, value in named)
    return StreamKey(tenant=tenant, signal=signal, service=redact_name(service, redact), attributes=shown)


def redacted_value(name: str, value: str, redact: tuple[str, ...]) -> str:
    """`redact_name` of an attribute's value."""
    # the name of the attribute may be what tells that its value is a secret
    clean = redact_name(f"{name}={value}", redact)
    return value if clean == f"{name}={value}" else clean.partition("=")[2]


class KeyTable:
    """The distinct stream keys of one batch, in order of first appearance."""

    def __init__(self) -> None:
        self.keys: list[StreamKey] = []
        self._index: dict[StreamKey, int] = {}

    def index(self, key: StreamKey) -> int:
        """The index of `key`, which is added when it is new."""
        found = self._index.get(key)
        if found is None:
            found = self._index[key] = len(self.keys)
            self.keys.append(key)
        return found


@lru_cache(maxsize=RESOURCES_CACHED_MAX)
def _cached_key(
    raw: bytes, tenant: str, signal: Signal, attributes: tuple[str, ...], redact: tuple[str, ...]
) -> StreamKey:
    # Pure, and bounded by both limits above: parsing a resource costs more than walking its records.
    return stream_key(Resource.FromString(raw), tenant, signal, attributes, redact)


@lru_cache(maxsize=RESOURCES_CACHED_MAX)
def _cached_partition(raw: bytes, tenant: str, attributes: tuple[str, ...], partitions: int) -> int:
    return partition_of(tenant, key_parts(Resource.FromString(raw), attributes), partitions)


def _scalar_text(value: Any) -> str:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return str(value.string_value)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind in ("int_value", "double_value"):
        return str(getattr(value, kind))
    if kind == "array_value":
        return ",".join(_joined(value.array_value.values))
    return ""


def _joined(values: Iterable[Any]) -> Iterable[str]:
    # One level only: a nested array in a key attribute has no sensible name.
    return (_scalar_text(v) for v in values if v.WhichOneof("value") != "array_value")
