"""`/v1/streams` over real HTTP."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import asyncpg
import httpx

from driftlock.bus.log import TelemetryLog
from driftlock.storage import refreshes, streams
from driftlock.storage.refreshes import Progress, Refresh
from driftlock.storage.streams import StreamRow
from integration.api.harness import Api, Start, problem


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


async def ready_to_append(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(20):
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.05)


async def test_a_refresh_goes_through_the_log_and_is_recorded(
    start: Start, key_of: dict[str, str], conn: asyncpg.Connection, nats_url: str
) -> None:
    log = await TelemetryLog.connect(nats_url, name="test")
    await log.ensure(bytes_max=1 << 26)
    known = row(1, phase="ready", partition=7, baseline_ref="a" * 64)
    await streams.upsert(conn, [known, row(2), row(3, phase="ready", signal="metrics")])
    api = await start(nats_url=nats_url)
    async with api.client(key_of["admin"]) as admin:
        await ready_to_append(admin)
        path = f"/v1/streams/{known.id}"
        assert (await admin.get(path)).json()["refresh"] is None
        answers = await asyncio.gather(*(admin.post(f"{path}/baseline") for _ in range(5)))
        assert {answer.status_code for answer in answers} == {202}
        answer = answers[0]
        assert {answer.json()["id"] for answer in answers} == {answer.json()["id"]}
        assert (await admin.get(path)).json()["refresh"] == answer.json()
        problem(await admin.post(f"/v1/streams/{uuid.uuid4()}/baseline"), 404, "not-found")
        problem(await admin.post(f"/v1/streams/{uuid.UUID(int=2)}/baseline"), 409, "conflict")
        problem(await admin.post(f"/v1/streams/{uuid.UUID(int=3)}/baseline"), 409, "conflict")
    async with api.client(key_of["analyst"]) as analyst:
        problem(await analyst.post(f"/v1/streams/{known.id}/baseline"), 403, "forbidden")
    async with await log.read(7, after=0, wait_s=0.1) as reader:
        (envelope,) = await anext(aiter(reader))
    assert (envelope.kind, envelope.tenant, envelope.payload[:16]) == ("refresh", "default", known.id.bytes)
    assert await log.last_position(7) == envelope.position
    (kept,) = await conn.fetch("SELECT * FROM baseline_refreshes")
    told = answer.json()
    assert told["id"] == str(kept["id"])
    assert told["requested_by"] == kept["requested_by"] == "admin"
    assert told["baseline_before"] == kept["baseline_before"] == "a" * 64
    assert told["log_position"] == kept["log_position"] == envelope.position
    assert envelope.payload[16:] == kept["id"].bytes
    assert kept["requester"].startswith("key:")
    await log.close()


async def test_a_refresh_that_does_not_reach_the_log_is_told_and_recorded_without_a_position(
    api: Api, key_of: dict[str, str], conn: asyncpg.Connection
) -> None:
    await streams.upsert(conn, [row(1, phase="ready")])
    async with api.client(key_of["admin"]) as admin:
        problem(await admin.post(f"/v1/streams/{uuid.UUID(int=1)}/baseline"), 503, "unavailable")
        problem(await admin.post(f"/v1/streams/{uuid.UUID(int=1)}/baseline"), 503, "unavailable")
    assert await conn.fetchval("SELECT count(*) FROM baseline_refreshes WHERE log_position IS NULL") == 1


async def test_a_refresh_is_followed_to_its_end(conn: asyncpg.Connection) -> None:
    stream = row(1, phase="ready", partition=3, baseline_ref="a" * 64)
    await streams.upsert(conn, [stream])
    known = await streams.get(conn, stream.id)

    async def ask(number: int) -> Refresh:
        return await refreshes.record(
            conn, known, refresh=uuid.UUID(int=number), by="x", requester="key:x", tenant_id="default"
        )

    first = await ask(1)
    assert await ask(2) == first
    await refreshes.follow(conn, [Progress(first.id, 9, "b" * 64, "")])
    await refreshes.lapse(conn, 3, position=99, running=[first.id])
    begun = await refreshes.opened(conn, stream.id, tenant_id="default")
    assert begun is not None
    assert (begun.log_position, begun.baseline_before, begun.baseline_after) == (9, "b" * 64, None)
    assert (await refreshes.placed(conn, first.id, 12)).log_position == 9
    await refreshes.follow(conn, [Progress(first.id, 9, "b" * 64, "c" * 64)])
    done = await refreshes.latest(conn, stream.id, tenant_id="default")
    assert done is not None
    assert done.baseline_after == "c" * 64
    assert done.closed_at is not None
    assert await refreshes.latest(conn, stream.id, tenant_id="other") is None

    second = await ask(3)
    assert second.id == uuid.UUID(int=3)
    await refreshes.lapse(conn, 3, position=99, running=[])
    assert (await ask(4)).id == second.id, "it may still be on its way to the log"
    await refreshes.placed(conn, second.id, 50)
    await refreshes.lapse(conn, 2, position=99, running=[])
    await refreshes.lapse(conn, 3, position=49, running=[])
    assert (await ask(4)).id == second.id
    await refreshes.lapse(conn, 3, position=50, running=[])
    gone = await refreshes.latest(conn, stream.id, tenant_id="default")
    assert gone is not None
    assert gone.closed_at is not None
    assert gone.baseline_after is None
    assert (await ask(4)).id == uuid.UUID(int=4)
