"""`driftlock score` and `driftlock detect` on files made here."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import re
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zstandard

from driftlock.cli.detect import FOUND_EXIT_CODE, detect
from driftlock.cli.findings import moment
from driftlock.cli.logfile import LogFile
from driftlock.cli.score import COLUMNS, score
from driftlock.cli.units import ahead
from driftlock.errors import InputError, UsageError

FAULT = "ERROR disk: write to sector {} failed, remounting read-only"


def block_log(seed: int, lines: int, fault_at: int | None = None) -> str:
    rng = random.Random(seed)
    kinds = ["INFO web: GET /cart took {} ms", "INFO web: POST /pay took {} ms", "INFO db: {} rows read"]
    kinds += ["DEBUG cache: hit for key {}", "WARN pool: {} connections waiting"]
    rows = []
    for number in range(lines):
        kind = rng.choices(kinds, [9, 3, 6, 4, 1])[0]
        if fault_at is not None and fault_at <= number < fault_at + 4:
            kind = FAULT
        second = number % 86_400
        stamp = f"2026-03-01T{second // 3600:02}:{second % 3600 // 60:02}:{second % 60:02}Z"
        rows.append(f"{stamp} {kind.format(rng.randrange(10_000))}")
    return "\n".join(rows) + "\n"


def session_log(seed: int, jobs: int, broken: set[int]) -> str:
    rng = random.Random(seed)
    rows: list[str] = []
    running: list[list[str]] = []
    for job in range(jobs):
        steps = ["accepted", *["step done"] * rng.randrange(2, 5)]
        steps += ["lost its worker, giving up"] if job in broken else ["committed", "closed"]
        running.append([f"job=j{job} {step}" for step in steps])
        while len(running) > 3 or (job == jobs - 1 and running):
            left = rng.choice(running)
            rows.append(left.pop(0))
            if not left:
                running.remove(left)
    return "\n".join(rows) + "\n"


def appearing(text: str) -> list[str]:
    """Session keys in order of first appearance."""
    return list(dict.fromkeys(re.findall(r"job=(j\d+)", text)))


def json_rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_sessions_come_in_order_of_first_appearance_without_the_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "jobs.log"
    log.write_text("no key here\n" + session_log(1, 400, {200, 300}) + "\nnor here\n")
    score(str(log), session=r"job=(j\d+)")
    rows = json_rows(capsys.readouterr().out)
    assert [row["unit"] for row in rows] == appearing(log.read_text())[40:]
    assert all(list(row) == list(COLUMNS) for row in rows)
    lines = log.read_text().splitlines()
    for row in rows:
        mine = [n for n, line in enumerate(lines, 1) if f"job={row['unit']} " in line]
        assert (row["first_line"], row["last_line"]) == (mine[0], mine[-1])
    worst = sorted(rows, key=lambda row: -row["score"])[:2]
    assert {row["unit"] for row in worst} == {"j200", "j300"}
    assert all(0 < row["p_value"] <= 1 for row in rows)


def test_the_whole_match_is_the_key_when_the_pattern_has_no_group_and_the_fraction_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "jobs.log"
    log.write_text(session_log(2, 100, set()))
    score(str(log), session=r"job=j\d+", baseline_fraction=0.5, format="csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["unit"] for row in rows] == [f"job={key}" for key in appearing(log.read_text())[50:]]


def test_windows_cover_the_log_after_the_baseline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "web.log"
    log.write_text(block_log(3, 3_000, fault_at=2_510))
    score(str(log), baseline=1_000, window=50, hop=25)
    rows = json_rows(capsys.readouterr().out)
    assert len(rows) == (3_000 - 41 * 25) // 25
    for row, following in pairwise(rows):
        assert row["last_line"] - row["first_line"] == 49
        assert following["first_line"] - row["first_line"] == 25
    worst = max(rows, key=lambda row: row["score"])
    assert worst["first_line"] <= 2_511 <= worst["last_line"] + 1


@pytest.mark.parametrize("pack", ["plain", "gz", "zst"])
def test_packing_and_chunking_change_nothing(
    pack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = block_log(4, 2_500, fault_at=2_000).encode()
    plain = tmp_path / "plain.log"
    plain.write_bytes(text)
    score(str(plain))
    expected = capsys.readouterr().out
    monkeypatch.setattr("driftlock.cli.units.CHUNK_BYTES", 10_007)
    packed = tmp_path / "packed.log"
    packed.write_bytes(
        {"plain": bytes, "gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}[pack](text)  # type: ignore[operator]
    )
    score(str(packed))
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gz", "zst"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_packed_file_without_its_end_is_refused(
    pack: Callable[[bytes], bytes], share: float, tmp_path: Path
) -> None:
    whole = pack(block_log(4, 2_500, fault_at=2_000).encode())
    packed = tmp_path / "cut.log"
    packed.write_bytes(whole[: max(8, int(share * len(whole)))])
    with pytest.raises(InputError, match="ended before"):
        score(str(packed))


@pytest.mark.parametrize(
    "begin", [gzip.compress(b"")[:10], zstandard.ZstdCompressor().compress(b"")[:4]], ids=["gz", "zst"]
)
def test_a_packed_file_of_noise_is_refused(begin: bytes, tmp_path: Path) -> None:
    packed = tmp_path / "noise.log"
    packed.write_bytes(begin + b"\xff" * 100)
    with pytest.raises(InputError, match="cannot be read"):
        score(str(packed))


def test_a_named_pipe_loses_no_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = block_log(4, 2_500, fault_at=2_000).encode()
    plain, pipe = tmp_path / "plain.log", tmp_path / "pipe.log"
    plain.write_bytes(text)
    score(str(plain))
    expected = capsys.readouterr().out
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(text,))
    writer.start()
    score(str(pipe))
    writer.join()
    assert capsys.readouterr().out == expected


def test_frames_of_zstd_in_a_row_are_one_file(tmp_path: Path) -> None:
    lines = [f"line {n}".encode() for n in range(5_000)]
    packed = tmp_path / "frames.log"
    packed.write_bytes(b"".join(zstandard.ZstdCompressor().compress(line + b"\n") for line in lines))
    with LogFile(str(packed)) as log:
        assert list(log.lines()) == lines


def test_a_series_comes_back_with_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(5)
    values = [20 + rng.gauss(0, 1) for _ in range(3_000)]
    values[2_800] = 90.0
    rows = [
        f"2026-03-{1 + n // 288:02}T{n % 288 // 12:02}:{n % 12 * 5:02}:00,{v}" for n, v in enumerate(values)
    ]
    series = tmp_path / "cpu.csv"
    series.write_text("timestamp,value\n" + "\n".join(rows) + "\n")
    score(str(series))
    scored = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["timestamp"] for row in scored] == [row.split(",")[0] for row in rows]
    assert [float(row["value"]) for row in scored] == values
    scores = [float(row["anomaly_score"]) for row in scored]
    assert all(0 <= s <= 1 for s in scores)
    assert scores.index(max(scores)) == 2_800
    with pytest.raises(SystemExit) as ended:
        detect(str(series), format="json")
    found = json_rows(capsys.readouterr().out)
    assert ended.value.code == FOUND_EXIT_CODE
    assert any(row["unit"] == rows[2_800].split(",")[0] for row in found)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """400 calm points, a minute apart, and one that is not."""
    rng = random.Random(4)
    values = [rng.gauss(0, 1) + 60 * (row == 300) for row in range(400)]
    rows = [f"2026-03-01 {row // 60:02}:{row % 60:02}:00,{value}" for row, value in enumerate(values)]
    path = tmp_path / "cpu.csv"
    path.write_text("\n".join(["timestamp,value", *rows]) + "\n")
    return path


def test_gaps_of_a_series_are_skipped_and_told(series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = series.read_text().splitlines()
    for row, gap in ((200, "nan"), (250, ""), (320, "NULL")):
        lines[1 + row] = lines[1 + row].split(",")[0] + "," + gap
    series.write_text("\n".join(lines))
    assert run_detect(str(series), format="json") == FOUND_EXIT_CODE
    out, err = capsys.readouterr()
    (alarm,) = [row for row in json_rows(out) if row["unit"] == "2026-03-01 05:00:00"]
    assert lines[alarm["first_line"] - 1].startswith("2026-03-01 05:00:00")
    assert ": 400 points, 269 judged by those before them, " in err
    assert "3 gaps without a number were skipped." in err
    score(str(series), format="json")
    rows = json_rows(capsys.readouterr().out)
    assert [row["timestamp"] for row in rows if row["value"] is None] == [
        lines[n].split(",")[0] for n in (201, 251, 321)
    ]
    score(str(series))
    scored = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["anomaly_score"]) for row in scored if row["value"] == "nan"] == [0.0] * 3


@pytest.mark.parametrize("separator", [";", "\t"], ids=["semicolon", "tab"])
def test_a_series_with_another_separator_is_the_same(
    separator: str, series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score(str(series))
    expected = capsys.readouterr().out
    series.write_text(series.read_text().replace(",", separator))
    score(str(series))
    assert capsys.readouterr().out == expected
    assert run_detect(str(series)) == FOUND_EXIT_CODE


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress], ids=["plain", "gzip", "zstd"])
def test_a_series_may_come_packed_and_through_a_pipe(
    pack: Callable[[bytes], bytes], series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score(str(series))
    expected = capsys.readouterr().out
    pipe = series.with_suffix(".pipe")
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(pack(series.read_bytes()),))
    writer.start()
    score(str(pipe))
    writer.join()
    assert capsys.readouterr().out == expected


def test_a_series_is_not_followed(series: Path) -> None:
    with pytest.raises(UsageError, match="series cannot be followed"):
        detect(str(series), follow=True)


def test_a_series_that_is_too_short_is_told(series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = series.read_text().splitlines()
    for count, told in (
        (1, "no points under its header, so there is nothing to judge."),
        (2, "1 point, too short for p ≤ 0.01: it takes 227."),
        (227, "226 points, too short for p ≤ 0.01: it takes 227."),
        (228, "227 points, 99 judged by those before them, 0 anomalies."),
    ):
        series.write_text("\n".join(lines[:count]) + "\n\n")
        assert run_detect(str(series)) == 0
        out, err = capsys.readouterr()
        assert (out, err) == ("", f"{series}: {told}\n")


def test_a_time_that_is_none_is_told_with_its_file(series: Path) -> None:
    series.write_text("timestamp,value\n2026-03-01 00:00:00,1\nyesterday,2\n")
    with pytest.raises(InputError, match=r"cpu\.csv, row 2: 'yesterday'"):
        score(str(series))


def run_detect(*files: str, **options: Any) -> int:
    with pytest.raises(SystemExit) as ended:
        detect(*files, **options)
    return int(ended.value.code or 0)


def test_detect_tells_the_fault_its_place_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "web.log"
    log.write_text(block_log(6, 5_000, fault_at=4_000))
    assert run_detect(str(log), format="json") == FOUND_EXIT_CODE
    out, err = capsys.readouterr()
    rows = json_rows(out)
    assert err.startswith(f"{log}: 5,000 lines in ")
    assert len(err.splitlines()) == 1
    assert len(rows) <= 3
    (fault,) = [row for row in rows if "remounting" in row["explanation"]]
    assert fault["first_line"] <= 4_001 <= fault["last_line"]
    assert fault["time"].startswith("2026-03-01T01:")
    assert fault["p_value"] < 0.02
    assert fault["detail"]["templates_new"]
    assert run_detect(str(log)) == FOUND_EXIT_CODE
    pretty = capsys.readouterr().out
    assert "remounting" in pretty
    assert "p = " in pretty
    assert "\x1b" not in pretty, "no colour where nobody sees it"


def test_how_far_an_anomaly_goes_is_told_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "web.log"
    rows = block_log(6, 5_000).splitlines()
    rows[4_000:4_300:2] = [f"2026-03-01T01:06:40Z {FAULT.format(n)}" for n in range(150)]
    for upto, is_open, ending in ((5_000, False, "bits."), (4_250, True, "; not over at the end.")):
        log.write_text("\n".join(rows[:upto]) + "\n")
        assert run_detect(str(log), format="json") == FOUND_EXIT_CODE
        found = json_rows(capsys.readouterr().out)
        (fault,) = [row for row in found if "remounting" in row["explanation"]]
        episode = fault["episode"]
        assert (episode["open"], episode["first"]) == (is_open, fault["first_line"])
        assert episode["units"] >= 9
        assert min(upto, 4_275) <= episode["last_event"] <= min(upto, 4_350)
        run_detect(str(log))
        place = f"It goes on to line {episode['last_event']:,}, 2026-03-01T01:"
        (told,) = [line for line in capsys.readouterr().out.splitlines() if place in line]
        assert told.endswith(ending)
        assert f": {episode['units']} suspicious windows" in told


def test_how_far_an_anomaly_of_a_series_goes_is_told_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(4)
    climb = [rng.gauss(0, 1) + 20 * max(0, min(row - 399, 30)) * (row < 430) for row in range(600)]
    rows = [f"2026-03-01 {row // 60:02}:{row % 60:02}:00,{value}" for row, value in enumerate(climb)]
    path = tmp_path / "cpu.csv"
    path.write_text("\n".join(["timestamp,value", *rows]) + "\n")
    assert run_detect(str(path), format="json") == FOUND_EXIT_CODE
    (fault,) = [row for row in json_rows(capsys.readouterr().out) if row["first_line"] >= 400]
    assert fault["episode"]["units"] >= 8
    run_detect(str(path))
    assert f"{fault['episode']['units']} suspicious points" in capsys.readouterr().out


def test_a_profile_is_a_threshold_and_a_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "web.log"
    log.write_text(block_log(6, 5_000, fault_at=4_000))

    def p_values(**options: Any) -> list[float]:
        run_detect(str(log), format="json", **options)
        return [row["p_value"] for row in json_rows(capsys.readouterr().out)]

    assert p_values(profile="sensitive") == p_values()
    assert p_values(profile="balanced") == [p for p in p_values() if p <= 0.01]
    assert p_values(alert_budget=0.0) == []
    assert len(p_values(alert_budget=1.0)) == 1 < len(p_values())
    assert p_values(profile="sensitive", alert_budget=0.0) == []
    run_detect(str(log), profile="strict")
    assert "too short for p ≤ 0.001: with 200 units the least is 0.00" in capsys.readouterr().err


def test_a_profile_holds_for_sessions_and_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "jobs.log"
    log.write_text(session_log(8, 500, {300}))
    assert run_detect(str(log), session_key="job", profile="balanced") == FOUND_EXIT_CODE
    assert run_detect(str(log), session_key="job", profile="strict") == 0
    assert "too short for p ≤ 0.001: with 500 sessions" in capsys.readouterr().err
    series = tmp_path / "cpu.csv"
    rng = random.Random(4)
    values = [rng.gauss(0, 1) + 60 * (row == 300) for row in range(400)]
    stamps = [f"2026-03-01 {row // 60:02}:{row % 60:02}:00" for row in range(400)]
    rows = [f"{stamp},{value}" for stamp, value in zip(stamps, values, strict=True)]
    series.write_text("\n".join(["timestamp,value", *rows]))
    assert run_detect(str(series)) == FOUND_EXIT_CODE
    assert run_detect(str(series), profile="strict") == 0


def test_detect_finds_nothing_in_an_ordinary_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "calm.log"
    calm = [f"INFO web: GET /cart took {n * 37 % 1_000} ms" for n in range(4_000)]
    log.write_text("\n".join(calm))
    assert run_detect(str(log)) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("lines", "sizes", "told"),
    [
        (50, {}, "it makes 2 units of 25 lines, and 41 are learned first. It takes 1,050 lines, or 82 with"),
        (100, {}, "It takes 1,050 lines, or --baseline 41 --window 2 --hop 1."),
        (1_049, {}, "it makes 41 units of 25 lines, and 41 are learned first. It takes 1,050 lines"),
        (3_000, {"baseline": 5_000}, "and 200 are learned first. It takes 5,025 lines, or --baseline 1025."),
        (90, {"baseline": 90, "window": 1, "hop": 1}, "units of one line, and 90 are learned first."),
    ],
)
def test_a_log_that_is_too_short_to_judge_is_told_with_what_would_do(
    lines: int, sizes: dict[str, int], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "short.log"
    log.write_text(block_log(7, lines))
    assert run_detect(str(log), **sizes) == 0
    said = capsys.readouterr().err
    assert told in said
    flags = re.findall(r"--(\w+) (\d+)", said)
    enough, _, longer = re.sub(",", "", said).rpartition("It takes ")[2].partition(" lines")
    for text, chosen in (
        (block_log(7, int(enough)), sizes),
        (block_log(7, max(lines, 82)), sizes | {name: int(number) for name, number in flags}),
    ):
        assert longer
        log.write_text(text)
        run_detect(str(log), **chosen)
        assert " judged by " in capsys.readouterr().err


def test_few_units_are_told_with_how_many_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "jobs.log"
    log.write_text("".join(f"job=j{n % 10} step {n}\n" for n in range(100)))
    assert run_detect(str(log), session_key="job") == 0
    said = "too short for p ≤ 0.05: with 10 sessions the least is 0.091. It takes 19: a longer log."
    assert said in capsys.readouterr().err
    log.write_text("".join(f"job=j{n % 19} step {n}\n" for n in range(190)))
    assert run_detect(str(log), session_key="job") == 0
    assert "17 units judged by 2 learned first" in capsys.readouterr().err
    assert run_detect(str(log), session_key="job", baseline_fraction=0.99) == 0
    assert "all 19 sessions are learned" in capsys.readouterr().err
    log.write_text("")
    assert run_detect(str(log)) == 0
    assert "no lines, so there is nothing to judge" in capsys.readouterr().err


def test_detect_by_session_pattern_and_by_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "jobs.log"
    log.write_text(session_log(8, 500, {300}))
    for by in ({"session": r"job=(j\d+)"}, {"session_key": "job"}):
        assert run_detect(str(log), format="json", **by) == FOUND_EXIT_CODE
        rows = json_rows(capsys.readouterr().out)
        assert rows[0]["unit"] == "j300"
        assert any("lost its worker" in line["line"] for line in rows[0]["detail"]["lines"])


@pytest.mark.parametrize("command", [run_detect, score])
def test_one_session_alone_is_told_in_a_sentence(command: Callable[..., Any], tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    log.write_text("".join(f"GET /item/{n} ok\n" for n in range(50)))
    with pytest.raises(InputError, match="one session"):
        command(str(log), session="(GET)")


def test_names_of_sessions_are_redacted_and_cannot_write_to_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "jobs.log"
    whose = re.sub(r"job=j(\d+)", "job=who\\1@example.com\x1b]0;evil\x07", session_log(8, 500, {300}))
    log.write_text(whose)
    assert run_detect(str(log), format="json", session=r"job=(\S+)") == FOUND_EXIT_CODE
    (unit, *_) = [row["unit"] for row in json_rows(capsys.readouterr().out)]
    assert "example.com" not in unit
    assert run_detect(str(log), session=r"job=(\S+)") == FOUND_EXIT_CODE
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "example.com" not in out


def test_a_field_that_no_line_has_is_told_by_its_name(tmp_path: Path) -> None:
    log = tmp_path / "jobs.log"
    log.write_text(session_log(8, 50, set()))
    with pytest.raises(InputError, match=r"No line of .* has a field 'jobs'\.$"):
        detect(str(log), session_key="jobs")
    with pytest.raises(InputError, match=r"No line of .* has a match of 'jobs'\.$"):
        detect(str(log), session="jobs")


@pytest.mark.parametrize("field", ["request-id", "a.b", "@<x>", "größe", "a b\\", "^$[]{}"])
def test_the_name_of_a_field_is_no_pattern(
    field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "jobs.log"
    log.write_text(session_log(8, 500, {300}).replace("job=", f"{field}="))
    assert run_detect(str(log), session_key=field, format="json") == FOUND_EXIT_CODE
    assert json_rows(capsys.readouterr().out)[0]["unit"] == "j300"


def test_a_file_may_be_named_like_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-app.log").write_text(block_log(6, 5_000, fault_at=4_000))
    assert run_detect("-app.log") == FOUND_EXIT_CODE


def test_session_key_reads_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "jobs.jsonl"
    rows = []
    for line in session_log(9, 300, {250}).splitlines():
        key, message = line.split(" ", 1)
        rows.append(json.dumps({"time": 1_760_000_000, "job": key.removeprefix("job="), "message": message}))
    log.write_text("\n".join(rows))
    assert run_detect(str(log), format="json", session_key="job") == FOUND_EXIT_CODE
    assert json_rows(capsys.readouterr().out)[0]["unit"] == "j250"


def test_wrong_use_is_told_in_a_sentence(tmp_path: Path) -> None:
    log = tmp_path / "web.log"
    log.write_text(block_log(1, 10))
    for call in (
        lambda: detect(),
        lambda: detect(str(log), session="(", session_key=None),
        lambda: detect(str(log), session=""),
        lambda: detect(str(log), session_key=""),
        lambda: detect(str(log), "--no-such-option"),
        lambda: score("--no-such-option"),
        lambda: score(str(log), session=""),
        lambda: detect(str(log), session="a", session_key="b"),
        lambda: detect(str(log), str(log), follow=True),
        lambda: score(str(log), baseline=10, window=50),
        lambda: score(str(log), session="("),
    ):
        with pytest.raises(UsageError):
            call()
    for wrong in (lambda: score(str(tmp_path / "none.log")), lambda: score(str(log), session="nowhere")):
        with pytest.raises(InputError):
            wrong()
    torn = tmp_path / "torn.gz"
    torn.write_bytes(gzip.compress(block_log(1, 1_000).encode())[:-500])
    with pytest.raises(InputError):
        score(str(torn))


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n\n", b"\x00\xff\xfe" * 5_000, b"x" * 1_000_000, b"10 %\r100 %\rdone\n", b"one\r"],
    ids=["empty", "blank", "binary", "long", "returns", "return"],
)
def test_odd_files_are_no_crash(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "odd.log"
    log.write_bytes(content)
    score(str(log))
    assert capsys.readouterr().out == ""
    assert run_detect(str(log)) == 0


def test_one_file_of_several_that_cannot_be_read_is_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, none, wide = tmp_path / "web.log", tmp_path / "none.log", tmp_path / "wide.log"
    log.write_text(block_log(6, 5_000, fault_at=4_000))
    wide.write_text("a\n", encoding="utf-16")
    assert run_detect(str(none), str(log), str(wide), str(tmp_path), format="json") == InputError.exit_code
    out, err = capsys.readouterr()
    assert {row["file"] for row in json_rows(out)} == {str(log)}
    for told in (
        "none.log cannot be opened",
        "web.log: 5,000 lines",
        "wide.log is in UTF-16",
        "Is a directory",
    ):
        assert told in err
    with pytest.raises(UsageError):
        detect(str(log), str(none), session="(")


def test_moments() -> None:
    assert moment(0) == ""
    assert moment(1_772_323_200_000_000_000) == "2026-03-01T00:00:00Z"


def hue_log(masked: bool) -> str:
    """A log in which a word of every line never repeats, or as a user would want it masked."""
    rng = random.Random(9)
    words = ["".join(rng.choices("abcdefgh", k=7)) for _ in range(4_000)]
    rows = [f"INFO painted {'<hue>' if masked else 'hue-' + w} s{n // 9}" for n, w in enumerate(words)]
    rows[3_000:3_004] = ["ERROR out of paint"] * 4
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("session", [None, r"s(\d+)"], ids=["windows", "sessions"])
def test_a_users_pattern_masks_before_anything_is_learned(
    session: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "raw").write_text(hue_log(masked=False))
    (tmp_path / "masked").write_text(hue_log(masked=True))
    told = []
    for name, mask in (("raw", ("hue=hue-[a-h]+",)), ("masked", ()), ("raw", ())):
        score(str(tmp_path / name), mask=mask, session=session)
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] != told[2]


def test_detect_takes_patterns_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw").write_text(hue_log(masked=False))
    with pytest.raises(SystemExit) as ended:
        detect(str(tmp_path / "raw"), mask=("hue=hue-[a-h]+",), format="json")
    assert ended.value.code == FOUND_EXIT_CODE
    found = json_rows(capsys.readouterr().out)
    assert "out of paint" in found[0]["explanation"]
    assert not any("hue-" in json.dumps(one) for one in found)
    with pytest.raises(UsageError, match="look-around"):
        detect(str(tmp_path / "raw"), mask=("hue=hue(?=x)",))


def test_pieces_worked_on_ahead_come_in_their_order_and_faults_in_their_place() -> None:
    def work(piece: bytes) -> int:
        time.sleep(0.02 / (1 + int(piece)))  # the first take longest
        return 10 // (int(piece) - 9)

    assert list(ahead(work, iter([b"0", b"1", b"2", b"3", b"4"]))) == [10 // (n - 9) for n in range(5)]
    found = ahead(work, iter([b"8", b"9", b"4"]))
    assert next(found) == -10
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert list(ahead(work, iter([]))) == []
