"""Which anomalies a list or a live feed shows: one filter, told twice, in SQL and in Python.

A test holds both forms against each other; `q` is casefolded on both sides, so they agree on every letter.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from driftlock.storage import sql
from driftlock.storage.anomalies import COLUMNS, Anomaly, search_text
from driftlock.storage.sql import QUERIES
from driftlock.storage.tenancy import TENANT_DEFAULT
from driftlock.storage.values import clean_text

_ANY_OF = ("status", "stream_type", "severity", "service", "stream")


class AnomalyFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What to show. Several values of one field mean any of them, several tags all of them.

    `start_time` is inclusive, `end_time` exclusive. `q` is found anywhere in stream, service, explanation
    or a tag, in any case. An anomaly without a number never passes a bound on that number.
    """

    tenant_id: str = TENANT_DEFAULT
    stream_type: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    severity: tuple[str, ...] = ()
    service: tuple[str, ...] = ()
    stream: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    min_ncd_score: float | None = None
    max_p_value: float | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    only_significant: bool = False
    q: str | None = None

    def matches(self, anomaly: Anomaly, *, statuses: frozenset[str] | None = None) -> bool:
        """Whether an anomaly passes; `statuses` stand in for its status (before and after a change)."""
        return (
            anomaly.tenant_id == self.tenant_id
            and (not self.status or not (statuses or {anomaly.status}).isdisjoint(self.status))
            and all(_passes(getattr(self, name), getattr(anomaly, name)) for name in _ANY_OF[1:])
            and set(_cleaned(self.tag)) <= set(anomaly.tags)
            and self._matches_numbers(anomaly)
            and self._matches_text(anomaly)
        )

    def _matches_numbers(self, anomaly: Anomaly) -> bool:
        ncd, p_value = anomaly.ncd_score, anomaly.p_value
        return (
            (self.min_ncd_score is None or (ncd is not None and ncd >= self.min_ncd_score))
            and (self.max_p_value is None or (p_value is not None and p_value <= self.max_p_value))
            and (self.start_time is None or anomaly.timestamp >= self.start_time)
            and (self.end_time is None or anomaly.timestamp < self.end_time)
            and (not self.only_significant or anomaly.is_statistically_significant)
        )

    def _matches_text(self, anomaly: Anomaly) -> bool:
        if self.q is None:
            return True
        text = search_text(anomaly.stream, anomaly.service, anomaly.glass_box_explanation, anomaly.tags)
        return clean_text(self.q).casefold() in text

    def where(self) -> tuple[str, list[Any]]:
        """The same in SQL: a condition over `anomalies` and its parameters."""
        parts: list[str] = ["tenant_id = $1"]
        args: list[Any] = [self.tenant_id]

        def add(condition: str, value: Any) -> None:
            args.append(value)
            parts.append(condition.format(f"${len(args)}"))

        for name in _ANY_OF:
            values = _cleaned(getattr(self, name))
            if len(values) == 1:  # equality keeps the order of the index, so a page is one short scan
                add(name + " = {}", values[0])
            elif values:
                add(name + " = ANY ({}::text[])", list(values))
        if self.tag:
            add("tags @> {}::text[]", list(_cleaned(self.tag)))
        if self.min_ncd_score is not None:
            add("ncd_score >= {}", self.min_ncd_score)
        if self.max_p_value is not None:
            add("p_value <= {}", self.max_p_value)
        if self.start_time is not None:
            add("timestamp >= {}", self.start_time)
        if self.end_time is not None:
            add("timestamp < {}", self.end_time)
        if self.only_significant:
            parts.append("is_statistically_significant")
        if self.q is not None:
            add("search_text LIKE {}", _like(self.q))
        return " AND ".join(parts), args


async def page(
    conn: asyncpg.Connection,
    wanted: AnomalyFilter,
    *,
    limit: int,
    offset: int = 0,
    after: tuple[datetime, uuid.UUID] | None = None,
) -> list[Anomaly]:
    """Anomalies newest first, at most `limit`, from `offset` on or older than the (timestamp, id) `after`."""
    where, args = wanted.where()
    if after is not None:
        where += f" AND (timestamp, id) < (${len(args) + 1}, ${len(args) + 2})"
        args = [*args, *after]
    query = QUERIES["anomalies_page"].filled(
        columns=COLUMNS, where=where, limit=f"${len(args) + 1}", offset=f"${len(args) + 2}"
    )
    return [Anomaly.of_row(row) for row in await sql.fetch(conn, query, *args, limit, offset)]


async def count(conn: asyncpg.Connection, wanted: AnomalyFilter) -> int:
    """How many anomalies pass the filter."""
    where, args = wanted.where()
    return int(await sql.fetch_value(conn, QUERIES["anomalies_count"].filled(where=where), *args))


def _passes(wanted: tuple[str, ...], value: str) -> bool:
    return not wanted or value in _cleaned(wanted)


def _cleaned(values: tuple[str, ...]) -> tuple[str, ...]:
    # stored texts were cleaned, so what is looked for must be too
    return tuple(clean_text(value) for value in values)


def _like(text: str) -> str:
    escaped = clean_text(text).casefold().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
