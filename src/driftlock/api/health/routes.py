"""`/healthz`, `/readyz`, `/v1/version`, `/metrics`: all without a key."""

from __future__ import annotations

import platform
import zlib
from importlib.metadata import version as installed
from typing import Any

import lz4
import msgspec
import prometheus_client
import zstandard
from litestar import MediaType, Response, Router, get
from litestar.datastructures import State
from prometheus_client import REGISTRY, CollectorRegistry, Gauge
from prometheus_client.multiprocess import MultiProcessCollector

from driftlock import __version__
from driftlock.api.access import PUBLIC
from driftlock.api.context import ApiContext, context_of
from driftlock.api.health.probes import run_all
from driftlock.api.problems import RETRY_AFTER_S, ProblemError, responses

# `signals.canonical.CANONICAL_VERSION`; importing it would load the compiler of its kernels (a test compares)
CANONICAL_FORM_VERSION = 6

DATABASE_CONNECTIONS = Gauge(
    "driftlock_database_connections",
    "Connections of the API's pool: open, and of those in use or idle.",
    ["state"],
    multiprocess_mode="livesum",
)


class Health(msgspec.Struct, frozen=True):
    """The process runs and answers."""

    status: str


class Readiness(msgspec.Struct, frozen=True):
    """Every part that requests need is there."""

    status: str
    checks: dict[str, str]


class Version(msgspec.Struct, frozen=True):
    """What runs here, and what its numbers depend on."""

    version: str
    commit: str
    canonical_form_version: int
    compressors: dict[str, str]
    python: str


@get("/healthz", opt=PUBLIC, summary="Liveness", responses=responses())
async def healthz() -> Health:
    """Answers as long as the process can."""
    return Health("ok")


@get("/readyz", opt=PUBLIC, summary="Readiness", responses=responses(503))
async def readyz(state: State) -> Readiness:
    """Asks PostgreSQL and NATS; 503 names in `missing` what does not answer."""
    checks = await run_all(context_of(state).probes)
    missing = [name for name, said in checks.items() if said != "ok"]
    if missing:
        detail = "; ".join(f"{name}: {checks[name]}" for name in missing)
        raise ProblemError(
            "unavailable", detail, missing=missing, headers={"Retry-After": str(RETRY_AFTER_S)}
        )
    return Readiness("ready", checks)


@get("/v1/version", opt=PUBLIC, summary="Version", responses=responses())
async def version(state: State) -> Version:
    """Versions of everything that a score depends on."""
    return Version(
        version=__version__,
        commit=context_of(state).settings.commit,
        canonical_form_version=CANONICAL_FORM_VERSION,
        compressors={
            "zstd": ".".join(str(part) for part in zstandard.ZSTD_VERSION),
            "lz4": lz4.library_version_string(),
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
            "python-zstandard": installed("zstandard"),
        },
        python=platform.python_version(),
    )


@get(
    "/metrics", opt=PUBLIC, media_type=MediaType.TEXT, summary="Prometheus exposition", responses=responses()
)
async def metrics(state: State) -> Response[bytes]:
    """All metrics of this process; of all roles when they share a multiprocess folder."""
    _observe_pool(context_of(state))
    body = prometheus_client.generate_latest(_registry())
    return Response(body, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})


@get("/openapi.json", opt=PUBLIC, summary="This document", responses=responses())
async def openapi(state: State) -> Response[Any]:
    """The contract that clients are generated from, OpenAPI 3.1."""
    return Response(msgspec.Raw(state.document))


def _observe_pool(context: ApiContext) -> None:
    size, idle = context.pool.get_size(), context.pool.get_idle_size()
    for state, number in (("open", size), ("idle", idle), ("in_use", size - idle)):
        DATABASE_CONNECTIONS.labels(state).set(number)


def _registry() -> CollectorRegistry:
    collected = CollectorRegistry()
    try:
        # prometheus_client itself reads where the folder is, and raises when there is none
        MultiProcessCollector(collected)  # type: ignore[no-untyped-call]
    except ValueError:
        return REGISTRY
    return collected


ROUTER = Router(
    "/",
    route_handlers=[healthz, readyz, version, metrics, openapi],
    tags=["health"],
    security=[{}],
)
