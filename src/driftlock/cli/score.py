"""`driftlock score`: every unit of a file with its score, for measurement. Its output is a contract."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from json.encoder import encode_basestring_ascii as json_text
from math import isnan
from operator import attrgetter
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from driftlock.cli.logfile import LogFile, refuse_options
from driftlock.cli.series_file import Series, series_of
from driftlock.cli.shown import plain
from driftlock.cli.units import Scored, score_blocks, score_sessions
from driftlock.core.log_settings import BLOCK_NS_RANGE, SECOND_NS, LogSettings
from driftlock.core.verdict import Verdict
from driftlock.errors import UsageError
from driftlock.signals.masking import DEFAULT_MASKING, Masking

Format = Literal["json", "csv"]

COLUMNS = ("unit", "score", "p_value", "surprise_bits", "first_line", "last_line")


def _own(text: str, **more: object) -> Parameter:
    return Parameter(help=text, show_env_var=False, **more)  # type: ignore[arg-type]


def block_seconds() -> Parameter:
    """The option that cuts a log by time."""
    least, most = (bound // SECOND_NS for bound in BLOCK_NS_RANGE)
    return _own(
        "A unit is what comes in so many seconds by the lines' own times, also if nothing comes, so that "
        "silence and floods are found. Without it, blocks of lines.",
        validator=Number(gte=least, lte=most),
    )


def score(
    file: Annotated[
        str,
        _own(
            "Log file or CSV series, plain or packed by gzip or zstd; - for standard input.",
            allow_leading_hyphen=True,
        ),
    ],
    *,
    session: Annotated[
        str | None, _own("A unit is the lines with the same match of this pattern (its first group).")
    ] = None,
    baseline_fraction: Annotated[
        float,
        _own("Share of the sessions, the first ones, to learn from.", validator=Number(gt=0, lt=1)),
    ] = 0.1,
    baseline: Annotated[
        int, _own("Lines to learn from, without --session; 40 hops at least.", validator=Number(gte=1))
    ] = 400,
    window: Annotated[int, _own("Lines a window, without --session.", validator=Number(gte=1))] = 50,
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
    format: Annotated[  # noqa: A002
        Format | None, _own("Default: json for logs, csv for a series.")
    ] = None,
) -> None:
    """Score every unit of a file, for measurement.

    Of a log, each unit is one line of output with unit, score (higher is stranger), p_value, surprise_bits,
    first_line and last_line (from 1), in order of first appearance; units of the baseline are left out.
    Of a CSV series with the columns timestamp,value, each row comes back with its anomaly_score in [0, 1].
    """
    refuse_options(file)
    settings = block_settings(baseline=baseline, window=window, hop=hop, block_s=block_s)
    if block_s is not None and session is not None:
        raise UsageError("Give --session or --block-s, not both.")
    masking = Masking.of(mask=mask)
    with LogFile(file) as log:
        if session is None and block_s is None and (series := series_of(log)) is not None:
            _write_series(series, format or "csv")
            return
        scored = scored_log(
            log, settings, session=session, baseline_fraction=baseline_fraction, masking=masking
        )
    _write(scored.verdicts, format or "json")


def block_settings(*, baseline: int, window: int, hop: int, block_s: int | None = None) -> LogSettings:
    """Settings for blocks of a file, whose alarms no budget bounds; raises UsageError where sizes clash.

    With `block_s` blocks are of so many seconds, and windows and hops mean nothing.
    """
    if block_s is not None:
        return LogSettings(
            mode="time",
            block_ns=block_s * SECOND_NS,
            baseline_size=baseline,
            window_size=1,
            hop_size=1,
            alert_budget=float("inf"),
        )
    try:
        return LogSettings(
            baseline_size=baseline, window_size=window, hop_size=hop, alert_budget=float("inf")
        )
    except ValueError as error:
        raise UsageError(
            f"The sizes do not fit: baseline {baseline}, window {window}, hop {hop}.",
            hint="Choose baseline ≥ window ≥ hop.",
        ) from error


def scored_log(
    log: LogFile,
    settings: LogSettings,
    *,
    session: str | None,
    baseline_fraction: float,
    masking: Masking = DEFAULT_MASKING,
) -> Scored:
    """The verdicts on a log's sessions or windows, without telling progress."""

    def silent(lines: int, position: int) -> None:
        return None

    if session is None:
        return score_blocks(log, settings, silent, masking=masking, tells=False)
    return score_sessions(
        log,
        settings,
        silent,
        pattern=session,
        baseline_fraction=baseline_fraction,
        masking=masking,
        tells=False,
    )


_values = attrgetter("key", "score", "p_value", "surprise_bits", "first", "last")


def _json_row(verdict: Verdict) -> str:
    """What `json.dumps` writes, in a third of its time; scores and p-values are finite."""
    v = verdict
    return (
        f'{{"unit": {json_text(v.key)}, "score": {v.score!r}, "p_value": {v.p_value!r}, '
        f'"surprise_bits": {v.surprise_bits!r}, "first_line": {v.first}, "last_line": {v.last}}}\n'
    )


def _write(verdicts: Iterable[Verdict], form: Format) -> None:
    if form == "json":
        sys.stdout.writelines(map(_json_row, verdicts))
        return
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    rows: Iterable[tuple[object, ...]] = map(_values, verdicts)
    if sys.stdout.isatty():  # else the keys as they matched: measurement joins them to labels
        rows = ((plain(str(unit)), *numbers) for unit, *numbers in rows)
    table.writerows(rows)


def _write_series(series: Series, form: Format) -> None:
    columns = ("timestamp", "value", "anomaly_score")
    numbers = series.rows.values.tolist()
    if form == "json":
        numbers = [None if isnan(number) else number for number in numbers]
    rows = zip(series.rows.timestamps, numbers, series.scores().tolist(), strict=True)
    if form == "json":
        sys.stdout.writelines(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows)
        return
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
