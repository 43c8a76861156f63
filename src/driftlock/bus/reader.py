"""Reading one partition of the log in order, each message exactly once.

Owns: the consumer on the server and its re-creation, bounded prefetching, telling gaps. Must not know what a
payload means or what a caller remembers.

The consumer is ephemeral, unacknowledged and replaceable: all that matters is the last position that was
received, which lives here. When NATS restarts, forgets the consumer, or a message goes missing on the way
(the consumer's own numbering skips), a new consumer starts right after that position. Every consumer has its
own inbox, so nothing of an old one can be taken for the new one's.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import Self, cast, get_args

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import api

from driftlock.bus.envelope import (
    HEADER_KIND,
    HEADER_RECEIVED_NS,
    HEADER_TENANT,
    STREAM_NAME,
    Envelope,
    Kind,
    subject,
)
from driftlock.bus.link import Link
from driftlock.errors import StartError

logger = logging.getLogger(__name__)

PULL_EXPIRES_S = 30.0
HEARTBEAT_S = 5.0
# A pull for messages that are there already. Short, because it holds one of the link's few slots.
LAGGING_PULL_EXPIRES_S = 2.0
# Waiting this long without message or heartbeat means that the consumer is gone.
SILENCE_MAX_S = 2.5 * HEARTBEAT_S
# The server forgets a reader that has not pulled for this long.
INACTIVE_THRESHOLD_S = 60.0
ADMIN_TIMEOUT_S = 2.0
RETRY_WAIT_S = 0.1
GAP_CHECK_INTERVAL_S = 1.0
PAYLOAD_HEADROOM_BYTES = 64 * 1024
NANOSECONDS = 1_000_000_000

# Endings of one pull after which the same consumer is pulled again.
_PULL_ENDED = ("404", "408")
_HEARTBEAT = "100"


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages between two positions were discarded by the log's bounds before they were read.

    `after` is the last position read, `first` the oldest one still held. Positions are shared by all
    partitions, so for a partition that was silent the gap may hold none of its messages; with ticks in
    every partition it does hold some.
    """

    after: int
    first: int


@dataclass(frozen=True, slots=True)
class _Delivery:
    position: int
    order: int
    pending: int


