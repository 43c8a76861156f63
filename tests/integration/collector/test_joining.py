"""Parts of several requests share a message when they meet at a partition, and share its fate."""

from __future__ import annotations

import asyncio

import pytest

from driftlock.bus.log import TelemetryLog
from driftlock.collector.joining import JOINED_BYTES_MAX, Joiner
from driftlock.errors import UnavailableError
from integration.bus.natsserver import NatsServer
from integration.collector import requests
from integration.collector.running import NOW_NS, Collector

REQUESTS = 200


def joiner(log: TelemetryLog, timeout_s: float = 5.0) -> Joiner:
    numbers = iter(range(1_000_000))
    return Joiner(
        log, tenant="t", timeout_s=timeout_s, now_ns=lambda: NOW_NS, new_id=lambda: f"id-{next(numbers)}"
    )


async def test_requests_that_meet_share_messages_and_lose_nothing(collector: Collector) -> None:
    join = joiner(collector.log)
    sent = [requests.logs(f"{number} first", f"{number} second") for number in range(REQUESTS)]
    await asyncio.gather(*(join.append("logs", [(1, body)]) for body in sent))
    bodies = await collector.log_bodies()
    assert bodies == [f"{number} {word}" for number in range(REQUESTS) for word in ("first", "second")]
    assert len(await collector.logged()) < REQUESTS / 10


async def test_messages_of_a_partition_are_spaced_while_several_wait(collector: Collector) -> None:
    join = joiner(collector.log)

    async def client(name: str) -> None:
        for number in range(40):
            await join.append("logs", [(1, requests.logs(f"{name} {number}"))])

    await asyncio.gather(*(client(name) for name in "abcdefgh"))
    bodies = await collector.log_bodies()
    assert len(bodies) == 8 * 40
    for name in "abcdefgh":
        assert [b for b in bodies if b.startswith(name)] == [f"{name} {number}" for number in range(40)]
    assert len(await collector.logged()) < 8 * 40 / 4


async def test_one_client_that_waits_for_its_answers_shares_no_message(collector: Collector) -> None:
    join = joiner(collector.log)
    for number in range(40):
        await join.append("logs", [(1, requests.logs(str(number)))])
    assert len(await collector.logged()) == 40


async def test_one_request_alone_is_a_message_of_each_of_its_partitions(collector: Collector) -> None:
    await joiner(collector.log).append("logs", [(n, requests.logs(str(n))) for n in range(4)])
    assert len(await collector.logged()) == 4


async def test_kinds_and_partitions_are_not_mixed(collector: Collector) -> None:
    join = joiner(collector.log)
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(join.append("logs", [(number % 2, requests.logs("a"))]))
            group.create_task(join.append("metrics", [(number % 2, requests.metrics())]))
    logged = await collector.logged()
    assert sum(e.payload.count(requests.logs("a")) for e in logged if e.kind == "logs") == 20
    assert sum(e.payload.count(requests.metrics()) for e in logged if e.kind == "metrics") == 20


async def test_a_joined_message_is_bounded_and_a_larger_part_goes_alone(collector: Collector) -> None:
    join = joiner(collector.log)
    small, large = requests.logs("x" * (JOINED_BYTES_MAX // 4)), requests.logs("y" * (JOINED_BYTES_MAX * 2))
    parts = [small] * 10 + [large] + [small] * 10
    await asyncio.gather(*(join.append("logs", [(1, part)]) for part in parts))
    sizes = [len(envelope.payload) for envelope in await collector.logged()]
    assert sum(sizes) == sum(map(len, parts))
    assert [size for size in sizes if size > JOINED_BYTES_MAX] == [len(large)]


async def test_all_who_wait_are_refused_in_time_when_the_log_is_away(nats_server: NatsServer) -> None:
    log = await TelemetryLog.connect(nats_server.url, name="test")
    try:
        await log.ensure(bytes_max=1 << 30)
        join = joiner(log, timeout_s=0.5)
        nats_server.kill()
        waiting = [asyncio.ensure_future(join.append("logs", [(1, requests.logs("a"))])) for _ in range(20)]
        async with asyncio.timeout(5.0):
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {UnavailableError}
        nats_server.start()
        await asyncio.wait_for(joiner(log).append("logs", [(1, requests.logs("b"))]), 10.0)
    finally:
        await log.close()


async def test_a_client_that_goes_away_takes_nothing_of_others_with_it(collector: Collector) -> None:
    join = joiner(collector.log)
    waiting = [asyncio.ensure_future(join.append("logs", [(1, requests.logs(str(n)))])) for n in range(30)]
    await asyncio.sleep(0)
    waiting[7].cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [n for n, outcome in enumerate(outcomes) if outcome is not None] == [7]
    assert isinstance(outcomes[7], asyncio.CancelledError)
    assert set(map(str, range(30))) - {"7"} <= set(await collector.log_bodies())


@pytest.mark.parametrize("key", ["", "once"])
async def test_only_requests_without_a_key_share_messages(collector: Collector, key: str) -> None:
    metadata = (("idempotency-key", key),) if key else ()
    body = requests.logs("again")
    await asyncio.gather(*(collector.call("logs", body, metadata=metadata) for _ in range(5)))
    assert (await collector.log_bodies()).count("again") == (1 if key else 5)
