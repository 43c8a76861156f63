"""`/v1/anomalies` over real HTTP: lists, pages, reads, reports and status changes."""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import timedelta
from typing import Any

import asyncpg
import httpx

from integration.api.harness import NOW, Store, make, problem

REPORT: dict[str, Any] = {
    "timestamp": "2026-03-04T05:06:07Z",
    "stream_type": "llm",
    "stream": "assistant",
    "service": "assistant",
    "severity": "low",
}


async def _ids(client: httpx.AsyncClient, **params: Any) -> list[str]:
    response = await client.get("/v1/anomalies", params=params)
    assert response.status_code == 200, response.text
    return [anomaly["id"] for anomaly in response.json()["anomalies"]]


async def test_an_empty_list(viewer: httpx.AsyncClient) -> None:
    response = await viewer.get("/v1/anomalies")
    assert response.json() == {
        "anomalies": [], "total": 0, "limit": 50, "offset": 0, "has_more": False, "next_cursor": None,
    }  # fmt: skip


async def test_pages_by_cursor_newest_first(viewer: httpx.AsyncClient, store: Store) -> None:
    rng = random.Random(1)
    rows = [make(b"%d" % n, NOW - timedelta(seconds=rng.randint(0, 9))) for n in range(25)]
    await store(*rows)
    seen: list[str] = []
    params: dict[str, Any] = {"limit": 7, "severity": "high"}
    while True:
        page = (await viewer.get("/v1/anomalies", params=params)).json()
        assert (page["total"], page["limit"]) == (25, 7)
        seen += [anomaly["id"] for anomaly in page["anomalies"]]
        assert page["has_more"] is (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        params["cursor"] = page["next_cursor"]
    newest_first = sorted(rows, key=lambda row: (row.timestamp, row.id), reverse=True)
    assert seen == [str(row.id) for row in newest_first]


async def test_new_rows_do_not_move_a_cursor(viewer: httpx.AsyncClient, store: Store) -> None:
    await store(*(make(b"%d" % n, NOW - timedelta(seconds=n)) for n in range(4)))
    first = (await viewer.get("/v1/anomalies", params={"limit": 2})).json()
    await store(make(b"new", NOW + timedelta(seconds=1)))
    second = await _ids(viewer, limit=2, cursor=first["next_cursor"])
    assert len({a["id"] for a in first["anomalies"]} | set(second)) == 4


async def test_a_cursor_belongs_to_its_filter(viewer: httpx.AsyncClient, store: Store) -> None:
    await store(*(make(b"%d" % n) for n in range(3)))
    cursor = (await viewer.get("/v1/anomalies", params={"limit": 1, "severity": "high"})).json()[
        "next_cursor"
    ]
    middle = len(cursor) // 2
    tampered = cursor[:middle] + ("A" if cursor[middle] != "A" else "B") + cursor[middle + 1 :]
    for params in (
        {"cursor": cursor},
        {"cursor": cursor, "severity": ["high", "low"]},
        {"cursor": tampered, "severity": "high"},
        {"cursor": "x", "severity": "high"},
        {"cursor": "💥", "severity": "high"},
        {"cursor": "A" * 5000, "severity": "high"},
    ):
        problem(await viewer.get("/v1/anomalies", params=params), 400, "invalid-cursor")
    assert len(await _ids(viewer, cursor=cursor, severity="high", limit=1000)) == 2


async def test_a_cursor_belongs_to_its_list(viewer: httpx.AsyncClient, store: Store) -> None:
    await store(make(b"1"), make(b"2"))
    cursor = (await viewer.get("/v1/anomalies", params={"limit": 1})).json()["next_cursor"]
    problem(await viewer.get("/v1/streams", params={"cursor": cursor}), 400, "invalid-cursor")


async def test_offset_pages(viewer: httpx.AsyncClient, store: Store) -> None:
    await store(*(make(b"%d" % n, NOW - timedelta(seconds=n)) for n in range(5)))
    everything = await _ids(viewer)
    assert await _ids(viewer, limit=2, offset=1) == everything[1:3]


VALUES_NOT_ALLOWED: list[dict[str, Any]] = [
    {"limit": 0},
    {"limit": 1001},
    {"limit": "ten"},
    {"limit": 2**70},
    {"offset": -1},
    {"offset": 10_001},
    {"offset": 1, "cursor": "abc"},
    {"severity": "High"},
    {"status": ""},
    {"stream_type": "profiles"},
    {"min_ncd_score": "nan"},
    {"max_p_value": "inf"},
    {"max_p_value": 1.5},
    {"start_time": "yesterday"},
    {"start_time": "2026-01-01T00:00:00"},
    {"start_time": "0001-01-01T00:00:00+14:00"},
    {"end_time": "9999-12-31T23:59:59-14:00"},
    {"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"},
    {"only_significant": "perhaps"},
    {"q": ""},
    {"q": "x" * 1025},
]


async def test_values_that_are_not_allowed(viewer: httpx.AsyncClient) -> None:
    for params in VALUES_NOT_ALLOWED:
        body = problem(await viewer.get("/v1/anomalies", params=params), 400, "validation")
        assert any(error["field"] in params and error["message"] for error in body["errors"]), params


async def test_parameters_that_mean_nothing(viewer: httpx.AsyncClient) -> None:
    for query in ("severities=high", "limit=1&limit=2", "q=a&q=b", "=", "x", "limit%00=1"):
        problem(await viewer.get(f"/v1/anomalies?{query}"), 400, "unknown-parameter")


HOSTILE = ["'; DROP TABLE x; --", "' OR 1=1 --", "%", "_", "\\", "$1", "{}", "\0", "💥\u202e", "Ünïcödé", '"']


async def test_hostile_text_is_only_text(viewer: httpx.AsyncClient, store: Store) -> None:
    rows = await store(*(make(text.encode(), stream=text, service=text, tags=[text]) for text in HOSTILE))
    for row, text in zip(rows, HOSTILE, strict=True):
        for name in ("stream", "service", "tag", "q"):
            assert await _ids(viewer, **{name: text}) == [str(row.id)], (name, text)


async def test_filters_by_time_and_number(viewer: httpx.AsyncClient, store: Store) -> None:
    rows = await store(
        make(b"1", ncd_score=0.5, p_value=0.01, is_statistically_significant=True),
        make(b"2", NOW + timedelta(hours=1), ncd_score=0.1),
    )
    first, second = (str(row.id) for row in rows)
    assert await _ids(viewer, min_ncd_score=0.5) == [first]
    assert await _ids(viewer, max_p_value=0.01) == [first]
    assert await _ids(viewer, only_significant="true") == [first]
    assert await _ids(viewer, start_time="2026-03-04T06:06:07+00:00") == [second]
    assert await _ids(viewer, end_time="2026-03-04T07:06:07+01:00") == [first]


async def test_reading_one(viewer: httpx.AsyncClient, store: Store) -> None:
    (row,) = await store(make(detailed_explanation={"lines": []}))
    response = await viewer.get(f"/v1/anomalies/{row.id}")
    assert response.status_code == 200
    assert response.headers["etag"] == '"1"'
    body = response.json()
    assert (body["id"], body["timestamp"]) == (str(row.id), "2026-03-04T05:06:07Z")
    assert body["status_history"] == []
    again = await viewer.get(f"/v1/anomalies/{row.id}", headers={"If-None-Match": 'W/"1"'})
    assert (again.status_code, again.content) == (304, b"")


async def test_reading_none(viewer: httpx.AsyncClient) -> None:
    for path in (str(uuid.UUID(int=0)), str(uuid.uuid4()), "1", "%00", "..%2f..%2fetc"):
        response = await viewer.get(f"/v1/anomalies/{path}")
        assert response.status_code == 404
        assert response.json()["type"] == "urn:driftlock:problem:not-found"


async def test_reporting_one(writer: httpx.AsyncClient) -> None:
    response = await writer.post("/v1/anomalies", json={**REPORT, "stream": "a\0b", "metadata": {"n": 1}})
    assert response.status_code == 201, response.text
    body = response.json()
    assert (body["stream"], body["source"], body["status"]) == ("a\ufffdb", "api", "pending")
    assert response.headers["location"] == f"/v1/anomalies/{body['id']}"
    found = await writer.get(response.headers["location"])
    assert found.headers["etag"] == response.headers["etag"]
    assert {k: v for k, v in found.json().items() if k != "status_history"} == body


REPORTS_NOT_ALLOWED: list[tuple[dict[str, Any], str]] = [
    ({"p_value": 2}, "p_value"),
    ({"p_value": "NaN"}, "p_value"),
    ({"severity": "worst"}, "severity"),
    ({"timestamp": "2026-03-04T05:06:07"}, "timestamp"),
    ({"timestamp": "1969-12-31T00:00:00Z"}, "timestamp"),
    ({"timestamp": "9999-12-31T00:00:00Z"}, "timestamp"),
    ({"stream": ""}, "stream"),
    ({"stream": "x" * 1025}, "stream"),
    ({"tags": ["x"] * 65}, "tags"),
    ({"compression_window": -1}, "compression_window"),
    ({"compression_window": 2**60}, "compression_window"),
    ({"surprise": 1}, "surprise"),
]


async def test_reports_that_are_not_allowed(writer: httpx.AsyncClient) -> None:
    for change, field in REPORTS_NOT_ALLOWED:
        response = await writer.post("/v1/anomalies", json={**REPORT, **change})
        assert field in str(problem(response, 400, "validation")["errors"])


async def test_bodies_that_are_not_json(writer: httpx.AsyncClient) -> None:
    kind = {"content-type": "application/json"}
    for content in (b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"timestamp": NaN}', b"[" * 50_000):
        response = await writer.post("/v1/anomalies", content=content, headers=kind)
        assert response.status_code == 400, content
        assert response.headers["content-type"] == "application/problem+json"
    large = b'{"stream": "' + b"x" * 1_100_000 + b'"}'
    problem(await writer.post("/v1/anomalies", content=large, headers=kind), 413, "too-large")
    problem(
        await writer.post("/v1/anomalies", content=b'{"stream":"\xff"}', headers=kind), 400, "bad-request"
    )
    form = await writer.post("/v1/anomalies", data={"stream": "x"})
    problem(form, 415, "unsupported-media-type")


async def test_a_repeat_with_an_idempotency_key_gets_the_first_answer(
    writer: httpx.AsyncClient, conn: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "once"}
    answers = await asyncio.gather(
        *(writer.post("/v1/anomalies", json=REPORT, headers=headers) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 7
    assert await conn.fetchval("SELECT count(*) FROM anomalies") == 1
    assert await conn.fetchval("SELECT count(*) FROM feed") == 1
    other = await writer.post("/v1/anomalies", json={**REPORT, "severity": "high"}, headers=headers)
    problem(other, 422, "idempotency-key-reused")


async def test_without_a_key_each_report_is_its_own(writer: httpx.AsyncClient) -> None:
    made = [(await writer.post("/v1/anomalies", json=REPORT)).json()["id"] for _ in range(2)]
    assert len(set(made)) == 2


async def test_changing_a_status(analyst: httpx.AsyncClient, store: Store) -> None:
    (row,) = await store(make())
    path = f"/v1/anomalies/{row.id}"
    change = {"status": "acknowledged", "notes": "looking", "reason": "deploy"}
    response = await analyst.patch(f"{path}/status", json=change, headers={"If-Match": '"1"'})
    assert response.status_code == 200, response.text
    assert response.headers["etag"] == '"2"'
    body = (await analyst.get(path)).json()
    assert (body["status"], body["acknowledged_by"], body["notes"]) == ("acknowledged", "analyst", "looking")
    (entry,) = body["status_history"]
    assert (entry["from_status"], entry["to_status"], entry["changed_by"]) == (
        "pending",
        "acknowledged",
        "analyst",
    )


async def test_a_stale_status_change(analyst: httpx.AsyncClient, store: Store) -> None:
    (row,) = await store(make())
    path = f"/v1/anomalies/{row.id}/status"
    for tag in ('"7"', 'W/"1"', "nonsense", '"7", "8"', ""):
        response = await analyst.patch(path, json={"status": "resolved"}, headers={"If-Match": tag})
        problem(response, 412, "stale")
        assert response.headers["etag"] == '"1"'
    for tag in ('"7", "1"', "*"):
        response = await analyst.patch(path, json={"status": "resolved"}, headers={"If-Match": tag})
        assert response.status_code == 200


async def test_of_rival_changes_one_wins(analyst: httpx.AsyncClient, store: Store) -> None:
    (row,) = await store(make())
    path, tag = f"/v1/anomalies/{row.id}/status", {"If-Match": '"1"'}
    answers = await asyncio.gather(
        *(analyst.patch(path, json={"status": "investigating"}, headers=tag) for _ in range(6))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 5


async def test_status_changes_that_are_not_allowed(analyst: httpx.AsyncClient, store: Store) -> None:
    (row,) = await store(make())
    path = f"/v1/anomalies/{row.id}/status"
    for body in ({}, {"status": "closed"}, {"status": None}, {"status": "resolved", "note": "x"}, []):
        problem(await analyst.patch(path, json=body), 400, "validation")
    missing = await analyst.patch(f"/v1/anomalies/{uuid.uuid4()}/status", json={"status": "resolved"})
    problem(missing, 404, "not-found")
