"""Decision records: numbered without gap, one page each, and each names what enforces it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import DOCS, ROOT, code_words, told

RECORDS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
LINES_MAX = 60
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))


def test_numbers_have_no_gap() -> None:
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))
    assert len(RECORDS) >= 9


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_its_parts(path: Path) -> None:
    text = told(path)
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings == ["Decision", "Why", "What it costs", "What enforces it"]
    assert len(text.splitlines()) <= LINES_MAX


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_names_what_enforces_it(path: Path) -> None:
    enforced = told(path).split("## What enforces it")[1]
    named = [word for word in code_words(path) if word in enforced]
    assert [word for word in named if word.startswith("tests/") or word == "make lint"]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_locked_requirements_name_versions_and_hashes_and_no_address(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=)", text, re.MULTILINE)
    pins = re.split(r"\n(?=\S)", text.strip())
    assert pins
    assert [
        pin for pin in pins if not re.match(r"[\w.\[\]-]+==\S+", pin) or "--hash=sha256:" not in pin
    ] == []
