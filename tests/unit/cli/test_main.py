"""The command line: complete and quick help, faults in one sentence, statuses that scripts can use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from driftlock.cli.main import COMMANDS, build, main
from driftlock.cli.reference import cli_page
from driftlock.errors import StartError, UsageError

ROOT = Path(__file__).parents[3]


def call(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "driftlock", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
        check=False,
    )


def test_help_lists_every_command_with_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code in (0, None)
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for name, command in COMMANDS.items():
        assert f"{name} {command.summary}" in told


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_the_first_line_of_the_commands_own_help(name: str) -> None:
    own = build()[name].help
    assert own.strip().splitlines()[0] == COMMANDS[name].summary


def test_the_listing_needs_no_heavy_imports() -> None:
    code = (
        "import sys\n"
        "from driftlock.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numba', 'numpy', 'polars', 'grpc', 'asyncpg', 'litestar', 'nats', 'google.protobuf'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["up", "--no-such-flag"], 2, "Unknown option"),
        (["up", "--api-port", "x"], 2, "api-port"),
        (["nonsense"], 2, "nonsense"),
        (["up", "--hop-size", "1000"], 2, "The sizes do not fit"),
        (["collector"], 2, "needs a NATS server"),
        (["detector", "--nats-url", "nats://x"], 2, "needs a PostgreSQL"),
        (["api", "--nats-url", "nats://x"], 2, "needs a PostgreSQL"),
        (["api", "--host", "0.0.0.0", "--dev-api-key", "k"], 2, "loopback only"),
        (["keys", "list", "--data-dir", "/nowhere"], 5, "No Driftlock has run on /nowhere"),
    ],
)
def test_a_fault_is_a_sentence_a_hint_and_a_status(arguments: list[str], status: int, words: str) -> None:
    done = call(*arguments)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("driftlock: ")
    assert len(done.stderr.splitlines()) <= 3


def test_a_traceback_is_for_those_who_ask() -> None:
    done = call("up", "--hop-size", "1000", "--log-level", "debug")
    assert "Traceback" in done.stderr
    assert call("up", "--hop-size", "1000", DRIFTLOCK_LOG_LEVEL="debug").stderr.count("Traceback") == 1


def test_statuses_are_those_of_the_errors() -> None:
    assert (UsageError.exit_code, StartError.exit_code) == (2, 4)


def test_no_colour_where_none_is_wanted() -> None:
    assert "\x1b[" not in call("up", "--help", NO_COLOR="1", FORCE_COLOR="").stdout
    assert "\x1b[" not in call("up", "--help").stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_knows_few_characters_gets_the_others_escaped(encoding: str, tmp_path: Path) -> None:
    assert call("detect", "--help", PYTHONIOENCODING=encoding).returncode == 0
    log = tmp_path / "unicode.log"
    fire = "PANIC диск 🔥\n" * 50
    log.write_text("".join(f"GET /größe/{n} took {n * 37 % 900} ms\n" for n in range(2_000)) + fire)
    done = subprocess.run(
        [sys.executable, "-m", "driftlock", "detect", str(log), "--format", "json"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=False,
    )
    assert done.returncode == 10, done.stderr
    assert "PANIC диск 🔥" in json.loads(done.stdout.decode(encoding))["explanation"]


def test_a_reader_that_leaves_early_is_no_fault() -> None:
    done = subprocess.run(
        f"{sys.executable} -m driftlock up --help | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("Usage: driftlock up")
    assert "Traceback" not in done.stderr


def test_version_is_told_both_ways() -> None:
    from driftlock import __version__

    assert call("version").stdout.strip() == call("--version").stdout.strip() == __version__


def test_the_reference_page_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    assert page == cli_page(), "run `make docs`"


@pytest.mark.parametrize("name", ["detect", "score", "up"])
def test_help_keeps_words_in_angle_brackets(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert "what matches reads <NAME>, before" in " ".join(capsys.readouterr().out.replace("│", " ").split())
