"""`/v1/streams`: what detectors write of them, and the wish that one learns anew."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID, uuid4

import msgspec
from litestar import Router, get, post
from litestar.datastructures import State
from litestar.params import FromPath, QueryParameter

from driftlock.api import cursors
from driftlock.api.access import Asker, at_least
from driftlock.api.context import context_of
from driftlock.api.paging import Cursor, Limit, Offset, check_paging
from driftlock.api.problems import ProblemError, responses
from driftlock.bus.envelope import Envelope
from driftlock.storage import refreshes, streams
from driftlock.storage.anomalies import StreamType
from driftlock.storage.refreshes import Refresh
from driftlock.storage.streams import Phase, Stream, StreamFilter

LISTING = "streams"
VALUES_MAX = 100

StreamTypes = Annotated[
    list[StreamType] | None,
    QueryParameter(description="Kind of telemetry; any of them.", max_items=VALUES_MAX),
]
Services = Annotated[
    list[str] | None, QueryParameter(description="service.name; any of them.", max_items=VALUES_MAX)
]
Phases = Annotated[
    list[Phase] | None, QueryParameter(description="How far warm-up is; any of them.", max_items=VALUES_MAX)
]


class WarmUp(msgspec.Struct, frozen=True):
    """Progress to the first verdict; `earliest_p` is the smallest p-value reachable now, null before any."""

    phase: Phase
    units_seen: int
    units_needed: int
    progress: float
    calibration_size: int
    earliest_p: float | None


class StreamView(Stream, frozen=True):
    """A stream with its warm-up told in one place."""

    warm_up: WarmUp


class StreamDetail(StreamView, frozen=True):
    """A stream with the latest refresh of its baseline that was asked for, null before any."""

    refresh: Refresh | None


class StreamPage(msgspec.Struct, frozen=True):
    """One page, by name. `total` counts all that pass the filter."""

    streams: list[StreamView]
    total: int
    limit: int
    offset: int
    has_more: bool
    next_cursor: str | None


@get("/", opt=at_least("viewer"), responses=responses(400, 401, 403, 429, 503), summary="List streams")
async def list_streams(
    state: State,
    principal: Asker,
    stream_type: StreamTypes = None,
    service: Services = None,
    phase: Phases = None,
    limit: Limit = 50,
    offset: Offset = 0,
    cursor: Cursor = None,
) -> StreamPage:
    """Streams by name, with warm-up progress and the earliest reachable p-value."""
    check_paging(offset, cursor)
    wanted = StreamFilter(
        tenant_id=principal.tenant_id,
        signal=tuple(stream_type or ()),
        service=tuple(service or ()),
        phase=tuple(phase or ()),
    )
    context = context_of(state)
    async with context.connection() as conn:
        secret = await context.cursor_secret(conn)
        after = cursors.decode(secret, LISTING, wanted, cursor, tuple[str, UUID]) if cursor else None
        rows = await streams.page(conn, wanted, limit=limit + 1, offset=offset, after=after)
        total = await streams.count(conn, wanted)
    shown, has_more = [_view(row) for row in rows[:limit]], len(rows) > limit
    place = (shown[-1].name, shown[-1].id) if has_more else None
    following = cursors.encode(secret, LISTING, wanted, place) if place else None
    return StreamPage(shown, total, limit, offset, has_more, following)


@get(
    "/{stream_id:uuid}",
    opt=at_least("viewer"),
    responses=responses(400, 401, 403, 404, 429, 503),
    summary="Read a stream",
)
async def get_stream(state: State, principal: Asker, stream_id: FromPath[UUID]) -> StreamDetail:
    """What is known of a stream."""
    async with context_of(state).connection() as conn:
        stream = await streams.get(conn, stream_id, tenant_id=principal.tenant_id)
        refresh = await refreshes.latest(conn, stream_id, tenant_id=principal.tenant_id)
    return StreamDetail(**msgspec.structs.asdict(_view(stream)), refresh=refresh)


@post(
    "/{stream_id:uuid}/baseline",
    opt=at_least("admin"),
    status_code=202,
    responses=responses(400, 401, 403, 404, 409, 429, 503),
    summary="Refresh the baseline of a stream",
)
async def refresh_baseline(state: State, principal: Asker, stream_id: FromPath[UUID]) -> Refresh:
    """Lets a stream of lines or spans learn a new baseline from what comes next.

    The request goes through the telemetry log, so that a replay learns anew at the same place. Until the new
    baseline is complete the stream has no verdicts and tells the old `baseline_ref`. While one request is
    open (`closed_at` is null), another answers with its record and changes nothing.
    """
    context = context_of(state)
    async with context.connection() as conn:
        stream = await streams.get(conn, stream_id, tenant_id=principal.tenant_id)
        if stream.signal == "metrics":
            raise ProblemError("conflict", "A metric stream has no baseline: its series learn all the time.")
        refresh = await refreshes.opened(conn, stream_id, tenant_id=principal.tenant_id)
        if refresh is None and stream.phase == "learning":
            raise ProblemError("conflict", f"The stream {stream_id} is learning its baseline already.")
        if refresh is None:
            refresh = await refreshes.record(
                conn,
                stream,
                refresh=uuid4(),
                by=principal.name,
                requester=principal.identity,
                tenant_id=principal.tenant_id,
            )
    if refresh.log_position is not None:
        return refresh
    # also for a record whose message may not have reached the log: a second one of its id changes nothing
    assert context.append is not None, "the service gives every context a log"
    received_ns = int(context.wall_s() * 1_000_000_000)
    payload = stream_id.bytes + refresh.id.bytes
    envelope = Envelope("refresh", principal.tenant_id, received_ns, payload)
    position = await context.append(stream.partition, envelope, str(refresh.id))
    async with context.connection() as conn:
        return await refreshes.placed(conn, refresh.id, position)


def _view(stream: Stream) -> StreamView:
    needed = stream.units_needed
    done = 1.0 if stream.phase == "ready" else min(1.0, stream.units_seen / needed) if needed else 0.0
    warm_up = WarmUp(
        stream.phase, stream.units_seen, needed, done, stream.calibration_size, stream.earliest_p
    )
    return StreamView(**msgspec.structs.asdict(stream), warm_up=warm_up)


ROUTER = Router("/v1/streams", route_handlers=[list_streams, get_stream, refresh_baseline], tags=["streams"])
