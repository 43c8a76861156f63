"""The telemetry log against a real NATS server, which gets killed."""

from __future__ import annotations

import asyncio
import contextlib

import nats
import pytest

from driftlock.bus.envelope import STREAM_NAME, Envelope, subject
from driftlock.bus.log import Append, TelemetryLog
from driftlock.bus.reader import Reader
from driftlock.errors import StartError, TooLargeError, UnavailableError
from integration.bus.natsserver import NatsServer, free_port


def envelope(number: int, *, size: int = 0) -> Envelope:
    payload = f"message {number} ".encode() + b"x" * size
    return Envelope(
        kind="logs", tenant="default", received_ns=1_700_000_000_000_000_000 + number, payload=payload
    )


async def append(log: TelemetryLog, number: int, *, partition: int = 3, size: int = 0) -> int:
    return await log.append(
        partition, envelope(number, size=size), message_id=f"{partition}-{number}", timeout_s=30
    )


async def take(reader: Reader, count: int, *, seconds: float = 60) -> list[Envelope]:
    taken: list[Envelope] = []
    async with asyncio.timeout(seconds):
        while len(taken) < count:
            taken += await anext(reader)
    return taken


def numbers(envelopes: list[Envelope]) -> list[int]:
    return [int(e.payload.split()[1]) for e in envelopes]


async def test_what_was_appended_is_read_in_order_with_all_its_fields(log: TelemetryLog) -> None:
    positions = [await append(log, n) for n in range(200)]
    async with await log.read(3, after=0) as reader:
        read = await take(reader, 200)
    assert numbers(read) == list(range(200))
    assert [e.position for e in read] == positions
    assert read[7] == Envelope(
        kind="logs",
        tenant="default",
        received_ns=1_700_000_000_000_000_007,
        payload=b"message 7 ",
        position=8,
    )


async def test_reading_starts_after_a_position_and_keeps_to_its_partition(log: TelemetryLog) -> None:
    positions = [await append(log, n, partition=n % 2) for n in range(100)]
    async with await log.read(1, after=positions[51]) as reader:
        assert numbers(await take(reader, 24)) == list(range(53, 100, 2))
        await append(log, 500, partition=0)
        await append(log, 501, partition=1)
        assert numbers(await take(reader, 1)) == [501]


async def test_a_reader_that_waits_gets_an_empty_list_then_the_new_message(log: TelemetryLog) -> None:
    async with await log.read(3, after=0, wait_s=0.05) as reader:
        assert await anext(reader) == []
        assert await anext(reader) == []
        await append(log, 1)
        assert numbers(await take(reader, 1)) == [1]


async def test_a_message_id_is_appended_once(log: TelemetryLog) -> None:
    first = await append(log, 1)
    assert await append(log, 1) == first
    assert (await log.state()).messages == 1


async def test_a_message_id_is_appended_once_even_over_a_crash(
    log: TelemetryLog, nats_server: NatsServer
) -> None:
    first = await append(log, 1)
    nats_server.restart()
    assert await append(log, 1) == first
    assert (await log.state()).messages == 1


async def test_append_many_keeps_the_order_of_each_partition(log: TelemetryLog) -> None:
    parts = [Append(partition=n % 4, envelope=envelope(n), message_id=f"id-{n}") for n in range(40)]
    positions = await log.append_many(parts, timeout_s=10)
    for partition in range(4):
        async with await log.read(partition, after=0) as reader:
            read = await take(reader, 10)
        assert numbers(read) == list(range(partition, 40, 4))
        assert [e.position for e in read] == positions[partition::4]


