"""`driftlock up`: everything on this machine, from one command."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from pathlib import Path

from driftlock.cli.sources import ConfigFile
from driftlock.runtime.settings import DEFAULTS, Settings


def up(*, settings: Settings = DEFAULTS, config: ConfigFile = None) -> None:
    """Run Driftlock: collector, detectors and API, with PostgreSQL and NATS.

    Without --database-url and --nats-url it brings its own servers and keeps their data in the data folder.
    The first start prints an admin key, once. Ctrl-C or SIGTERM ends everything.
    """
    from driftlock.runtime.banner import Running
    from driftlock.runtime.logs import set_up_logging
    from driftlock.runtime.supervisor import up as run

    set_up_logging(
        process="up", level=settings.log_level, form=settings.log_format, redacted=settings.redacted
    )

    def tell(running: Running) -> None:
        print("\n".join(running.lines(command=_command())), flush=True)

    async def until_told() -> None:
        stop = asyncio.Event()
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(sig, stop.set)
        await run(settings, stop, tell=tell)

    asyncio.run(until_told())


def _command() -> str:
    """How to call this program again: by name where the shell finds it, else by path."""
    here = Path(sys.executable).with_name("driftlock")
    found = shutil.which("driftlock")
    return "driftlock" if found and Path(found) == here else str(here)