class Reader:
    """An endless asynchronous iterator over lists of envelopes, in order, positions growing.

    Yields an empty list when nothing came for `wait_s`, so that the caller can do its periodic work.
    Iterating raises StartError when the log ends before the position to read after: it was replaced.
    `pending` tells how many messages of the partition the server held behind the last one received.
    """

    def __init__(
        self, link: Link, partition: int, *, after: int, batch: int, wait_s: float, prefetch_bytes: int
    ) -> None:
        self.partition = partition
        self.gaps: list[Gap] = []
        self.unreadable = 0
        self.pending = 0
        self._link = link
        self._batch = batch
        self._wait_s = wait_s
        self._prefetch_bytes = prefetch_bytes
        self._pull_bytes = prefetch_bytes
        self._received = after
        self._buffer: deque[Envelope] = deque()
        self._buffered_bytes = 0
        self._wake = asyncio.Event()
        self._closed = False
        self._consumer = ""
        self._subscription: Subscription | None = None
        self._generation = 0
        self._stale = True
        self._order = 0
        self._pull_left = 0
        self._pulling = False
        self._fruitful = False
        self._slot = False
        self._silence_s = 0.0
        self._gap_checked_at = 0.0

    def __aiter__(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def __anext__(self) -> list[Envelope]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_s
        while not self._closed:
            if self._buffer:
                return await self._take()
            left = deadline - loop.time()
            if left <= 0:
                return []
            if await self._ready(left):
                await self._wait(left)
        raise StopAsyncIteration

    async def close(self) -> None:
        """Stop reading and let the server forget the consumer. What was prefetched is dropped."""
        self._closed = True
        self._wake.set()
        await self._drop_consumer()

    async def _take(self) -> list[Envelope]:
        taken = [self._buffer.popleft() for _ in range(min(self._batch, len(self._buffer)))]
        self._buffered_bytes -= sum(len(envelope.payload) for envelope in taken)
        if not self._stale and self._generation == self._link.generation:
            # Ask for the next ones now, so that they travel while the caller works.
            try:
                await self._pull(patience_s=0.0)
            except (nats.errors.Error, TimeoutError, OSError):
                self._stale = True
        return taken

    async def _wait(self, left_s: float) -> None:
        """Wait for a message or any sign of life."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            await asyncio.wait_for(self._wake.wait(), left_s)
        except TimeoutError:
            # Only time spent waiting counts: while the caller blocks the loop, heartbeats wait unread.
            self._silence_s += loop.time() - started
            if self._silence_s > SILENCE_MAX_S:
                self._stale = True
        self._wake.clear()

    async def _ready(self, left_s: float) -> bool:
        """Whether a consumer is there and has been asked for messages; false when NATS is away for now."""
        if not await self._link.wait_connected(left_s):
            return False
        try:
            async with asyncio.timeout(ADMIN_TIMEOUT_S * 3):
                if self._stale or self._generation != self._link.generation:
                    await self._renew_consumer()
                await self._pull(patience_s=left_s)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            logger.debug("partition %d: no consumer yet: %s", self.partition, error)
            self._stale = True
            await asyncio.sleep(min(RETRY_WAIT_S, left_s))
            return False
        return True

    async def _renew_consumer(self) -> None:
        await self._drop_consumer()
        client = self._link.client
        jetstream = client.jetstream(timeout=ADMIN_TIMEOUT_S)
        state = (await jetstream.stream_info(STREAM_NAME)).state
        if state.last_seq < self._received:
            message = (
                f"the log ends at position {state.last_seq}, but position {self._received} was already read: "
                "it was replaced or lost its end"
            )
            raise StartError(
                message, hint="Restore the log's data folder, or reset the detector's positions."
            )
        self._note_gap(state.first_seq)
        self._generation = self._link.generation
        self._order = 0
        self._silence_s = 0.0
        inbox = client.new_inbox()
        self._subscription = await client.subscribe(
            inbox, cb=partial(self._on_message, inbox), pending_bytes_limit=0
        )
        info = await jetstream.add_consumer(
            STREAM_NAME,
            api.ConsumerConfig(
                name=f"reader-{self.partition:04d}-{inbox.rpartition('.')[2]}",
                deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._received + 1,
                ack_policy=api.AckPolicy.NONE,
                filter_subject=subject(self.partition),
                inactive_threshold=INACTIVE_THRESHOLD_S,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        self._consumer = info.name
        self.pending = info.num_pending or 0
        self._stale = False

    async def _drop_consumer(self) -> None:
        self._end_pull()
        subscription, self._subscription = self._subscription, None
        consumer, self._consumer = self._consumer, ""
        if subscription is None or not self._link.connected:
            return
        try:
            await subscription.unsubscribe()
            if consumer:
                # Unanswered on purpose: at worst the server forgets it by its inactivity.
                delete = f"$JS.API.CONSUMER.DELETE.{STREAM_NAME}.{consumer}"
                await self._link.client.publish(delete)
        except (nats.errors.Error, OSError) as error:
            logger.debug("partition %d: dropping a consumer: %s", self.partition, error)

    async def _pull(self, *, patience_s: float) -> None:
        """Ask for more when there is room: at most one and a quarter times the prefetch bound is held."""
        if self._pulling or self._buffered_bytes > self._prefetch_bytes // 4 or self._stale:
            return
        await self._check_overtaken()
        lagging = self.pending > 0
        if lagging and not await self._take_slot(patience_s):
            return
        expires_s = LAGGING_PULL_EXPIRES_S if lagging else PULL_EXPIRES_S
        request = {
            "batch": self._batch,
            "max_bytes": self._pull_bytes,
            "expires": int(expires_s * NANOSECONDS),
            "idle_heartbeat": int(min(HEARTBEAT_S, expires_s / 2) * NANOSECONDS),
        }
        self._pulling = True
        self._fruitful = False
        self._pull_left = self._batch
        assert self._subscription is not None
        await self._link.client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{STREAM_NAME}.{self._consumer}",
            json.dumps(request).encode(),
            reply=self._subscription.subject,
        )

    async def _take_slot(self, patience_s: float) -> bool:
        slots = self._link.pulls_lagging
        if self._slot:
            return True
        if patience_s <= 0 and slots.locked():
            return False
        try:
            async with asyncio.timeout(max(patience_s, 0.001)):
                await slots.acquire()
        except TimeoutError:
            return False
        self._slot = True
        return True

    def _free_slot(self) -> None:
        if self._slot:
            self._slot = False
            self._link.pulls_lagging.release()

    def _end_pull(self) -> None:
        self._pulling = False
        self._free_slot()

    async def _check_overtaken(self) -> None:
        """A reader that lags may be overtaken by the log's bounds; the server then skips silently.

        Asked before a pull: between pulls nothing is on its way, so what is gone by now was never sent.
        """
        now = asyncio.get_running_loop().time()
        if self.pending == 0 or now - self._gap_checked_at < GAP_CHECK_INTERVAL_S:
            return
        self._gap_checked_at = now
        jetstream = self._link.client.jetstream(timeout=ADMIN_TIMEOUT_S)
        self._note_gap((await jetstream.stream_info(STREAM_NAME)).state.first_seq)

    def _note_gap(self, first: int) -> None:
        if first > self._received + 1 and not (self.gaps and self.gaps[-1].first == first):
            gap = Gap(after=self._received, first=first)
            self.gaps.append(gap)
            logger.warning(
                "partition %d: messages after position %d were discarded before they were read; "
                "the oldest held is %d",
                self.partition,
                gap.after,
                gap.first,
            )

    async def _on_message(self, inbox: str, message: Msg) -> None:
        if self._subscription is None or inbox != self._subscription.subject:
            return
        self._silence_s = 0.0
        delivery = _parse_delivery(message.reply)
        if delivery is None:
            self._on_status(message.headers or {})
        elif not self._stale:
            self._on_delivery(message, delivery)

    def _on_delivery(self, message: Msg, delivery: _Delivery) -> None:
        self._order += 1
        if delivery.order != self._order:
            # One got lost on the way (a dropped connection, say): start again behind the last.
            self._stale = True
            self._wake.set()
            return
        self._fruitful = True
        self._pull_left -= 1
        if self._pull_left == 0:
            self._end_pull()
        self.pending = delivery.pending
        if self.pending == 0:
            self._free_slot()
        if delivery.position <= self._received:
            return
        self._received = delivery.position
        envelope = _envelope(message, delivery.position)
        if envelope is None:
            self.unreadable += 1
            logger.warning("partition %d: position %d is not ours", self.partition, delivery.position)
            return
        self._buffer.append(envelope)
        self._buffered_bytes += len(envelope.payload)
        self._wake.set()

    def _on_status(self, headers: dict[str, str]) -> None:
        status = headers.get("Status", "")
        if status == _HEARTBEAT:
            return
        description = headers.get("Description", "").lower()
        too_large = description.startswith("message size exceeds maxbytes")
        if too_large and not self._fruitful:
            # The next message alone is larger than what was asked for.
            self._pull_bytes = min(
                self._pull_bytes * 2, self._link.client.max_payload + PAYLOAD_HEADROOM_BYTES
            )
        self._end_pull()
        if status not in _PULL_ENDED and not too_large and not description.startswith("batch completed"):
            logger.debug("partition %d: consumer ended: %s %s", self.partition, status, description)
            self._stale = True
        self._wake.set()


def _parse_delivery(reply: str) -> _Delivery | None:
    """Read `$JS.ACK.<stream>.<consumer>.<delivered>.<position>.<order>.<time>.<pending>`.

    The longer form, used across domains, has two more names before the stream's.
    """
    tokens = reply.split(".")
    if len(tokens) < 9 or tokens[:2] != ["$JS", "ACK"]:
        return None
    first = 5 if len(tokens) == 9 else 7
    position, order, _, pending = tokens[first : first + 4]
    return _Delivery(position=int(position), order=int(order), pending=int(pending))


_KINDS: tuple[str, ...] = get_args(Kind)


def _envelope(message: Msg, position: int) -> Envelope | None:
    headers = message.headers or {}
    kind = headers.get(HEADER_KIND, "")
    received = headers.get(HEADER_RECEIVED_NS, "")
    if kind not in _KINDS or not received.isdecimal():
        return None
    return Envelope(
        kind=cast(Kind, kind),
        tenant=headers.get(HEADER_TENANT, ""),
        received_ns=int(received),
        payload=message.data,
        position=position,
    )
