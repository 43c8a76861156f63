"""The command line: which commands there are, and how a fault is told.

Each command lives in a module of its own and is imported when it is called, so that `driftlock --help`
answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cyclopts import App, CycloptsError, Group

from driftlock import __version__
from driftlock.cli.shown import plain_lines, write_any_text
from driftlock.cli.sources import providers
from driftlock.errors import DriftlockError, UsageError

_HELP = """\
Anomaly detection for OpenTelemetry, measured in bits.

Start with `driftlock up` and point an OpenTelemetry exporter at it, or try a log file with
`driftlock detect FILE`.
"""

_EPILOGUE = "Every setting has one name as flag, DRIFTLOCK_ variable and key of driftlock.toml."

_ALL = Group("Run Driftlock", sort_key=1)
_ROLES = Group("Run one role (deployments)", sort_key=2)
_FILES = Group("Look at files, without a server", sort_key=3)
_CARE = Group("Use and care for a running Driftlock", sort_key=4)


@dataclass(frozen=True, slots=True)
class Command:
    """A command by the place of its function, and its summary: the first line of that function's help."""

    place: str
    group: Group
    summary: str
    settings: bool = False


COMMANDS = {
    "up": Command(
        "driftlock.cli.up:up",
        _ALL,
        "Run Driftlock: collector, detectors and API, with PostgreSQL and NATS.",
        settings=True,
    ),
    "collector": Command(
        "driftlock.cli.roles:collector",
        _ROLES,
        "Run the collector alone: receives OTLP and appends it to the log.",
        settings=True,
    ),
    "detector": Command(
        "driftlock.cli.roles:detector",
        _ROLES,
        "Run one detector alone: reads the log, scores it, writes anomalies.",
        settings=True,
    ),
    "api": Command(
        "driftlock.cli.roles:api",
        _ROLES,
        "Run the API alone: REST, the event stream and metrics.",
        settings=True,
    ),
    "migrate": Command(
        "driftlock.cli.migrate:migrate",
        _ROLES,
        "Bring the database to the schema of this version.",
        settings=True,
    ),
    "detect": Command("driftlock.cli.detect:detect", _FILES, "Find what is unusual in log files."),
    "score": Command("driftlock.cli.score:score", _FILES, "Score every unit of a file, for measurement."),
    "send": Command("driftlock.cli.send:send", _CARE, "Send a log file to a running Driftlock."),
    "keys": Command("driftlock.cli.keys:app", _CARE, "Make, list and revoke API keys."),
    "version": Command("driftlock.cli.main:version", _CARE, "Print the version."),
}


def build(*, listing: bool = False) -> App:
    """The command line as an object; `main` calls it.

    With `listing` each command shows its summary and need not be imported; else its own full help.
    """
    app = App(
        name="driftlock",
        help=_HELP,
        help_epilogue=_EPILOGUE,
        help_format="markdown",
        version=__version__,
        error_formatter=_plainly,
    )
    for name, command in COMMANDS.items():
        more = {"config": providers()} if command.settings else {}
        summary = command.summary if listing else None
        app.command(command.place, name=name, group=command.group, help=summary, **more)
    return app


def version() -> None:
    """Print the version."""
    print(__version__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its status.

    Faults from outside are one sentence on standard error and the status of their kind; a traceback is shown
    only with `--log-level debug`, or for a fault of our own.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    write_any_text(sys.stdout)
    try:
        build(listing=not COMMANDS.keys() & set(tokens))(tokens, exit_on_error=False)
    except CycloptsError:  # told already, by `_plainly`
        sys.exit(UsageError.exit_code)
    except DriftlockError as fault:
        if _debugging(tokens):
            raise
        tell(fault)
        sys.exit(fault.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `driftlock … | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def tell(fault: DriftlockError) -> None:
    """Print the sentence and its hint for a person."""
    print(f"driftlock: {plain_lines(fault.message)}", file=sys.stderr)
    if fault.hint:
        print(f"           {plain_lines(fault.hint)}", file=sys.stderr)


def _plainly(error: CycloptsError) -> str:
    return f"driftlock: {error}\n           Add --help to see what there is."


def _debugging(tokens: Sequence[str]) -> bool:
    if "--log-level=debug" in tokens or os.environ.get("DRIFTLOCK_LOG_LEVEL") == "debug":
        return True
    return any(pair == ("--log-level", "debug") for pair in pairwise(tokens))
