"""Nothing is silently ignored: what the OpenAPI document does not name is refused.

The table of known query parameters is read from the document itself, so the two cannot disagree.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl

from litestar import Litestar, Request
from litestar.openapi.spec import OpenAPIType, Parameter, Reference, Schema

from driftlock.api.problems import FieldError, ProblemError

_METHODS = ("get", "post", "patch", "put", "delete")
_TYPED = re.compile(r"\{(\w+):\w+\}")

Known = dict[tuple[str, str], dict[str, bool]]


def template(path: str) -> str:
    """A route's path as the OpenAPI document writes it: `/v1/anomalies/{id}`."""
    return _TYPED.sub(r"{\1}", path)


def known_parameters(app: Litestar) -> Known:
    """By path and method: the query parameters, and whether each may be given several times."""
    table: Known = {}
    for path, item in (app.openapi_schema.paths or {}).items():
        for method in _METHODS:
            operation = getattr(item, method)
            if operation is not None:
                found = [p for p in operation.parameters or [] if isinstance(p, Parameter)]
                table[path, method.upper()] = {
                    p.name: _repeats(p.schema) for p in found if p.param_in == "query"
                }
    return table


async def check_request(request: Request[Any, Any, Any]) -> None:
    """Runs before each handler: refuses unknown or doubled parameters, and bodies that are not JSON."""
    known = request.app.state.known_parameters.get((template(request.scope["path_template"]), request.method))
    if known is not None:
        _check_query(request.scope["query_string"].decode("latin-1"), known)
    if request.method in ("POST", "PATCH", "PUT"):
        kind = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
        # an act without a body needs no type
        empty = (
            request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers
        )
        if kind != "application/json" and not (empty and not kind):
            raise ProblemError(
                "unsupported-media-type", f"The body is {kind or 'of no stated type'}, not application/json."
            )


def _check_query(query: str, known: dict[str, bool]) -> None:
    given = Counter(name for name, _ in parse_qsl(query, keep_blank_values=True))
    errors = [
        FieldError(name, "is unknown here" if name not in known else "may be given only once")
        for name, times in given.items()
        if name not in known or (times > 1 and not known[name])
    ]
    if errors:
        raise ProblemError("unknown-parameter", "The query has parameters that mean nothing.", errors=errors)


def _repeats(schema: Schema | Reference | None) -> bool:
    if not isinstance(schema, Schema):
        return False
    kinds = schema.type if isinstance(schema.type, list) else [schema.type]
    return OpenAPIType.ARRAY in kinds or any(_repeats(part) for part in schema.one_of or schema.any_of or ())
