"""The pages hold together: links lead somewhere, paths exist, commands are commands."""

from __future__ import annotations

import re
import shlex
from itertools import dropwhile, groupby
from pathlib import Path

import pytest
from pages import DOCS, ROOT, anchors, code_words, links, pages, shell_lines, told

from driftlock.cli.main import build

NAMES = [str(path.relative_to(ROOT)) for path in pages()]
# What a page may name in backquotes that begins like a path of ours; a star stands for many.
_PATH = re.compile(r"(?:src|tests|docs|scripts|requirements|benchmarks)/[\w./*-]*")
_TARGET = re.compile(r"^([a-z-]+):.*##", re.MULTILINE)
_ENDS = set("|&;<>()")
_ASSIGNED = re.compile(r"[A-Z_]+=")


def test_there_are_pages() -> None:
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/tutorial/first-anomaly.md"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    broken = []
    for link in links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        inside = file.is_relative_to(ROOT) and file.exists()
        if not inside or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("name", NAMES)
def test_paths_that_are_named_exist(name: str) -> None:
    named = [word.split("::")[0] for word in code_words(ROOT / name) if _PATH.fullmatch(word.split("::")[0])]
    assert [path for path in named if not any(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("name", NAMES)
def test_tests_that_are_named_exist(name: str) -> None:
    named = [word.split("::") for word in code_words(ROOT / name) if word.startswith("tests/")]
    functions = [(path, names[-1]) for path, *names in named if names]
    assert [
        f"{path}::{function}"
        for path, function in functions
        if f"def {function}(" not in (ROOT / path).read_text("utf-8")
    ] == []


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_commands(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parses every `driftlock …` of the shell fences, flags and values too; nothing is run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "driftlock.toml").touch()
    app = build()
    for line in shell_lines(ROOT / name):
        for arguments in driftlock_calls(line):
            app.parse_args(arguments, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_exist(name: str) -> None:
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text()))
    called = [line.split()[1] for line in shell_lines(ROOT / name) if re.match(r"make [a-z]", line)]
    called += [word.split()[1] for word in code_words(ROOT / name) if re.match(r"make [a-z]", word)]
    assert sorted(set(called) - targets) == []


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        found = [
            (page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link
        ]
        waiting += [file for file in found if file.suffix == ".md" and file.exists()]
    assert sorted(set(DOCS.rglob("*.md")) - seen) == []


def test_nothing_is_left_to_write() -> None:
    assert [name for name in NAMES if re.search(r"\b(TODO|TBD|FIXME|XXX)\b", told(ROOT / name))] == []


def driftlock_calls(line: str) -> list[list[str]]:
    """The arguments of each call of driftlock in one line of shell: after pipes and assignments too."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    calls, words = [], list(lexer)
    for ends, command in groupby(words, key=lambda word: set(word) <= _ENDS):
        if ends:
            continue
        program, *arguments = dropwhile(lambda word: _ASSIGNED.match(word) is not None, [*command, ""])
        if program == "driftlock" or program.endswith("/bin/driftlock"):
            calls.append(arguments[:-1])
    return calls


def test_calls_are_found_in_a_line() -> None:
    assert driftlock_calls("X=1 .venv/bin/driftlock up --api-port 1 > log 2>&1 &") == [
        ["up", "--api-port", "1"]
    ]
    assert driftlock_calls("cat a | driftlock send - --service b && driftlock version") == [
        ["send", "-", "--service", "b"],
        ["version"],
    ]
    assert driftlock_calls("curl -s http://127.0.0.1/ | jq '.a | .b'") == []
