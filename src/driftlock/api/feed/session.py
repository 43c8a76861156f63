"""One client's event stream, from opening to end: an ASGI application.

The client's position only grows. Events come from the hub's ring, or page by page from the database while
the client is behind it. A write that does not finish in time, or a live client that falls out of the ring,
ends the stream: the client comes back with its last id and misses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from litestar.types import Message, Receive, Scope, Send

from driftlock.api.context import ApiContext
from driftlock.api.feed.encoding import Told, heartbeat, resync, tell
from driftlock.api.feed.hub import DROPPED, READ_ENTRIES_MAX, SENT, FeedHub
from driftlock.storage import feed, feed_reader
from driftlock.storage.anomaly_search import AnomalyFilter

logger = logging.getLogger(__name__)

WRITE_BYTES_MAX = 256 * 1024


class SlowClientError(Exception):
    """The client does not keep up; the message is the reason that is counted."""


class FeedSession:
    """Serves one client. `position` is the last feed entry that it was told or that did not concern it."""

    def __init__(
        self,
        context: ApiContext,
        hub: FeedHub,
        *,
        wanted: AnomalyFilter,
        position: int,
        opening: bytes,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        self._context = context
        self._hub = hub
        self._wanted = wanted
        self._position = position
        self._opening = opening
        self._headers = headers
        self._live = False
        self._gone = False
        self._wake = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the stream to its end."""
        self._wake = self._hub.join()
        watcher = asyncio.create_task(self._watch(receive))
        try:
            start: Any = {"type": "http.response.start", "status": 200, "headers": self._headers}
            await self._bounded(send, start)
            await self._write(send, self._opening)
            await self._run(send)
            if not self._gone:
                await self._bounded(send, {"type": "http.response.body", "body": b"", "more_body": False})
        except SlowClientError as error:
            DROPPED.labels(str(error)).inc()
            logger.info("cut off a slow event stream: %s", error)
            # returning with the body unfinished makes the server close the connection
        finally:
            watcher.cancel()
            self._hub.leave(self._wake)

    async def _run(self, send: Send) -> None:
        resets = self._hub.resets
        while not (self._gone or self._hub.closed):
            if self._hub.resets != resets:
                raise SlowClientError("feed_reset")
            self._wake.clear()
            if self._position < self._hub.head:
                await self._advance(send)
                continue
            self._live = True
            try:
                async with asyncio.timeout(self._context.settings.heartbeat_s):
                    await self._wake.wait()
            except TimeoutError:
                await self._write(send, heartbeat(self._position))

    async def _advance(self, send: Send) -> None:
        events = self._hub.after(self._position, bytes_max=WRITE_BYTES_MAX)
        if events is None:
            if self._live:
                raise SlowClientError("lagging")
            events = await self._read_page(send)
        if not events:
            return
        telling = [told.chunk for told in events if told.chunk and told.concerns(self._wanted)]
        if telling:
            await self._write(send, b"".join(telling))
            SENT.inc(len(telling))
        self._position = events[-1].position

    async def _read_page(self, send: Send) -> list[Told]:
        async with self._context.connection() as conn:
            page = await feed_reader.after(conn, self._position, limit=READ_ENTRIES_MAX)
            bounds = await feed.bounds(conn)
        # positions have no gaps: one here means that what lay between was pruned meanwhile
        if page and page[0].position == self._position + 1:
            return [tell(event) for event in page]
        self._position = bounds.head
        await self._write(send, resync("gone", bounds.head))
        return []

    async def _write(self, send: Send, body: bytes) -> None:
        await self._bounded(send, {"type": "http.response.body", "body": body, "more_body": True})

    async def _bounded(self, send: Send, message: Message) -> None:
        # the server buffers 64 KiB a connection and then waits here
        try:
            async with asyncio.timeout(self._context.settings.sse_send_timeout_s):
                await send(message)
        except TimeoutError as error:
            raise SlowClientError("write_timeout") from error

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._wake.set()
