"""How anomalies are laid out for people: on a terminal of any width, and through a pipe."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from driftlock.cli.findings import Found, show
from driftlock.core.verdict import Verdict

TIME_NS = 1_772_323_200_000_000_000
LINE = "INFO NameSystem.addStoredBlock: blockMap updated: <ip> is added to blk_<num> size <num>"
WORDS = LINE.split()


def line(bits: float, count: int) -> dict[str, Any]:
    return {
        "bits": bits,
        "count": count,
        "tokens": [{"text": word, "bits": bits / len(WORDS)} for word in WORDS],
    }


VERDICT = Verdict(
    key="block 72 to 73",
    first=1_801,
    last=1_850,
    first_time_ns=TIME_NS,
    last_time_ns=TIME_NS,
    events=50,
    score=40.0,
    p_value=0.0137,
    surprise_bits=90.0,
    calibration_size=72,
    alarm=True,
    severity="medium",
    explanation="Costs 40.0 bits to describe, 3.8 times the usual 9.9, and 0 of 72 ordinary ones reach it.",
    detail={"lines": [line(30.0, 16), line(9.0, 1), line(0.7, 28), line(0.3, 1)]},
)


def shown(verdict: Verdict = VERDICT, *, width: int | None, file: str = "app.log") -> list[str]:
    console = Console(
        file=io.StringIO(), width=width or 80, force_terminal=width is not None, color_system=None
    )
    show(console, Found(file, verdict), 1, many_files=True)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_terminal_gets_lines_that_fit_and_hang_below_their_beginning(width: int) -> None:
    lines = shown(width=width)
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    costs = [place for place, line in enumerate(lines) if " bits " in line and "×  INFO" in line]
    assert [lines[place].split("INFO")[0].split() for place in costs] == [
        ["30.0", "bits", "16×"],
        ["9.0", "bits", "1×"],
    ], "what carries little is left out"
    column = lines[costs[0]].index("INFO")
    for place, text in enumerate(lines[costs[0] : -1], costs[0]):
        if place not in costs:
            assert len(text) - len(text.lstrip()) == column
    said = " ".join(" ".join(lines).split())
    assert said.startswith(
        "1. medium block 72 to 73 app.log lines 1,801–1,850 2026-03-01T00:00:00Z p = 0.0137"
    )
    assert VERDICT.explanation in said
    assert said.count(LINE) == 2


def test_a_pipe_gets_whole_lines() -> None:
    lines = shown(width=None, file="a" * 100)
    assert len(lines) == 5
    assert lines[1].strip() == VERDICT.explanation
    assert lines[2].endswith(LINE)
    assert lines[-1] == ""


def test_a_time_without_a_year_is_shown_without_one() -> None:
    in_july = msgspec.structs.replace(VERDICT, last_time_ns=205 * 86_400 * 10**9 + 5 * 10**9)
    assert "  Jul 25 00:00:05  " in shown(in_july, width=None)[0]
    assert "1970" not in shown(in_july, width=None)[0]
    nothing = msgspec.structs.replace(VERDICT, last_time_ns=0, last=1_801)
    assert "line 1,801  p = 0.0137" in shown(nothing, width=None)[0]
