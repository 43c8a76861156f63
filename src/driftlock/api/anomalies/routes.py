"""`/v1/anomalies`: the contract is spec'd in the OpenAPI document that these handlers make."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime
from typing import Annotated
from uuid import UUID

import asyncpg
import msgspec
from litestar import Response, Router, get, patch, post
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, JSONBody

from driftlock.api import cursors
from driftlock.api.access import Asker, Principal, at_least, with_scope
from driftlock.api.anomalies.schemas import (
    TIMESTAMP_MAX,
    TIMESTAMP_MIN,
    AnomalyDetail,
    AnomalyPage,
    AnomalyReport,
    StatusPatch,
)
from driftlock.api.context import context_of
from driftlock.api.filters import Wanted, invalid, provide_filter
from driftlock.api.paging import Cursor, Limit, Offset, check_paging
from driftlock.api.problems import ProblemError, responses
from driftlock.storage import anomalies, anomaly_search, idempotency
from driftlock.storage.anomalies import Anomaly
from driftlock.storage.errors import ConflictError
from driftlock.storage.keys import SCOPE_WRITE_ANOMALIES

LISTING = "anomalies"
SEED_BYTES = 16

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description="ETags you have seen, or *.")]
IfNoneMatch = Annotated[
    str | None, HeaderParameter(name="If-None-Match", description="ETags you have, or *.")
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="Any unique text; a repeat within 24 hours gets the first answer.",
        min_length=1,
        max_length=255,
    ),
]

_ETAG = re.compile(r'"(\d{1,9})"')


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended."""

    timestamp: datetime
    id: UUID


@get("/", opt=at_least("viewer"), responses=responses(400, 401, 403, 429, 503), summary="List anomalies")
async def list_anomalies(
    state: State, wanted: Wanted, limit: Limit = 50, offset: Offset = 0, cursor: Cursor = None
) -> AnomalyPage:
    """Anomalies newest first. Page by `next_cursor`; `offset` is for small pages only."""
    check_paging(offset, cursor)
    context = context_of(state)
    async with context.connection() as conn:
        secret = await context.cursor_secret(conn)
        after = cursors.decode(secret, LISTING, wanted, cursor, Place) if cursor is not None else None
        rows = await anomaly_search.page(
            conn, wanted, limit=limit + 1, offset=offset, after=(after.timestamp, after.id) if after else None
        )
        total = await anomaly_search.count(conn, wanted)
    shown, has_more = rows[:limit], len(rows) > limit
    place = Place(shown[-1].timestamp, shown[-1].id) if has_more else None
    following = cursors.encode(secret, LISTING, wanted, place) if place else None
    return AnomalyPage(shown, total, limit, offset, has_more, following)


@get(
    "/{anomaly_id:uuid}",
    opt=at_least("viewer"),
    responses={
        304: ResponseSpec(None, description="You have this revision already", generate_examples=False),
        **responses(400, 401, 403, 404, 429, 503),
    },
    summary="Read an anomaly",
)
async def get_anomaly(
    state: State, principal: Asker, anomaly_id: FromPath[UUID], if_none_match: IfNoneMatch = None
) -> Response[AnomalyDetail | None]:
    """Everything known of an anomaly; the `ETag` is its revision."""
    tenant_id = principal.tenant_id
    async with context_of(state).connection() as conn:
        found = await anomalies.get(conn, anomaly_id, tenant_id=tenant_id)
        if if_none_match is not None and _matches(if_none_match, found.revision):
            return Response(None, status_code=304, headers=_headers(found))
        history = await anomalies.history(conn, anomaly_id, tenant_id=tenant_id)
    detail = AnomalyDetail(**msgspec.structs.asdict(found), status_history=history)
    return Response(detail, headers=_headers(found))


@post(
    "/",
    opt=with_scope(SCOPE_WRITE_ANOMALIES),
    responses=responses(400, 401, 403, 413, 415, 422, 429, 503),
    summary="Report an anomaly",
)
async def create_anomaly(
    state: State, principal: Asker, data: JSONBody[AnomalyReport], idempotency_key: IdempotencyKey = None
) -> Response[Anomaly]:
    """Stores an anomaly that was found elsewhere and broadcasts it."""
    _check_times(data)
    row = data.to_row(seed=secrets.token_bytes(SEED_BYTES), tenant_id=principal.tenant_id)
    async with context_of(state).transaction() as conn:
        earlier = await _claim(conn, principal, data, idempotency_key, row.id)
        if earlier is None:
            await anomalies.insert(conn, [row])
        made = await anomalies.get(conn, earlier or row.id, tenant_id=principal.tenant_id)
    headers = {**_headers(made), "Location": f"/v1/anomalies/{made.id}"}
    if earlier is not None:
        headers["Idempotent-Replayed"] = "true"
    return Response(made, status_code=201, headers=headers)


@patch(
    "/{anomaly_id:uuid}/status",
    opt=at_least("analyst"),
    responses=responses(400, 401, 403, 404, 412, 413, 415, 422, 429, 503),
    summary="Change the status of an anomaly",
)
async def set_status(
    state: State,
    principal: Asker,
    anomaly_id: FromPath[UUID],
    data: JSONBody[StatusPatch],
    if_match: IfMatch = None,
) -> Response[Anomaly]:
    """Changes the status, records who and when, and broadcasts it."""
    async with context_of(state).transaction() as conn:
        changed = await anomalies.set_status(
            conn,
            anomaly_id,
            data.status,
            by=principal.name,
            notes=data.notes,
            reason=data.reason,
            revisions=_revisions(if_match),
            tenant_id=principal.tenant_id,
        )
    return Response(changed, headers=_headers(changed))


def _headers(anomaly: Anomaly) -> dict[str, str]:
    return {"ETag": f'"{anomaly.revision}"'}


def _revisions(if_match: str | None) -> frozenset[int] | None:
    """The revisions of an If-Match field; weak and foreign tags name none, so they never match."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = (_ETAG.fullmatch(tag.strip()) for tag in if_match.split(","))
    return frozenset(int(tag[1]) for tag in tags if tag)


def _matches(if_none_match: str, revision: int) -> bool:
    # comparison is weak here (RFC 9110, 13.1.2): W/"3" stands for "3"
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or f'"{revision}"' in tags


def _check_times(data: AnomalyReport) -> None:
    for name in ("timestamp", "window_start", "window_end"):
        value = getattr(data, name)
        if value is not None and not TIMESTAMP_MIN <= value < TIMESTAMP_MAX:
            raise invalid(name, "must lie between 1970 and 2262, as OTLP's times do")
    if data.window_start and data.window_end and data.window_end < data.window_start:
        raise invalid("window_end", "must not be before window_start")


async def _claim(
    conn: asyncpg.Connection, principal: Principal, data: AnomalyReport, key: str | None, made: UUID
) -> UUID | None:
    if key is None:
        return None
    request_hash = hashlib.sha256(msgspec.json.encode(data, order="deterministic")).digest()
    try:
        return await idempotency.claim(
            conn,
            key,
            owner=principal.identity,
            request_hash=request_hash,
            anomaly=made,
            tenant_id=principal.tenant_id,
        )
    except ConflictError as error:
        raise ProblemError("idempotency-key-reused", error.message) from error


ROUTER = Router(
    "/v1/anomalies",
    route_handlers=[list_anomalies, get_anomaly, create_anomaly, set_status],
    dependencies={"wanted": Provide(provide_filter)},
    tags=["anomalies"],
)
