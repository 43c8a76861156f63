"""`driftlock collector|detector|api`: one role as its own process, for deployments."""

from __future__ import annotations

from driftlock.cli.sources import ConfigFile
from driftlock.runtime.settings import DEFAULTS, Settings


def collector(*, settings: Settings = DEFAULTS, config: ConfigFile = None) -> None:
    """Run the collector alone: receives OTLP and appends it to the log.

    Needs --nats-url. Several on one machine share their ports.
    """
    from driftlock.runtime.roles import run_role

    run_role("collector", settings)


def detector(*, settings: Settings = DEFAULTS, config: ConfigFile = None) -> None:
    """Run one detector alone: reads the log, scores it, writes anomalies.

    Needs --nats-url and --database-url. Start more to share the partitions: those of one that dies move on.
    """
    from driftlock.runtime.roles import run_role

    run_role("detector", settings)


def api(*, settings: Settings = DEFAULTS, config: ConfigFile = None) -> None:
    """Run the API alone: REST, the event stream and metrics.

    Needs --database-url and --nats-url. It keeps no state; start as many as you like.
    """
    from driftlock.runtime.roles import run_role

    run_role("api", settings)
