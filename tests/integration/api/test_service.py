"""Health, readiness, version, metrics, the OpenAPI document, the shape of every error, start and end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from driftlock.api import service
from driftlock.errors import StartError
from driftlock.http_protocol import HEAD_BYTES_MAX
from driftlock.storage import keys
from integration.api.harness import Api, Start, Store, make, problem, running


async def test_liveness_and_version(api: Api) -> None:
    async with api.client() as client:
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        told = (await client.get("/v1/version")).json()
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", told["version"])
    assert told["canonical_form_version"] >= 1
    assert "zstd" in told["compressors"]
    assert "commit" in told


async def test_readiness_with_both_servers(start: Start, nats_url: str) -> None:
    api = await start(nats_url=nats_url)
    async with api.client() as client, asyncio.timeout(30):
        while (response := await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.05)
    assert response.json() == {"status": "ready", "checks": {"postgresql": "ok", "nats": "ok"}}


async def test_readiness_names_what_is_missing(start: Start) -> None:
    api = await start(database_url="postgresql://postgres@127.0.0.1:1/none")
    async with api.client("dlk_any") as client:
        body = problem(await client.get("/readyz"), 503, "unavailable")
        assert body["missing"] == ["postgresql", "nats"]
        assert (await client.get("/healthz")).status_code == 200
        refused = await client.get("/v1/anomalies")
        problem(refused, 503, "unavailable")
        assert int(refused.headers["retry-after"]) > 0


async def test_readiness_wants_the_schema(start: Start, shared_postgres: str) -> None:
    api = await start(database_url=shared_postgres)
    async with api.client() as client:
        body = problem(await client.get("/readyz"), 503, "unavailable")
    assert "postgresql" in body["missing"]
    assert "driftlock migrate" in body["detail"]


@pytest.mark.parametrize(
    ("head", "status", "name"),
    [
        (b"GET /" + b"a" * HEAD_BYTES_MAX, 431, "head-too-large"),
        (b"NONSENSE / HTTP/1.1\r\n\r\n", 400, "bad-request"),
    ],
    ids=["endless", "nonsense"],
)
async def test_a_request_that_no_route_sees_is_told_so(api: Api, head: bytes, status: int, name: str) -> None:
    url = httpx.URL(api.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(head)
    async with asyncio.timeout(30):
        answer, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/problem+json" in answer
    told = json.loads(body)
    assert (told["status"], told["type"]) == (status, f"urn:driftlock:problem:{name}")


async def test_comes_back_when_postgresql_does(
    api: Api, viewer: httpx.AsyncClient, conn: asyncpg.Connection
) -> None:
    assert (await viewer.get("/v1/anomalies")).status_code == 200
    await conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(30):
        while (await viewer.get("/v1/anomalies")).status_code != 200:
            await asyncio.sleep(0.05)


async def test_unknown_paths(viewer: httpx.AsyncClient) -> None:
    for path in ("/", "/nope", "/v1", "/v1/anomalies/x/y/z", "/schema", "/v1/stream", "/%ff%00"):
        problem(await viewer.get(path), 404, "not-found")


async def test_methods_that_are_not_offered(viewer: httpx.AsyncClient) -> None:
    for method, path in (("DELETE", "/v1/anomalies"), ("PUT", "/healthz"), ("PROPFIND", "/v1/version")):
        response = await viewer.request(method, path)
        problem(response, 405, "method-not-allowed")
        assert "GET" in response.headers["allow"]
    assert "GET" in (await viewer.options("/v1/anomalies")).headers["allow"]


async def test_our_own_faults_tell_nothing(
    viewer: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("hunter2")

    monkeypatch.setattr("driftlock.storage.anomaly_search.page", broken)
    response = await viewer.get("/v1/anomalies")
    problem(response, 500, "internal")
    assert "hunter2" not in response.text
    assert "hunter2" in caplog.text


async def test_every_answer_has_security_headers(viewer: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/v1/anomalies", "/nope", "/v1/anomalies?x=1"):
        headers = (await viewer.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


async def test_metrics_tell_of_requests_and_connections(viewer: httpx.AsyncClient, store: Store) -> None:
    (row,) = await store(make())
    await viewer.get(f"/v1/anomalies/{row.id}")
    await viewer.get("/no/such/path")
    response = await viewer.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    samples = dict(line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#"))

    def count(name: str, *labels: str) -> float:
        found = [float(v) for k, v in samples.items() if k.startswith(name) and all(x in k for x in labels)]
        return sum(found)

    seconds = "driftlock_api_request_duration_seconds_count"
    assert count(seconds, 'endpoint="/v1/anomalies/{anomaly_id}"', 'method="GET"', 'status="200"') >= 1
    assert count(seconds, 'endpoint="unmatched"', 'status="404"') >= 1
    assert str(row.id) not in response.text
    assert count("driftlock_database_query_duration_seconds_count", 'query="anomaly_get"') >= 1
    assert count("driftlock_database_connections", 'state="open"') >= 1
    assert "driftlock_active_sse_connections" in response.text


async def test_the_document_is_served(api: Api) -> None:
    async with api.client() as client:
        response = await client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    assert response.json()["openapi"].startswith("3.1")


async def test_a_taken_port_is_told(api: Api) -> None:
    with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{api.settings.port}"):
        await service.run(api.settings, asyncio.Event())


async def test_ends_with_open_streams(api: Api, conn: asyncpg.Connection) -> None:
    secret, _ = await keys.create(conn, "k", "viewer")
    async with api.client(secret) as client, client.stream("GET", "/v1/stream/anomalies") as response:
        lines = response.aiter_lines()
        assert (await anext(lines)).startswith("retry:")
        api.stop.set()
        assert [line async for line in lines if line.startswith("event")] == ["event: connected"]
        await asyncio.wait_for(api.task, 30)


async def test_starts_again_on_the_same_port(api: Api) -> None:
    await api.end()
    async with running(api.settings) as again, again.client() as client:
        assert (await client.get("/healthz")).status_code == 200


def test_metrics_of_all_roles_come_together(tmp_path: Path) -> None:
    """With a shared folder one process tells what others counted, also after they ended."""
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    count = "from driftlock.detector.metrics import EVENTS; EVENTS.labels('logs').inc(3)"
    tell = (
        "import prometheus_client as p; from driftlock.api.health import routes;"
        " print(p.generate_latest(routes._registry()).decode())"
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", count], env=env, check=True, timeout=60)
    told = subprocess.run(
        [sys.executable, "-c", tell], env=env, check=True, timeout=60, capture_output=True, text=True
    )
    assert 'driftlock_events_processed_total{stream_type="logs"} 6.0' in told.stdout
