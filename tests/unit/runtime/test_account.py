"""The account of the servers: who it is, and whether it can reach its data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from driftlock.errors import StartError
from driftlock.runtime import account
from driftlock.runtime.account import Account, check_reach, service_account

SOMEONE = Account("someone", 4_000_000, 4_000_000)


@pytest.fixture
def open_path(data_dir: Path) -> Path:
    """A folder that everyone can enter."""
    inner = data_dir / "a" / "b"
    inner.mkdir(parents=True, mode=0o755)
    return inner


def test_an_ordinary_user_runs_the_servers_as_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert service_account(Path("/nowhere")) is None
    check_reach(Path("/nowhere"), None)


def test_root_never_runs_them_as_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(account, "_create", lambda: None)
    found = service_account(tmp_path / "fresh")
    assert found is not None
    assert found.uid != 0
    monkeypatch.setattr(account, "_look_up", lambda name: None)
    with pytest.raises(StartError, match="does not run as root"):
        service_account(tmp_path / "fresh")


def test_a_closed_folder_on_the_way_is_named(open_path: Path) -> None:
    check_reach(open_path, SOMEONE)
    open_path.parent.chmod(0o750)
    with pytest.raises(StartError, match=f"cannot enter {open_path.parent}"):
        check_reach(open_path, SOMEONE)


def test_owner_and_group_have_bits_of_their_own(open_path: Path) -> None:
    open_path.parent.chmod(0o700)
    owner = open_path.parent.stat()
    check_reach(open_path, Account("owner", owner.st_uid, SOMEONE.gid))
    with pytest.raises(StartError):
        check_reach(open_path, Account("member", SOMEONE.uid, owner.st_gid))
