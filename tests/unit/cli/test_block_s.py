"""`--block-s`: a log file cut by the times of its lines, at once and as it grows."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from driftlock.cli import follow as follow_module
from driftlock.cli.detect import FOUND_EXIT_CODE, detect
from driftlock.cli.follow import Judge
from driftlock.cli.score import block_settings, score
from driftlock.core.time_blocks import EMPTY_BLOCKS_MAX
from driftlock.errors import InputError, UsageError
from driftlock.signals.masking import DEFAULT_MASKING

KINDS = ["INFO web: GET /cart took {} ms", "INFO db: {} rows read", "DEBUG cache: hit for key {}"]
MINUTES = 180
SILENT = range(150, 160)
"""Minutes in which nothing is written."""


def log_of(
    minutes: range = range(MINUTES), *, seed: int = 1, stamped: bool = True, a_minute: int = 20
) -> str:
    rng = random.Random(seed)
    rows = []
    for minute in minutes:
        for second in sorted(rng.sample(range(60), rng.randrange(a_minute - 4, a_minute + 5))):
            stamp = f"2026-03-01T{minute // 60:02}:{minute % 60:02}:{second:02}Z " if stamped else ""
            if minute not in SILENT:
                rows.append(stamp + rng.choices(KINDS, [5, 3, 1])[0].format(rng.randrange(10_000)))
    return "\n".join(rows) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "app.log"
    place.write_text(log_of())
    return place


def detected(path: Path, capsys: pytest.CaptureFixture[str], **chosen: Any) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        detect(str(path), **chosen)
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


def test_a_silence_in_a_file_is_found_and_told_where_it_begins(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = log_of(range(SILENT.start)).count("\n")
    status, out, err = detected(path, capsys, block_s=60, format="json")
    assert status == FOUND_EXIT_CODE
    silent = next(one for one in map(json.loads, out.splitlines()) if one["kind"] == "silence")
    assert silent["unit"] == "block 2026-03-01T02:30:00Z"
    assert silent["first_line"] == silent["last_line"] == before
    assert "no line came, where about 2" in silent["explanation"]
    # 179 whole minutes without the last, of which seven silent ones are passed over
    judged = MINUTES - 2 - len(SILENT) + EMPTY_BLOCKS_MAX - 40
    assert f"{judged} units judged by 40 learned first" in err
    _, out, _ = detected(path, capsys, block_s=60)
    assert f"block 2026-03-01T02:30:00Z  after line {before:,}  2026-03-01T02:30:59Z" in out
    assert "3 suspicious blocks" in out


def test_scores_are_of_every_whole_block(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score(str(path), block_s=300)
    assert capsys.readouterr().out == ""  # thirty-five blocks are all learned
    score(str(path), block_s=60)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["unit"] for row in rows[:2]] == ["block 2026-03-01T00:41:00Z", "block 2026-03-01T00:42:00Z"]
    assert max(rows, key=lambda row: row["score"])["unit"] == "block 2026-03-01T02:30:00Z"


def test_one_wrong_stamp_does_not_end_all_blocks(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score(str(path), block_s=60)
    expected = capsys.readouterr().out
    lines = path.read_text().splitlines()
    row = 5 + next(n for n, line in enumerate(lines) if line.startswith("2026-03-01T01:00"))
    lines[row] = "2031" + lines[row][4:]
    path.write_text("\n".join(lines) + "\n")
    score(str(path), block_s=60)
    assert capsys.readouterr().out == expected


def test_late_lines_are_counted_and_told(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = path.read_text().splitlines()
    lines.insert(2_000, lines[1_000])
    path.write_text("\n".join(lines) + "\n")
    _, _, err = detected(path, capsys, block_s=60)
    assert "1 line came after the end of their block." in err


def test_lines_without_times_make_no_blocks(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text(log_of(stamped=False))
    with pytest.raises(InputError, match=r"No line of .* has a time"):
        detect(str(path), block_s=60)


def test_a_log_of_too_few_blocks_is_told_so(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = detected(path, capsys, block_s=600)
    assert status == 0
    assert "too short to judge: it makes 1" in err
    assert "shorter blocks (--block-s)" in err


def test_blocks_of_time_are_no_sessions(path: Path) -> None:
    with pytest.raises(UsageError, match="not both"):
        detect(str(path), block_s=60, session="x")
    with pytest.raises(UsageError, match="not both"):
        score(str(path), block_s=60, session="x")


def test_a_log_that_is_followed_falls_silent_by_the_clock_that_its_lines_tell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever this machine's clock says: what counts is how long ago the last line came."""
    now_ns = [5_000_000_000]
    monkeypatch.setattr(follow_module.time, "monotonic_ns", lambda: now_ns[0])
    settings = block_settings(baseline=400, window=50, hop=25, block_s=60)
    judge = Judge("app.log", settings, None, DEFAULT_MASKING, "json", lambda _: None)
    judge.take(b"")  # nothing is known of the time yet
    judge.take(log_of(range(SILENT.start)).encode())
    capsys.readouterr()
    found = []
    for _ in range(12):
        now_ns[0] += 10_000_000_000
        judge.take(b"")
        found += [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["kind"], one["unit"]) for one in found] == [("silence", "block 2026-03-01T02:30:00Z")]
    judge.take(log_of(range(160, 170)).encode())
    assert judge.finish() >= 1
