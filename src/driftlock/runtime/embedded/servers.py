"""Both embedded servers over one data folder: what `driftlock up` and the tests start.

Owns how folder, account, programs, ports and secrets come together. Ports and secrets are kept in the
folder, so a URL stays true over restarts of a server and, while the port is free, of Driftlock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import TypeVar

import asyncpg

from driftlock.errors import StartError
from driftlock.runtime.account import Account, check_reach, service_account
from driftlock.runtime.datafolder import DataFolder, new_secret
from driftlock.runtime.embedded.binaries import nats_program, postgres_install
from driftlock.runtime.embedded.logfile import bound
from driftlock.runtime.embedded.nats import Nats
from driftlock.runtime.embedded.postgres import DATABASE, Postgres, address
from driftlock.runtime.keeper import Keeper
from driftlock.runtime.ports import free_port, is_free
from driftlock.runtime.process import Child

STORE_BYTES_MAX = 16 * 1024**3  # of all streams together; the one of telemetry has its own, lower bound
_LOG_LOOK_S = 30.0
_PORT_TRIES = 3  # between finding a port free and listening on it, another may take it

ServerT = TypeVar("ServerT", Postgres, Nats)


class EmbeddedServers:
    """The servers asked for, between `start` and `stop`. The folder's lock must be held."""

    def __init__(
        self,
        folder: DataFolder,
        *,
        postgres: bool = True,
        nats: bool = True,
        postgres_settings: Mapping[str, str] | None = None,
        store_bytes_max: int = STORE_BYTES_MAX,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._wanted = (postgres, nats)
        self._postgres_settings = postgres_settings
        self._store_bytes_max = store_bytes_max
        self._on_change = on_change
        self._kept = folder.connection()
        self._tidy: asyncio.Task[None] | None = None
        self.postgres: Keeper | None = None
        self.nats: Keeper | None = None
        self.database_url = ""
        self.nats_url = ""

    @property
    def children(self) -> list[Child]:
        keepers = (self.postgres, self.nats)
        return [keeper.child for keeper in keepers if keeper is not None and keeper.child is not None]

    async def start(self) -> None:
        """Start them, make the database when missing, keep them alive. Raises StartError."""
        want_postgres, want_nats = self._wanted
        account = service_account(self._folder.path / "postgres")
        try:
            if want_postgres:
                await self._start_postgres(account)
            if want_nats:
                await self._start_nats(account)
        except BaseException:
            await self.stop()
            raise
        self._tidy = asyncio.create_task(self._bound_logs(), name="bound logs")

    async def stop(self) -> None:
        """End NATS, then PostgreSQL. Safe to call twice."""
        if self._tidy is not None:
            self._tidy.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._tidy
            self._tidy = None
        for keeper in (self.nats, self.postgres):
            if keeper is not None:
                await keeper.stop()

    async def _start_postgres(self, account: Account | None) -> None:
        check_reach(self._folder.path, account)
        if (self._folder.path / "postgres" / "data").exists() and "postgres_password" not in self._kept:
            raise StartError(
                f"{self._folder.path / 'postgres'} holds a PostgreSQL that Driftlock did not make.",
                hint="Choose another --data-dir; to use a PostgreSQL of your own, give --database-url.",
            )
        install = postgres_install(self._folder.copies, account)

        def make(port: int) -> Postgres:
            return Postgres(
                self._folder.path / "postgres",
                install=install,
                account=account,
                port=port,
                password=self._secret("postgres_password"),
                log_file=self._folder.logs / "postgres.log",
                settings=self._postgres_settings,
            )

        self.postgres, server = await self._kept_on_a_port("postgres_port", make)
        await _ensure_database(server)
        self.database_url = server.url()

    async def _start_nats(self, account: Account | None) -> None:
        program = nats_program(self._folder.copies, account)

        def make(port: int) -> Nats:
            return Nats(
                self._folder.path / "nats",
                program=program,
                account=account,
                port=port,
                token=self._secret("nats_token"),
                log_file=self._folder.logs / "nats.log",
                store_bytes_max=self._store_bytes_max,
            )

        self.nats, nats = await self._kept_on_a_port("nats_port", make)
        self.nats_url = nats.url

    async def _kept_on_a_port(self, key: str, make: Callable[[int], ServerT]) -> tuple[Keeper, ServerT]:
        """Start the server on the port of last time while that is free, else on a new one."""
        for left in reversed(range(_PORT_TRIES)):
            port = int(self._kept.get(key, 0))
            if not port or not is_free(port):
                port = self._kept[key] = free_port()
                self._folder.keep_connection(self._kept)
            server = make(port)
            await server.prepare()
            keeper = Keeper(server, on_change=self._on_change)
            try:
                await keeper.start()
            except StartError:
                if left == 0 or is_free(port):  # not the port's fault
                    raise
            else:
                return keeper, server
        raise AssertionError("unreachable")

    def _secret(self, key: str) -> str:
        if key not in self._kept:
            self._kept[key] = new_secret()
            self._folder.keep_connection(self._kept)
        return str(self._kept[key])

    async def _bound_logs(self) -> None:
        while True:
            await asyncio.sleep(_LOG_LOOK_S)
            for path in self._folder.logs.glob("*.log"):
                bound(path)


async def _ensure_database(server: Postgres) -> None:
    connection = await asyncpg.connect(server.url("postgres"), timeout=30)
    try:
        if not await connection.fetchval("select 1 from pg_database where datname = $1", DATABASE):
            await connection.execute(f'create database "{DATABASE}"')
    finally:
        await connection.close()


def embedded_database_url(folder: DataFolder) -> str | None:
    """The address of the folder's PostgreSQL, running or not; None before its first start."""
    kept = folder.connection()
    if "postgres_password" not in kept or "postgres_port" not in kept:
        return None
    return address(int(kept["postgres_port"]), str(kept["postgres_password"]))
