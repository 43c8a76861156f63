"""What names, keys and lines of others may do to a terminal: nothing."""

from __future__ import annotations

import io
import json
import os
import random
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.cli.detect import FOUND_EXIT_CODE, detect
from driftlock.cli.findings import cut_key
from driftlock.cli.keys import show_keys
from driftlock.cli.main import main
from driftlock.cli.score import score
from driftlock.cli.shown import plain, plain_json, plain_lines
from driftlock.core.log_settings import SESSION_KEY_BYTES_MAX
from driftlock.storage.keys import KeyRow

EVIL = "\x1b]0;evil\x07\x9b31m\u202e\udcff"  # the last is a byte that is no UTF-8


def steers(text: str) -> bool:
    controls = any(ord(c) < 32 or 127 <= ord(c) < 160 for c in text.replace("\n", ""))
    return controls or any(c in text for c in "\u202e\u2066\u2028\udcff")


@given(st.text(), st.text(st.sampled_from("a\n\t" + EVIL)))
def test_nothing_that_steers_is_left(text: str, worse: str) -> None:
    for given_ in (text, worse):
        assert not steers(plain(given_))
        assert "\n" not in plain(given_)
        assert not steers(plain_lines(given_))
        line = plain_json(json.dumps({given_: given_}, ensure_ascii=False))
        assert not steers(line)
        assert json.loads(line) == {given_: given_}


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"))))
def test_other_text_stays(text: str) -> None:
    assert plain(text) == plain_lines(text) == text
    assert cut_key(text[:60]) == text[:60]
    assert len(cut_key(10 * text).encode()) <= SESSION_KEY_BYTES_MAX
    assert (10 * text).startswith(cut_key(10 * text))


@pytest.mark.parametrize("form", ["pretty", "json"])
def test_the_name_of_a_file_writes_nothing_to_the_terminal(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(4)
    values = [rng.gauss(0, 1) + 60 * (row == 300) for row in range(400)]
    rows = [f"2026-03-01 {row // 60:02}:{row % 60:02}:00,{value}" for row, value in enumerate(values)]
    series = tmp_path / f"cpu{EVIL}.csv"
    series.write_text("\n".join(["timestamp,value", *rows]))
    log = tmp_path / f"web{EVIL}.log"
    calm = [f"INFO web: GET /cart took {n * 37 % 1_000} ms" for n in range(4_000)]
    log.write_bytes(os.fsencode("\n".join([*calm, *[f"PANIC {EVIL} disk"] * 50])))
    with pytest.raises(SystemExit) as ended:
        detect(str(series), str(log), format=form)  # type: ignore[arg-type]
    assert ended.value.code == FOUND_EXIT_CODE
    out, err = capsys.readouterr()
    assert not steers(out)
    assert not steers(err)
    if form == "json":
        assert {json.loads(line)["file"] for line in out.splitlines()} == {str(series), str(log)}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("form", ["csv", "json"])
def test_scores_name_units_as_they_matched_but_never_steer_a_terminal(
    form: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "jobs.log"
    log.write_text("".join(f"job=\x1b]0;evil{n}\x07 step\n" for n in range(50)))
    score(str(log), session=r"job=(\S+)", format=form)
    out = capsys.readouterr().out
    assert "\x1b]0;evil49\x07" in (out if form == "csv" else json.loads(out.splitlines()[-1])["unit"])
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    score(str(log), session=r"job=(\S+)", format=form)
    assert "evil49" in terminal.getvalue()
    assert not steers(terminal.getvalue())


def test_the_name_of_a_key_writes_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    name = f"ci[/bold][red]{EVIL}"
    show_keys([KeyRow(uuid.UUID(int=1), "t", name, "dl_x", "viewer", [], None, now, None, None, None)])
    out = capsys.readouterr().out
    assert "ci[/bold][red]" in out
    assert not steers(out)


def test_a_fault_writes_nothing_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["detect", str(tmp_path / f"none{EVIL}.log")])
    err = capsys.readouterr().err
    assert "cannot be opened" in err
    assert not steers(err)
