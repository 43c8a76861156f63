"""The filters of anomalies as query parameters: the same for the list and for the live stream."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated

from litestar.di import NamedDependency
from litestar.exceptions import ValidationException
from litestar.params import QueryParameter

from driftlock.api.access import Asker
from driftlock.storage.anomalies import Severity, Status, StreamType
from driftlock.storage.anomaly_search import AnomalyFilter

TEXT_LENGTH_MAX = 1024
VALUES_MAX = 100

_SEVERAL = " Given several times, any of them will do."

StreamTypes = Annotated[
    list[StreamType] | None, QueryParameter(description="Kind of telemetry." + _SEVERAL, max_items=VALUES_MAX)
]
Statuses = Annotated[
    list[Status] | None, QueryParameter(description="Status." + _SEVERAL, max_items=VALUES_MAX)
]
Severities = Annotated[
    list[Severity] | None, QueryParameter(description="Severity." + _SEVERAL, max_items=VALUES_MAX)
]
Services = Annotated[
    list[str] | None, QueryParameter(description="service.name." + _SEVERAL, max_items=VALUES_MAX)
]
Streams = Annotated[
    list[str] | None, QueryParameter(description="Name of the stream." + _SEVERAL, max_items=VALUES_MAX)
]
Tags = Annotated[
    list[str] | None,
    QueryParameter(description="Tag. Given several times, all must be there.", max_items=VALUES_MAX),
]
MinNcd = Annotated[float | None, QueryParameter(description="Least NCD.", ge=0, le=2)]
MaxP = Annotated[float | None, QueryParameter(description="Greatest p-value.", ge=0, le=1)]
StartTime = Annotated[
    datetime | None, QueryParameter(description="Not before this time (RFC 3339 with an offset).")
]
EndTime = Annotated[
    datetime | None, QueryParameter(description="Before this time (RFC 3339, with an offset).")
]
OnlySignificant = Annotated[bool, QueryParameter(description="Only statistically significant ones.")]
Query = Annotated[
    str | None,
    QueryParameter(
        description="Text to find in stream, service, explanation or a tag, in any case.",
        min_length=1,
        max_length=TEXT_LENGTH_MAX,
    ),
]


async def provide_filter(
    principal: Asker,
    stream_type: StreamTypes = None,
    status: Statuses = None,
    severity: Severities = None,
    service: Services = None,
    stream: Streams = None,
    tag: Tags = None,
    min_ncd_score: MinNcd = None,
    max_p_value: MaxP = None,
    start_time: StartTime = None,
    end_time: EndTime = None,
    only_significant: OnlySignificant = False,
    q: Query = None,
) -> AnomalyFilter:
    """The filter of a request, for the asking tenant (a dependency for handlers)."""
    _check_numbers(min_ncd_score=min_ncd_score, max_p_value=max_p_value)
    _check_times(start_time=start_time, end_time=end_time)
    return AnomalyFilter(
        tenant_id=principal.tenant_id,
        stream_type=tuple(stream_type or ()),
        status=tuple(status or ()),
        severity=tuple(severity or ()),
        service=tuple(service or ()),
        stream=tuple(stream or ()),
        tag=tuple(tag or ()),
        min_ncd_score=min_ncd_score,
        max_p_value=max_p_value,
        start_time=start_time,
        end_time=end_time,
        only_significant=only_significant,
        q=q,
    )


Wanted = NamedDependency[AnomalyFilter]  # what a handler declares to get the filter


def _check_numbers(**numbers: float | None) -> None:
    for name, value in numbers.items():
        if value is not None and not math.isfinite(value):
            raise invalid(name, "must be a number")


def _check_times(*, start_time: datetime | None, end_time: datetime | None) -> None:
    for name, value in (("start_time", start_time), ("end_time", end_time)):
        if value is not None and value.tzinfo is None:
            raise invalid(name, "must say its offset from UTC, such as Z or +02:00 (with + sent as %2B)")
        if value is not None and not _has_year(value):
            raise invalid(name, "must lie in the years 1 to 9999, in UTC")
    if start_time is not None and end_time is not None and start_time >= end_time:
        raise invalid("end_time", "must be after start_time")


def _has_year(value: datetime) -> bool:
    """Whether a time has a year in UTC, too; the database is asked in UTC."""
    try:
        value.astimezone(UTC)
    except OverflowError:
        return False
    return True


def invalid(name: str, message: str) -> ValidationException:
    """A validation problem with one parameter."""
    return ValidationException(extra=[{"key": name, "message": message}])
