"""API keys: made, listed, revoked, verified. Only hashes are stored; a secret is shown once, when made."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import asyncpg
import msgspec

from driftlock.storage import sql
from driftlock.storage.errors import InvalidValueError, NotFoundError
from driftlock.storage.sql import QUERIES
from driftlock.storage.tenancy import TENANT_DEFAULT
from driftlock.storage.values import clean_text

Role = Literal["admin", "analyst", "viewer"]
ROLES: tuple[Role, ...] = ("viewer", "analyst", "admin")  # least first
SCOPE_WRITE_ANOMALIES = "write:anomalies"
SCOPES = frozenset({SCOPE_WRITE_ANOMALIES})

SECRET_PREFIX = "dlk_"  # noqa: S105 - what secrets begin with, so that scanners find leaked ones
SECRET_BYTES = 32
SHOWN_CHARACTERS = 12
SECRET_LENGTH_MAX = 200


class KeyRow(msgspec.Struct, frozen=True):
    """A key without its secret. `prefix` is what a person may recognise it by."""

    id: uuid.UUID
    tenant_id: str
    name: str
    prefix: str
    role: Role
    scopes: list[str]
    rate_limit_per_minute: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


COLUMNS = ", ".join(KeyRow.__struct_fields__)


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


async def create(
    conn: asyncpg.Connection,
    name: str,
    role: Role,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
    rate_limit: int | None = None,
    *,
    tenant_id: str = TENANT_DEFAULT,
) -> tuple[str, KeyRow]:
    """Makes a key of 256 random bits; the secret it answers is stored nowhere.

    Raises:
        ConflictError: a live key has this name.
        InvalidValueError: the role, a scope, the name or the rate limit is not allowed.
    """
    unknown = sorted(set(scopes) - SCOPES)
    if unknown:
        raise InvalidValueError(f"Unknown scope {unknown[0]!r}; there are: {', '.join(sorted(SCOPES))}.")
    secret = SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    row = await sql.fetch_row(
        conn,
        QUERIES["key_insert"].filled(columns=COLUMNS),
        *(tenant_id, clean_text(name), secret[:SHOWN_CHARACTERS], hash_secret(secret)),
        *(role, sorted(set(scopes)), expires_at, rate_limit),
    )
    assert row is not None, "an insert that does not raise returns its row"
    return secret, KeyRow(*row)


async def list_keys(conn: asyncpg.Connection, *, tenant_id: str = TENANT_DEFAULT) -> list[KeyRow]:
    """All keys, revoked ones too, oldest first."""
    return [
        KeyRow(*row) for row in await sql.fetch(conn, QUERIES["keys_list"].filled(columns=COLUMNS), tenant_id)
    ]


async def revoke(conn: asyncpg.Connection, key: uuid.UUID, *, tenant_id: str = TENANT_DEFAULT) -> KeyRow:
    """Revokes a live key for ever.

    Raises:
        NotFoundError: there is no such live key.
    """
    row = await sql.fetch_row(conn, QUERIES["key_revoke"].filled(columns=COLUMNS), key, tenant_id)
    if row is None:
        raise NotFoundError(f"There is no live key {key}.")
    return KeyRow(*row)


async def verify(conn: asyncpg.Connection, secret: str) -> KeyRow | None:
    """The live key of a secret, None for anything else; notes its use, at most once a minute."""
    if len(secret) > SECRET_LENGTH_MAX or not secret.startswith(SECRET_PREFIX):
        return None
    digest = hash_secret(secret)
    row = await sql.fetch_row(conn, QUERIES["key_find"].filled(columns=COLUMNS), digest)
    # the index finds by hash, which tells an attacker nothing of the secret; the last word is constant-time
    if row is None or not hmac.compare_digest(row["secret_sha256"], digest):
        return None
    await sql.execute(conn, QUERIES["key_used"], row["id"])
    return KeyRow(*tuple(row)[:-1])
