"""Reads the project's Markdown pages for the tests beside this module: links, tables, shell commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"^[ \t]*```(\w*)\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_HERE = re.compile(r"<<'?(\w+)'?")
_CODE = re.compile(r"`([^`\n]+)`")


def pages() -> list[Path]:
    """Every page that people read, the generated ones too."""
    return sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def told(path: Path) -> str:
    """The page without its code fences."""
    return _FENCE.sub("", path.read_text("utf-8"))


def links(path: Path) -> list[str]:
    """Targets of the page's links."""
    return _LINK.findall(told(path))


def anchors(path: Path) -> set[str]:
    """What a link may name after `#`, as GitHub makes it of headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(told(path))
    }


def code_words(path: Path) -> list[str]:
    """Everything that stands between backquotes in running text."""
    return _CODE.findall(told(path))


def fences(path: Path, *languages: str) -> list[str]:
    """The text of the code fences in these languages."""
    return [text for language, text in _FENCE.findall(path.read_text("utf-8")) if language in languages]


def table(path: Path, heading: str) -> list[list[str]]:
    """The rows of all tables whose first header cell is `heading`."""
    rows: list[list[str]] = []
    inside = False
    for line in told(path).splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        row = [cell.strip() for cell in line.strip("|").split("|")]
        if row[0] == heading:
            inside = True
        elif inside and not set(row[0]) <= {"-", " "}:
            rows.append(row)
    return rows


def shell_lines(path: Path) -> Iterator[str]:
    """The commands of the page's shell fences: continued lines joined, here-documents left out."""
    for text in fences(path, "sh", "console"):
        lines = iter(text.replace("\\\n", " ").splitlines())
        for line in lines:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            while line.count("'") % 2:  # a quoted program of several lines
                line += "\n" + next(lines)
            yield line.strip()
            document = _HERE.search(line)
            while document and next(lines) != document[1]:
                pass
