"""`/v1/stream/anomalies`: opens an event stream at the right position."""

from __future__ import annotations

import secrets
import uuid
from typing import Annotated, Any

from litestar import Request, Router, get
from litestar.di import Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from driftlock.api.access import at_least
from driftlock.api.context import ApiContext, context_of
from driftlock.api.feed.encoding import opening, resync
from driftlock.api.feed.hub import FeedHub
from driftlock.api.feed.session import FeedSession
from driftlock.api.filters import Wanted, invalid, provide_filter
from driftlock.api.problems import ProblemError, responses
from driftlock.storage import feed
from driftlock.storage.anomaly_search import AnomalyFilter

POSITION_MAX = 2**63 - 1
POSITION_DIGITS_MAX = len(str(POSITION_MAX))
RETRY_AFTER_S = 10
# clients that lost the same server come back spread over this part of the retry time
JITTER_PERCENT = 50

After = Annotated[
    int | None,
    QueryParameter(description="Resume after this feed position.", ge=0, le=POSITION_MAX),
]
LastEventId = Annotated[
    str | None,
    HeaderParameter(
        name="Last-Event-ID",
        description="As `after`, and stronger: browsers send it when they reconnect to the same address.",
    ),
]
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class FeedResponse(Stream):
    """Hands the connection to a session, which writes on its own terms."""

    def __init__(self, session: FeedSession) -> None:
        super().__init__(content=())
        self._session = session

    def to_asgi_response(self, *_: Any, **__: Any) -> Any:
        """The session itself is the ASGI application."""
        return self._session


@get(
    "/anomalies",
    opt=at_least("viewer"),
    media_type="text/event-stream",
    responses={
        200: ResponseSpec(
            str,
            description="Events `connected`, `anomaly`, `status`, `resync`; the id is the feed position.",
            media_type="text/event-stream",
            generate_examples=False,
        ),
        **responses(400, 401, 403, 429, 503),
    },
    summary="Follow anomalies live",
)
async def stream_anomalies(
    request: Request[Any, Any, Any],
    wanted: Wanted,
    after: After = None,
    last_event_id: LastEventId = None,
) -> FeedResponse:
    """Anomalies and status changes as they are committed, resumable without gap or duplicate."""
    context, hub = context_of(request.app.state), request.app.state.hub
    asked = _asked(after, last_event_id)
    if hub.closed or hub.clients >= context.settings.sse_connections_max:
        raise ProblemError(
            "too-many-streams", "Try again later.", headers={"Retry-After": str(RETRY_AFTER_S)}
        )
    return FeedResponse(await _session(context, hub, wanted, asked))


async def _session(
    context: ApiContext, hub: FeedHub, wanted: AnomalyFilter, asked: int | None
) -> FeedSession:
    async with context.connection() as conn:
        bounds = await feed.bounds(conn)
    position = bounds.head if asked is None or not bounds.holds(asked) else asked
    first = opening(str(uuid.uuid4()), position, _retry_ms(context))
    if asked is not None and asked != position:
        first += resync("gone" if asked < bounds.pruned else "future", position)
    return FeedSession(context, hub, wanted=wanted, position=position, opening=first, headers=HEADERS)


def _retry_ms(context: ApiContext) -> int:
    base = context.settings.sse_retry_ms
    return base + secrets.randbelow(base * JITTER_PERCENT // 100 + 1)


def _asked(after: int | None, last_event_id: str | None) -> int | None:
    if last_event_id is None or last_event_id == "":
        return after
    # longer ones are none of ours, and Python refuses to read thousands of digits
    fits = len(last_event_id) <= POSITION_DIGITS_MAX and last_event_id.isascii() and last_event_id.isdigit()
    if not fits or int(last_event_id) > POSITION_MAX:
        raise invalid("Last-Event-ID", "is not a position of the feed")
    return int(last_event_id)


ROUTER = Router(
    "/v1/stream",
    route_handlers=[stream_anomalies],
    dependencies={"wanted": Provide(provide_filter)},
    tags=["stream"],
)
