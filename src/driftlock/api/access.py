"""Who may do what: every request passes `authorize`, and every route names what it demands.

A route without a demand is refused, so forgetting one fails closed. Keys are checked by hash in the database
and remembered for a few seconds at most, which bounds how long a revoked key still works.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections import OrderedDict
from typing import Any

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from prometheus_client import Counter

from driftlock.api.context import ApiContext, context_of
from driftlock.api.problems import ProblemError
from driftlock.storage import keys
from driftlock.storage.keys import ROLES, SCOPES, KeyRow, Role
from driftlock.storage.tenancy import TENANT_DEFAULT

REMEMBERED_MAX = 10_000
# wrong keys from one address: beyond this the answer says to stop
FAILURES_PER_MINUTE_MAX = 60
ALLOWANCE_KEY = "driftlock_allowance"
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="driftlock"'}

RATE_LIMITED = Counter(
    "driftlock_api_rate_limited_total", "Requests answered 429, by what ran out.", ["reason"]
)


class Principal(msgspec.Struct, frozen=True):
    """Who asks. `identity` is stable and unique; `name` is what a person reads in `acknowledged_by`."""

    identity: str
    name: str
    role: Role
    scopes: frozenset[str]
    tenant_id: str
    rate_limit_per_minute: int | None


class Demand(msgspec.Struct, frozen=True):
    """What a route demands: nothing, at least a role, or a scope."""

    public: bool = False
    role: Role | None = None
    scope: str | None = None

    def met_by(self, principal: Principal) -> bool:
        """Whether a principal may pass."""
        if self.scope is not None and self.scope not in principal.scopes:
            return False
        return self.role is None or ROLES.index(principal.role) >= ROLES.index(self.role)

    def __str__(self) -> str:
        return f"the scope {self.scope}" if self.scope else f"at least the role {self.role}"


PUBLIC = {"demand": Demand(public=True)}


def at_least(role: Role) -> dict[str, Any]:
    """The `opt` of a route that demands a role."""
    return {"demand": Demand(role=role)}


def with_scope(scope: str) -> dict[str, Any]:
    """The `opt` of a route that demands a scope, whatever the role."""
    assert scope in SCOPES, scope
    return {"demand": Demand(scope=scope)}


class Gate:
    """Turns secrets into principals. Owns the memory of keys seen lately."""

    def __init__(self, context: ApiContext) -> None:
        self._context = context
        self._seen: OrderedDict[bytes, tuple[float, KeyRow | None]] = OrderedDict()

    async def principal(self, secret: str, *, host: str | None) -> Principal | None:
        """Whose secret this is, None for nobody's."""
        dev_key = self._context.settings.dev_api_key
        if dev_key and is_loopback(host) and hmac.compare_digest(secret.encode(), dev_key.encode()):
            return Principal("dev", "dev", "admin", SCOPES, TENANT_DEFAULT, None)
        row = await self._key(secret)
        if row is None or (row.expires_at and row.expires_at.timestamp() <= self._context.wall_s()):
            return None
        return Principal(
            f"key:{row.id}",
            row.name,
            row.role,
            frozenset(row.scopes),
            row.tenant_id,
            row.rate_limit_per_minute,
        )

    async def _key(self, secret: str) -> KeyRow | None:
        now_s, digest = self._context.clock_s(), keys.hash_secret(secret)
        until_s, row = self._seen.get(digest, (0.0, None))
        if now_s < until_s:
            return row
        async with self._context.connection() as conn:
            row = await keys.verify(conn, secret)
        self._seen[digest] = (now_s + self._context.settings.key_cache_s, row)
        self._seen.move_to_end(digest)
        if len(self._seen) > REMEMBERED_MAX:
            self._seen.popitem(last=False)
        return row


async def authorize(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of every route: key, rate limit, then what the route demands."""
    if connection.scope.get("method") == "OPTIONS":
        return  # answers with Allow alone, which the OpenAPI document tells anyway
    demand = handler.opt.get("demand")
    assert isinstance(demand, Demand), f"{handler} names no demand"
    if demand.public:
        return
    context = context_of(connection.app.state)
    principal = await _authenticate(connection, context)
    _spend(connection, context, principal)
    if not demand.met_by(principal):
        raise ProblemError("forbidden", f"This needs {demand}; the key {principal.name!r} lacks it.")
    connection.scope["user"] = principal


Asker = NamedDependency[Principal]  # what a handler declares to know who asks


def current_principal(request: Request[Any, Any, Any]) -> Principal:
    """Who asks (a dependency for handlers)."""
    principal = request.scope["user"]
    assert isinstance(principal, Principal)
    return principal


def is_loopback(host: str | None) -> bool:
    """Whether an address is this machine's own."""
    try:
        address = ipaddress.ip_address((host or "").split("%", 1)[0])
    except ValueError:
        return host == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


async def _authenticate(connection: ASGIConnection[Any, Any, Any, Any], context: ApiContext) -> Principal:
    host = connection.client.host if connection.client else None
    failures, now_s = f"failures:{host}", context.clock_s()
    scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise ProblemError("unauthenticated", "Send Authorization: Bearer <key>.", headers=CHALLENGE)
    gate = connection.app.state.gate
    principal = await gate.principal(secret.strip(), host=host)
    if principal is not None:
        return principal  # type: ignore[no-any-return]  # state is untyped
    # a good key still works where others guess: 256 bits are not guessed, and addresses are shared
    allowance = context.limiter.take(failures, limit=FAILURES_PER_MINUTE_MAX, now_s=now_s)
    if not allowance.allowed:
        RATE_LIMITED.labels("failed_keys").inc()
        raise ProblemError("rate-limited", "Too many wrong keys.", headers=allowance.headers())
    raise ProblemError(
        "unauthenticated",
        "The key is unknown, expired or revoked.",
        headers={"WWW-Authenticate": CHALLENGE["WWW-Authenticate"] + ', error="invalid_token"'},
    )


def _spend(connection: ASGIConnection[Any, Any, Any, Any], context: ApiContext, principal: Principal) -> None:
    limit = principal.rate_limit_per_minute or context.settings.rate_limit_per_minute
    allowance = context.limiter.take(principal.identity, limit=limit, now_s=context.clock_s())
    connection.scope[ALLOWANCE_KEY] = allowance  # type: ignore[literal-required]  # ours, read by `observe`
    if not allowance.allowed:
        RATE_LIMITED.labels("requests").inc()
        raise ProblemError("rate-limited", f"This key may make {limit} requests a minute.")
