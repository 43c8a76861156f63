"""What is said about a file besides its anomalies: how much was judged, or why nothing was and what to do.

Owns the sentences. Must not know how a file is read or judged.
"""

from __future__ import annotations

from dataclasses import replace

from driftlock.cli.series_file import SeriesFound
from driftlock.cli.units import Scored
from driftlock.core.episode import Episode
from driftlock.core.log_settings import SECOND_NS, UNITS_BEFORE_VERDICT_MIN, LogSettings
from driftlock.core.verdict import WarmUp

LINES_JUDGED_MIN = 2 * (UNITS_BEFORE_VERDICT_MIN + 1)
"""With windows of two lines and a hop of one, half of so many lines are learned, and half are judged."""


def log_summary(name: str, scored: Scored, alarms: int, seconds: float) -> str:
    """A sentence or two."""
    if not scored.lines:
        return f"{name}: no lines, so there is nothing to judge."
    speed = scored.lines / max(seconds, 1e-9)
    said = f"{name}: {_count(scored.lines, 'line')} in {seconds:.1f} s ({speed:,.0f} lines/s), "
    phase = scored.stream.warm_up.phase
    if phase == "ready" and scored.verdicts:
        said += f"{_count(len(scored.verdicts), 'unit')} judged by {scored.units_baseline:,} learned first, "
        said += f"{_anomalies(alarms)}."
        said += _others(scored, alarms)
    elif phase == "calibrating":
        said += _too_short_for_p(scored)
    else:
        said += _too_short_to_learn(scored)
    if scored.stream.late_events:
        said += f" {_count(scored.stream.late_events, 'line')} came after the end of their block."
    if scored.stream.overflowed:
        said += f" {_count(scored.stream.overflowed, 'line')} found no room among the templates."
    return said


def _others(scored: Scored, alarms: int) -> str:
    """How many units reach the threshold beside the anomalies: like others before, or of their episodes."""
    threshold = scored.settings.p_value_threshold
    reached = sum(verdict.p_value <= threshold for verdict in scored.verdicts)
    if reached <= alarms:
        return ""
    return (
        f" {_count(reached - alarms, 'more unit')} {'reaches' if reached - alarms == 1 else 'reach'} "
        f"p ≤ {threshold:g}, and {'is' if reached - alarms == 1 else 'are'} like others before, or of an "
        f"anomaly's episode (driftlock score tells all)."
    )


def followed_state(name: str, warm_up: WarmUp, settings: LogSettings, lines: int) -> str:
    """Where the judging of a log that grows stands."""
    said = f"{name}: {_count(lines, 'line')} read, "
    session = settings.mode != "block"
    units = "session" if settings.mode == "session" else "unit"
    if warm_up.phase == "ready":
        return said + f"{_count(warm_up.units_seen, units)} known; judging what comes."
    seen = f"{'at most ' if session else ''}{_count(warm_up.units_needed, units)}"
    if warm_up.phase == "learning":
        return said + f"{warm_up.units_seen:,} of {seen} learned; nothing is judged before."
    return (
        said + f"{_count(warm_up.units_seen, units)} known; from {settings.units_to_reach_threshold:,} on "
        f"p ≤ {settings.p_value_threshold:g} can be reached."
    )


def followed_end(episode: Episode) -> str:
    """That an anomaly which went on is over."""
    return (
        f"The anomaly of line {episode.last:,} is over: it went on to line {episode.last_event:,}, "
        f"{_count(episode.units, 'suspicious window')}."
    )


def followed_summary(name: str, lines: int, judged: int, alarms: int) -> str:
    """What was done when following has ended."""
    return f"{name}: {_count(lines, 'line')} read, {_count(judged, 'unit')} judged, {_anomalies(alarms)}."


def series_summary(name: str, series: SeriesFound) -> str:
    """A sentence or two about a series."""
    if not series.points:
        return f"{name}: no points under its header, so there is nothing to judge."
    said = f"{name}: {_count(series.points, 'point')}, "
    warm_up = series.warm_up
    if warm_up.phase == "ready":
        said += f"{series.judged:,} judged by those before them, {_anomalies(len(series.alarms))}."
    else:
        said += f"too short for p ≤ {series.p_value_threshold:g}: it takes {warm_up.units_needed:,}."
    if series.gaps:
        said += (
            f" {_count(series.gaps, 'gap')} without a number {'was' if series.gaps == 1 else 'were'} skipped."
        )
    return said


def _anomalies(count: int) -> str:
    return f"{count:,} anomal{'y' if count == 1 else 'ies'}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _too_short_for_p(scored: Scored) -> str:
    """A unit's rank among n others is no less than 1/(n + 1)."""
    settings, warm_up = scored.settings, scored.stream.warm_up
    units = "session" if settings.mode == "session" else "unit"
    smaller = {"block": "smaller windows (--window, --hop)", "time": "shorter blocks (--block-s)"}
    more = f", or {smaller[settings.mode]}" if settings.mode in smaller else ""
    return (
        f"too short for p ≤ {settings.p_value_threshold:g}: with {_count(warm_up.units_seen, units)} the "
        f"least is {warm_up.earliest_p:.2g}. It takes {settings.units_to_reach_threshold:,}: a longer "
        f"log{more}."
    )


def _too_short_to_learn(scored: Scored) -> str:
    settings, warm_up = scored.settings, scored.stream.warm_up
    if settings.mode == "session":
        said = f"and all {warm_up.units_seen:,} sessions are learned: a smaller --baseline-fraction leaves "
        return said + "some to judge."
    if settings.mode == "time":
        return _too_few_blocks(warm_up, settings.block_ns // SECOND_NS)
    lines = f"{settings.hop_size} lines" if settings.hop_size > 1 else "one line"
    said = (
        f"too short to judge: it makes {_count(warm_up.units_seen, 'unit')} of {lines}, and "
        f"{warm_up.units_needed:,} are learned first. "
    )
    smaller = _smaller(settings, warm_up.units_seen * settings.hop_size + settings.hop_size - 1)
    return said + f"It takes {_lines_needed(settings):,} lines, or {smaller}."


def _too_few_blocks(warm_up: WarmUp, seconds: int) -> str:
    return (
        f"too short to judge: it makes {_count(warm_up.units_seen, 'whole block')} of {seconds:,} s, and at "
        f"least {UNITS_BEFORE_VERDICT_MIN}, at most {warm_up.units_needed:,}, are learned first. It takes a "
        f"longer log, or shorter blocks (--block-s)."
    )


def _smaller(settings: LogSettings, lines: int) -> str:
    """Sizes by which so many lines can be judged, as flags."""
    learned = LINES_JUDGED_MIN // 2
    same = replace(settings, baseline_size=max(learned * settings.hop_size, settings.window_size))
    if _lines_needed(same) <= lines:
        return f"--baseline {same.baseline_size}"
    hop = max(lines // LINES_JUDGED_MIN, 1)
    flags = f"--baseline {learned * hop} --window {2 * hop} --hop {hop}"
    return flags if lines >= LINES_JUDGED_MIN else f"{LINES_JUDGED_MIN} with {flags}"


def _lines_needed(settings: LogSettings) -> int:
    """Until the first verdict."""
    return (settings.units_needed + 1) * settings.hop_size
