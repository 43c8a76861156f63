"""Snapshots as bytes: arrays and plain values, packed so that equal states give equal bytes.

Owns the framing only (MessagePack, arrays little-endian with dtype and shape) and the seal by which damage is
noticed before anything is read: kernels trust the places that a state names. Knows nothing of what it packs.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import zstandard

from driftlock.errors import InputError

SEAL_BYTES = 16
SNAPSHOT_BYTES_MAX = 64 * 1024 * 1024
_COMPRESSION_LEVEL = 1


def pack_array(array: npt.NDArray[Any]) -> list[Any]:
    """An array as dtype, shape and little-endian bytes."""
    little = array.dtype.newbyteorder("<")
    return [little.str, list(array.shape), np.ascontiguousarray(array, little).tobytes()]


def unpack_array(packed: list[Any]) -> npt.NDArray[Any]:
    """The inverse of `pack_array`: a fresh array that may be written to."""
    kind, shape, data = packed
    return np.frombuffer(data, np.dtype(kind)).reshape(shape).astype(np.dtype(kind).newbyteorder("="))


def pack(value: Any) -> bytes:
    """Plain values (dicts, lists, bytes, numbers) as bytes; keys keep their order."""
    return msgspec.msgpack.encode(value)


def unpack(data: bytes) -> Any:
    """The inverse of `pack`."""
    return msgspec.msgpack.decode(data)


def seal(data: bytes) -> bytes:
    """`data` behind a digest of it (BLAKE2b, RFC 7693). Against damage, not against forgery."""
    return hashlib.blake2b(data, digest_size=SEAL_BYTES).digest() + data


def unseal(sealed: bytes) -> bytes:
    """The inverse of `seal`. Raises InputError where a bit differs, and for what was never sealed."""
    data = sealed[SEAL_BYTES:]
    if len(sealed) < SEAL_BYTES or seal(data)[:SEAL_BYTES] != sealed[:SEAL_BYTES]:
        raise InputError("the state is damaged, or was written by another version of Driftlock")
    return data


def compress(data: bytes) -> bytes:
    """`data` as a small zstd frame, sealed: fast, for state that is kept or sent."""
    return seal(zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL).compress(data))


def decompress(data: bytes) -> bytes:
    """The inverse of `compress`; refuses what would grow beyond `SNAPSHOT_BYTES_MAX`. Raises InputError."""
    try:
        return zstandard.ZstdDecompressor().decompress(unseal(data), max_output_size=SNAPSHOT_BYTES_MAX)
    except zstandard.ZstdError as error:
        raise InputError(f"the state cannot be read: {error}") from error
