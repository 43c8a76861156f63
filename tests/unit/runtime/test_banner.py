"""What a person is told once Driftlock runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftlock.runtime.banner import Running
from driftlock.runtime.settings import Settings


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        (Settings(), "--role admin"),
        (Settings(data_dir=Path("/srv/d")), "--role admin --data-dir /srv/d"),
        (Settings(data_dir=Path("/srv/d"), database_url="postgresql://u:p@h/d"), "--database-url URL"),
    ],
)
def test_the_command_for_keys_finds_the_database_that_runs(settings: Settings, flags: str) -> None:
    told = [line for line in Running(settings, None).lines() if "keys create" in line]
    assert len(told) == 1
    assert told[0].endswith(flags)


def test_a_password_is_not_shown() -> None:
    lines = Running(Settings(database_url="postgresql://u:hidden@h/d"), None).lines()
    assert "hidden" not in "\n".join(lines)


def test_the_first_key_stands_in_the_lines_to_copy() -> None:
    lines = Running(Settings(), "dlk_first").lines()
    assert sum("Bearer dlk_first" in line for line in lines) == 2
