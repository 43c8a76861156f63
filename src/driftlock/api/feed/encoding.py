"""Server-Sent Events as bytes (WHATWG HTML, 9.2.6). JSON has no raw line breaks, so data is one line."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from driftlock.storage.anomalies import Anomaly
from driftlock.storage.anomaly_search import AnomalyFilter
from driftlock.storage.feed_reader import FeedEvent

ResyncReason = Literal["gone", "future"]


class Told(msgspec.Struct, frozen=True):
    """One feed entry, encoded once for everybody. `chunk` is empty when there is nothing left to tell.

    `statuses` are those before and after a change of it, None for any other news.
    """

    position: int
    chunk: bytes
    anomaly: Anomaly | None
    statuses: frozenset[str] | None

    def concerns(self, wanted: AnomalyFilter) -> bool:
        """Whether a client with this filter is told. A change of status concerns those who showed the
        anomaly before and those who show it now."""
        return self.anomaly is not None and wanted.matches(self.anomaly, statuses=self.statuses)


class StatusEvent(msgspec.Struct, frozen=True):
    """The data of `event: status`."""

    anomaly_id: str
    timestamp: str
    stream: str
    status: str
    previous_status: str
    changed_by: str
    changed_at: str
    notes: str | None
    reason: str | None
    revision: int


class EpisodeEvent(msgspec.Struct, frozen=True):
    """The data of `event: episode`; `episode` is what the anomaly's has become."""

    anomaly_id: str
    timestamp: str
    stream: str
    episode: dict[str, Any]
    revision: int


def tell(event: FeedEvent) -> Told:
    """Encodes a feed entry."""
    anomaly = event.anomaly
    if anomaly is None:
        return Told(event.position, b"", None, None)
    if event.kind == "anomaly":
        return Told(event.position, block("anomaly", anomaly, position=event.position), anomaly, None)
    assert event.payload is not None, "other entries carry the change"
    change = event.payload
    if event.kind == "episode":
        course = EpisodeEvent(
            anomaly_id=str(anomaly.id),
            timestamp=msgspec.to_builtins(anomaly.timestamp),
            stream=anomaly.stream,
            episode=change["episode"],
            revision=change["revision"],
        )
        return Told(event.position, block("episode", course, position=event.position), anomaly, None)
    data = StatusEvent(
        anomaly_id=str(anomaly.id),
        timestamp=msgspec.to_builtins(anomaly.timestamp),
        stream=anomaly.stream,
        status=change["to_status"],
        previous_status=change["from_status"],
        changed_by=change["changed_by"],
        changed_at=change["changed_at"],
        notes=change["notes"],
        reason=change["reason"],
        revision=change["revision"],
    )
    statuses = frozenset((data.status, data.previous_status))
    return Told(event.position, block("status", data, position=event.position), anomaly, statuses)


def block(event: str, data: Any, *, position: int | None = None) -> bytes:
    """One event; with a position it becomes what the client resumes from."""
    place = b"id: %d\n" % position if position is not None else b""
    return b"event: %s\n%sdata: %s\n\n" % (event.encode(), place, msgspec.json.encode(data))


def opening(client_id: str, position: int, retry_ms: int) -> bytes:
    """The first bytes: when to come back after a break, and `connected`."""
    data = {"client_id": client_id, "position": position}
    return b"retry: %d\n\n" % retry_ms + block("connected", data, position=position)


def resync(reason: ResyncReason, position: int) -> bytes:
    """Tells a client to read the list afresh; the feed goes on after `position`."""
    return block("resync", {"reason": reason, "position": position}, position=position)


def heartbeat(position: int) -> bytes:
    """A comment, and an id without data: no event, but the client resumes from here after a break."""
    return b": heartbeat\nid: %d\n\n" % position
