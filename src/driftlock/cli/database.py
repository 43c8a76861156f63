"""Finds the database for commands beside a running Driftlock: the given one, or the data folder's own."""

from __future__ import annotations

from driftlock.errors import UnavailableError
from driftlock.runtime.datafolder import DataFolder, default_data_dir
from driftlock.runtime.embedded import embedded_database_url
from driftlock.runtime.settings import DatabasePlace


def database_url(place: DatabasePlace) -> str:
    """Raises UnavailableError when no database was given and the folder has none."""
    if place.database_url is not None:
        return place.database_url
    folder = place.data_dir or default_data_dir()
    try:
        found = embedded_database_url(DataFolder(folder))
    except PermissionError as cause:
        raise UnavailableError(
            f"The secrets of {folder} belong to another user.",
            hint="Run this as the user who runs Driftlock.",
        ) from cause
    if found is None:
        raise UnavailableError(
            f"No Driftlock has run on {folder}.",
            hint="Start one with `driftlock up`, or give --data-dir or --database-url.",
        )
    return found