async def test_killed_midway_loses_nothing_and_repeats_nothing(
    log: TelemetryLog, nats_server: NatsServer
) -> None:
    total = 1500
    positions: list[int] = []

    async def write() -> None:
        for n in range(total):
            positions.append(await append(log, n, size=2000))  # noqa: PERF401  # the reader looks meanwhile

    async with await log.read(3, after=0, wait_s=0.2, batch=16, prefetch_bytes=64 * 1024) as reader:
        writing = asyncio.create_task(write())
        read: list[Envelope] = []
        for stop_at in (300, 700, 1100):
            while len(read) < stop_at:
                read += await anext(reader)
            await asyncio.to_thread(nats_server.restart)
        read += await take(reader, total - len(read), seconds=120)
        await writing
        assert numbers(read) == list(range(total))
        assert [e.position for e in read] == positions
        assert reader.gaps == []


async def test_a_forgotten_consumer_is_replaced(log: TelemetryLog, nats_server: NatsServer) -> None:
    async with await log.read(3, after=0, wait_s=0.1) as reader:
        await append(log, 1)
        assert numbers(await take(reader, 1)) == [1]
        connection = await nats.connect(nats_server.url)
        jetstream = connection.jetstream()
        for info in await jetstream.consumers_info(STREAM_NAME):
            await jetstream.delete_consumer(STREAM_NAME, info.name)
        await connection.close()
        await append(log, 2)
        assert numbers(await take(reader, 1)) == [2]


async def test_a_closed_reader_leaves_no_consumer_behind(log: TelemetryLog, nats_server: NatsServer) -> None:
    reader = await log.read(3, after=0, wait_s=0.1)
    assert await anext(reader) == []
    await reader.close()
    with pytest.raises(StopAsyncIteration):
        await anext(reader)
    connection = await nats.connect(nats_server.url)
    jetstream = connection.jetstream()
    async with asyncio.timeout(10):
        while await jetstream.consumers_info(STREAM_NAME):  # another process does it
            await asyncio.sleep(0.02)
    await connection.close()


async def test_what_the_bounds_discarded_is_told_as_a_gap(nats_server: NatsServer) -> None:
    log = await TelemetryLog.connect(nats_server.url, name="test")
    await log.ensure(bytes_max=200_000)
    for n in range(100):
        await append(log, n, size=10_000)
    first = await log.first_position()
    assert first > 50
    async with await log.read(3, after=10) as reader:
        read = await take(reader, 100 - first + 1)
        assert [(gap.after, gap.first) for gap in reader.gaps] == [(10, first)]
    assert read[0].position == first
    async with await log.read(3, after=first - 1) as reader:
        await take(reader, 1)
        assert reader.gaps == []
    await log.close()


