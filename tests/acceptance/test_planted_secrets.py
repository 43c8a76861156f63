"""Secrets that a careless program sends in all that it sends, and that must be nowhere but in the log.

What is looked through: every table of PostgreSQL with what its bytes unfold to, every answer of the API, the
event stream, and all that Driftlock and its PostgreSQL log. The log on JetStream holds telemetry as it came,
and is left out: docs/explanation/redaction.md says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import zstandard

from driftlock.runtime.datafolder import DataFolder
from driftlock.runtime.embedded import embedded_database_url
from support.planted import found_in
from support.tree import Tree

PROGRAM = Path(__file__).with_name("secrets_program.py")
TESTS = Path(__file__).parents[1]
MARKS = {"logs": "unforeseen", "traces": "recover", "llm": "the tool refused", "metrics": "queue.depth"}
"""What the explanation of an anomaly of what the program does last holds, by signal."""
TIMEOUT_S = 90.0
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
UNFOLDED_BYTES_MAX = 64 * 1024 * 1024
FLAGS = (
    "--profile", "sensitive", "--session-idle-s", "1", "--detector-workers", "1",
    "--stream-attributes", "owner,deploy.token",
)  # fmt: skip
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400), pytest.mark.xdist_group("planted-secrets")]


async def send(tree: Tree, phase: str) -> None:
    """Runs the program; it must have nothing to complain about."""
    quiet = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    path = os.pathsep.join([str(TESTS), *filter(None, [quiet.get("PYTHONPATH")])])
    env = {**quiet, "PYTHONPATH": path, "OTEL_EXPORTER_OTLP_ENDPOINT": tree.otlp_http}
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), phase),
        env={**env, "PYTHONWARNINGS": "ignore"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(program.communicate(), TIMEOUT_S)
    assert program.returncode == 0, printed.decode()
    assert b"Failed to export" not in printed, printed.decode()


async def main_streams(tree: Tree) -> dict[str, dict[str, Any]]:
    """The streams of the program's own service, by signal."""
    streams = (await tree.get("/v1/streams", limit=1000))["streams"]
    return {one["signal"]: one for one in streams if one["service"].startswith("shop of")}


async def until_ready(tree: Tree) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        phases = {signal: one["phase"] for signal, one in (await main_streams(tree)).items()}
        if phases.keys() == MARKS.keys() and set(phases.values()) == {"ready"}:
            return
        assert time.monotonic() < deadline, f"{phases}\n{tree.log()}"
        await asyncio.sleep(0.3)


async def until_found(tree: Tree) -> list[dict[str, Any]]:
    """The anomalies, once what was strange has been found in every signal."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        rows = await tree.anomalies()
        found = {row["stream_type"] for row in rows if MARKS[row["stream_type"]] in json.dumps(row)}
        if found == MARKS.keys():
            await asyncio.sleep(2.0)  # the checkpoint with what they changed
            return await tree.anomalies()
        assert time.monotonic() < deadline, f"{found}\n{tree.log()}"
        await asyncio.sleep(0.3)


@contextlib.asynccontextmanager
async def heard(tree: Tree) -> AsyncIterator[list[str]]:
    """The lines of the event stream as they come."""
    lines: list[str] = []
    connected = asyncio.Event()

    async def listen() -> None:
        headers = {"Authorization": f"Bearer {tree.key}"}
        async with (
            httpx.AsyncClient(headers=headers, timeout=None) as client,
            client.stream("GET", f"{tree.api}/v1/stream/anomalies") as answer,
        ):
            async for line in answer.aiter_lines():
                lines.append(line)
                connected.set()

    task = asyncio.create_task(listen())
    await asyncio.wait_for(connected.wait(), 20)
    try:
        yield lines
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def answers(tree: Tree, rows: list[dict[str, Any]]) -> dict[str, str]:
    """What the API answers, by path."""
    streams = (await tree.get("/v1/streams", limit=1000))["streams"]
    paths = ["/v1/anomalies?limit=1000", "/v1/streams?limit=1000", "/metrics", "/readyz", "/v1/version"]
    paths += [f"/v1/anomalies/{row['id']}" for row in rows]
    paths += [f"/v1/streams/{one['id']}" for one in streams]
    told = {}
    async with tree.client as client:
        for path in paths:
            answer = await client.get(path)
            answer.raise_for_status()
            told[path] = answer.text
    return told


async def tables(url: str) -> dict[str, str]:
    """Every table's rows as text, and what each of their bytes unfolds to."""
    connection = await asyncpg.connect(url)
    try:
        columns = await connection.fetch(
            "SELECT format('%I.%I', table_schema, table_name) AS place, column_name, data_type"
            " FROM information_schema.columns NATURAL JOIN information_schema.tables"
            " WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')"
        )
        told = {}
        for place in {row["place"] for row in columns}:
            rows = await connection.fetch(f"SELECT t::text FROM {place} t")
            told[place] = "\n".join(row["t"] for row in rows)
        for row in columns:
            if row["data_type"] == "bytea":
                cells = await connection.fetch(f'SELECT "{row["column_name"]}" AS cell FROM {row["place"]}')
                whole = b"\n".join(unfolded(bytes(one["cell"])) for one in cells if one["cell"] is not None)
                told[f"{row['place']}.{row['column_name']}"] = whole.decode("utf-8", "replace")
        return told
    finally:
        await connection.close()


def unfolded(data: bytes) -> bytes:
    """The bytes, and after them those of every compressed frame in them, however deep."""
    parts = [data]
    at = data.find(ZSTD_MAGIC)
    while at >= 0:
        with contextlib.suppress(zstandard.ZstdError):  # the four bytes may stand anywhere by chance
            frame = zstandard.ZstdDecompressor().decompressobj().decompress(data[at:])
            assert len(frame) < UNFOLDED_BYTES_MAX
            parts.append(unfolded(frame))
        at = data.find(ZSTD_MAGIC, at + 1)
    return b"\n".join(parts)


def test_what_is_folded_twice_is_found() -> None:
    packed = zstandard.compress(b"head" + zstandard.compress(b"ghp_") + b"tail")
    assert b"ghp_" in unfolded(b"\x00" + packed + ZSTD_MAGIC)


def logged(tree: Tree) -> dict[str, str]:
    """What all processes logged, by file."""
    files = [path for path in (tree.data_dir / "logs").iterdir() if path.is_file()]
    return {"driftlock": tree.log(), **{path.name: path.read_text(errors="replace") for path in files}}


async def test_nothing_of_a_planted_secret_is_kept_told_or_logged(data_dir: Path) -> None:
    async with Tree(data_dir, *FLAGS) as tree, heard(tree) as events:
        await send(tree, "usual")
        await until_ready(tree)
        await send(tree, "strange")
        rows = await until_found(tree)
        places = {f"GET {path}": text for path, text in (await answers(tree, rows)).items()}
        url = embedded_database_url(DataFolder(data_dir))
        assert url is not None
        stored = await tables(url)
        places |= stored | {"event stream": "\n".join(events)} | logged(tree)

    found = {place: finds for place, text in places.items() if (finds := found_in(text))}
    assert not found, json.dumps(found, indent=1)

    # else there was nothing to find: lines with secrets were explained, and states hold their templates
    told = json.dumps([row["detailed_explanation"] for row in rows])
    assert "unforeseen dump of <secret> on the way out" in told
    assert {"public.baselines.bytes", "public.stream_states.state"} <= stored.keys()
    assert "request by <secret> served" in stored["public.stream_states.state"]
    assert any("anomaly" in line for line in events)
