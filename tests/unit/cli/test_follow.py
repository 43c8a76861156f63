"""Following a log as it grows: half-written lines, rotation, pipes. The files are real ones."""

from __future__ import annotations

import gzip
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from driftlock.cli.detect import FOUND_EXIT_CODE, detect
from driftlock.cli.follow import BATCH_LINES, GrowingLog, Judge
from driftlock.cli.logfile import LINE_BYTES_MAX
from driftlock.core.log_settings import LogSettings
from driftlock.signals.masking import DEFAULT_MASKING


class Reading:
    """A log that is followed, step by step, and what was told of it."""

    def __init__(self, path: Path) -> None:
        self.told: list[str] = []
        self.log = GrowingLog(str(path), self.told.append, wait_s=0.0)
        self.chunks = self.log.chunks()

    def step(self) -> bytes:
        """All that has come."""
        parts = []
        while part := next(self.chunks):
            parts.append(part)
        return b"".join(parts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "app.log"
    place.write_bytes(b"one\ntwo\n")
    return place


@pytest.fixture
def reading(path: Path) -> Iterator[Reading]:
    reading = Reading(path)
    with reading.log:
        yield reading


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_a_line_without_its_end_is_none_yet(path: Path, reading: Reading) -> None:
    assert reading.step() == b"one\ntwo\n"
    append(path, b"GET /item/3 to")
    assert reading.step() == b""
    append(path, b"ok 3")
    assert reading.step() == b""
    append(path, b" ms\r\nnext")
    assert reading.step() == b"GET /item/3 took 3 ms\n"
    assert reading.log.remainder() == b"next\n"
    assert reading.log.remainder() == b""
    assert reading.told == []


def test_many_lines_come_in_order_and_long_ones_are_cut(path: Path, reading: Reading) -> None:
    lines = [b"%d" % number for number in range(3 * BATCH_LINES)]
    append(path, b"\n".join(lines) + b"\n" + b"x" * (3 * LINE_BYTES_MAX) + b"\nend\n")
    assert reading.step().split(b"\n") == [b"one", b"two", *lines, b"x" * LINE_BYTES_MAX, b"end", b""]


def test_a_file_that_was_emptied_is_read_from_its_beginning(path: Path, reading: Reading) -> None:
    append(path, b"half")
    reading.step()
    path.write_bytes(b"new\n")  # the same file
    assert reading.step() == b"half\nnew\n"
    assert reading.told == [f"{path} was emptied; reading on from its beginning."]
    os.truncate(path, 0)
    assert reading.step() == b""
    append(path, b"newer\n")
    assert reading.step() == b"newer\n"


@pytest.mark.parametrize("hole", [False, True], ids=["appending", "writing-on"])
def test_a_file_emptied_and_grown_beyond_where_it_was_is_read_from_its_beginning(
    hole: bool, path: Path, reading: Reading
) -> None:
    append(path, b"half")
    assert reading.step() == b"one\ntwo\n"
    # a writer that does not append goes on at its old place, and what was before it reads as zeros
    path.write_bytes(b"\0" * 12 + b"\nthree\n" if hole else b"another first line\nthree\n")
    assert reading.step() == (
        b"half\n" + b"\0" * 12 + b"\nthree\n" if hole else b"half\nanother first line\nthree\n"
    )
    assert reading.told == [f"{path} was emptied; reading on from its beginning."]
    append(path, b"four\n")
    assert reading.step() == b"four\n"


def test_a_file_that_goes_and_comes_back_is_the_same(path: Path, reading: Reading) -> None:
    reading.step()
    away = path.rename(path.with_suffix(".away"))
    append(away, b"three\n")
    assert reading.step() == b"three\n"
    reading.step()
    away.rename(path)
    append(path, b"four\n")
    assert reading.step() == b"four\n"
    path.unlink()
    reading.step()
    path.write_bytes(b"one\ntwo\n")  # the same text is another file
    assert reading.step() == b"one\ntwo\n"
    assert [sentence.removeprefix(f"{path} ")[:4] for sentence in reading.told] == ["is g", "is g", "is a"]


def test_a_renamed_file_is_read_to_its_end_and_the_next_one_whole(path: Path, reading: Reading) -> None:
    assert reading.step() == b"one\ntwo\n"
    old = path.rename(path.with_suffix(".1"))
    assert reading.step() == b""
    assert reading.step() == b""
    assert reading.told == [f"{path} is gone; waiting for another file of that name."]
    append(old, b"three\n")
    assert reading.step() == b"three\n", "its writer still has it"
    path.touch()
    append(old, b"four\nfi")
    assert reading.step() == b"four\n", "nothing is in the next one yet"
    append(old, b"ve\nlast")
    append(path, b"new\n")
    assert reading.step() == b"five\nlast\nnew\n"
    assert reading.told[1:] == [f"{path} is another file now; reading on from its beginning."]
    append(path, b"newer\n")
    assert reading.step() == b"newer\n"
    path.rename(path.with_suffix(".2"))
    reading.step()
    assert len(reading.told) == 3, "each time it goes, it is told"


def test_a_folder_in_the_place_of_the_log_is_waited_out(path: Path, reading: Reading) -> None:
    reading.step()
    old = path.rename(path.with_suffix(".1"))
    path.mkdir()
    append(old, b"three\n")
    assert reading.step() == b"three\n"
    path.rmdir()
    path.write_bytes(b"new\n")
    assert reading.step() == b"new\n"


def test_a_packed_log_is_read_and_then_the_plain_one_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_bytes(gzip.compress(b"one\ntwo\n"))
    reading = Reading(path)
    with reading.log:
        assert reading.step() == b"one\ntwo\n"
        path.unlink()
        path.write_bytes(b"plain\n")
        assert reading.step() == b"plain\n"


def calm(begin: int, end: int) -> bytes:
    return b"".join(
        b"job=%d GET /item/%d took %d ms\n" % (n // 5, n, n * 37 % 900) for n in range(begin, end)
    )


def test_what_can_be_judged_is_told_when_the_log_pauses() -> None:
    told: list[str] = []
    judge = Judge("app.log", LogSettings(p_value_threshold=0.02), None, DEFAULT_MASKING, "json", told.append)
    for begin, end in ((0, 1), (1, 500), (500, 1_100), (1_100, 3_000)):
        judge.take(calm(begin, end))
        judge.take(b"")
        judge.take(b"")
    assert judge.finish() == 0
    assert told == [
        "app.log: 1 line read, 0 of 41 units learned; nothing is judged before.",
        "app.log: 1,100 lines read, 44 units known; from 50 on p ≤ 0.02 can be reached.",
        "app.log: 3,000 lines read, 120 units known; judging what comes.",
        "app.log: 3,000 lines read, 79 units judged, 0 anomalies.",
    ]


def test_what_can_be_judged_of_sessions_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    judge = Judge("app.log", LogSettings(), r"job=(\d+)", DEFAULT_MASKING, "pretty", told.append)
    judge.take(calm(0, 10))
    judge.take(b"")
    judge.take(calm(10, 6_000))
    judge.take(b"job=9999 PANIC disk on fire\n")
    assert judge.finish() == 1
    assert "PANIC" in capsys.readouterr().out
    assert told[0] == "app.log: 10 lines read, 0 of at most 200 sessions learned; nothing is judged before."
    assert told[1].startswith("app.log: 6,001 lines read, ")
    assert told[1].endswith(" judged, 1 anomaly.")


def test_that_an_anomaly_which_went_on_is_over_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []
    judge = Judge("app.log", LogSettings(), None, DEFAULT_MASKING, "pretty", told.append)
    judge.take(calm(0, 5_000))
    judge.take(b"PANIC disk on fire\n" * 200)
    assert "PANIC" in capsys.readouterr().out
    assert told == []
    judge.take(calm(5_000, 5_200))
    (over,) = told
    assert re.fullmatch(
        r"The anomaly of line 5,025 is over: it went on to line 5,2\d\d, \d+ suspicious windows\.", over
    )


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_a_named_pipe_is_followed_to_its_end(
    form: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    usual = calm(0, 2_000).decode()
    strange = "PANIC disk on fire\n" * 49 + "PANIC disk on fire"

    def write() -> None:
        with pipe.open("w") as file:
            for piece in (usual[:30_007], usual[30_007:], strange):
                file.write(piece)
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    with pytest.raises(SystemExit) as ended:
        detect(str(pipe), follow=True, format=form)
    writer.join()
    assert ended.value.code == FOUND_EXIT_CODE
    out, err = capsys.readouterr()
    assert "PANIC" in out
    assert err.splitlines()[-1].startswith(f"{pipe}: 2,050 lines read, ")
    assert err.endswith(" judged, 1 anomaly.\n")


def test_an_interruption_within_lines_ends_without_judging_more(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(calm(0, 2_000) + b"PANIC disk on fire\n" * 50 + calm(0, 100))

    def interrupted(text: str) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.stdout, "write", interrupted)
    with pytest.raises(SystemExit) as ended:
        detect(str(path), follow=True, format="json")
    assert ended.value.code == FOUND_EXIT_CODE
    assert capsys.readouterr().err.endswith(", 1 anomaly.\n")
