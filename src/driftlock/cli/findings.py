"""How `driftlock detect` shows what it found: ranked anomalies, their tokens and why; or JSON lines.

Owns layout and colour only. Colour follows the terminal and NO_COLOR; nothing is told by colour alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from driftlock.cli.shown import plain, plain_json
from driftlock.core.episode import Episode
from driftlock.core.log_settings import SESSION_KEY_BYTES_MAX
from driftlock.core.verdict import Verdict

LINES_SHOWN = 4
LINE_SHARE_MIN = 0.02
"""Lines with less of the score explain nothing; JSON has them."""
MARGIN = "   "
BODY_CELLS_MIN = 20
YEAR_NS = 365 * 24 * 3600 * 1_000_000_000
"""A time in 1970 is one without its year: that is how such logs are read."""
HOT_SHARE = 0.6
"""Tokens are highlighted from the costliest down until they hold this share of their line's bits."""
_SEVERITY = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}


@dataclass(frozen=True, slots=True)
class Found:
    """An anomaly of a file; `episode` is what its event became, `units` what that is counted in."""

    file: str
    verdict: Verdict
    episode: Episode | None = None
    units: str = "windows"


def ranked(found: Sequence[Found]) -> list[Found]:
    """The least p-value first, then the highest score, then as they came."""
    return sorted(found, key=lambda f: (f.verdict.p_value, -f.verdict.score))


def moment(time_ns: int) -> str:
    """A time as RFC 3339 in UTC, empty when the log has none."""
    if time_ns <= 0:
        return ""
    return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cut_key(key: str) -> str:
    """A unit's key, no longer than the core keeps those of sessions."""
    raw = key.encode("utf-8", "surrogatepass")
    return key if len(raw) <= SESSION_KEY_BYTES_MAX else raw[:SESSION_KEY_BYTES_MAX].decode("utf-8", "ignore")


def as_json(found: Found) -> str:
    """One line of JSON; everything known."""
    verdict = found.verdict
    line = json.dumps(
        {
            "file": found.file,
            "kind": verdict.kind,
            "unit": cut_key(verdict.key),
            "time": moment(verdict.last_time_ns) or None,
            "first_line": verdict.first,
            "last_line": verdict.last,
            "severity": verdict.severity,
            "score": verdict.score,
            "p_value": verdict.p_value,
            "surprise_bits": verdict.surprise_bits,
            "baseline_ref": verdict.baseline_ref,
            "explanation": verdict.explanation,
            "episode": None if found.episode is None else msgspec.structs.asdict(found.episode),
            "measures": None if verdict.measures is None else asdict(verdict.measures),
            "detail": verdict.detail,
        },
        ensure_ascii=False,
    )
    return plain_json(line)


def show(console: Console, found: Found, rank: int | None, *, many_files: bool) -> None:
    """One anomaly for a person: wrapped to a terminal; whole lines for whatever reads a pipe."""
    verdict = found.verdict
    head = Text()
    head.append(f"{rank}. " if rank is not None else "")
    head.append(verdict.severity, _SEVERITY[verdict.severity])
    head.append(f"  {plain(cut_key(verdict.key))}", "bold")
    place = Text("  ".join(_place(found, many_files=many_files)), "dim")
    if console.is_terminal and head.cell_len + 2 + place.cell_len > console.width:
        console.print(head, soft_wrap=True)
        _hanging(console, Text(MARGIN), place)
    else:
        console.print(head + Text("  ") + place, soft_wrap=True)
    _hanging(console, Text(MARGIN), Text(plain(verdict.explanation)))
    if sentence := _course(found):
        _hanging(console, Text(MARGIN), Text(sentence))
    for line in _lines_shown(verdict):
        _hanging(
            console, Text(f"{MARGIN}{line['bits']:6.1f} bits {line['count']:>4,}×  ", "dim"), _line(line)
        )
    console.print()


def _course(found: Found) -> str:
    """How the event went on, where it did."""
    episode = found.episode
    if episode is None or episode.units == 1:
        return ""
    when = _when(episode.last_time_ns)
    upto = f"line {episode.last_event:,}" + (f", {when}" if when else "")
    peak = f", the strangest of {episode.peak_score:.1f} bits" * (episode.peak_score > found.verdict.score)
    open_still = "; not over at the end" if episode.open else ""
    return f"It goes on to {upto}: {episode.units:,} suspicious {found.units}{peak}{open_still}."


def latest_episodes(verdicts: Sequence[Verdict]) -> dict[int, Episode]:
    """What the event of each alarm had become with the last of the verdicts, by the alarm's last line."""
    return {verdict.episode.last: verdict.episode for verdict in verdicts if verdict.episode is not None}


def _lines_shown(verdict: Verdict) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = verdict.detail.get("lines", [])[:LINES_SHOWN]
    return [line for line in lines if line["bits"] >= LINE_SHARE_MIN * verdict.score]


def _place(found: Found, *, many_files: bool) -> list[str]:
    verdict = found.verdict
    lines = f"lines {verdict.first:,}–{verdict.last:,}" if verdict.last > verdict.first else ""
    if not verdict.events:
        lines = f"after line {verdict.last:,}"
    parts = [
        plain(found.file) if many_files else "",
        lines or f"line {verdict.first:,}",
        _when(verdict.last_time_ns),
        f"p = {verdict.p_value:.3g}",
        f"{verdict.score:.1f} bits",
    ]
    return [part for part in parts if part]


def _when(time_ns: int) -> str:
    """`moment`, or as the log told it where it tells no year."""
    if 0 < time_ns < YEAR_NS:
        return datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).strftime("%b %d %H:%M:%S")
    return moment(time_ns)


def _hanging(console: Console, label: Text, body: Text) -> None:
    """`body` behind `label`, its further lines below its beginning; nothing is behind the end of a line."""
    if not console.is_terminal:
        console.print(label + body, soft_wrap=True)
        return
    room = max(console.width - label.cell_len, BODY_CELLS_MIN)
    for number, line in enumerate(body.wrap(console, room)):
        line.rstrip()
        console.print((Text(" " * label.cell_len) if number else label) + line, soft_wrap=True)


def _line(line: dict[str, Any]) -> Text:
    """A line; the tokens that carry the surprise stand out."""
    text = Text()
    hot = _hot(line["tokens"])
    for index, token in enumerate(line["tokens"]):
        text.append(" " if index else "")
        text.append(plain(token["text"]), "bold red underline" if index in hot else "")
    return text


def _hot(tokens: Sequence[dict[str, Any]]) -> set[int]:
    wanted = HOT_SHARE * sum(token["bits"] for token in tokens)
    hot: set[int] = set()
    held = 0.0
    for index in sorted(range(len(tokens)), key=lambda i: -tokens[i]["bits"]):
        if held >= wanted:
            break
        hot.add(index)
        held += tokens[index]["bits"]
    return hot
