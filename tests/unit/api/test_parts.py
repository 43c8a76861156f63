"""The pure parts of the API: cursors, events as bytes, the ring of the hub, who is on loopback."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.api import cursors
from driftlock.api.access import Demand, Principal, is_loopback
from driftlock.api.feed import encoding
from driftlock.api.feed.encoding import Told
from driftlock.api.feed.hub import FeedHub
from driftlock.api.health import routes
from driftlock.api.parameters import template
from driftlock.api.problems import ProblemError
from driftlock.api.settings import ApiSettings
from driftlock.signals import canonical
from driftlock.storage.anomaly_search import AnomalyFilter
from driftlock.storage.feed_reader import FeedEvent

SECRET = b"s" * 32
PLAIN = AnomalyFilter()


class Place(msgspec.Struct, frozen=True, array_like=True):
    timestamp: datetime
    id: uuid.UUID


class TestCursors:
    @given(st.datetimes(timezones=st.just(UTC)), st.uuids(), st.text(max_size=20))
    def test_come_back_as_they_were(self, time: datetime, name: uuid.UUID, q: str) -> None:
        wanted, place = AnomalyFilter(q=q), Place(time, name)
        cursor = cursors.encode(SECRET, "list", wanted, place)
        assert cursors.decode(SECRET, "list", wanted, cursor, Place) == place

    @given(st.text(max_size=60))
    def test_inventions_are_refused(self, invented: str) -> None:
        with pytest.raises(ProblemError):
            cursors.decode(SECRET, "list", PLAIN, invented, Place)

    @given(st.data())
    def test_any_changed_letter_is_refused(self, data: st.DataObject) -> None:
        cursor = cursors.encode(
            SECRET, "list", PLAIN, Place(datetime(2026, 1, 1, tzinfo=UTC), uuid.UUID(int=1))
        )
        at = data.draw(st.integers(0, len(cursor) - 2))  # the last letter may hold unused bits
        letter = data.draw(st.sampled_from("abcXYZ019-_=!").filter(lambda c: c != cursor[at]))
        with pytest.raises(ProblemError):
            cursors.decode(SECRET, "list", PLAIN, cursor[:at] + letter + cursor[at + 1 :], Place)

    def test_belong_to_secret_list_filter_and_tenant(self) -> None:
        cursor = cursors.encode(SECRET, "list", PLAIN, "place")
        for secret, listing, wanted in (
            (b"t" * 32, "list", PLAIN),
            (SECRET, "other", PLAIN),
            (SECRET, "list", AnomalyFilter(only_significant=True)),
            (SECRET, "list", AnomalyFilter(tenant_id="other")),
        ):
            with pytest.raises(ProblemError):
                cursors.decode(secret, listing, wanted, cursor, str)


class TestEncoding:
    @given(st.text(st.characters(exclude_categories=["Cs"])))
    def test_no_text_breaks_out_of_its_line(self, text: str) -> None:
        raw = encoding.block("anomaly", {"text": text}, position=7)
        lines = raw.decode().split("\n")
        assert lines[0:2] == ["event: anomaly", "id: 7"]
        assert json.loads(lines[2].removeprefix("data: ")) == {"text": text}
        assert lines[3:] == ["", ""]
        assert "\r" not in raw.decode()

    def test_a_deleted_anomaly_keeps_its_place_and_concerns_nobody(self) -> None:
        told = encoding.tell(FeedEvent(3, "anomaly", None, None))
        assert (told.position, told.chunk) == (3, b"")
        assert not told.concerns(PLAIN)


def told(position: int, size: int = 10) -> Told:
    return Told(position, b"x" * size, None, None)


class TestHubRing:
    def hub(self, **limits: int) -> FeedHub:
        settings = ApiSettings(database_url="", nats_url="", **limits)
        hub = FeedHub(settings)
        hub.head = 10
        return hub

    @given(
        st.integers(1, 8),
        st.integers(1, 100),
        st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=5), max_size=10),
        st.integers(0, 80),
        st.integers(1, 200),
    )
    def test_is_bounded_and_tells_a_run_or_nothing(
        self, events_max: int, bytes_max: int, batches: list[list[int]], after: int, write_max: int
    ) -> None:
        hub = self.hub(sse_ring_events_max=events_max, sse_ring_bytes_max=bytes_max)
        position = 10
        for sizes in batches:
            hub._append([told(position + 1 + i, size) for i, size in enumerate(sizes)])
            position += len(sizes)
        assert hub.head == position
        assert len(hub._ring) <= events_max
        total = sum(len(t.chunk) for t in hub._ring)
        assert total == hub._ring_bytes
        assert total <= bytes_max or len(hub._ring) == 1
        found = hub.after(after, bytes_max=write_max)
        if found is None:
            assert not hub._ring or after < hub._ring[0].position - 1 or after > hub.head
        else:
            assert [t.position for t in found] == list(range(after + 1, after + 1 + len(found)))
            assert bool(found) is (after < hub.head)
            assert sum(len(t.chunk) for t in found[:-1]) < write_max

    def test_wakes_and_counts_clients(self) -> None:
        hub = self.hub()
        first, second = hub.join(), hub.join()
        hub.leave(first)
        hub.close()
        assert (hub.clients, first.is_set(), second.is_set()) == (1, False, True)
        hub.leave(second)  # the gauge of open streams is the process's, and other tests read it


OWN = ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost"]
FOREIGN = ["0.0.0.0", "::", "10.0.0.1", "example.com", "", None, "127.0.0.1.example.com", "::ffff:10.0.0.1"]


def test_loopback() -> None:
    assert all(is_loopback(host) for host in OWN)
    assert not any(is_loopback(host) for host in FOREIGN)


def test_demands() -> None:
    def principal(role: str, *scopes: str) -> Principal:
        return Principal("i", "n", role, frozenset(scopes), "t", None)  # type: ignore[arg-type]

    roles = ("viewer", "analyst", "admin")
    assert [Demand(role="analyst").met_by(principal(role)) for role in roles] == [False, True, True]
    assert not Demand(scope="write:anomalies").met_by(principal("admin"))
    assert Demand(scope="write:anomalies").met_by(principal("viewer", "write:anomalies"))


def test_templates_are_those_of_the_document() -> None:
    assert template("/v1/anomalies/{anomaly_id:uuid}/status") == "/v1/anomalies/{anomaly_id}/status"


def test_the_version_told_is_that_of_the_canonical_form() -> None:
    assert routes.CANONICAL_FORM_VERSION == canonical.CANONICAL_VERSION
