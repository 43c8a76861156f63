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


async def active(conn: asyncpg.Connection, *, tenant_id: str = TENANT_DEFAULT) -> DetectionConfig:
    """The version in force; the first migration inserts version 1."""
    row = await sql.fetch_row(conn, QUERIES["config_active"], tenant_id)
    assert row is not None, f"tenant {tenant_id} has no active configuration"
    return DetectionConfig(**dict(row))
