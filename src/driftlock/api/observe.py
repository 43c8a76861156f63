"""The outermost layer: times every request by route, and sets the headers that every answer has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import Histogram

from driftlock.api.access import ALLOWANCE_KEY
from driftlock.api.parameters import template

REQUEST_SECONDS = Histogram(
    "driftlock_api_request_duration_seconds",
    "Time to the first byte of the answer, by route.",
    ["endpoint", "method", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

UNMATCHED = "unmatched"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# The answers are data, never pages: nothing in them may run, be framed, sniffed or kept.
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
NO_STORE = (b"cache-control", b"no-store")

ASGI = Callable[[dict[str, Any], Any, Any], Any]


def observed(app: ASGI, *, clock_s: Callable[[], float]) -> ASGI:
    """Wraps an ASGI application. Labels are bounded: paths that match no route count as one."""

    async def outer(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        started_s = clock_s()

        async def told(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _headers(message.get("headers", []), scope)
                _observe(scope, message["status"], clock_s() - started_s)
            await send(message)

        await app(scope, receive, told)

    return outer


def _headers(given: Any, scope: dict[str, Any]) -> list[tuple[bytes, bytes]]:
    headers = list(given)
    headers += SECURITY_HEADERS
    if not any(name.lower() == b"cache-control" for name, _ in headers):
        headers.append(NO_STORE)
    allowance = scope.get(ALLOWANCE_KEY)
    if allowance is not None:
        headers += [(n.lower().encode(), v.encode()) for n, v in allowance.headers().items()]
    return headers


def _observe(scope: dict[str, Any], status: int, seconds: float) -> None:
    endpoint = template(scope["path_template"]) if "path_template" in scope else UNMATCHED
    method = scope["method"] if scope["method"] in METHODS else "other"
    REQUEST_SECONDS.labels(endpoint, method, str(status)).observe(seconds)
