"""The detection configuration: versioned, exactly one version active a tenant."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from driftlock.storage import sql
from driftlock.storage.sql import QUERIES
from driftlock.storage.tenancy import TENANT_DEFAULT


class DetectionConfig(msgspec.Struct, frozen=True):
    """One version of the settings; sizes in units of events, baseline >= window >= hop."""

    version: int
    ncd_threshold: float
    p_value_threshold: float
    baseline_size: int
    window_size: int
    hop_size: int
    stream_overrides: dict[str, Any]
    settings: dict[str, Any]
    created_by: str
    created_at: datetime


class Wanted(msgspec.Struct, frozen=True):
    """The values that a process was started with; `settings` for those without a column, as JSON has them."""

    p_value_threshold: float
    baseline_size: int
    window_size: int
    hop_size: int
    settings: dict[str, Any]


BY_MIGRATION = "driftlock"
BY_SETTINGS = "settings"


async def settle(
    conn: asyncpg.Connection, wanted: Wanted, *, tenant_id: str = TENANT_DEFAULT
) -> DetectionConfig:
    """The version in force, after a process's settings became a new one if they differ from it.

    Settings only replace what settings or the first migration said: a version that a person made through
    the API stays in force whatever a process is started with.
    """
    async with conn.transaction():
        await sql.execute(conn, QUERIES["config_lock"], tenant_id)
        present = await active(conn, tenant_id=tenant_id)
        same = wanted == Wanted(
            present.p_value_threshold,
            present.baseline_size,
            present.window_size,
            present.hop_size,
            present.settings,
        )
        if same or present.created_by not in (BY_MIGRATION, BY_SETTINGS):
            return present
        await sql.execute(conn, QUERIES["config_retire"], tenant_id)
        await sql.execute(
            conn,
            QUERIES["config_insert"],
            *(tenant_id, present.ncd_threshold, wanted.p_value_threshold, wanted.baseline_size),
            *(wanted.window_size, wanted.hop_size, wanted.settings, BY_SETTINGS),
        )
        return await active(conn, tenant_id=tenant_id)


async def active(conn: asyncpg.Connection, *, tenant_id: str = TENANT_DEFAULT) -> DetectionConfig:
    """The version in force; the first migration inserts version 1."""
    row = await sql.fetch_row(conn, QUERIES["config_active"], tenant_id)
    assert row is not None, f"tenant {tenant_id} has no active configuration"
    return DetectionConfig(**dict(row))
