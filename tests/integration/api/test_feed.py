"""The live feed over real HTTP: resumes without gap or duplicate, on any replica, and bounds everything."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx

from driftlock.storage import anomalies, feed, pool
from driftlock.storage.anomalies import Episode, NewAnomaly
from driftlock.storage.tenancy import TENANT_DEFAULT
from integration.api.harness import NOW, Api, Start, Store, make, problem

PATH = "/v1/stream/anomalies"
DEADLINE_S = 60.0


@dataclass
class Event:
    """What a client that follows the specification of Server-Sent Events makes of the bytes."""

    name: str
    data: Any
    id: str


@dataclass
class Follower:
    """One open event stream."""

    lines: AsyncIterator[str]
    comments: list[str] = field(default_factory=list)
    last_id: str = ""
    retry_ms: int = 0

    async def next(self) -> Event:
        name, data = "message", ""
        async for line in self.lines:
            if line.startswith(":"):
                self.comments.append(line)
            elif not line and data:
                return Event(name, json.loads(data), self.last_id)
            elif line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data += line[6:]
            elif line.startswith("id: "):
                self.last_id = line[4:]
            elif line.startswith("retry: "):
                self.retry_ms = int(line[7:])
        raise EOFError

    async def take(self, number: int) -> list[Event]:
        return [await self.next() for _ in range(number)]

    async def until_end(self) -> None:
        while True:
            try:
                await self.next()
            except (EOFError, httpx.RemoteProtocolError):
                return


@asynccontextmanager
async def following(
    client: httpx.AsyncClient, *, last_event_id: str | None = None, **params: Any
) -> AsyncIterator[Follower]:
    headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
    async with (
        asyncio.timeout(DEADLINE_S),
        client.stream("GET", PATH, params=params, headers=headers) as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Follower(response.aiter_lines())


async def test_says_hello_then_tells_what_happens(viewer: httpx.AsyncClient, store: Store) -> None:
    await store(make(b"before"))
    async with following(viewer) as follower:
        hello = await follower.next()
        assert (hello.name, hello.id) == ("connected", "1")
        assert hello.data["client_id"]
        assert 2000 <= follower.retry_ms <= 3000
        (row,) = await store(make(b"after"))
        event = await follower.next()
    assert (event.name, event.id, event.data["id"]) == ("anomaly", "2", str(row.id))
    assert event.data == {
        k: v for k, v in (await viewer.get(f"/v1/anomalies/{row.id}")).json().items() if k != "status_history"
    }


async def test_reports_and_status_changes_are_broadcast(
    writer: httpx.AsyncClient, analyst: httpx.AsyncClient, viewer: httpx.AsyncClient
) -> None:
    report = {"stream_type": "llm", "stream": "a", "service": "a", "severity": "low"}
    async with following(viewer) as follower:
        await follower.next()
        made = await writer.post("/v1/anomalies", json={"timestamp": "2026-01-01T00:00:00Z", **report})
        told = await follower.next()
        assert (told.name, told.data["id"]) == ("anomaly", made.json()["id"])
        change = {"status": "dismissed", "reason": "known"}
        await analyst.patch(f"/v1/anomalies/{told.data['id']}/status", json=change)
        changed = await follower.next()
    assert (changed.name, changed.data["anomaly_id"]) == ("status", told.data["id"])
    assert (changed.data["previous_status"], changed.data["status"]) == ("pending", "dismissed")
    assert (changed.data["changed_by"], changed.data["reason"]) == ("analyst", "known")


async def test_the_course_of_an_episode_is_told_and_only_what_is_news(
    viewer: httpx.AsyncClient, store: Store, conn: asyncpg.Connection
) -> None:
    def course(units: int, *, is_open: bool = True) -> Episode:
        end = NOW + timedelta(minutes=units)
        return Episode(
            open=is_open, units=units, window_end=end, log_position=9, peak_score=60.0 + units, lowest_p=0.002
        )

    async def follow(row: NewAnomaly, episode: Episode, tenant_id: str = TENANT_DEFAULT) -> bool:
        async with conn.transaction():
            return await anomalies.follow_episode(conn, row.id, row.timestamp, episode, tenant_id=tenant_id)

    async with following(viewer) as follower:
        await follower.next()
        row, without = await store(make(b"1", episode=course(1)), make(b"2"))
        first, second = await follower.take(2)
        assert first.data["episode"]["open"] is True
        assert second.data["episode"] is None
        told = [course(2), course(8), course(4), course(8), course(9, is_open=False), course(16)]
        assert [await follow(row, one) for one in told] == [True, True, False, False, True, False]
        assert not await follow(without, course(2))
        assert not await follow(row, course(99), "other")
        grown = await follower.take(3)
    assert [e.name for e in grown] == ["episode"] * 3
    assert {(e.data["anomaly_id"], e.data["stream"]) for e in grown} == {(str(row.id), row.stream)}
    assert [(e.data["episode"]["units"], e.data["episode"]["open"]) for e in grown] == [
        (2, True), (8, True), (9, False),
    ]  # fmt: skip
    now = (await viewer.get(f"/v1/anomalies/{row.id}")).json()
    assert now["episode"] == grown[-1].data["episode"]
    assert now["episode"]["window_end"] == (NOW + timedelta(minutes=9)).isoformat().replace("+00:00", "Z")
    assert now["revision"] == grown[-1].data["revision"] == 4


async def test_resumes_by_header_or_parameter(viewer: httpx.AsyncClient, store: Store) -> None:
    await store(*(make(b"%d" % n) for n in range(5)))
    for resume in ({"after": 2}, {"last_event_id": "2"}, {"after": 0, "last_event_id": "2"}):
        async with following(viewer, **resume) as follower:
            events = await follower.take(4)
        assert [(e.name, e.id) for e in events] == [
            ("connected", "2"), ("anomaly", "3"), ("anomaly", "4"), ("anomaly", "5"),
        ]  # fmt: skip


async def test_filters_apply(viewer: httpx.AsyncClient, analyst: httpx.AsyncClient, store: Store) -> None:
    async with following(viewer, severity=["critical", "low"], status="pending", q="CHECK") as follower:
        await follower.next()
        rows = await store(
            make(b"1", severity="high"),
            make(b"2", severity="low"),
            make(b"3", severity="low", stream="other", service="other"),
            make(b"4", severity="critical"),
        )
        events = await follower.take(2)
        assert [(e.data["id"], e.id) for e in events] == [(str(rows[1].id), "2"), (str(rows[3].id), "4")]
        # it leaves this view: a client that shows pending ones must be told
        await analyst.patch(f"/v1/anomalies/{rows[0].id}/status", json={"status": "resolved"})
        await analyst.patch(f"/v1/anomalies/{rows[1].id}/status", json={"status": "resolved"})
        left = await follower.next()
        assert (left.name, left.data["anomaly_id"]) == ("status", str(rows[1].id))


async def test_other_tenants_hear_nothing(viewer: httpx.AsyncClient, store: Store) -> None:
    async with following(viewer) as follower:
        await follower.next()
        await store(make(b"theirs", tenant_id="other"))
        (ours,) = await store(make(b"ours"))
        assert (await follower.next()).data["id"] == str(ours.id)


async def test_refuses_before_the_stream_begins(viewer: httpx.AsyncClient) -> None:
    for params in ({"after": -1}, {"after": "x"}, {"after": 2**63}, {"severity": "huge"}):
        problem(await viewer.get(PATH, params=params), 400, "validation")
    for header in ("x", "-1", "1.5", str(2**63), "9" * 100, "0" * 5000):
        problem(await viewer.get(PATH, headers={"Last-Event-ID": header}), 400, "validation")
    problem(await viewer.get(PATH, params={"limit": 5}), 400, "unknown-parameter")


async def test_a_position_that_is_gone_asks_to_resync(
    viewer: httpx.AsyncClient, store: Store, conn: asyncpg.Connection
) -> None:
    await store(*(make(b"%d" % n) for n in range(6)))
    await feed.prune(conn, created_before=datetime.now(UTC) - timedelta(days=1), entries_max=3)
    async with following(viewer, after=2) as follower:
        hello, resync = await follower.take(2)
        assert (hello.name, resync.name, resync.id) == ("connected", "resync", "6")
        assert resync.data == {"reason": "gone", "position": 6}
        (row,) = await store(make(b"new"))
        assert (await follower.next()).data["id"] == str(row.id)
    async with following(viewer, after=3) as follower:
        assert [e.id for e in await follower.take(5)] == ["3", "4", "5", "6", "7"]


async def test_a_position_in_the_future_asks_to_resync(viewer: httpx.AsyncClient, store: Store) -> None:
    await store(make(b"1"))
    async with following(viewer, after=99) as follower:
        events = await follower.take(2)
    assert (events[1].name, events[1].data) == ("resync", {"reason": "future", "position": 1})


async def test_heartbeats_are_comments_that_move_the_id(
    start: Start, key_of: dict[str, str], store: Store
) -> None:
    api = await start(heartbeat_s=0.05)
    async with api.client(key_of["viewer"]) as client, following(client, severity="low") as follower:
        await follower.next()
        await store(make(b"not low"))
        async for line in follower.lines:
            if line == "id: 1":
                break
            assert line in ("", ": heartbeat", "id: 0")


async def test_connections_are_bounded(start: Start, key_of: dict[str, str]) -> None:
    api = await start(sse_connections_max=2)
    async with api.client(key_of["viewer"]) as client:
        async with following(client) as first, following(client) as second:
            await first.next()
            await second.next()
            refused = await client.get(PATH)
            problem(refused, 503, "too-many-streams")
            assert int(refused.headers["retry-after"]) > 0
            assert "driftlock_active_sse_connections 2.0" in (await client.get("/metrics")).text
        async with asyncio.timeout(DEADLINE_S):
            while (await client.get("/metrics")).text.find("driftlock_active_sse_connections 0.0") < 0:
                await asyncio.sleep(0.02)
        async with following(client) as third:
            await third.next()


async def _dropped(client: httpx.AsyncClient, reason: str) -> float:
    name = f'driftlock_sse_clients_dropped_total{{reason="{reason}"}} '
    text = (await client.get("/metrics")).text
    return next((float(line[len(name) :]) for line in text.splitlines() if line.startswith(name)), 0.0)


async def test_a_slow_client_is_cut_off_and_counted(
    start: Start, key_of: dict[str, str], store: Store
) -> None:
    api = await start(sse_send_timeout_s=0.3)
    host, port = api.settings.host, api.settings.port
    async with api.client(key_of["viewer"]) as client:
        before = await _dropped(client, "write_timeout")
        reader, writer = await asyncio.open_connection(host, port, limit=1024)
        writer.write(
            f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of['viewer']}\r\n\r\n".encode()
        )
        await reader.readuntil(b"event: connected")
        # it never reads again: the kernel's buffers fill, then the server's one, then time runs out
        filler = {"detailed_explanation": {"text": "x" * 500_000}}
        async with asyncio.timeout(DEADLINE_S):
            number = 0
            while await _dropped(client, "write_timeout") == before:
                await store(make(b"%d" % number, **filler))
                number += 1
            while "driftlock_active_sse_connections 0.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.02)
        writer.transport.abort()


async def test_events_beyond_the_ring_come_from_the_database(
    start: Start, key_of: dict[str, str], store: Store
) -> None:
    api = await start(sse_ring_events_max=4)
    await store(*(make(b"%d" % n) for n in range(40)))
    async with api.client(key_of["viewer"]) as client, following(client, after=0) as late:
        assert [e.id for e in (await late.take(41))[1:]] == [str(n) for n in range(1, 41)]


async def _write(url: str, writer: int, commits: int) -> set[str]:
    rng, made = random.Random(writer), set()
    conn = await pool.connect(url, name="writer")
    for number in range(commits):
        rows = [make(b"%d/%d/%d" % (writer, number, i)) for i in range(rng.randint(1, 5))]
        async with conn.transaction():
            await anomalies.insert(conn, rows)
            await asyncio.sleep(rng.random() * 0.005)
        made |= {str(row.id) for row in rows}
    await conn.close()
    return made


async def _follow_with_breaks(
    replicas: list[httpx.AsyncClient], seed: int, enough: Callable[[], int | None]
) -> list[Event]:
    """A client that loses its connection again and again, each time coming back to any replica."""
    rng, seen, last_id = random.Random(seed), list[Event](), "0"
    while enough() is None or len(seen) < (enough() or 0):
        async with following(rng.choice(replicas), last_event_id=last_id) as follower:
            assert (await follower.next()).name == "connected"
            for _ in range(rng.randint(1, 15)):
                if enough() is not None and len(seen) >= (enough() or 0):
                    break
                try:
                    event = await asyncio.wait_for(follower.next(), 0.5)
                except (TimeoutError, EOFError, httpx.RemoteProtocolError):
                    break  # nothing new, or cut off for being behind the ring: both may happen any time
                seen.append(event)
                last_id = event.id
    return seen


async def test_no_gap_and_no_duplicate_under_concurrent_writers_and_breaks(
    start: Start, key_of: dict[str, str], database_url: str
) -> None:
    # a tiny ring sends some resumptions to the database and some to memory
    one, two = [await start(sse_ring_events_max=size) for size in (8, 4096)]
    total: list[int] = []
    async with one.client(key_of["viewer"]) as first, two.client(key_of["viewer"]) as second:
        followers = [
            asyncio.create_task(
                _follow_with_breaks([first, second], seed, lambda: total[0] if total else None)
            )
            for seed in range(4)
        ]
        made = set[str]().union(*await asyncio.gather(*(_write(database_url, n, 15) for n in range(5))))
        total.append(len(made))
        for seen in await asyncio.gather(*followers):
            assert [event.name for event in seen] == ["anomaly"] * len(made)
            assert [int(event.id) for event in seen] == list(range(1, len(made) + 1))
            assert {event.data["id"] for event in seen} == made


async def test_survives_the_loss_of_its_listening_connection(
    api: Api, viewer: httpx.AsyncClient, store: Store, conn: asyncpg.Connection
) -> None:
    async with following(viewer) as follower:
        await follower.next()
        killed = await conn.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'driftlock-api-feed' AND datname = current_database()"
        )
        assert killed == 1
        await store(make(b"1"), make(b"2"))
        assert [e.id for e in await follower.take(2)] == ["1", "2"]


async def test_many_clients_hear_the_same(api: Api, key_of: dict[str, str], store: Store) -> None:
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {key_of['viewer']}"}
    async with httpx.AsyncClient(base_url=api.url, headers=headers, limits=limits, timeout=60) as client:
        joined, go = asyncio.Semaphore(0), asyncio.Event()

        async def follow() -> list[str]:
            async with following(client) as follower:
                await follower.next()
                joined.release()
                await go.wait()
                return [event.id for event in await follower.take(5)]

        tasks = [asyncio.create_task(follow()) for _ in range(100)]
        for _ in tasks:
            await joined.acquire()
        await store(*(make(b"%d" % n) for n in range(5)))
        go.set()
        assert await asyncio.gather(*tasks) == [["1", "2", "3", "4", "5"]] * 100
