"""What the detector role is told."""

from __future__ import annotations

from dataclasses import dataclass

from driftlock.engine.settings import EngineSettings


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Settings of one detector process; several share the partitions by PostgreSQL advisory locks.

    `engine` holds for every partition; its `config_version` and the sizes and thresholds of logs are
    overridden by the active detection configuration in the database.
    """

    database_url: str
    nats_url: str
    engine: EngineSettings
    partitions: int = 32
    checkpoint_interval_s: float = 15.0
    claim_interval_s: float = 1.0
    tick_after_s: float = 1.0
    log_bytes_max: int = 8 * 1024**3
