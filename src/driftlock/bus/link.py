"""A connection to NATS that lasts.

Owns: connecting, reconnecting for ever, telling others when the connection went and came back. Must not know
what is sent over it.

nats-py reconnects by itself after a lost socket, but closes for good on some protocol errors (a refused
login during a restart, for one); the link then opens a fresh client. So users ask the link for its client
each time and never keep one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client

from driftlock.bus import tasks
from driftlock.errors import UnavailableError

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
RECONNECT_WAIT_S = 0.1
PING_INTERVAL_S = 10
# nats-py blocks a publisher while more than this waits for the socket: back-pressure, not a refusal.
OUTBOUND_BYTES_MAX = 16 * 1024 * 1024
# Without a bound, a publisher that waits for a flush while the socket dies would wait for ever.
FLUSH_TIMEOUT_S = 2.0
# A server drops a connection that has 64 MiB (its default) waiting to be read. Readers that lag have this
# many pulls under way together; those at the end of the log get only what is being written.
PULLS_LAGGING_MAX = 4


class Link:
    """One lasting connection. `generation` grows with every new connection to the server."""

    def __init__(self, url: str, *, name: str) -> None:
        self._url = url
        self._name = name
        self._client: Client | None = None
        self._connected = asyncio.Event()
        self._closing = False
        self._revival: asyncio.Task[None] | None = None
        self._last_error: Exception | None = None
        self._lost_callbacks: list[Callable[[], None]] = []
        self.generation = 0
        self.pulls_lagging = asyncio.Semaphore(PULLS_LAGGING_MAX)

    @property
    def address(self) -> str:
        """Host and port without credentials, for messages to people."""
        parts = urlsplit(self._url if "://" in self._url else f"nats://{self._url}")
        return f"{parts.hostname or '?'}:{parts.port or 4222}"

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    @property
    def client(self) -> Client:
        assert self._client is not None, "open() comes first"
        return self._client

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call back, in the event loop, each time the connection is lost."""
        self._lost_callbacks.append(callback)

    async def open(self, *, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Connect. Raises UnavailableError when there is no server, or it refuses, for `timeout_s`."""
        # nats-py tries for ever and may lose a cancellation (wait_for of Python 3.11): one is not enough
        opening = asyncio.create_task(self._open_client())
        try:
            await asyncio.wait({opening}, timeout=timeout_s)
        finally:
            late = not opening.done()
            await tasks.end(opening)
        if late and not self._connected.is_set():
            cause = self._last_error
            reason = f" ({cause})" if cause is not None and str(cause) else ""
            message = f"NATS at {self.address} cannot be reached{reason}"
            raise UnavailableError(
                message, hint="Is it running, and are address and credentials right?"
            ) from cause
        error = None if opening.cancelled() else opening.exception()
        if isinstance(error, nats.errors.Error | OSError | ValueError):
            raise UnavailableError(f"NATS at {self.address} cannot be used: {error}") from error
        if error is not None:
            raise error

    async def wait_connected(self, timeout_s: float) -> bool:
        """Whether the link is up within `timeout_s`."""
        if self._connected.is_set():
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        self._closing = True
        if self._revival is not None:
            self._revival.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._revival
        self._lost()
        if self._client is not None and not self._client.is_closed:
            await self._client.close()

    async def _open_client(self) -> None:
        self._last_error = None
        client = Client()
        try:
            await client.connect(
                servers=[self._url],
                name=self._name,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # a float works and is wanted
                connect_timeout=2,
                ping_interval=PING_INTERVAL_S,
                max_outstanding_pings=2,
                pending_size=OUTBOUND_BYTES_MAX,
                flush_timeout=FLUSH_TIMEOUT_S,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_connected,
                closed_cb=self._on_closed,
            )
        except BaseException:
            with contextlib.suppress(Exception):
                await client.close()
            raise
        self._client = client
        await self._on_connected()

    async def _on_connected(self) -> None:
        self.generation += 1
        self._last_error = None
        self._connected.set()
        if self.generation > 1:
            logger.info("connected to NATS at %s again", self.address)

    async def _on_disconnected(self) -> None:
        if not self._closing and self._connected.is_set():
            logger.warning("lost the connection to NATS at %s, trying again", self.address)
        self._lost()

    async def _on_error(self, error: Exception) -> None:
        # Called for every failed attempt; the change of state is logged above, once. A server that refuses a
        # login closes the socket at once, so some attempts see only the reset: its own words tell more.
        if not (isinstance(error, OSError) and isinstance(self._last_error, nats.errors.Error)):
            self._last_error = error
        logger.debug("NATS: %s: %s", type(error).__name__, error)

    async def _on_closed(self) -> None:
        self._lost()
        if self._client is None:  # never opened: the caller of open() is told
            return
        if not self._closing and (self._revival is None or self._revival.done()):
            self._revival = asyncio.create_task(self._revive())

    async def _revive(self) -> None:
        while not self._closing:
            await asyncio.sleep(RECONNECT_WAIT_S)
            try:
                await self.open()
            except UnavailableError as error:
                logger.warning("%s", error.message)
            else:
                return

    def _lost(self) -> None:
        self._connected.clear()
        for callback in self._lost_callbacks:
            callback()
