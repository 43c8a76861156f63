"""uvicorn's HTTP protocol, with bounds on what a client may send before a request is there.

Owns: how long a request's head may take, and how many bytes may pass without telling anything. Must not know
what is served. uvicorn bounds idle keep-alive connections only: a client that sends its headers byte by byte,
or connects and says nothing, would hold a connection for ever; and one that never ends its headers would fill
the memory, while httptools copies a single long field anew with each piece that arrives.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_TIMEOUT_S = 10.0
# A head, the trailers of a chunked body, or the extensions of a chunk: much more than anyone needs.
HEAD_BYTES_MAX = 64 * 1024
TOO_LARGE_TEXT = "The head of the request is too large."
_TOO_LARGE_LINE = b"HTTP/1.1 431 Request Header Fields Too Large\r\n"


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes the connection when a head is not complete in time, and refuses one without end.

    A bound counted in what arrives after the last byte that told something: a head that comes complete in
    one piece of the socket's buffer passes even when it is a little larger.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _idle_bytes = 0
    _told = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        self._told = False
        super().data_received(data)
        self._idle_bytes = 0 if self._told else self._idle_bytes + len(data)
        if self._idle_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._told = True
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._told = True
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def refusal(self, status: int, sentence: str) -> tuple[bytes, bytes]:
        """Content type and body of what is answered to a request that cannot be read."""
        return b"text/plain; charset=utf-8", sentence.encode()

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"HTTP/1.1 400 Bad Request\r\n", *self.refusal(400, msg))

    def _refuse_head(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(_TOO_LARGE_LINE, *self.refusal(431, TOO_LARGE_TEXT))
        else:
            # within a body: the application may be answering
            self.transport.abort()

    def _refuse(self, line: bytes, content_type: bytes, body: bytes) -> None:
        self.transport.write(
            line
            + b"content-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            % (content_type, len(body))
            + body
        )
        self.transport.close()

    def _await_head(self) -> None:
        self._stop_waiting()
        transport: Any = self.transport
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
