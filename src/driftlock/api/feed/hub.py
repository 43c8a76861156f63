"""One process's view of the feed: one LISTEN connection, a ring of events encoded once, and who waits.

The ring is contiguous in feed positions and ends at `head`. Clients pull from it at their own pace; who falls
out of it while live is too slow.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import asyncpg
from prometheus_client import Counter, Gauge

from driftlock.api.feed.encoding import Told, tell
from driftlock.api.settings import ApiSettings
from driftlock.errors import UnavailableError
from driftlock.storage import feed, feed_reader, pool
from driftlock.storage.feed import CHANNEL

logger = logging.getLogger(__name__)

READ_ENTRIES_MAX = 500
RECONNECT_S = 0.5

CONNECTIONS = Gauge("driftlock_active_sse_connections", "Open event streams.", multiprocess_mode="livesum")
DROPPED = Counter(
    "driftlock_sse_clients_dropped_total", "Event streams cut off by us, by reason.", ["reason"]
)
SENT = Counter("driftlock_sse_events_sent_total", "Events written to clients.")


class FeedHub:
    """Keeps the ring up to date and wakes clients. Events older than the ring are read by who wants them."""

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._ring: list[Told] = []
        self._ring_bytes = 0
        self._waiting: set[asyncio.Event] = set()
        self._news = asyncio.Event()
        self._settled = False
        self.head = 0
        self.closed = False
        self.resets = 0

    @property
    def clients(self) -> int:
        """Open event streams of this process."""
        return len(self._waiting)

    def join(self) -> asyncio.Event:
        """Registers a client; its event is set whenever there is something new, or the hub closes."""
        wake = asyncio.Event()
        self._waiting.add(wake)
        CONNECTIONS.inc()
        return wake

    def leave(self, wake: asyncio.Event) -> None:
        """Unregisters a client."""
        self._waiting.discard(wake)
        CONNECTIONS.dec()

    def after(self, position: int, *, bytes_max: int) -> list[Told] | None:
        """The next events after a position, about `bytes_max` of them; None when the ring lacks some."""
        if not self._ring or position < self._ring[0].position - 1 or position > self.head:
            return None
        start = position - self._ring[0].position + 1
        size, taken = 0, []
        for told in self._ring[start:]:
            taken.append(told)
            size += len(told.chunk)
            if size >= bytes_max:
                break
        return taken

    def close(self) -> None:
        """Ends every stream and the listening."""
        self.closed = True
        self._news.set()
        self._wake()

    async def run(self) -> None:
        """Listens until closed, reconnecting as often as need be."""
        while not self.closed:
            try:
                await self._listen()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, UnavailableError) as error:
                logger.warning("the feed lost PostgreSQL, trying again: %s", error)
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), RECONNECT_S)

    async def _listen(self) -> None:
        conn = await pool.connect(self._settings.database_url, name="driftlock-api-feed")
        try:
            conn.add_termination_listener(self._on_news)
            await conn.add_listener(CHANNEL, self._on_news)
            await self._settle(conn)
            while not self.closed:
                self._news.clear()
                await self._read(conn)
                with contextlib.suppress(TimeoutError):
                    # the poll is for notifications lost by a proxy between us and PostgreSQL
                    await asyncio.wait_for(self._news.wait(), self._settings.feed_poll_s)
                if conn.is_closed() and not self.closed:
                    raise UnavailableError("the listening connection ended")
        finally:
            conn.terminate() if conn.is_closed() else await conn.close(timeout=1)

    def _on_news(self, *_: Any) -> None:
        self._news.set()

    async def _settle(self, conn: asyncpg.Connection) -> None:
        """Decides where to begin: at the head at first, where we were after a break."""
        bounds = await feed.bounds(conn)
        if self._settled and bounds.holds(self.head):
            return
        # after the first time: a restored database, or a break longer than the feed is kept
        self.resets += self._settled
        self._settled = True
        self._ring, self._ring_bytes = [], 0
        self.head = bounds.head
        self._wake()

    async def _read(self, conn: asyncpg.Connection) -> None:
        full = True
        while full and not self.closed:
            events = await feed_reader.after(conn, self.head, limit=READ_ENTRIES_MAX)
            full = len(events) == READ_ENTRIES_MAX
            if events:
                self._append([tell(event) for event in events])
                self._wake()

    def _append(self, told: list[Told]) -> None:
        self._ring.extend(told)
        self._ring_bytes += sum(len(t.chunk) for t in told)
        self.head = told[-1].position
        keep = 0
        settings = self._settings
        while keep < len(self._ring) - 1 and (
            len(self._ring) - keep > settings.sse_ring_events_max
            or self._ring_bytes > settings.sse_ring_bytes_max
        ):
            self._ring_bytes -= len(self._ring[keep].chunk)
            keep += 1
        del self._ring[:keep]

    def _wake(self) -> None:
        for wake in self._waiting:
            wake.set()
