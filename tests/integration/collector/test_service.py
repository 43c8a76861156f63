"""Start, drain, and refusals to start."""

from __future__ import annotations

import asyncio
import socket

import grpc
import grpc.aio
import httpx
import pytest
from google.rpc.status_pb2 import Status
from prometheus_client import REGISTRY

from driftlock.collector.service import Ready, run
from driftlock.collector.settings import CollectorSettings
from driftlock.errors import StartError, UnavailableError
from integration.bus.natsserver import free_port
from integration.collector import requests
from integration.collector.running import running

PROTOBUF = {"content-type": "application/x-protobuf"}


async def start(settings: CollectorSettings) -> None:
    await run(settings, asyncio.Event(), now_ns=lambda: 1)


@pytest.mark.parametrize("transport", ["grpc", "http"])
async def test_a_port_in_use_is_told(nats_url: str, transport: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"grpc_port": 0, "http_port": 0, f"{transport}_port": taken.getsockname()[1]}
        with pytest.raises(StartError, match="cannot listen on"):
            await start(CollectorSettings(nats_url=nats_url, log_bytes_max=1 << 30, **ports))


async def test_two_collectors_share_their_ports_only_when_told_to(nats_url: str) -> None:
    async with running(nats_url, reuse_port=True) as first:
        async with running(
            nats_url, reuse_port=True, grpc_port=first.grpc_port, http_port=first.http_port
        ) as second:
            assert (second.grpc_port, second.http_port) == (first.grpc_port, first.http_port)
        alone = CollectorSettings(nats_url=nats_url, grpc_port=first.grpc_port, http_port=0)
        with pytest.raises(StartError):
            await start(alone)


async def test_messages_larger_than_nats_takes_are_refused_at_start(nats_url: str) -> None:
    settings = CollectorSettings(
        nats_url=nats_url, grpc_port=0, http_port=0, log_bytes_max=1 << 30, message_bytes_max=64 << 20
    )
    with pytest.raises(StartError, match="NATS takes messages up to"):
        await start(settings)


async def test_without_nats_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftlock.bus.log.CONNECT_TIMEOUT_S", 0.3)
    settings = CollectorSettings(nats_url=f"nats://127.0.0.1:{free_port()}", grpc_port=0, http_port=0)
    with pytest.raises(UnavailableError, match="cannot be reached"):
        await start(settings)


async def test_what_is_in_flight_at_the_stop_is_finished(nats_url: str) -> None:
    settings = CollectorSettings(
        nats_url=nats_url, grpc_port=0, http_port=0, partitions=4, log_bytes_max=1 << 30
    )
    stop, ready = asyncio.Event(), Ready(asyncio.Event())
    service = asyncio.create_task(run(settings, stop, now_ns=lambda: 1, ready=ready))
    await ready.event.wait()
    body = requests.logs("a" * 1000)
    reader, writer = await asyncio.open_connection("127.0.0.1", ready.http_port)
    writer.write(
        b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
        + f"content-length: {len(body)}\r\n\r\n".encode()
        + body[:500]
    )
    await writer.drain()
    await asyncio.sleep(0.1)
    stop.set()
    await asyncio.sleep(0.2)
    writer.write(body[500:])
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    await service


async def test_a_client_that_never_ends_does_not_hold_up_the_stop(nats_url: str) -> None:
    async with asyncio.timeout(60), running(nats_url, drain_timeout_s=1.0) as collector:
        _, writer = await asyncio.open_connection("127.0.0.1", collector.http_port)
        writer.write(
            b"POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n"
            b"content-length: 100\r\n\r\nabc"
        )
        await writer.drain()
    writer.close()


async def test_a_fault_of_our_own_is_told_as_such_and_the_next_request_is_served(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(nats_url) as collector, httpx.AsyncClient(base_url=collector.url) as client:
        with monkeypatch.context() as patch:
            patch.setattr("driftlock.collector.intake.split", lambda *_, **__: 1 / 0)
            answer = await client.post("/v1/logs", content=requests.logs("a"), headers=PROTOBUF)
            assert answer.status_code == 500
            assert Status.FromString(answer.content).code == 13
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await collector.call("logs", requests.logs("a"))
            assert refusal.value.code() == grpc.StatusCode.INTERNAL
        assert "division" not in str(refusal.value.details())
        assert sum("failed" in record.message for record in caplog.records) == 2
        assert (
            await client.post("/v1/logs", content=requests.logs("b"), headers=PROTOBUF)
        ).status_code == 200
        assert await collector.log_bodies() == ["b"]


async def test_every_metric_is_recorded(nats_url: str) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    http_logs = {"signal": "logs", "transport": "http"}
    grpc_traces = {"signal": "traces", "transport": "grpc"}
    before = value("driftlock_otlp_records_total", **http_logs)
    async with running(nats_url) as collector, httpx.AsyncClient(base_url=collector.url) as client:
        await client.post("/v1/logs", content=requests.logs("a", "b"), headers=PROTOBUF)
        await client.post("/v1/logs", content=b"\xff", headers=PROTOBUF)
        await collector.call("traces", requests.traces(good=1, bad=2))
    assert value("driftlock_otlp_records_total", **http_logs) == before + 2
    assert value("driftlock_otlp_bytes_total", **http_logs) > 0
    assert value("driftlock_otlp_rejected_records_total", **grpc_traces) >= 2
    assert value("driftlock_otlp_requests_total", **http_logs, outcome="accepted") >= 1
    assert value("driftlock_otlp_requests_total", **http_logs, outcome="malformed") >= 1
    assert value("driftlock_otlp_append_duration_seconds_count", signal="logs") >= 1
    assert value("driftlock_otlp_inflight_bytes") == 0
