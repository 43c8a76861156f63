"""uvicorn's HTTP protocol, with a bound on how long a request's head may take.

uvicorn bounds idle keep-alive connections only: a client that sends its headers byte by byte, or connects and
says nothing, would hold a connection for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_TIMEOUT_S = 10.0


class PromptHttpProtocol(HttpToolsProtocol):
    """Closes the connection when a head is not complete in time. The body's bounds are the application's."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._stop_waiting()
        transport: Any = self.transport
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
