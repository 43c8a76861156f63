"""The parameters of every paged list, and the rules between them."""

from __future__ import annotations

from typing import Annotated

from litestar.params import QueryParameter

from driftlock.api.filters import invalid

LIMIT_MAX = 1000
OFFSET_MAX = 10_000  # PostgreSQL reads and drops what is skipped; beyond this a cursor is the way

Limit = Annotated[int, QueryParameter(description="Rows a page.", ge=1, le=LIMIT_MAX)]
Offset = Annotated[
    int, QueryParameter(description="Rows to skip, for small pages; not with a cursor.", ge=0, le=OFFSET_MAX)
]
Cursor = Annotated[
    str | None,
    QueryParameter(description="`next_cursor` of the page before, with the same filters.", min_length=1),
]


def check_paging(offset: int, cursor: str | None) -> None:
    """Refuses an offset beside a cursor: one of the two would be ignored."""
    if offset and cursor is not None:
        raise invalid("offset", "cannot be combined with a cursor")
