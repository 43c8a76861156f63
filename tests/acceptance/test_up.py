"""`driftlock up`, as a person meets it: start, use, kill parts of it, stop, start again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import httpx
import psutil
import pytest

from driftlock.runtime.ports import free_port
from support.running import Driftlock, run
from support.waiting import until

END_S = 5.0  # the promise
MARGIN_S = 4.0  # for a machine that runs other tests meanwhile

PARTS = [
    ("collector", ("driftlock", "collector")),
    ("detector", ("driftlock", "detector")),
    ("api", ("driftlock", "api")),
    ("NATS", ("nats-server",)),
    ("PostgreSQL", ("postgres",)),
]


async def ready(running: Driftlock) -> bool:
    try:
        async with running.client as client:
            return (await client.get("/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


async def wait_ready(running: Driftlock) -> None:
    async with asyncio.timeout(60):
        while not await ready(running):
            await asyncio.sleep(0.1)


async def listen(running: Driftlock, connected: asyncio.Event) -> None:
    """An open event stream, which nobody closes but the server."""
    async with running.client as client, client.stream("GET", "/v1/stream/anomalies", timeout=None) as stream:
        async for line in stream.aiter_lines():
            if line == "event: connected":
                connected.set()


async def test_ctrl_c_ends_everything_in_time_with_open_event_streams(data_dir: Path) -> None:
    running = Driftlock(data_dir, dev_key=None)
    async with running:
        await wait_ready(running)
        assert (running.key or "").startswith("dlk_")
        events = [asyncio.Event() for _ in range(3)]
        listeners = [asyncio.create_task(listen(running, event)) for event in events]
        await asyncio.gather(*(event.wait() for event in events))
        family = running.process.children(recursive=True)
        assert len(family) > 5
        began = time.monotonic()
        assert await running.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < END_S + MARGIN_S
        await until(lambda: not any(one.is_running() for one in family))
        await asyncio.gather(*listeners, return_exceptions=True)
    assert "Traceback" not in running.log()

    # the folder starts again: the key of the first start is good, and no second one is made
    async with running:
        await wait_ready(running)
        async with running.client as client:
            answer = await client.get("/v1/anomalies")
        assert answer.status_code == 200
        assert "Admin key" not in running.output

        # keys are made beside the running server, by its folder alone, and are good at once
        made = await asyncio.to_thread(run, "keys", "create", "second", "--data-dir", str(data_dir))
        running.key = made.stdout.strip()
        async with running.client as client:
            assert (await client.get("/v1/anomalies")).status_code == 200


async def test_every_part_that_is_killed_comes_back(data_dir: Path) -> None:
    async with Driftlock(data_dir) as running:
        await wait_ready(running)
        refused = await asyncio.to_thread(run, "up", "--data-dir", str(data_dir))
        assert refused.returncode == 4
        assert refused.stderr.splitlines()[0].endswith(
            f"Another Driftlock (process {running.process.pid}) already runs on {data_dir}."
        )
        assert "Traceback" not in refused.stderr

        for name, words in PARTS:
            before = running.children(*words)
            assert before, name
            os.kill(before[0].pid, signal.SIGKILL)
            await until(lambda b=before: not b[0].is_running())
            await until(lambda w=words, b=before: len(running.children(*w)) == len(b))
            await wait_ready(running)
        await until(lambda: not _zombies(running))
        async with running.client as client:
            assert (await client.get("/v1/anomalies")).status_code == 200


async def test_a_killed_supervisor_takes_everything_along_and_the_next_start_works(data_dir: Path) -> None:
    running = Driftlock(data_dir, dev_key=None)
    await running.start()
    await wait_ready(running)
    family = running.process.children(recursive=True)
    running.kill()
    async with running:  # at once, while the old children still end
        await wait_ready(running)
        async with running.client as client:
            assert (await client.get("/v1/anomalies")).status_code == 200
        assert [one for one in family if one.is_running()] == []


@pytest.mark.parametrize("moment", ["postgres/data.part", "postgres/data", "nats/nats.pid"])
async def test_an_interrupted_start_leaves_nothing_running_and_the_next_one_works(
    moment: str, data_dir: Path
) -> None:
    running = Driftlock(data_dir, "--detector-workers", "0")
    start = asyncio.create_task(running.start())
    await until((data_dir / moment).exists)
    family = running.process.children(recursive=True)
    start.cancel()
    assert await running.stop(signal.SIGINT) == 0
    await until(lambda: not any(one.is_running() for one in family))
    async with running:
        await wait_ready(running)
    assert "Traceback" not in running.log()


async def test_servers_of_ones_own_are_used_by_the_same_code(
    data_dir: Path, postgres_url: str, nats_url: str
) -> None:
    flags = ("--database-url", postgres_url, "--nats-url", nats_url, "--detector-workers", "1")
    async with Driftlock(data_dir, *flags) as running:
        await wait_ready(running)
        assert running.children("postgres") == []
        assert running.children("nats-server") == []
        assert not (data_dir / "postgres").exists()
        assert len(running.children("driftlock", "detector")) == 1


async def test_metrics_show_every_role(data_dir: Path) -> None:
    async with Driftlock(data_dir) as running:
        await wait_ready(running)

        async def shown() -> str:
            async with running.client as client:
                return (await client.get("/metrics")).text

        async with asyncio.timeout(60):
            while "driftlock_partitions_owned 32.0" not in await shown():
                await asyncio.sleep(0.2)


@pytest.mark.parametrize("name", ["api_port", "otlp_grpc_port", "otlp_http_port"])
async def test_a_port_in_use_is_named(name: str, data_dir: Path) -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    refused = await asyncio.to_thread(run, "up", "--data-dir", str(data_dir), *_free_ports(**{name: port}))
    server.close()
    await server.wait_closed()
    assert refused.returncode == 4
    first, second, *more = refused.stderr.splitlines()
    assert f"Port {port} of 127.0.0.1 is taken by" in first
    assert f"--{name.replace('_', '-')}." in second
    assert more == []


def test_a_folder_that_cannot_be_written_is_told() -> None:
    _refused(run("up", "--data-dir", "/sys/driftlock"), "cannot be written")


def test_a_full_disk_is_told(data_dir: Path) -> None:
    _refused(run("up", "--data-dir", str(data_dir), "--disk-free-bytes-min", str(2**62)), "is full")


def test_a_foreign_folder_is_told(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "PG_VERSION").write_text("16\n")
    _refused(run("up", "--data-dir", str(data_dir)), "is a PostgreSQL data folder")


def test_servers_out_of_reach_are_told(data_dir: Path) -> None:
    gone = "postgresql://u:hunter2@127.0.0.1:9/none"
    servers = ("--database-url", gone, "--nats-url", "nats://127.0.0.1:9")
    done = run("up", "--data-dir", str(data_dir), *servers, *_free_ports())
    assert done.returncode == 5
    assert "PostgreSQL cannot be reached" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def _refused(done: object, words: str) -> None:
    assert done.returncode == 4, done  # type: ignore[attr-defined]
    lines = done.stderr.splitlines()  # type: ignore[attr-defined]
    assert words in lines[0]
    assert len(lines) == 2
    assert lines[1].strip()


def _free_ports(**taken: int) -> list[str]:
    """Flags for every port; `taken` names the one that a test chose."""
    ports = {"api_port": 0, "otlp_grpc_port": 0, "otlp_http_port": 0, **taken}
    for name, port in ports.items():
        ports[name] = port or free_port(ports.values())
    return [part for name, port in ports.items() for part in (f"--{name.replace('_', '-')}", str(port))]


def _zombies(running: Driftlock) -> list[psutil.Process]:
    return [one for one in running.process.children() if _is_zombie(one)]


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it ended, and was waited for, since it was listed
        return False
