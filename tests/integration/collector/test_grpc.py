"""OTLP over gRPC, line by line of the specification's demands, against a real log."""

from __future__ import annotations

import asyncio
import gzip

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from integration.bus.natsserver import NatsServer
from integration.collector import requests
from integration.collector.running import METHODS, NOW_NS, Collector, running


def retry_delay(error: grpc.aio.AioRpcError) -> float | None:
    """What RetryInfo tells, None without one."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = Status.FromString(value)
            assert status.code == error.code().value[0]
            for detail in status.details:
                info = RetryInfo()
                if detail.Unpack(info):
                    return info.retry_delay.ToTimedelta().total_seconds()
    return None


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["logs", "metrics", "traces"])
async def test_a_call_is_acknowledged_once_the_log_has_it(
    collector: Collector, kind: str, compressed: bool
) -> None:
    assert await collector.call(kind, requests.ALL[kind], gzip=compressed) == b""
    (envelope,) = await collector.logged()
    assert (envelope.kind, envelope.payload) == (kind, requests.ALL[kind])
    assert envelope.received_ns == NOW_NS


async def test_large_compressed_calls(collector: Collector) -> None:
    bodies = [f"line {n} " + "x" * 100 for n in range(20_000)]
    await collector.call("logs", requests.logs(*bodies), gzip=True)
    assert await collector.log_bodies() == bodies


async def test_an_empty_request_succeeds(collector: Collector) -> None:
    for kind in METHODS:
        assert await collector.call(kind, b"") == b""
    assert await collector.logged() == []


async def test_partial_success(collector: Collector) -> None:
    answer = await collector.call("traces", requests.traces(good=1, bad=2))
    assert ExportTraceServiceResponse.FromString(answer).partial_success.rejected_spans == 2


@pytest.mark.parametrize(
    "payload",
    [b"\xff\xff\xff", requests.logs("hello")[:-3], requests.logs("hello").replace(b"hello", b"he\xffo!")],
    ids=["noise", "cut", "utf8"],
)
async def test_malformed_is_refused_for_good(collector: Collector, payload: bytes) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await collector.call("logs", payload)
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refusal.value.details()
    assert retry_delay(refusal.value) is None
    assert await collector.logged() == []


async def test_too_large_is_refused_for_good_before_and_after_decompression(nats_url: str) -> None:
    async with running(nats_url, request_bytes_max=1 << 20) as collector:
        for payload, compressed in ((bytes(2 << 20), False), (requests.logs("x" * (64 << 20)), True)):
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await collector.call("logs", payload, gzip=compressed)
            assert refusal.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert retry_delay(refusal.value) is None
        assert await collector.call("logs", requests.logs("a")) == b""


async def test_broken_gzip_is_refused(collector: Collector) -> None:
    # Sent as an uncompressed message, so that gRPC itself does not look at it.
    for payload in (gzip.compress(requests.logs("a"))[:-9], b"\x1f\x8b" + b"x" * 50):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await collector.call("logs", payload)
        assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_unknown_methods_and_encodings_are_refused(collector: Collector) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{collector.grpc_port}") as channel:
        for method, compression in (
            ("/opentelemetry.proto.collector.logs.v1.LogsService/Import", None),
            (METHODS["logs"], grpc.Compression.Deflate),
        ):
            call = channel.unary_unary(method)
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await call(requests.logs("a" * 1000), compression=compression, timeout=20)
            assert refusal.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_an_idempotency_key_makes_a_resend_exact(collector: Collector) -> None:
    keyed = (("idempotency-key", "k1"),)
    await collector.call("logs", requests.logs("a"), metadata=keyed)
    await collector.call("logs", requests.logs("a"), metadata=keyed, gzip=True)
    assert await collector.log_bodies() == ["a"]
    await collector.call("logs", requests.logs("a"))
    await collector.call("logs", requests.logs("a"))
    assert await collector.log_bodies() == ["a", "a", "a"]


async def test_beyond_the_bytes_in_flight_clients_are_told_to_retry(nats_url: str) -> None:
    async with running(nats_url, request_bytes_max=1 << 20, inflight_bytes_max=(1 << 20) + 1000) as collector:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{collector.grpc_port}") as channel:
            open_call = channel.stream_unary(METHODS["logs"])()
            await open_call.wait_for_connection()
            async with asyncio.timeout(30):
                while True:
                    try:
                        await collector.call("logs", requests.logs("a"))
                    except grpc.aio.AioRpcError as error:
                        refusal = error
                        break
            assert refusal.code() == grpc.StatusCode.UNAVAILABLE
            assert retry_delay(refusal) == 1
            open_call.cancel()
        async with asyncio.timeout(30):
            while True:
                try:
                    await collector.call("logs", requests.logs("later"))
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.02)
        assert (await collector.log_bodies())[-1] == "later"


async def test_with_nats_away_both_transports_refuse_retryably_then_go_on(
    nats_server: NatsServer,
) -> None:
    async with running(nats_server.url, append_timeout_s=0.5) as collector:
        await collector.call("logs", requests.logs("before"))
        nats_server.kill()
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await collector.call("logs", requests.logs("lost"))
        assert refusal.value.code() == grpc.StatusCode.UNAVAILABLE
        assert retry_delay(refusal.value) == 1
        await asyncio.to_thread(nats_server.start)
        async with asyncio.timeout(30):
            while not collector.log.connected:
                await asyncio.sleep(0.02)
        await collector.call("logs", requests.logs("after"))
        assert await collector.log_bodies() == ["before", "after"]


async def test_a_short_absence_of_nats_is_not_noticed(nats_server: NatsServer) -> None:
    async with running(nats_server.url, append_timeout_s=30.0) as collector:
        nats_server.kill()
        waiting = asyncio.create_task(collector.call("logs", requests.logs("a")))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await asyncio.to_thread(nats_server.start)
        assert await waiting == b""
        assert await collector.log_bodies() == ["a"]
