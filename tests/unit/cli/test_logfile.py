"""What is refused as no text in UTF-8, in a sentence that says what to do, whichever command reads it."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from driftlock.cli import logfile
from driftlock.cli.detect import detect
from driftlock.cli.logfile import LINE_BYTES_MAX, LogFile
from driftlock.cli.score import score
from driftlock.errors import InputError

LINES = [f"GET /item/{n} took {n * 37 % 900} ms" for n in range(2_000)]

Command = Callable[[str], object]


def by_lines(name: str) -> None:
    with LogFile(name) as log:
        list(log.lines())


def by_sessions(name: str) -> None:
    score(name, session="GET /(item)")


def followed(name: str) -> None:
    detect(name, follow=True)


READERS = [score, by_sessions, detect, by_lines]


@pytest.mark.parametrize("read", [*READERS, followed])
@pytest.mark.parametrize("form", ["UTF-16", "UTF-16BE", "UTF-32"])
def test_wide_text_is_refused_with_its_conversion(read: Command, form: str, tmp_path: Path) -> None:
    log = tmp_path / "wide.log"
    mark = "\ufeff" if form == "UTF-16BE" else ""
    log.write_bytes((mark + "\n".join(LINES)).encode(form))
    with pytest.raises(InputError, match=f"is in {form[:6]}; Driftlock reads UTF-8") as fault:
        read(str(log))
    _, _, conversion = str(fault.value.hint).partition("Convert it first: ")
    done = subprocess.run([*conversion.split(), str(log)], capture_output=True, check=True)
    assert done.stdout.decode().split("\n") == LINES


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize("read", READERS)
def test_packed_wide_text_and_a_wide_series_are_refused_too(
    pack: Callable[[bytes], bytes], read: Command, tmp_path: Path
) -> None:
    log = tmp_path / "wide"
    log.write_bytes(pack("timestamp,value\n2026-01-01,1\n".encode("UTF-16")))
    with pytest.raises(InputError, match="is in UTF-16"):
        read(str(log))


@pytest.mark.parametrize("end", ["", "\r", "\n"], ids=["none", "return", "line-feed"])
@pytest.mark.parametrize("read", READERS)
def test_lines_that_end_by_carriage_returns_alone_are_refused(
    read: Command, end: str, tmp_path: Path
) -> None:
    log = tmp_path / "old.log"
    log.write_text("\r".join(LINES[:10]) + end, newline="")
    with pytest.raises(InputError, match="carriage returns alone") as fault:
        read(str(log))
    assert str(fault.value.hint).endswith(r"tr '\r' '\n'")


def test_a_followed_log_is_refused_when_its_returns_are_more_than_a_line(tmp_path: Path) -> None:
    log = tmp_path / "old.log"
    log.write_bytes(b"a line\r" * LINE_BYTES_MAX)
    with pytest.raises(InputError, match="carriage returns alone"):
        followed(str(log))


@pytest.mark.parametrize("read", [*READERS, followed])
def test_what_never_ends_its_line_is_given_up(read: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "LINE_BYTES_READ_MAX", 8 * 1024**2)
    with pytest.raises(InputError, match="/dev/zero has no line end in 8 MiB"):
        read("/dev/zero")


def test_long_lines_are_read_where_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfile, "LINE_BYTES_READ_MAX", 1024**2)
    log = tmp_path / "long.log"
    log.write_bytes((b"x" * 1_000_000 + b"\n") * 10)
    with LogFile(str(log)) as file:
        assert [len(line or b"") for line in file.lines()] == [LINE_BYTES_MAX] * 10
