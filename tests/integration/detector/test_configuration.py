"""What a detector is started with, and the detection configuration that the database keeps of it."""

from __future__ import annotations

import math
from typing import Any

from driftlock.core.log_settings import LogSettings
from driftlock.detector.service import _engine_settings
from driftlock.engine.settings import EngineSettings
from driftlock.storage import config, pool
from driftlock.storage.migrate import migrate


def engine(**alerting: float) -> EngineSettings:
    sizes: dict[str, Any] = {"p_value_threshold": 0.01, "alert_budget": 20.0, **alerting}
    return EngineSettings(logs=LogSettings(**sizes), traces=LogSettings(mode="session", **sizes))


async def test_profile_and_budget_are_told_and_those_of_a_person_hold(postgres_url: str) -> None:
    await migrate(postgres_url)
    conn = await pool.connect(postgres_url, name="test")
    try:
        for given, told in (
            ({}, {"profile": "balanced", "alert_budget": 20.0}),
            ({"p_value_threshold": 0.001, "alert_budget": 5.0}, {"profile": "strict", "alert_budget": 5.0}),
            ({"alert_budget": 7.0}, {"profile": "custom", "alert_budget": 7.0}),
            ({"alert_budget": math.inf}, {"profile": "custom", "alert_budget": None}),
        ):
            used = await _engine_settings(engine(**given), conn)
            stored = await config.active(conn)
            assert stored.settings == told
            assert used.config_version == stored.version
            assert used.logs.alert_budget == used.traces.alert_budget == given.get("alert_budget", 20.0)

        await conn.execute(
            "UPDATE detection_config SET created_by = 'ann', p_value_threshold = 0.02,"
            """ settings = '{"profile": "custom", "alert_budget": 3}' WHERE active"""
        )
        used = await _engine_settings(engine(), conn)
        assert (used.logs.alert_budget, used.traces.alert_budget) == (3.0, 3.0)
        assert used.logs.p_value_threshold == 0.02
    finally:
        await conn.close()
