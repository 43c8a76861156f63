"""Real clients: the OpenTelemetry SDK's exporters, and a real collector between them and Driftlock."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from acceptance.otlp_program import RECORDS, SPANS
from driftlock.runtime.ports import free_port
from integration.collector.running import Collector, running

PROGRAM = Path(__file__).with_name("otlp_program.py")
TIMEOUT_S = 120.0


async def run_program(endpoint: str, protocol: str, compression: str) -> None:
    """Start the SDK's program and wait for its end. It must have nothing to complain about."""
    env = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        **({"OTEL_EXPORTER_OTLP_COMPRESSION": compression} if compression != "none" else {}),
        "OTEL_EXPORTER_OTLP_INSECURE": "true",
        "GRPC_ENABLE_FORK_SUPPORT": "0",
        "PYTHONWARNINGS": "ignore",
    }
    program = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), protocol, env=env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, _ = await program.communicate()
    except BaseException:
        program.kill()
        await program.wait()
        raise
    assert program.returncode == 0, output.decode()
    assert "Failed to export" not in output.decode(), output.decode()


async def received(collector: Collector) -> tuple[list[str], int, list[float]]:
    """Log bodies, the number of spans, and the values of the counter, as the log has them."""
    bodies: list[str] = []
    spans = 0
    counts: list[float] = []
    for envelope in await collector.logged():
        if envelope.kind == "logs":
            for resource_logs in ExportLogsServiceRequest.FromString(envelope.payload).resource_logs:
                for scope_logs in resource_logs.scope_logs:
                    bodies += [record.body.string_value for record in scope_logs.log_records]
        elif envelope.kind == "traces":
            for resource_spans in ExportTraceServiceRequest.FromString(envelope.payload).resource_spans:
                spans += sum(len(scope.spans) for scope in resource_spans.scope_spans)
        else:
            for resource_metrics in ExportMetricsServiceRequest.FromString(envelope.payload).resource_metrics:
                for scope_metrics in resource_metrics.scope_metrics:
                    for metric in scope_metrics.metrics:
                        if metric.name == "orders":
                            counts += [point.as_int for point in metric.sum.data_points]
    return bodies, spans, counts


async def everything(collector: Collector) -> tuple[list[str], int, list[float]]:
    """What was received, once as much as was sent is there."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            bodies, spans, counts = await received(collector)
            if len(bodies) >= RECORDS and spans >= SPANS and counts:
                return bodies, spans, counts
            await asyncio.sleep(0.2)


def check(bodies: list[str], spans: int, counts: list[float], *, ordered: bool) -> None:
    expected = [f"order {number} took too long" for number in range(RECORDS)]
    assert (bodies if ordered else sorted(bodies)) == (expected if ordered else sorted(expected))
    assert spans == SPANS
    assert set(counts) == {RECORDS}


@pytest.mark.parametrize("compression", ["none", "gzip"])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_the_sdk_exports_logs_metrics_and_traces(
    nats_url: str, protocol: str, compression: str
) -> None:
    async with running(nats_url) as collector:
        port = collector.grpc_port if protocol == "grpc" else collector.http_port
        await run_program(f"http://127.0.0.1:{port}", protocol, compression)
        check(*await received(collector), ordered=True)


@contextlib.asynccontextmanager
async def rotel(folder: Path, endpoint: str, protocol: str) -> AsyncIterator[str]:
    """The real collector, which sends on to `endpoint`; its own OTLP gRPC address."""
    found = importlib.util.find_spec("rotel")
    assert found is not None
    assert found.origin is not None
    ports = [free_port(), free_port()]
    log = (folder / "rotel.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        str(Path(found.origin).with_name("rotel-agent")), "start",
        "--otlp-grpc-endpoint", f"127.0.0.1:{ports[0]}",
        "--otlp-http-endpoint", f"127.0.0.1:{ports[1]}",
        "--exporter", "otlp", "--otlp-exporter-endpoint", endpoint,
        "--otlp-exporter-protocol", protocol,
        "--otlp-exporter-retry-initial-backoff", "100ms",
        "--pid-file", str(folder / "rotel.pid"),
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while True:
                assert process.returncode is None, (folder / "rotel.log").read_text()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", ports[0])
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        log.close()


@pytest.mark.parametrize("protocol", ["grpc", "http"])
async def test_a_real_collector_between(nats_url: str, tmp_path: Path, protocol: str) -> None:
    async with running(nats_url) as collector:
        port = collector.grpc_port if protocol == "grpc" else collector.http_port
        async with rotel(tmp_path, f"http://127.0.0.1:{port}", protocol) as between:
            await run_program(between, "grpc", "gzip")
            check(*await everything(collector), ordered=False)


async def test_a_real_collector_sends_again_what_was_refused_retryably(nats_url: str, tmp_path: Path) -> None:
    ports = {"grpc_port": free_port(), "http_port": free_port()}
    endpoint = f"http://127.0.0.1:{ports['grpc_port']}"
    async with rotel(tmp_path, endpoint, "grpc") as between:
        async with running(nats_url, inflight_bytes_max=1, **ports):
            await run_program(between, "grpc", "gzip")
            await asyncio.sleep(1.0)
        async with running(nats_url, **ports) as collector:
            check(*await everything(collector), ordered=False)
