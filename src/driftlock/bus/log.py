"""The telemetry log: the durable, ordered, replayable record of everything that was acknowledged.

Owns: the JetStream stream, appending to it exactly once per message id, and asking where it begins and ends.
Reading is `bus.reader`. Must not know what a payload means.

An append is retried inside with the same message id while NATS is away; JetStream drops the ids it has seen
within `DUPLICATE_WINDOW_S`, also after a crash, so the retry is exact.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from driftlock.bus.envelope import (
    HEADER_KIND,
    HEADER_MESSAGE_ID,
    HEADER_RECEIVED_NS,
    HEADER_TENANT,
    STREAM_NAME,
    SUBJECT_PREFIX,
    Envelope,
    subject,
)
from driftlock.bus.link import CONNECT_TIMEOUT_S, Link
from driftlock.bus.reader import Reader
from driftlock.errors import StartError, TooLargeError, UnavailableError

logger = logging.getLogger(__name__)

DUPLICATE_WINDOW_S = 600.0
# How long one attempt waits for its acknowledgement; a lost connection ends it at once.
ATTEMPT_TIMEOUT_S = 5.0
RETRY_WAIT_S = 0.05
ADMIN_TIMEOUT_S = 5.0
# NATS counts headers into max_payload; ours stay far below this.
HEADER_BYTES_MAX = 4096
# JetStream's error code for "message size exceeds maximum allowed" of the stream.
ERROR_MESSAGE_TOO_LARGE = 10054


@dataclass(frozen=True, slots=True)
class LogState:
    """Where the log stands. Positions are sequence numbers; an empty log has first = last + 1."""

    first: int
    last: int
    messages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Append:
    """One message to append: `message_id` is what makes a second append of it a no-op."""

    partition: int
    envelope: Envelope
    message_id: str


class TelemetryLog:
    """The log over one NATS connection. Make it with `connect`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._inbox = ""
        self._inbox_client: object | None = None
        self._inbox_lock = asyncio.Lock()
        self._counter = 0
        self._waiting: dict[str, asyncio.Future[Msg]] = {}
        link.on_lost(self._fail_waiting)

    @classmethod
    async def connect(cls, url: str, *, name: str, timeout_s: float | None = None) -> Self:
        """Connect to NATS; credentials are part of the URL. It then reconnects for ever by itself.

        Raises UnavailableError when the server is not reachable within `timeout_s` (`CONNECT_TIMEOUT_S`).
        """
        link = Link(url, name=name)
        await link.open(timeout_s=CONNECT_TIMEOUT_S if timeout_s is None else timeout_s)
        return cls(link)

    @property
    def connected(self) -> bool:
        return self._link.connected

    @property
    def payload_bytes_max(self) -> int:
        """The largest payload that the server takes, headers allowed for."""
        return self._link.client.max_payload - HEADER_BYTES_MAX

    async def ensure(self, *, bytes_max: int, age_max_s: float | None = None) -> None:
        """Create the log, or adjust its bounds. At a bound the oldest messages are discarded.

        Raises StartError when something else stands under its name, UnavailableError when NATS is away.
        """
        try:
            await self._ensure(bytes_max, age_max_s or 0.0)
        except ServiceUnavailableError as error:
            message = f"NATS at {self._link.address} runs without JetStream, or JetStream is not ready"
            raise UnavailableError(message, hint="Start nats-server with JetStream enabled (-js).") from error
        except APIError as error:
            message = f"NATS refuses a log of {bytes_max} bytes: {error.description}"
            hint = "Give JetStream a larger max_file_store, or make the log smaller with --log-bytes-max."
            raise StartError(message, hint=hint) from error
        except (nats.errors.Error, TimeoutError) as error:
            raise UnavailableError(f"NATS at {self._link.address} does not answer: {error}") from error

    async def append(self, partition: int, envelope: Envelope, *, message_id: str, timeout_s: float) -> int:
        """Append one message and return its position, for a message id seen before the first one's.

        Tries until `timeout_s`, then raises UnavailableError: the message may or may not be in the log then.
        Raises TooLargeError when the server can never take it.
        """
        headers = {
            HEADER_KIND: envelope.kind,
            HEADER_TENANT: envelope.tenant,
            HEADER_RECEIVED_NS: str(envelope.received_ns),
            HEADER_MESSAGE_ID: message_id,
        }
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        reason = "no connection"
        while (left := deadline - loop.time()) > 0:
            if not await self._link.wait_connected(left):
                break
            left = max(deadline - loop.time(), 0.001)
            try:
                return await self._attempt(subject(partition), envelope.payload, headers, left)
            except nats.errors.MaxPayloadError as error:
                raise TooLargeError("a message is larger than NATS takes (max_payload)") from error
            except APIError as error:
                if error.err_code == ERROR_MESSAGE_TOO_LARGE:
                    raise TooLargeError("a message is larger than the log takes") from error
                reason = error.description or "refused"
            except (nats.errors.Error, TimeoutError, OSError) as error:
                reason = str(error) or type(error).__name__
            await asyncio.sleep(RETRY_WAIT_S)
        raise UnavailableError(f"the log did not take a message within {timeout_s:g} s ({reason})")

    async def append_many(self, parts: Sequence[Append], *, timeout_s: float) -> list[int]:
        """Append the parts of one request: partitions at the same time, each partition in order.

        Returns their positions. On an error some parts may be in the log; appending them again with the
        same message ids completes the rest.
        """
        if len(parts) == 1:
            part = parts[0]
            return [await self._append_part(part, timeout_s)]
        positions = [0] * len(parts)
        by_partition: dict[int, list[int]] = {}
        for index, part in enumerate(parts):
            by_partition.setdefault(part.partition, []).append(index)

        async def in_order(indexes: list[int]) -> None:
            for index in indexes:
                positions[index] = await self._append_part(parts[index], timeout_s)

        results = await asyncio.gather(*map(in_order, by_partition.values()), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return positions

    async def read(
        self,
        partition: int,
        *,
        after: int,
        batch: int = 64,
        wait_s: float = 1.0,
        prefetch_bytes: int = 4 * 1024 * 1024,
    ) -> Reader:
        """Read a partition from the first message after position `after`, for ever. See `Reader`."""
        return Reader(
            self._link, partition, after=after, batch=batch, wait_s=wait_s, prefetch_bytes=prefetch_bytes
        )

    async def state(self) -> LogState:
        """Raises UnavailableError when NATS does not answer."""
        try:
            state = (await self._jetstream().stream_info(STREAM_NAME)).state
        except (nats.errors.Error, TimeoutError) as error:
            raise UnavailableError(f"the log does not answer: {error}") from error
        return LogState(
            first=state.first_seq, last=state.last_seq, messages=state.messages, bytes=state.bytes
        )

    async def first_position(self) -> int:
        """The oldest position that is still held."""
        return (await self.state()).first

    async def last_position(self, partition: int) -> int:
        """The newest position of a partition, 0 when it holds nothing."""
        try:
            message = await self._jetstream().get_last_msg(STREAM_NAME, subject(partition), direct=True)
        except NotFoundError:
            return 0
        except (nats.errors.Error, TimeoutError) as error:
            raise UnavailableError(f"the log does not answer: {error}") from error
        return message.seq or 0

    async def close(self) -> None:
        await self._link.close()

    def _jetstream(self) -> JetStreamContext:
        return self._link.client.jetstream(timeout=ADMIN_TIMEOUT_S)

    async def _ensure(self, bytes_max: int, age_max_s: float) -> None:
        jetstream = self._jetstream()
        try:
            standing = (await jetstream.stream_info(STREAM_NAME)).config
        except NotFoundError:
            await jetstream.add_stream(_stream_config(bytes_max, age_max_s))
            return
        for what, found, wanted in (
            ("subjects", standing.subjects, [f"{SUBJECT_PREFIX}.*"]),
            ("storage", standing.storage, api.StorageType.FILE),
            ("retention", standing.retention, api.RetentionPolicy.LIMITS),
            ("discard", standing.discard, api.DiscardPolicy.OLD),
        ):
            if found != wanted:
                message = f"the JetStream stream {STREAM_NAME} exists with other {what}: {found}"
                raise StartError(message, hint="Use another NATS account, or remove that stream.")
        wanted_config = standing.evolve(
            max_bytes=bytes_max,
            max_age=age_max_s,
            duplicate_window=_duplicate_window(age_max_s),
            allow_direct=True,
        )
        if wanted_config != standing:
            await jetstream.update_stream(wanted_config)

    async def _append_part(self, part: Append, timeout_s: float) -> int:
        return await self.append(
            part.partition, part.envelope, message_id=part.message_id, timeout_s=timeout_s
        )

    async def _attempt(self, to: str, payload: bytes, headers: dict[str, str], left_s: float) -> int:
        inbox = await self._reply_inbox()
        self._counter += 1
        token = str(self._counter)
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._waiting[token] = answer
        try:
            async with asyncio.timeout(min(left_s, ATTEMPT_TIMEOUT_S)):
                await self._link.client.publish(to, payload, reply=f"{inbox}.{token}", headers=headers)
                message = await answer
        finally:
            self._waiting.pop(token, None)
        if message.headers and message.headers.get("Status") == "503":
            raise nats.errors.NoRespondersError
        acknowledgement = json.loads(message.data)
        if "error" in acknowledgement:
            raise _api_error(acknowledgement["error"])
        return int(acknowledgement["seq"])

    async def _reply_inbox(self) -> str:
        """One subscription for all acknowledgements; a fresh client (see Link) needs a fresh one."""
        client = self._link.client
        if self._inbox_client is client:
            return self._inbox
        async with self._inbox_lock:
            if self._inbox_client is not client:
                self._inbox = client.new_inbox()
                await client.subscribe(f"{self._inbox}.*", cb=self._on_answer, pending_bytes_limit=0)
                self._inbox_client = client
        return self._inbox

    async def _on_answer(self, message: Msg) -> None:
        answer = self._waiting.get(message.subject.rpartition(".")[2])
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _fail_waiting(self) -> None:
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(nats.errors.ConnectionClosedError())


def _api_error(error: dict[str, Any]) -> APIError:
    return APIError(
        code=error.get("code"), description=error.get("description"), err_code=error.get("err_code")
    )


def _duplicate_window(age_max_s: float) -> float:
    # JetStream refuses a window longer than the age at which messages go.
    return min(DUPLICATE_WINDOW_S, age_max_s) if age_max_s else DUPLICATE_WINDOW_S


def _stream_config(bytes_max: int, age_max_s: float) -> api.StreamConfig:
    return api.StreamConfig(
        name=STREAM_NAME,
        description="Driftlock: the telemetry log",
        subjects=[f"{SUBJECT_PREFIX}.*"],
        retention=api.RetentionPolicy.LIMITS,
        storage=api.StorageType.FILE,
        discard=api.DiscardPolicy.OLD,
        max_bytes=bytes_max,
        max_age=age_max_s,
        duplicate_window=_duplicate_window(age_max_s),
        allow_direct=True,
    )
