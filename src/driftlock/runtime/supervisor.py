"""`driftlock up`: every server and role of Driftlock under one process.

Owns the order of start and end, and what the person at the terminal is told. It serves nothing itself, so
that nothing but its own end can take the children's supervision away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import psutil

from driftlock.errors import StartError
from driftlock.runtime.banner import Running
from driftlock.runtime.datafolder import DataFolder, opened
from driftlock.runtime.embedded import EmbeddedServers
from driftlock.runtime.first_key import first_admin_key
from driftlock.runtime.keeper import Keeper
from driftlock.runtime.leftovers import end_leftovers, record
from driftlock.runtime.ports import is_free
from driftlock.runtime.process import Child, become_subreaper
from driftlock.runtime.role_process import RoleProcess
from driftlock.runtime.roles import Role
from driftlock.runtime.settings import Settings
from driftlock.storage.migrate import migrate

log = logging.getLogger(__name__)

_REAP_LOOK_S = 2.0
_STORE_BYTES_SPARE = 1024**3  # what JetStream needs beside the telemetry
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on


async def up(settings: Settings, stop: asyncio.Event, *, tell: Callable[[Running], None]) -> None:
    """Run everything until `stop`; `tell` is called once it runs. Raises DriftlockError when it cannot."""
    settings.check()
    with opened(settings.folder, free_bytes_min=settings.disk_free_bytes_min) as folder:
        become_subreaper()
        supervisor = Supervisor(settings, folder)
        reaper = asyncio.create_task(reap_orphans(), name="reap orphans")
        try:
            start = asyncio.create_task(supervisor.start(), name="start")
            if await _first(start, stop):
                tell(start.result())
                await stop.wait()
        finally:
            await supervisor.stop()
            reaper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reaper


class Supervisor:
    """The servers and roles of one data folder. One `start`, one `stop`."""

    def __init__(self, settings: Settings, folder: DataFolder) -> None:
        self._settings = settings
        self._folder = folder
        self._roles: list[Keeper] = []
        self._servers = EmbeddedServers(
            folder,
            postgres=settings.database_url is None,
            nats=settings.nats_url is None,
            store_bytes_max=settings.log_bytes_max + _STORE_BYTES_SPARE,
            on_change=self._record,
        )

    async def start(self) -> Running:
        """Start everything in order. Raises DriftlockError; then `stop` ends what had started."""
        await end_leftovers(self._folder.children)
        _check_ports(self._settings)
        with _database_faults():
            await self._servers.start()
        settings = replace(
            self._settings,
            database_url=self._settings.database_url or self._servers.database_url,
            nats_url=self._settings.nats_url or self._servers.nats_url,
        )
        assert settings.database_url is not None
        with _database_faults():
            for name in await migrate(settings.database_url):
                log.info("applied migration %s", name)
        await self._start_roles(settings)
        with _database_faults():  # last, since its secret is shown once, and only by a start that succeeds
            key = await first_admin_key(settings.database_url)
        return Running(settings=self._settings, first_key=key)

    async def stop(self) -> None:
        """Roles first, together, so that they can still hand back what they hold; then the servers."""
        await asyncio.gather(*(keeper.stop() for keeper in self._roles))
        await self._servers.stop()

    async def _start_roles(self, settings: Settings) -> None:
        metrics = _fresh(self._folder.path / "metrics")
        for role in _role_processes(settings, metrics):
            self._roles.append(Keeper(role, on_change=self._record))
        async with asyncio.TaskGroup() as group:
            for keeper in self._roles:
                group.create_task(keeper.start())

    def _record(self) -> None:
        children: list[Child] = [*self._servers.children]
        children += [keeper.child for keeper in self._roles if keeper.child is not None]
        try:
            record(self._folder.children, children)
        except OSError as fault:
            # Failing open: a full disk must not stop a restart. Only a later start, after a kill of this
            # process, would have to find old children by their locks and ports alone.
            log.warning("%s was not written: %s", self._folder.children, fault)


@contextlib.contextmanager
def _database_faults() -> Iterator[None]:
    """A database that fails while it is being prepared ends the start with a sentence."""
    try:
        yield
    except asyncpg.DiskFullError as error:
        raise StartError(
            "The disk filled up while the database was prepared.",
            hint="Free some space, or choose another --data-dir.",
        ) from error
    except asyncpg.PostgresError as error:
        raise StartError(f"The database cannot be prepared: {error}") from error


def _role_processes(settings: Settings, metrics: Path) -> Iterator[RoleProcess]:
    env = settings.environment()
    host = _ANY_ADDRESS.get(settings.host, settings.host)
    otlp = [(host, settings.otlp_grpc_port), (host, settings.otlp_http_port)]
    many: list[tuple[Role, int, list[tuple[str, int]]]] = [
        ("collector", settings.collector_workers, otlp),
        ("detector", settings.detectors, []),
        ("api", 1, [(host, settings.api_port)]),
    ]
    for role, count, addresses in many:
        for number in range(count):
            yield RoleProcess(role, number=number, env=env, metrics=metrics, addresses=addresses)


def _check_ports(settings: Settings) -> None:
    for name in ("api_port", "otlp_grpc_port", "otlp_http_port"):
        port = getattr(settings, name)
        if not is_free(port, settings.host):
            raise StartError(
                f"Port {port} of {settings.host} is taken{_holder(port)}.",
                hint=f"Stop what listens there, or choose another with --{name.replace('_', '-')}.",
            )


def _holder(port: int) -> str:
    """` by NAME (process N)` when the system tells us."""
    with contextlib.suppress(psutil.Error, OSError):
        for one in psutil.net_connections("tcp"):
            if one.laddr and one.laddr.port == port and one.status == psutil.CONN_LISTEN and one.pid:
                return f" by {psutil.Process(one.pid).name()} (process {one.pid})"
    return ""


def _fresh(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    return path


async def _first(start: asyncio.Task[Running], stop: asyncio.Event) -> bool:
    """Whether the start finished before we were told to stop; raises what the start raised."""
    told = asyncio.create_task(stop.wait())
    await asyncio.wait({start, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if start.done():
        await _unpacked(start)
        return True
    start.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await start
    return False


async def _unpacked(start: asyncio.Task[Running]) -> None:
    """A start that fails in several roles at once fails with the first one's reason."""
    try:
        await start
    except ExceptionGroup as group:
        raise group.exceptions[0] from group


async def reap_orphans() -> None:
    """Take the exit codes of orphans that were handed to us (see `become_subreaper`): no zombies stay.

    A process is taken when it was a zombie at two looks: our own children are taken by their waiters at once.
    """
    seen: set[int] = set()
    while True:
        await asyncio.sleep(_REAP_LOOK_S)
        zombies = _zombies()
        for pid in zombies & seen:
            _take(pid)
        seen = zombies - seen


def _take(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _zombies() -> set[int]:
    found = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if child.status() == psutil.STATUS_ZOMBIE:
                found.add(child.pid)
    return found
