"""Who may do what, and how often: keys, roles, scopes, limits, and the key for development."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

import asyncpg
import httpx
import pytest

from driftlock.api import service
from driftlock.api.settings import ApiSettings
from driftlock.errors import StartError
from driftlock.storage import keys
from integration.api.harness import Api, Start, Store, make, problem

PUBLIC = ["/healthz", "/readyz", "/v1/version", "/metrics", "/openapi.json"]
VIEWER = ["/v1/anomalies", "/v1/streams", "/v1/stream/anomalies"]
DEV_KEY = "for-development-only"
REPORT = {
    "timestamp": "2026-01-01T00:00:00Z",
    "stream_type": "logs",
    "stream": "s",
    "service": "s",
    "severity": "low",
}


async def test_public_routes_need_no_key(api: Api) -> None:
    async with api.client() as client:
        for path in PUBLIC:
            assert (await client.get(path)).status_code in (200, 503)


WRONG_HEADERS = [None, "", "Bearer", "Basic dTpw", "Bearer dlk_" + "x" * 43, "Bearer \xff"]


async def test_other_routes_need_a_key(api: Api) -> None:
    async with api.client() as client:
        for path, header in itertools.product(VIEWER, WRONG_HEADERS):
            headers = {} if header is None else {"Authorization": header.encode("latin-1")}
            response = await client.get(path, headers=headers)
            problem(response, 401, "unauthenticated")
            assert response.headers["www-authenticate"].startswith("Bearer")


async def test_roles_and_scopes(api: Api, key_of: dict[str, str], store: Store) -> None:
    (row,) = await store(make())
    reads, changes, reports = {}, {}, {}
    for name, key in key_of.items():
        async with api.client(key) as client:
            reads[name] = (await client.get("/v1/anomalies")).status_code
            path = f"/v1/anomalies/{row.id}/status"
            changes[name] = (await client.patch(path, json={"status": "resolved"})).status_code
            reports[name] = (await client.post("/v1/anomalies", json=REPORT)).status_code
    assert reads == {"viewer": 200, "analyst": 200, "admin": 200, "writer": 200}
    assert changes == {"viewer": 403, "analyst": 200, "admin": 200, "writer": 403}
    assert reports == {"viewer": 403, "analyst": 403, "admin": 403, "writer": 201}


async def test_forbidden_comes_before_the_body_is_read(viewer: httpx.AsyncClient) -> None:
    body = problem(await viewer.post("/v1/anomalies", content=b"{"), 403, "forbidden")
    assert "write:anomalies" in body["detail"]


async def test_another_tenants_anomalies_do_not_exist(
    api: Api, conn: asyncpg.Connection, store: Store, viewer: httpx.AsyncClient
) -> None:
    (row,) = await store(make(tenant_id="other"))
    secret, _ = await keys.create(conn, "theirs", "admin", tenant_id="other")
    problem(await viewer.get(f"/v1/anomalies/{row.id}"), 404, "not-found")
    assert (await viewer.get("/v1/anomalies")).json()["total"] == 0
    async with api.client(secret) as theirs:
        assert (await theirs.get("/v1/anomalies")).json()["total"] == 1


async def test_a_revoked_key_is_forgotten_within_seconds(start: Start, conn: asyncpg.Connection) -> None:
    now_s = [1000.0]
    api = await start(clock_s=lambda: now_s[0])
    secret, row = await keys.create(conn, "soon gone", "viewer")
    async with api.client(secret) as client:
        assert (await client.get("/v1/anomalies")).status_code == 200
        await keys.revoke(conn, row.id)
        now_s[0] += api.settings.key_cache_s
        assert api.settings.key_cache_s <= 5
        problem(await client.get("/v1/anomalies"), 401, "unauthenticated")


async def test_a_key_expires_while_it_is_remembered(start: Start, conn: asyncpg.Connection) -> None:
    until = datetime.now(UTC) + timedelta(hours=1)
    wall_s = [until.timestamp() - 1]
    api = await start(wall_s=lambda: wall_s[0], clock_s=lambda: 1.0)
    secret, _ = await keys.create(conn, "an hour", "viewer", (), until)
    async with api.client(secret) as client:
        assert (await client.get("/v1/anomalies")).status_code == 200
        wall_s[0] += 2
        problem(await client.get("/v1/anomalies"), 401, "unauthenticated")


async def test_rate_limits_by_key(start: Start, conn: asyncpg.Connection) -> None:
    now_s = [1000.0]
    api = await start(rate_limit_per_minute=3, clock_s=lambda: now_s[0])
    common, _ = await keys.create(conn, "common", "viewer")
    own, _ = await keys.create(conn, "own", "viewer", (), None, 5)
    for key, limit in ((common, 3), (own, 5)):
        async with api.client(key) as client:
            for left in reversed(range(limit)):
                response = await client.get("/v1/anomalies")
                assert response.status_code == 200
                assert response.headers["ratelimit-policy"] == f'"key";q={limit};w=60'
                assert response.headers["ratelimit"] == f'"key";r={left};t=60'
            refused = await client.get("/v1/anomalies")
            problem(refused, 429, "rate-limited")
            assert refused.headers["retry-after"] == "60"
            assert (await client.get("/healthz")).status_code == 200
    now_s[0] += 60
    async with api.client(common) as client:
        assert (await client.get("/v1/anomalies")).status_code == 200


async def test_guessing_keys_is_slowed_down(start: Start, conn: asyncpg.Connection) -> None:
    api = await start(clock_s=lambda: 1000.0)
    secret, _ = await keys.create(conn, "good", "viewer")
    async with api.client() as client:
        for number in itertools.count():
            guess = {"Authorization": f"Bearer dlk_{number:043}"}
            response = await client.get("/v1/anomalies", headers=guess)
            if response.status_code != 401:
                break
        problem(response, 429, "rate-limited")
        assert number < 100
        # an address behind which others guess is not locked out: a good key still works
        good = {"Authorization": f"Bearer {secret}"}
        assert (await client.get("/v1/anomalies", headers=good)).status_code == 200


async def test_the_development_key_works_on_loopback(start: Start) -> None:
    api = await start(dev_api_key=DEV_KEY)
    async with api.client(DEV_KEY) as client:
        assert (await client.post("/v1/anomalies", json=REPORT)).status_code == 201
    async with api.client(DEV_KEY + "x") as client:
        problem(await client.get("/v1/anomalies"), 401, "unauthenticated")


async def test_the_development_key_is_refused_on_other_addresses(database_url: str) -> None:
    settings = ApiSettings(
        database_url=database_url, nats_url="nats://127.0.0.1:1", host="0.0.0.0", dev_api_key=DEV_KEY
    )
    with pytest.raises(StartError, match="loopback only"):
        await service.run(settings, asyncio.Event())
