"""Cursors: opaque places in a list, bound to the list and its filter by a keyed hash.

All replicas of an installation share the key (it is in the database), so a cursor of one is good on any.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any, TypeVar

import msgspec

from driftlock.api.problems import ProblemError

MAC_BYTES = 16
CURSOR_LENGTH_MAX = 4096

PlaceT = TypeVar("PlaceT")


def encode(secret: bytes, listing: str, wanted: msgspec.Struct, place: Any) -> str:
    """The cursor of a place in a listing under a filter."""
    payload = msgspec.msgpack.encode(place)
    return base64.urlsafe_b64encode(_mac(secret, listing, wanted, payload) + payload).decode().rstrip("=")


def decode(secret: bytes, listing: str, wanted: msgspec.Struct, cursor: str, kind: type[PlaceT]) -> PlaceT:
    """The place of a cursor.

    Raises:
        ProblemError: the cursor is malformed, tampered with, or of another listing or filter.
    """
    refusal = ProblemError("invalid-cursor", "Use next_cursor as it was given, with the same filters.")
    if len(cursor) > CURSOR_LENGTH_MAX:
        raise refusal
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise refusal from error
    mac, payload = raw[:MAC_BYTES], raw[MAC_BYTES:]
    if not hmac.compare_digest(mac, _mac(secret, listing, wanted, payload)):
        raise refusal
    return msgspec.msgpack.decode(payload, type=kind)


def _mac(secret: bytes, listing: str, wanted: msgspec.Struct, payload: bytes) -> bytes:
    bound = msgspec.msgpack.encode([listing, wanted, payload])
    return hmac.digest(secret, bound, hashlib.sha256)[:MAC_BYTES]