async def test_a_reader_that_is_overtaken_tells_it(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftlock.bus.reader.GAP_CHECK_INTERVAL_S", 0.0)
    log = await TelemetryLog.connect(nats_server.url, name="test")
    await log.ensure(bytes_max=300_000)
    for n in range(20):
        await append(log, n, size=10_000)
    async with await log.read(3, after=0, batch=1, prefetch_bytes=1) as reader:
        assert numbers(await take(reader, 1)) == [0]
        for n in range(20, 100):
            await append(log, n, size=10_000)
        while numbers(await take(reader, 1)) != [99]:
            pass
        assert reader.gaps
        assert reader.gaps[0].first > reader.gaps[0].after + 1
    await log.close()


async def test_messages_that_others_wrote_are_counted_and_passed_over(
    log: TelemetryLog, nats_server: NatsServer
) -> None:
    connection = await nats.connect(nats_server.url)
    await connection.jetstream().publish(subject(3), b"hello")
    await connection.close()
    await append(log, 1)
    async with await log.read(3, after=0) as reader:
        assert numbers(await take(reader, 1)) == [1]
        assert reader.unreadable == 1


async def test_a_replaced_log_is_refused_rather_than_skipped(log: TelemetryLog) -> None:
    await append(log, 1)
    async with await log.read(3, after=1000) as reader:
        with pytest.raises(StartError, match="ends at position 1"):
            await take(reader, 1)


async def test_positions_and_state(log: TelemetryLog) -> None:
    state = await log.state()
    assert (state.messages, state.last) == (0, 0)
    assert await log.last_position(3) == 0
    await append(log, 1)
    await append(log, 2, partition=5)
    assert await log.last_position(3) == 1
    assert await log.last_position(5) == 2
    assert await log.first_position() == 1


async def test_ensure_adjusts_its_bounds_and_refuses_a_foreign_stream(nats_server: NatsServer) -> None:
    log = await TelemetryLog.connect(nats_server.url, name="test")
    await log.ensure(bytes_max=1 << 20)
    await log.ensure(bytes_max=1 << 21, age_max_s=60.0)
    connection = await nats.connect(nats_server.url)
    jetstream = connection.jetstream()
    config = (await jetstream.stream_info(STREAM_NAME)).config
    assert (config.max_bytes, config.max_age, config.duplicate_window) == (1 << 21, 60.0, 60.0)
    await jetstream.delete_stream(STREAM_NAME)
    await jetstream.add_stream(name=STREAM_NAME, subjects=["something.else"])
    with pytest.raises(StartError, match="other subjects"):
        await log.ensure(bytes_max=1 << 20)
    await connection.close()
    await log.close()


async def test_an_append_with_nats_away_fails_within_its_bound(
    log: TelemetryLog, nats_server: NatsServer
) -> None:
    nats_server.kill()
    with pytest.raises(UnavailableError):
        await log.append(3, envelope(1), message_id="a", timeout_s=0.5)
    nats_server.start()
    assert await append(log, 2) == 1


async def test_an_append_waits_for_nats_to_come_back(log: TelemetryLog, nats_server: NatsServer) -> None:
    nats_server.kill()
    waiting = asyncio.create_task(append(log, 1))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await asyncio.to_thread(nats_server.start)
    assert await waiting == 1


async def test_a_message_too_large_for_the_server_is_refused(log: TelemetryLog) -> None:
    with pytest.raises(TooLargeError):
        await append(log, 1, size=9 * 1024 * 1024)
    assert log.payload_bytes_max < 8 * 1024 * 1024
    assert await append(log, 2, size=log.payload_bytes_max - 100) == 1


async def test_no_server_and_wrong_credentials_get_one_sentence(nats_server: NatsServer) -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await TelemetryLog.connect(f"nats://127.0.0.1:{free_port()}", name="test", timeout_s=0.5)
    wrong = nats_server.url.replace("token@", "wrong@")
    with pytest.raises(UnavailableError, match="Authorization") as refusal:
        await TelemetryLog.connect(wrong, name="test", timeout_s=3)
    assert "wrong@" not in refusal.value.message


async def test_a_client_that_gave_up_is_replaced(log: TelemetryLog) -> None:
    async with await log.read(3, after=0, wait_s=0.1) as reader:
        await append(log, 1)
        assert numbers(await take(reader, 1)) == [1]
        # What nats-py does on a protocol error: it closes for good.
        with contextlib.suppress(Exception):
            await log._link.client.close()
        await append(log, 2)
        assert numbers(await take(reader, 1)) == [2]


async def test_many_lagging_readers_do_not_get_the_connection_dropped(log: TelemetryLog) -> None:
    """Together they could ask for more than the server's 64 MiB of pending data a connection."""
    for n in range(12 * 16):
        await append(log, n, partition=n % 16, size=500_000)
    readers = [await log.read(partition, after=0) for partition in range(16)]
    lists = await asyncio.gather(*(take(reader, 12) for reader in readers))
    assert [numbers(read) for read in lists] == [list(range(p, 192, 16)) for p in range(16)]
    assert log._link.generation == 1
    for reader in readers:
        await reader.close()


async def test_a_message_larger_than_the_prefetch_bound_is_read(log: TelemetryLog) -> None:
    await append(log, 1, size=3_000_000)
    await append(log, 2, size=10)
    async with await log.read(3, after=0, prefetch_bytes=1000) as reader:
        assert numbers(await take(reader, 2)) == [1, 2]
