"""`driftlock detect`: find what is unusual in log files, without a server."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from driftlock.cli.findings import Found, as_json, latest_episodes, ranked, show
from driftlock.cli.follow import follow as follow_log
from driftlock.cli.logfile import LogFile, refuse_options
from driftlock.cli.main import tell
from driftlock.cli.score import block_seconds, block_settings
from driftlock.cli.series_file import series_findings, series_of
from driftlock.cli.shown import plain
from driftlock.cli.summary import log_summary, series_summary
from driftlock.cli.units import Progress as ToldProgress
from driftlock.cli.units import Scored, score_blocks, score_sessions
from driftlock.core.log_settings import LogSettings
from driftlock.core.profiles import chosen
from driftlock.errors import InputError, UsageError
from driftlock.signals.masking import Masking
from driftlock.signals.textlog import check_pattern

FOUND_EXIT_CODE = 10
NO_BUDGET = float("inf")

ProfileGiven = Literal["sensitive", "balanced", "strict"]


def _own(text: str, **more: object) -> Parameter:
    return Parameter(help=text, show_env_var=False, **more)  # type: ignore[arg-type]


def detect(
    *files: Annotated[
        str,
        _own(
            "Log files (text, JSON lines) or CSV series, also packed by gzip or zstd; - for standard input.",
            allow_leading_hyphen=True,
        ),
    ],
    session: Annotated[
        str | None, _own("A unit is the lines with the same match of this pattern (its first group).")
    ] = None,
    session_key: Annotated[
        str | None, _own("A unit is the lines with the same value of this field: JSON lines, or NAME=VALUE.")
    ] = None,
    baseline_fraction: Annotated[
        float, _own("Share of the sessions, the first ones, to learn from.", validator=Number(gt=0, lt=1))
    ] = 0.1,
    baseline: Annotated[
        int, _own("Lines to learn from, without sessions; 40 hops at least.", validator=Number(gte=1))
    ] = 400,
    window: Annotated[int, _own("Lines a window, without sessions.", validator=Number(gte=1))] = 50,
    hop: Annotated[int, _own("Lines from window to window.", validator=Number(gte=1))] = 25,
    block_s: Annotated[int | None, block_seconds()] = None,
    mask: Annotated[
        tuple[str, ...],
        _own(
            "NAME=REGEX: what matches reads `<NAME>`, before all other masking. Repeatable.",
            negative=(),
            show_default=False,
        ),
    ] = (),
    profile: Annotated[
        ProfileGiven | None,
        _own(
            "How much to be told, as by the server: sensitive (p ≤ 0.05, at most 50 alarms a week of the "
            "log), balanced (0.01, 20) or strict (0.001, 5). Without it: p ≤ 0.05, in a series 0.01, and no "
            "budget."
        ),
    ] = None,
    alert_budget: Annotated[
        float | None,
        _own(
            "Alarms in any week of a log at most. Without it, the profile's. Series have no budget.",
            validator=Number(gte=0),
        ),
    ] = None,
    limit: Annotated[int, _own("The most anomalies to show.", validator=Number(gte=1))] = 20,
    follow: Annotated[
        bool,
        _own(
            "Read on as the file grows and show each anomaly as it is found.", negative=(), show_default=False
        ),
    ] = False,
    format: Annotated[Literal["pretty", "json"], _own("For people, or one JSON object a line.")] = "pretty",  # noqa: A002
) -> None:
    """Find what is unusual in log files.

    Learns from the first part of each file, then shows what is strange by it, the strangest first: when, how
    sure (the p-value), the lines and tokens that carry the surprise, and why. Needs no server, no labels and
    no settings; if lines name a request, trace or job, give --session or --session-key.

    The exit status is 0 when nothing was found, 10 when something was, else that of a fault (2 and more). Of
    several files, those that cannot be read are told and passed over; the exit status is that of the fault.
    """
    if not files:
        raise UsageError("No file is given.", hint="Name log files, or - for standard input.")
    if follow and len(files) > 1:
        raise UsageError("Only one file can be followed.")
    refuse_options(*files)
    pattern = _pattern(session, session_key)
    if pattern is not None and block_s is not None:
        raise UsageError("Give sessions or --block-s, not both.")
    sizes = block_settings(baseline=baseline, window=window, hop=hop, block_s=block_s)
    settings = _alerting(sizes, profile, alert_budget)
    masking = Masking.of(mask=mask)
    if follow:
        status = FOUND_EXIT_CODE if follow_log(files[0], settings, pattern, masking, format) else 0
    else:
        series_p = None if profile is None else settings.p_value_threshold
        wanted = None if session_key is None else f"a field {session_key!r}"
        reading = _Reading(settings, series_p, pattern, wanted, masking, baseline_fraction)
        status = _detect_all(files, reading, format, limit)
    sys.stdout.flush()
    raise SystemExit(status)


def _alerting(settings: LogSettings, profile: ProfileGiven | None, budget: float | None) -> LogSettings:
    """The settings with the numbers of a profile; without one, the threshold they have and no budget."""
    if profile is None:
        return replace(settings, alert_budget=NO_BUDGET if budget is None else budget)
    told = chosen(profile, alert_budget=budget)
    return replace(settings, p_value_threshold=told.p_value_threshold, alert_budget=told.alert_budget)


def _pattern(session: str | None, session_key: str | None) -> str | None:
    if session is not None and session_key is not None:
        raise UsageError("Give --session or --session-key, not both.")
    if session_key is None:
        if session is not None:
            check_pattern(session)
        return session
    if not session_key:
        raise UsageError("--session-key needs the name of a field.")
    name = "".join(c if c.isalnum() or c == "_" else rf"\x{{{ord(c):x}}}" for c in session_key)
    return rf"""(?:^|[\s,{{;"'])["']?{name}["']?\s*[=:]\s*["']?([^\s"',;}}]+)"""


@dataclass(frozen=True, slots=True)
class _Reading:
    """How files are read and judged; `series_p` is the greatest p-value of an alarm in a series."""

    settings: LogSettings
    series_p: float | None
    pattern: str | None
    wanted: str | None
    masking: Masking
    baseline_fraction: float

    def alarms(self, name: str, errors: Console) -> list[Found]:
        """What alarms in a file; says how much of it was judged."""
        with LogFile(name) as file:
            by_lines = self.pattern is None and self.settings.mode == "block"
            if by_lines and (series := series_of(file)) is not None:
                found = series_findings(series, self.series_p)
                _say(errors, series_summary(name, found))
                return [Found(name, verdict, verdict.episode, "points") for verdict in found.alarms]
            return self._alarms_of_log(file, errors)

    def _alarms_of_log(self, file: LogFile, errors: Console) -> list[Found]:
        begun = time.monotonic()
        with _progress(errors) as progress:
            task = progress.add_task(plain(file.name), total=file.size, lines=0, speed=0.0)

            def told(lines: int, position: int) -> None:
                speed = lines / max(time.monotonic() - begun, 1e-9)
                progress.update(task, completed=position, lines=lines, speed=speed)

            scored = self._scored(file, told)
        episodes = latest_episodes(scored.verdicts)
        units = "blocks" if scored.settings.mode == "time" else "windows"
        alarms = [
            Found(file.name, verdict, episodes.get(verdict.last), units)
            for verdict in scored.verdicts
            if verdict.alarm
        ]
        _say(errors, log_summary(file.name, scored, len(alarms), time.monotonic() - begun))
        return alarms

    def _scored(self, file: LogFile, told: ToldProgress) -> Scored:
        if self.pattern is None:
            return score_blocks(file, self.settings, told, masking=self.masking)
        return score_sessions(
            file,
            self.settings,
            told,
            pattern=self.pattern,
            baseline_fraction=self.baseline_fraction,
            masking=self.masking,
            wanted=self.wanted,
        )


def _detect_all(files: tuple[str, ...], reading: _Reading, form: str, limit: int) -> int:
    """Reads all files, shows the strangest units; returns the exit status.

    Of several files, one that cannot be read is told and passed over.
    """
    errors = Console(stderr=True)
    found: list[Found] = []
    status = 0
    for name in files:
        try:
            found += reading.alarms(name, errors)
        except InputError as fault:
            if len(files) == 1:
                raise
            tell(fault)
            status = fault.exit_code
    _print_ranked(ranked(found), form, limit, many_files=len(files) > 1)
    return status or (FOUND_EXIT_CODE if found else 0)


def _print_ranked(found: list[Found], form: str, limit: int, *, many_files: bool) -> None:
    if form == "json":
        sys.stdout.writelines(as_json(one) + "\n" for one in found[:limit])
        return
    console = Console(highlight=False)
    for rank, one in enumerate(found[:limit], 1):
        show(console, one, rank, many_files=many_files)
    if len(found) > limit:
        console.print(f"{len(found) - limit:,} more; --limit shows them.")


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[lines]:,} lines"),
        TextColumn("{task.fields[speed]:,.0f} lines/s"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _say(console: Console, sentence: str) -> None:
    console.print(plain(sentence), markup=False, highlight=False, soft_wrap=True)
