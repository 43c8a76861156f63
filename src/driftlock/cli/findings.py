"""How `driftlock detect` shows what it found: ranked anomalies, their tokens and why; or JSON lines.

Owns layout and colour only. Colour follows the terminal and NO_COLOR; nothing is told by colour alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from driftlock.cli.shown import plain, plain_json
from driftlock.core.log_settings import SESSION_KEY_BYTES_MAX
from driftlock.core.verdict import Verdict

LINES_SHOWN = 4
HOT_SHARE = 0.6
"""Tokens are highlighted from the costliest down until they hold this share of their line's bits."""
_SEVERITY = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}


@dataclass(frozen=True, slots=True)
class Found:
    """An anomaly of a file."""

    file: str
    verdict: Verdict


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
            "measures": None if verdict.measures is None else asdict(verdict.measures),
            "detail": verdict.detail,
        },
        ensure_ascii=False,
    )
    return plain_json(line)


def show(console: Console, found: Found, rank: int | None, *, many_files: bool) -> None:
    """One anomaly for a person."""
    verdict = found.verdict
    head = Text()
    head.append(f"{rank}. " if rank is not None else "")
    head.append(verdict.severity, _SEVERITY[verdict.severity])
    head.append(f"  {plain(cut_key(verdict.key))}", "bold")
    place = f"lines {verdict.first:,}–{verdict.last:,}" if verdict.last > verdict.first else ""
    parts = [
        plain(found.file) if many_files else "",
        place or f"line {verdict.first:,}",
        moment(verdict.last_time_ns),
    ]
    parts += [f"p = {verdict.p_value:.3g}", f"{verdict.score:.1f} bits"]
    head.append("  " + "  ".join(part for part in parts if part), "dim")
    console.print(head, soft_wrap=True)
    console.print(Padding(Text(plain(verdict.explanation)), (0, 0, 0, 3)))
    for line in verdict.detail.get("lines", [])[:LINES_SHOWN]:
        console.print(Padding(_line(line), (0, 0, 0, 3)))
    console.print()


def _line(line: dict[str, Any]) -> Text:
    """A line with its bits before it; the tokens that carry the surprise stand out."""
    text = Text()
    count = f" × {line['count']}" if line["count"] > 1 else ""
    text.append(f"{line['bits']:6.1f} bits{count}  ", "dim")
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
