"""`driftlock send` against a real collector and a real log."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zstandard
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from driftlock.cli.main import main
from driftlock.cli.send import line_time_ns, send, severity
from driftlock.errors import InputError, TooLargeError, UnavailableError, UsageError
from integration.bus.natsserver import NatsServer, free_port
from integration.collector.running import Collector, running


def lines(count: int) -> list[str]:
    return [f"2026-01-02 03:04:05 INFO line {n}" for n in range(count)]


async def sent(collector: Collector, path: Path | str, **options: object) -> None:
    await asyncio.to_thread(send, str(path), service="shop", endpoint=collector.url, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("packed", ["plain", "gz", "zst"])
async def test_a_file_is_sent_in_order_whatever_it_is_packed_in(
    collector: Collector, tmp_path: Path, packed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("\r\n".join(lines(1200)) + "\n\n\nlast without end").encode()
    pack = {"plain": bytes, "gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}[packed]
    path = tmp_path / "app.log"  # told by content, not by name
    path.write_bytes(pack(data))
    await sent(collector, path)
    assert await collector.log_bodies() == [*lines(1200), "last without end"]
    assert "Sent 1,201 lines of shop" in capsys.readouterr().out


async def test_what_a_record_carries(collector: Collector, tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(b"2026-01-02T03:04:05.5Z ERROR caf\xe9 \x00 is broken\nplain\n")
    await sent(collector, path, attribute=("env=prod",), timestamps="parse")
    (envelope,) = await collector.logged()
    resource = ExportLogsServiceRequest.FromString(envelope.payload).resource_logs[0]
    attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
    assert attributes == {"service.name": "shop", "env": "prod"}
    first, second = resource.scope_logs[0].log_records
    assert (first.severity_number, first.time_unix_nano) == (17, 1_767_323_045_500_000_000)
    assert first.body.string_value == "2026-01-02T03:04:05.5Z ERROR caf\ufffd \x00 is broken"
    assert (second.severity_number, second.time_unix_nano) == (0, 0)


async def test_standard_input_is_sent_before_it_ends(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stdin, os.fdopen(writing, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdin", stdin)
        task = asyncio.create_task(sent(collector, "-"))
        pipe.write(b"one\ntwo\n")
        async with asyncio.timeout(30):
            while (await collector.log.state()).messages == 0:
                await asyncio.sleep(0.05)
        assert await collector.log_bodies() == ["one", "two"]
        pipe.write(b"three\nfo")
        await asyncio.sleep(0.1)
        pipe.write(b"ur")
        pipe.close()
        await task
    assert await collector.log_bodies() == ["one", "two", "three", "four"]


@contextlib.asynccontextmanager
async def losing_answers(port: int) -> AsyncIterator[str]:
    """A way to the collector on which every other answer gets lost."""
    count = 0
    open_ones: set[asyncio.Task[None] | None] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        open_ones.add(asyncio.current_task())
        lose = count % 2 == 1
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        forward = asyncio.create_task(copy(reader, upstream_writer))
        try:
            while data := await upstream_reader.read(65536):
                if lose:
                    break
                writer.write(data)
        finally:
            forward.cancel()
            await asyncio.gather(forward, return_exceptions=True)
            writer.close()
            upstream_writer.close()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)

    server = await asyncio.start_server(pass_on, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*(task for task in open_ones if task), return_exceptions=True)


async def test_lost_answers_repeat_nothing(collector: Collector, tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("\n".join(lines(60)))
    async with losing_answers(collector.http_port) as endpoint:
        first = asyncio.to_thread(send, str(path), service="shop", endpoint=endpoint, batch=20)
        await first
        await asyncio.to_thread(send, str(path), service="shop", endpoint=endpoint, batch=20)
    assert await collector.log_bodies() == lines(60) * 2


async def test_restarts_of_collector_and_nats_lose_and_repeat_nothing(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    path = tmp_path / "app.log"
    path.write_text("\n".join(lines(6000)))
    ports = {"grpc_port": free_port(), "http_port": free_port()}
    async with running(nats_server.url, append_timeout_s=0.3, **ports) as collector:
        sending = asyncio.create_task(sent(collector, path, batch=100, rate=3000))
        await asyncio.sleep(0.5)
        nats_server.kill()
        await asyncio.sleep(0.6)
        await asyncio.to_thread(nats_server.start)
        await asyncio.sleep(0.3)
    await asyncio.sleep(0.3)
    assert not sending.done()
    async with running(nats_server.url, **ports) as collector:
        await sending
        assert await collector.log_bodies() == lines(6000)


async def test_refusals_are_one_sentence(collector: Collector, tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("a\n")
    away = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match="did not take the lines"):
        await asyncio.to_thread(send, str(path), service="s", endpoint=away, patience=0.1)
    with pytest.raises(UsageError, match="not an address"):
        await asyncio.to_thread(send, str(path), service="s", endpoint="nonsense")
    with pytest.raises(UsageError, match="NAME=VALUE"):
        await sent(collector, path, attribute=("x",))
    with pytest.raises(InputError, match="cannot be opened"):
        await sent(collector, tmp_path / "missing.log")
    with pytest.raises(InputError, match="Is a directory"):
        await sent(collector, tmp_path)
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(os.urandom(5000))[:-2000])
    with pytest.raises(InputError, match="cannot be read"):
        await sent(collector, cut)


async def test_a_request_too_large_is_told(nats_url: str, tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("x" * 5000)
    async with running(nats_url, request_bytes_max=1000) as collector:
        with pytest.raises(TooLargeError, match="size"):
            await sent(collector, path)


def test_the_command_ends_with_the_status_of_its_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["send", str(tmp_path / "missing.log"), "--service", "shop"])
    assert end.value.code == InputError.exit_code
    assert "cannot be opened" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"INFO ready", 9),
        (b"2026-01-02 [error] x", 17),
        (b"081109 203530 148 WARN dfs.DataNode: x", 13),
        (b"<warning> x", 13),
        (b"F0101 FATAL: x", 21),
        (b"no level here", 0),
        (b"an information-less error-free preinfo line", 0),
        (b"x" * 200 + b" ERROR", 0),
    ],
)
def test_severity_is_guessed_from_the_beginning_of_a_line(line: bytes, expected: int) -> None:
    assert severity(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"1970-01-01 00:00:01 x", 10**9),
        (b"[1970-01-01T01:00:00.25+01:00] x", 250_000_000),
        (b"1970-01-01 00:00:00,123456789 x", 123_456_000),
        (b"1970-13-01 00:00:00 x", 0),
        (b"no time", 0),
        (b"1950-01-01 00:00:00 x", 0),
    ],
)
def test_the_time_of_a_line(line: bytes, expected: int) -> None:
    assert line_time_ns(line) == expected
