"""Fixtures for every test: real servers, started by the product's own supervision code.

`postgres_url`   a fresh, empty database of its own, on one PostgreSQL that the whole run shares
`nats_url`       a NATS server of its own, with an empty JetStream
`data_dir`       an empty folder that the servers' account can reach
`own_servers`    a PostgreSQL and a NATS of its own, which a test may kill

All but `own_servers` are plain fixtures: they serve synchronous and asynchronous tests alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest
from pytest_socket import socket_allow_hosts

from driftlock.runtime.datafolder import opened
from driftlock.runtime.embedded import EmbeddedServers
from driftlock.runtime.embedded.binaries import nats_program
from driftlock.runtime.embedded.nats import Nats
from driftlock.runtime.ports import free_port
from support import servers

ResultT = TypeVar("ResultT")

# gRPC's threads would follow into the children that tests fork, and close what is not theirs. Read by gRPC
# when it is first used.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def only_loopback() -> None:
    """Nothing but loopback may be reached from a test."""
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        servers.end_shared(_run_id(session.config))


@pytest.fixture(scope="session")
def shared_postgres(pytestconfig: pytest.Config) -> str:
    """The address of the run's shared PostgreSQL (its superuser, its own database)."""
    worker = hasattr(pytestconfig, "workerinput")
    leader = os.getppid() if worker else os.getpid()
    return servers.shared_postgres(_run_id(pytestconfig), leader)["postgres"]


@pytest.fixture
def postgres_url(shared_postgres: str) -> Iterator[str]:
    name = f"t_{os.getpid()}_{next(_numbers)}"
    _run(_execute(shared_postgres, f'create database "{name}"'))
    yield shared_postgres.rsplit("/", 1)[0] + f"/{name}"
    _run(_execute(shared_postgres, f'drop database if exists "{name}" with (force)'))


@pytest.fixture
def nats_url(tmp_path: Path) -> Iterator[str]:
    server = Nats(
        tmp_path / "nats",
        program=nats_program(tmp_path, None),
        account=None,
        port=free_port(),
        token="test-token",
        log_file=tmp_path / "nats.log",
        store_bytes_max=16 * 1024**3,
    )
    _run(server.prepare())
    child = _run(server.launch())
    yield server.url
    _run(child.end(server.end_steps))


@pytest.fixture
def data_dir() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="driftlock-test-"))
    parent.chmod(0o711)
    yield parent / "data"
    shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
async def own_servers(data_dir: Path) -> AsyncIterator[EmbeddedServers]:
    with opened(data_dir) as folder:
        # fsync guards against power cuts alone, which no test provokes
        started = EmbeddedServers(folder, postgres_settings={"fsync": "off"})
        await started.start()
        try:
            yield started
        finally:
            await started.stop()


def _run_id(config: pytest.Config) -> str:
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        return str(worker["testrunuid"])
    # under xdist the leader's id is the one that its workers were told
    with contextlib.suppress(AttributeError, ValueError):
        if config.getvalue("testrunuid"):
            return str(config.getvalue("testrunuid"))
    session = config.pluginmanager.getplugin("dsession")
    uid = getattr(getattr(session, "nodemanager", None), "testrunuid", None)
    return str(uid or os.getpid())


def _run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run to the end on a loop of its own, which leaves the test's loop alone."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url, timeout=60)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()
