"""OTLP over HTTP, line by line of the specification's demands, against a real log."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from driftlock.bus.log import TelemetryLog
from driftlock.errors import TooLargeError
from driftlock.http_protocol import HEAD_BYTES_MAX
from integration.collector import requests
from integration.collector.running import NOW_NS, Collector, running

PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}
GZIP = {"content-encoding": "gzip"}
HELLO_JSON = {
    "resourceLogs": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
            "scopeLogs": [
                {"logRecords": [{"timeUnixNano": "1", "severityNumber": 9, "body": {"stringValue": "hello"}}]}
            ],
        }
    ]
}


@pytest.mark.parametrize("kind", ["logs", "metrics", "traces"])
async def test_protobuf_is_acknowledged_once_the_log_has_it(
    collector: Collector, client: httpx.AsyncClient, kind: str
) -> None:
    answer = await client.post(f"/v1/{kind}", content=requests.ALL[kind], headers=PROTOBUF)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-protobuf"
    assert answer.content == b"", "partial_success is unset"
    (envelope,) = await collector.logged()
    assert envelope.kind == kind
    assert envelope.payload == requests.ALL[kind]
    assert envelope.received_ns == NOW_NS
    assert envelope.tenant == "default"


async def test_json_is_answered_in_json(collector: Collector, client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/logs",
        content=json.dumps(HELLO_JSON),
        headers={"content-type": "application/json; charset=utf-8"},
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {}
    assert await collector.log_bodies() == ["hello"]


@pytest.mark.parametrize("headers", [PROTOBUF, JSON])
async def test_gzip_of_both_forms(
    collector: Collector, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    body = requests.logs("hello") if headers is PROTOBUF else json.dumps(HELLO_JSON).encode()
    answer = await client.post("/v1/logs", content=gzip.compress(body), headers={**headers, **GZIP})
    assert answer.status_code == 200
    assert await collector.log_bodies() == ["hello"]


async def test_gzip_of_several_members(collector: Collector, client: httpx.AsyncClient) -> None:
    body = requests.logs("hello")
    packed = gzip.compress(body[:10]) + gzip.compress(body[10:])
    answer = await client.post("/v1/logs", content=packed, headers={**PROTOBUF, **GZIP})
    assert answer.status_code == 200
    assert await collector.log_bodies() == ["hello"]


async def test_chunked_bodies(collector: Collector, client: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        body = gzip.compress(requests.logs("a", "b"))
        for start in range(0, len(body), 7):
            yield body[start : start + 7]
            await asyncio.sleep(0)

    answer = await client.post("/v1/logs", content=pieces(), headers={**PROTOBUF, **GZIP})
    assert answer.status_code == 200
    assert await collector.log_bodies() == ["a", "b"]


@pytest.mark.parametrize("kind", ["logs", "metrics", "traces"])
async def test_an_empty_request_succeeds(collector: Collector, client: httpx.AsyncClient, kind: str) -> None:
    for content, headers in ((b"", PROTOBUF), (b"{}", JSON)):
        answer = await client.post(f"/v1/{kind}", content=content, headers=headers)
        assert answer.status_code == 200
    assert await collector.logged() == []


async def test_partial_success_tells_how_many_and_why(
    collector: Collector, client: httpx.AsyncClient
) -> None:
    answer = await client.post("/v1/traces", content=requests.traces(good=2, bad=3), headers=PROTOBUF)
    assert answer.status_code == 200
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 3
    assert "trace_id" in partial.error_message
    assert len(await collector.logged()) == 1


@pytest.mark.parametrize(
    "body", [b"\xff\xff\xff", requests.logs("hello")[:-3], b"\x0a\x05ab"], ids=["noise", "cut", "short"]
)
async def test_malformed_protobuf_is_refused_for_good(
    collector: Collector, client: httpx.AsyncClient, body: bytes
) -> None:
    answer = await client.post("/v1/logs", content=body, headers=PROTOBUF)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/x-protobuf"
    status = Status.FromString(answer.content)
    assert status.code == 3
    assert status.message
    assert "retry-after" not in answer.headers
    assert await collector.logged() == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"resourceLogs": 1}',
        b"\xff{}",
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    ],
    ids=["cut", "list", "type", "utf8", "deep-open", "deep"],
)
async def test_malformed_json_is_refused_in_json(
    collector: Collector, client: httpx.AsyncClient, body: bytes
) -> None:
    answer = await client.post("/v1/logs", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["code"] == 3
    assert answer.json()["message"]


async def test_deep_protobuf_is_refused(collector: Collector, client: httpx.AsyncClient) -> None:
    value = b"\x0a\x01x"  # AnyValue{string_value: "x"}
    for _ in range(3000):
        inner = b"\x0a" + _varint(len(value)) + value  # ArrayValue{values: [value]}
        value = b"\x2a" + _varint(len(inner)) + inner  # AnyValue{array_value}
    for field in (b"\x2a", b"\x12", b"\x12", b"\x0a"):  # body, log_records, scope_logs, resource_logs
        value = field + _varint(len(value)) + value
    answer = await client.post("/v1/logs", content=value, headers=PROTOBUF)
    assert answer.status_code == 400


async def test_invalid_utf8_is_refused_and_hostile_names_are_taken(
    collector: Collector, client: httpx.AsyncClient
) -> None:
    broken = requests.logs("hello").replace(b"hello", b"he\xffo!")
    assert (await client.post("/v1/logs", content=broken, headers=PROTOBUF)).status_code == 400
    for name in (
        "driftlock.otlp.>",
        "*",
        "a b\r\nNats-Msg-Id: x",
        "../../etc/passwd",
        "'; drop",
        "\x00",
        "𓂀" * 5000,
    ):
        taken = await client.post("/v1/logs", content=requests.logs("ok", service=name), headers=PROTOBUF)
        assert taken.status_code == 200
    assert await collector.log_bodies() == ["ok"] * 7


async def test_paths_methods_types_and_encodings(collector: Collector, client: httpx.AsyncClient) -> None:
    good = requests.logs("a")
    assert (await client.post("/v1/other", content=good, headers=PROTOBUF)).status_code == 404
    assert (await client.post("/v1/logs/", content=good, headers=PROTOBUF)).status_code == 404
    wrong = await client.get("/v1/logs")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    for content_type in ("text/plain", "application/grpc", ""):
        answer = await client.post("/v1/logs", content=good, headers={"content-type": content_type})
        assert answer.status_code == 415
    answer = await client.post("/v1/logs", content=good, headers={**PROTOBUF, "content-encoding": "br"})
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip")
    assert await collector.logged() == []


async def test_a_wrong_encoding_is_refused(collector: Collector, client: httpx.AsyncClient) -> None:
    good = requests.logs("a" * 200)
    plain_as_gzip = await client.post("/v1/logs", content=good, headers={**PROTOBUF, **GZIP})
    cut = await client.post("/v1/logs", content=gzip.compress(good)[:-12], headers={**PROTOBUF, **GZIP})
    gzip_as_plain = await client.post("/v1/logs", content=gzip.compress(good), headers=PROTOBUF)
    json_as_protobuf = await client.post("/v1/logs", content=b'{"a": 1}', headers=PROTOBUF)
    assert [a.status_code for a in (plain_as_gzip, cut, gzip_as_plain, json_as_protobuf)] == [400] * 4
    assert await collector.logged() == []


async def test_oversized_requests_get_413_before_and_after_decompression(nats_url: str) -> None:
    async with (
        running(nats_url, request_bytes_max=1 << 20) as collector,
        httpx.AsyncClient(base_url=collector.url) as client,
    ):
        large = requests.logs("x" * (2 << 20))

        async def chunked() -> AsyncIterator[bytes]:
            for start in range(0, len(large), 65536):
                yield large[start : start + 65536]

        told = await client.post("/v1/logs", content=large, headers=PROTOBUF)
        untold = await client.post("/v1/logs", content=chunked(), headers=PROTOBUF)
        packed = await client.post("/v1/logs", content=gzip.compress(large), headers={**PROTOBUF, **GZIP})
        for answer in (told, untold, packed):
            assert answer.status_code == 413
            assert Status.FromString(answer.content).code == 8
            assert "retry-after" not in answer.headers
        assert (
            await client.post("/v1/logs", content=requests.logs("a"), headers=PROTOBUF)
        ).status_code == 200
        assert await collector.log_bodies() == ["a"]


async def test_a_bomb_is_refused_at_the_bound(collector: Collector, client: httpx.AsyncClient) -> None:
    bomb = gzip.compress(bytes(200 << 20), 9)
    answer = await client.post("/v1/logs", content=bomb, headers={**PROTOBUF, **GZIP})
    assert answer.status_code == 413


async def test_requests_are_split_by_partition_and_by_size(nats_url: str) -> None:
    async with (
        running(nats_url, message_bytes_max=100_000) as collector,
        httpx.AsyncClient(base_url=collector.url) as client,
    ):
        services = b"".join(requests.logs(f"of {n}", service=f"service-{n}") for n in range(8))
        assert (await client.post("/v1/logs", content=services, headers=PROTOBUF)).status_code == 200
        assert 1 < len(await collector.logged()) <= 4
        many = requests.logs(*(f"{n} " + "y" * 900 for n in range(500)))
        assert (await client.post("/v1/logs", content=many, headers=PROTOBUF)).status_code == 200
        bodies = await collector.log_bodies()
        assert sorted(bodies[:8]) == [f"of {n}" for n in range(8)]
        assert [int(b.split()[0]) for b in bodies[8:]] == list(range(500))
        alone = requests.logs("z" * 200_000, "small")
        answer = await client.post("/v1/logs", content=alone, headers=PROTOBUF)
        partial = ExportLogsServiceResponse.FromString(answer.content).partial_success
        assert partial.rejected_log_records == 1
        assert (await collector.log_bodies())[-1] == "small"


async def test_an_idempotency_key_makes_a_resend_exact(
    collector: Collector, client: httpx.AsyncClient
) -> None:
    keyed = {**PROTOBUF, "idempotency-key": "k1"}
    for _ in range(3):
        assert (await client.post("/v1/logs", content=requests.logs("a"), headers=keyed)).status_code == 200
    packed = gzip.compress(requests.logs("a"))
    await client.post("/v1/logs", content=packed, headers={**keyed, **GZIP})
    assert await collector.log_bodies() == ["a"]
    await client.post("/v1/logs", content=requests.logs("other"), headers=keyed)
    await client.post("/v1/logs", content=requests.logs("a"), headers={**PROTOBUF, "idempotency-key": "k2"})
    assert await collector.log_bodies() == ["a", "other", "a"]


async def test_what_was_appended_only_in_part_is_refused_retryably_and_completed_by_a_resend(
    collector: Collector, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = b"".join(requests.logs(f"of {n}", service=f"service-{n}") for n in range(8))
    keyed = {**PROTOBUF, "idempotency-key": "k1"}
    append = TelemetryLog.append
    partitions: list[int] = []

    async def fail_the_second(self: TelemetryLog, partition: int, *args: Any, **more: Any) -> int:
        partitions.append(partition)
        if len(partitions) == 2:
            raise TooLargeError("the server's bound was lowered meanwhile")
        return await append(self, partition, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(TelemetryLog, "append", fail_the_second)
        answer = await client.post("/v1/logs", content=many, headers=keyed)
    assert len(set(partitions)) > 1
    assert answer.status_code == 503, "never 4xx after a part was accepted"
    assert 0 < len(await collector.log_bodies()) < 8
    assert (await client.post("/v1/logs", content=many, headers=keyed)).status_code == 200
    assert sorted(await collector.log_bodies()) == [f"of {n}" for n in range(8)]


async def test_equal_requests_without_a_key_are_two(collector: Collector, client: httpx.AsyncClient) -> None:
    for _ in range(2):
        await client.post("/v1/logs", content=requests.logs("a"), headers=PROTOBUF)
    assert await collector.log_bodies() == ["a", "a"]


async def test_beyond_the_bytes_in_flight_clients_are_told_to_retry(nats_url: str) -> None:
    async with (
        running(nats_url, inflight_bytes_max=300_000, body_idle_timeout_s=60) as collector,
        httpx.AsyncClient(base_url=collector.url, timeout=60) as client,
    ):
        release = asyncio.Event()
        held = asyncio.Event()
        body = requests.logs("x" * 250_000)

        async def slow() -> AsyncIterator[bytes]:
            yield body[:200_000]
            held.set()
            await release.wait()
            yield body[200_000:]

        first = asyncio.create_task(client.post("/v1/logs", content=slow(), headers=PROTOBUF))
        await held.wait()
        async with asyncio.timeout(30):
            while True:
                refused = await client.post("/v1/logs", content=body[:150_000], headers=PROTOBUF)
                if refused.status_code != 400:
                    break
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert Status.FromString(refused.content).code == 14
        release.set()
        assert (await first).status_code == 200
        assert (await client.post("/v1/logs", content=body, headers=PROTOBUF)).status_code == 200


async def test_a_client_that_dawdles_or_leaves_is_dropped(nats_url: str) -> None:
    async with (
        running(nats_url, body_idle_timeout_s=0.2) as collector,
        httpx.AsyncClient(base_url=collector.url, timeout=60) as client,
    ):
        head = (
            b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
            b"content-length: 100\r\n\r\nabc"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", collector.http_port)
        writer.write(head)
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        await reader.read()
        writer.close()
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", collector.http_port)
            writer.write(head)
            await writer.drain()
            writer.close()
        assert (
            await client.post("/v1/logs", content=requests.logs("a"), headers=PROTOBUF)
        ).status_code == 200
        assert await collector.log_bodies() == ["a"]


async def test_heads_that_do_not_end_are_cut_off_and_prompt_connections_stay(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("driftlock.http_protocol.HEAD_TIMEOUT_S", 0.3)
    body = requests.logs("a")
    request = (
        b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
        + f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    silent, silent_writer = await asyncio.open_connection("127.0.0.1", collector.http_port)
    dripping, dripping_writer = await asyncio.open_connection("127.0.0.1", collector.http_port)
    dripping_writer.write(request[:20])
    prompt, prompt_writer = await asyncio.open_connection("127.0.0.1", collector.http_port)
    for _ in range(3):
        prompt_writer.write(request)
        answer = await prompt.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        await asyncio.sleep(0.2)
    prompt_writer.write(request[:20])
    async with asyncio.timeout(30):
        assert await silent.read() == b""
        assert await dripping.read() == b""
        assert await prompt.read() == b""
    for writer in (silent_writer, dripping_writer, prompt_writer):
        writer.close()
    assert await collector.log_bodies() == ["a"] * 3


def _endless(start: bytes, more: bytes) -> bytes:
    """More than the bound, and not so much that the client still writes when it is refused."""
    return start + more * (HEAD_BYTES_MAX // len(more) + 1)


@pytest.mark.parametrize(
    "request_bytes",
    [
        _endless(b"GET /", b"a"),
        _endless(b"POST /v1/logs HTTP/1.1\r\nhost: x\r\nx: ", b"a"),
        _endless(b"POST /v1/logs HTTP/1.1\r\nhost: x\r\n", b"x: y\r\n"),
    ],
    ids=["url", "field", "fields"],
)
async def test_a_head_without_end_is_refused(collector: Collector, request_bytes: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.http_port)
    writer.write(request_bytes)
    async with asyncio.timeout(30):
        assert (await reader.readline()) == b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    writer.close()


@pytest.mark.parametrize("silence", [b"0\r\n" + b"x: y\r\n" * 200_000, b"1;" + b"a" * 1_000_000])
async def test_a_chunked_body_that_tells_nothing_is_cut_off(collector: Collector, silence: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.http_port)
    head = b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
    writer.write(head + b"transfer-encoding: chunked\r\n\r\n" + silence)
    answer = b""
    async with asyncio.timeout(30):
        with contextlib.suppress(ConnectionError):
            answer = await reader.read()
    assert answer == b""  # and not the 408 of a body that only takes long
    writer.close()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
