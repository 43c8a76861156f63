"""Errors as RFC 9457 problem+json: one table of types, one schema, one way from exception to answer.

The `type` of a problem is stable and is what clients branch on; `title` belongs to the type, `detail` to
the occurrence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import asyncpg
import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.openapi import ResponseSpec

from driftlock.errors import UnavailableError
from driftlock.storage.errors import ConflictError, InvalidValueError, NotFoundError, StaleError

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2

ProblemType = Literal[
    "urn:driftlock:problem:bad-request",
    "urn:driftlock:problem:validation",
    "urn:driftlock:problem:unknown-parameter",
    "urn:driftlock:problem:invalid-cursor",
    "urn:driftlock:problem:unauthenticated",
    "urn:driftlock:problem:forbidden",
    "urn:driftlock:problem:not-found",
    "urn:driftlock:problem:method-not-allowed",
    "urn:driftlock:problem:conflict",
    "urn:driftlock:problem:stale",
    "urn:driftlock:problem:too-large",
    "urn:driftlock:problem:unsupported-media-type",
    "urn:driftlock:problem:idempotency-key-reused",
    "urn:driftlock:problem:unprocessable",
    "urn:driftlock:problem:rate-limited",
    "urn:driftlock:problem:head-too-large",
    "urn:driftlock:problem:internal",
    "urn:driftlock:problem:unavailable",
    "urn:driftlock:problem:too-many-streams",
]
PREFIX = "urn:driftlock:problem:"

TABLE: Mapping[str, tuple[int, str]] = {
    "bad-request": (400, "The request cannot be understood"),
    "validation": (400, "A value is not allowed"),
    "unknown-parameter": (400, "A query parameter is unknown or given twice"),
    "invalid-cursor": (400, "The cursor was not made for this request"),
    "unauthenticated": (401, "A valid API key is needed"),
    "forbidden": (403, "This key may not do that"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "This method is not offered here"),
    "conflict": (409, "This contradicts what is stored"),
    "stale": (412, "It changed since it was read"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "The body must be JSON"),
    "idempotency-key-reused": (422, "The Idempotency-Key was used with another request"),
    "unprocessable": (422, "The database's rules refuse this"),
    "rate-limited": (429, "Too many requests"),
    "head-too-large": (431, "The head of the request is too large"),
    "internal": (500, "Something broke on our side"),
    "unavailable": (503, "A part of Driftlock cannot be reached now"),
    "too-many-streams": (503, "All event streams of this process are taken"),
}
assert {PREFIX + name for name in TABLE} == set(get_args(ProblemType)), "the table and the type disagree"

_BY_STATUS = {
    400: "bad-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    429: "rate-limited",
    503: "unavailable",
}
assert all(TABLE[name][0] == status for status, name in _BY_STATUS.items()), "a status maps to itself"

# lost connections, servers that start or stop, pools that stay empty: trying again may help
_UNREACHABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.UndefinedTableError,  # not migrated yet: readiness tells
    UnavailableError,
)


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one parameter or field."""

    field: str
    message: str


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457 problem details. `errors` names fields, `missing` the parts that cannot be reached."""

    type: ProblemType
    title: str
    status: int
    detail: str
    instance: str | None = None
    errors: list[FieldError] | None = None
    missing: list[str] | None = None


class ProblemError(Exception):
    """Raise this to answer with a problem of the table."""

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[FieldError] = (),
        missing: Sequence[str] = (),
    ) -> None:
        super().__init__(detail)
        self.name = name
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = list(errors)
        self.missing = list(missing)


def responses(*statuses: int) -> dict[int, ResponseSpec]:
    """The problems of an endpoint for the OpenAPI document; every endpoint may answer 500."""
    told = {}
    for status in sorted({*statuses, 500}):
        titles = " or ".join(title for code, title in TABLE.values() if code == status)
        told[status] = ResponseSpec(
            ProblemDetails, description=titles, media_type=MEDIA_TYPE, generate_examples=False
        )
    return told


def to_response(request: Request[Any, Any, Any], problem: ProblemError) -> Response[Any]:
    """The answer for a problem."""
    return Response(
        as_json(
            problem.name,
            problem.detail,
            instance=request.url.path,
            errors=problem.errors or None,
            missing=problem.missing or None,
        ),
        status_code=TABLE[problem.name][0],
        headers=problem.headers,
        media_type=MEDIA_TYPE,
    )


def as_json(
    name: str,
    detail: str,
    *,
    instance: str | None = None,
    errors: list[FieldError] | None = None,
    missing: list[str] | None = None,
) -> bytes:
    """The body of a problem of the table."""
    status, title = TABLE[name]
    kind: Any = PREFIX + name  # the assertion above ties names and types together
    return msgspec.json.encode(ProblemDetails(kind, title, status, detail, instance, errors, missing))


def _from_http(error: HTTPException) -> ProblemError:
    if isinstance(error, ValidationException):
        return ProblemError(
            "validation", "The request has values that are not allowed.", errors=_fields(error)
        )
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    name = _BY_STATUS.get(error.status_code)
    if name is None:
        name = "bad-request" if error.status_code < 500 else "internal"
    return ProblemError(name, _detail(name, error), headers=headers)


def _detail(name: str, error: HTTPException) -> str:
    if name == "not-found":
        return "No such path, or an id in it is not a UUID."
    return error.detail or TABLE[name][1]


def _fields(error: ValidationException) -> list[FieldError]:
    if not isinstance(error.extra, list):
        return [FieldError("", str(error.detail))]
    return [
        FieldError(str(item.get("key", "")), str(item.get("message", "")))
        for item in error.extra
        if isinstance(item, dict)
    ]


def _unavailable(error: Exception) -> ProblemError:
    # the cause is for the log, not for the client: it may name hosts
    logger.warning("answering 503: %s: %s", type(error).__name__, error)
    return ProblemError(
        "unavailable", "The database cannot be reached now.", headers={"Retry-After": str(RETRY_AFTER_S)}
    )


def _internal(error: Exception) -> ProblemError:
    logger.error("a request failed", exc_info=error)
    return ProblemError("internal", "The cause is in the log of the API.")


def _stale(error: StaleError) -> ProblemError:
    return ProblemError("stale", error.message, headers={"ETag": f'"{error.current}"'})


_CONVERTERS: dict[type[Exception], Callable[[Any], ProblemError]] = {
    ProblemError: lambda error: error,
    HTTPException: _from_http,
    NotFoundError: lambda error: ProblemError("not-found", error.message),
    StaleError: _stale,
    RecursionError: lambda _: ProblemError("bad-request", "The body is nested too deeply."),
    # what msgspec raises for a body; nothing else of a request is decoded strictly
    UnicodeDecodeError: lambda _: ProblemError("bad-request", "The body is not UTF-8."),
    ConflictError: lambda error: ProblemError("conflict", error.message),
    InvalidValueError: lambda error: ProblemError("unprocessable", error.message),
    **dict.fromkeys(_UNREACHABLE, _unavailable),
    Exception: _internal,
}


def _handler(convert: Callable[[Any], ProblemError]) -> Callable[[Any, Any], Response[Any]]:
    return lambda request, error: to_response(request, convert(error))


HANDLERS: dict[int | type[Exception], Callable[[Any, Any], Response[Any]]] = {
    kind: _handler(convert) for kind, convert in _CONVERTERS.items()
}
