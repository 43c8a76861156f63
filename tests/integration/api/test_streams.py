"""`/v1/streams` over real HTTP."""

from __future__ import annotations

import uuid
from typing import Any

import asyncpg
import httpx

from driftlock.storage import streams
from driftlock.storage.streams import StreamRow
from integration.api.harness import problem


def row(number: int, **fields: Any) -> StreamRow:
    told: dict[str, Any] = {
        "signal": "logs", "name": f"s{number // 3}", "service": "a", "partition": 1, "phase": "learning",
        "units_seen": 50, "units_needed": 200, **fields,
    }  # fmt: skip
    return StreamRow(id=uuid.UUID(int=number), **told)


async def test_lists_and_pages(viewer: httpx.AsyncClient, conn: asyncpg.Connection) -> None:
    await streams.upsert(conn, [row(n) for n in range(10)])
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 4}
    while True:
        page = (await viewer.get("/v1/streams", params=params)).json()
        assert page["total"] == 10
        seen += [stream["id"] for stream in page["streams"]]
        if not page["has_more"]:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == [str(uuid.UUID(int=n)) for n in range(10)]


async def test_tells_warm_up(viewer: httpx.AsyncClient, conn: asyncpg.Connection) -> None:
    ready = row(2, phase="ready", calibration_size=99, earliest_p=0.01, bytes_held=4096, signal="metrics")
    await streams.upsert(conn, [row(1), ready])
    body = (await viewer.get(f"/v1/streams/{uuid.UUID(int=1)}")).json()
    assert body["warm_up"] == {
        "phase": "learning", "units_seen": 50, "units_needed": 200, "progress": 0.25,
        "calibration_size": 0, "earliest_p": None,
    }  # fmt: skip
    page = (await viewer.get("/v1/streams", params={"phase": "ready", "stream_type": "metrics"})).json()
    (found,) = page["streams"]
    assert (found["warm_up"]["progress"], found["warm_up"]["earliest_p"]) == (1.0, 0.01)
    assert found["bytes_held"] == 4096


async def test_refusals(viewer: httpx.AsyncClient) -> None:
    problem(await viewer.get(f"/v1/streams/{uuid.uuid4()}"), 404, "not-found")
    problem(await viewer.get("/v1/streams", params={"phase": "done"}), 400, "validation")
    problem(await viewer.get("/v1/streams", params={"signal": "logs"}), 400, "unknown-parameter")
