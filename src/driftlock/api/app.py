"""Puts the features together into one ASGI application."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from driftlock import __version__
from driftlock.api import problems
from driftlock.api.access import Gate, authorize, current_principal
from driftlock.api.anomalies.routes import ROUTER as ANOMALIES
from driftlock.api.context import ApiContext
from driftlock.api.feed.hub import FeedHub
from driftlock.api.feed.routes import ROUTER as FEED
from driftlock.api.health.routes import ROUTER as HEALTH
from driftlock.api.observe import ASGI, observed
from driftlock.api.parameters import check_request, known_parameters
from driftlock.api.streams.routes import ROUTER as STREAMS

FEATURES = (HEALTH, ANOMALIES, STREAMS, FEED)


def create_app(context: ApiContext, hub: FeedHub) -> ASGI:
    """The API as an ASGI application; whoever calls it owns the context and runs the hub."""
    app: Any = create_litestar(context, hub)  # its signature is narrower than ASGI's
    return observed(app, clock_s=context.clock_s)


def create_litestar(context: ApiContext, hub: FeedHub) -> Litestar:
    """The application without its outermost layer (tests and tools ask it for its OpenAPI document)."""
    app = Litestar(
        route_handlers=list(FEATURES),
        state=State({"context": context, "gate": Gate(context), "hub": hub}, deep_copy=False),
        guards=[authorize],
        before_request=check_request,
        dependencies={"principal": Provide(current_principal, sync_to_thread=False)},
        exception_handlers=problems.HANDLERS,
        request_max_body_size=context.settings.request_bytes_max,
        openapi_config=_openapi(),
        logging_config=None,
        debug=False,
    )
    app.state.known_parameters = known_parameters(app)
    app.state.document = msgspec.json.encode(app.openapi_schema.to_schema())
    return app


class _NoPages(Router):
    """Takes none of the pages that Litestar would add; the feature `health` serves the one document."""

    def register(self, value: Any) -> list[Any]:
        return []


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Driftlock",
        version=__version__,
        description="Anomalies found in OpenTelemetry, with p-values that mean what they say.",
        render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        openapi_router=_NoPages("/", route_handlers=[]),
        components=Components(
            security_schemes={"key": SecurityScheme(type="http", scheme="bearer", description="An API key")}
        ),
        security=[{"key": []}],
        create_examples=False,
    )
