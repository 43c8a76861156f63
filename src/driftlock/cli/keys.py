"""`driftlock keys`: make, list and revoke API keys, straight in the database."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from cyclopts import App, Parameter
from cyclopts.validators import Number

from driftlock.cli.shown import plain
from driftlock.cli.sources import ConfigFile, providers
from driftlock.errors import InputError
from driftlock.runtime.settings import DATABASE_DEFAULT, DatabasePlace

if TYPE_CHECKING:
    from driftlock.storage.keys import KeyRow

ResultT = TypeVar("ResultT")


def _own(text: str, **more: Any) -> Parameter:
    """An argument of the command, which is no setting: neither environment nor file know it."""
    return Parameter(help=text, show_env_var=False, **more)


app = App(name="keys", help="Make, list and revoke API keys.", config=providers())


@app.command
def create(
    name: Annotated[str, _own("What the key is for; live keys have different names.")],
    *,
    role: Annotated[Literal["viewer", "analyst", "admin"], _own("What the key may do.")] = "viewer",
    scope: Annotated[
        tuple[Literal["write:anomalies"], ...],
        _own("A right beside the role: write:anomalies.", negative=(), show_default=False),
    ] = (),
    expires_days: Annotated[
        float | None, _own("Days until it expires. Without it: never.", validator=Number(gt=0))
    ] = None,
    requests_per_minute: Annotated[
        int | None, _own("A rate limit of its own.", validator=Number(gte=1))
    ] = None,
    place: DatabasePlace = DATABASE_DEFAULT,
    config: ConfigFile = None,
) -> None:
    """Make a key and print its secret, which is stored nowhere.

    The secret alone goes to standard output, so that a script can take it.
    """
    from driftlock.storage import keys

    expires = datetime.now(UTC) + timedelta(days=expires_days) if expires_days is not None else None
    secret, row = _with_database(
        place, lambda conn: keys.create(conn, name, role, scope, expires, requests_per_minute)
    )
    print(f"Key {plain(row.name)} ({row.role}, id {row.id}). The secret is shown this once:", file=sys.stderr)
    print(secret)


@app.command(name="list")
def list_(*, place: DatabasePlace = DATABASE_DEFAULT, config: ConfigFile = None) -> None:
    """List all keys, revoked and expired ones too."""
    from driftlock.storage import keys

    show_keys(_with_database(place, keys.list_keys))


def show_keys(rows: Sequence[KeyRow]) -> None:
    """A table of keys; what others named them is shown as it is, and steers nothing."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("id", "name", "role", "scopes", "begins with", "state", "last used", box=None)
    for row in rows:
        used = row.last_used_at.isoformat(timespec="minutes") if row.last_used_at else "never"
        scopes = ",".join(row.scopes) or "-"
        cells = (str(row.id), row.name, row.role, scopes, row.prefix, _state(row), used)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    # a pipe has no width of its own: whole lines, for grep and awk
    Console(width=None if sys.stdout.isatty() else 240).print(table)


@app.command
def revoke(
    key: Annotated[str, _own("The key's id or name.")],
    *,
    place: DatabasePlace = DATABASE_DEFAULT,
    config: ConfigFile = None,
) -> None:
    """Revoke a key, for ever. Running APIs notice within seconds."""
    row = _with_database(place, lambda conn: _revoke(conn, key))
    print(f"Revoked {plain(row.name)} ({row.id}).")


async def _revoke(conn: Any, key: str) -> KeyRow:
    from driftlock.storage import keys

    live = [row for row in await keys.list_keys(conn) if row.revoked_at is None]
    found = [row.id for row in live if key in (row.name, str(row.id))]
    if not found:
        raise InputError(f"There is no live key {key!r}.", hint="`driftlock keys list` shows them.")
    return await keys.revoke(conn, uuid.UUID(str(found[0])))


def _state(row: KeyRow) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.expires_at is None:
        return "live"
    expired = row.expires_at <= datetime.now(UTC)
    return "expired" if expired else f"live until {row.expires_at.isoformat(timespec='minutes')}"


def _with_database(place: DatabasePlace, work: Callable[[Any], Awaitable[ResultT]]) -> ResultT:
    from driftlock.cli.database import database_url
    from driftlock.storage.pool import connect

    async def connected() -> ResultT:
        conn = await connect(database_url(place), name="driftlock-keys")
        try:
            return await work(conn)
        finally:
            await conn.close()

    return asyncio.run(connected())
