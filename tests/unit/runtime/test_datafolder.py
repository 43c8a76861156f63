"""The data folder is ours, used once at a time, and its faults are told in one sentence."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from driftlock.errors import StartError
from driftlock.runtime.datafolder import default_data_dir, disk_fault, opened, told_plainly


def test_a_fresh_folder_is_marked_and_opens_again(tmp_path: Path) -> None:
    for _ in range(2):
        with opened(tmp_path / "deep" / "data") as folder:
            assert (folder.path / "DRIFTLOCK").read_text() == "1\n"


def test_a_second_user_is_refused_by_name_of_the_first(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(StartError, match=f"process {os.getpid()}"), opened(tmp_path):
        pass
    with opened(tmp_path):
        pass


@pytest.mark.parametrize(
    ("file", "words"), [("PG_VERSION", "is a PostgreSQL data folder"), ("thesis.tex", "is not empty")]
)
def test_a_foreign_folder_is_left_alone(file: str, words: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text("18\n")
    with pytest.raises(StartError, match=words), opened(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == [file]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StartError, match="is not a folder"), opened(tmp_path / "data"):
        pass


def test_a_layout_of_another_version_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    (tmp_path / "DRIFTLOCK").write_text("2\n")
    with pytest.raises(StartError, match="has layout 2"), opened(tmp_path):
        pass


def test_a_disk_with_too_little_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"is full: .* MiB are free"), opened(tmp_path, free_bytes_min=2**62):
        pass


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "is full"),
        (errno.EDQUOT, "is full"),
        (errno.EACCES, "cannot be written"),
        (errno.EROFS, "cannot be written"),
        (errno.ENOTDIR, "not a folder"),
    ],
)
def test_faults_of_the_disk_become_sentences(number: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=words), told_plainly(tmp_path):
        raise OSError(number, os.strerror(number))


def test_other_faults_are_passed_on(tmp_path: Path) -> None:
    assert disk_fault(errno.EIO, tmp_path) is None
    with pytest.raises(OSError, match="Input/output"), told_plainly(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("name", ["/proc/nope", "/tmp/" + "x" * 300, "/tmp/a\0b"])
def test_a_folder_that_cannot_be_made_is_told(name: str) -> None:
    with pytest.raises(StartError, match="cannot be made"), opened(Path(name)):
        pass


def test_secrets_are_for_the_owner_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as folder:
        assert folder.connection() == {}
        folder.keep_connection({"nats_token": "abc"})
        folder.keep_connection({"nats_token": "def"})
        assert folder.connection() == {"nats_token": "def"}
    mode = stat.S_IMODE((tmp_path / "connection.json").stat().st_mode)
    assert mode == 0o600


def test_damaged_secrets_are_not_silently_replaced(tmp_path: Path) -> None:
    with opened(tmp_path) as folder:
        (tmp_path / "connection.json").write_text("{")
        with pytest.raises(StartError, match="damaged"):
            folder.connection()


def test_the_default_follows_user_and_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir() == Path("/var/lib/driftlock")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_data_dir() == Path("/data/driftlock")
