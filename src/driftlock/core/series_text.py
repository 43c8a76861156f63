"""What is told of a point of a numeric series: its verdict, one sentence, and its numbers in structure.

Owns wording and severity only; every number comes from the verdict. Deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from driftlock.core.episode import Episode
from driftlock.core.series_kernel import TAIL_BLOCK_POINTS
from driftlock.core.silence import Silence, silence_text
from driftlock.core.verdict import Severity, Verdict

if TYPE_CHECKING:
    from driftlock.core.series import SeriesVerdicts

_SEVERITIES: tuple[tuple[float, Severity], ...] = ((40.0, "critical"), (24.0, "high"), (12.0, "medium"))

PART_NAMES = ("code", "season", "value", "short_shape", "long_shape", "recurrence")

_REASONS = {
    "code": "it is hard to predict from the points before it",
    "season": "it has strayed from its usual level or course of the day",
    "value": "the series has not been near this value before",
    "short_shape": "the last 12 points form a shape it has not shown before",
    "long_shape": "the last 144 points form a shape it has not shown before",
}


def severity_of_bits(score: float) -> Severity:
    """The severity of a point's score, which is comparable between series.

    | bits | severity | what scores so in a series of normal noise |
    | --- | --- | --- |
    | 40 and more | critical | a jump of 50 standard deviations and more |
    | 24 | high | a jump of 10 or 20 |
    | 12 | medium | a jump of 5, and most false alarms |
    | less | low | from `alarm_bits` (4) on, where NAB's best threshold lies |
    """
    return next((name for least, name in _SEVERITIES if score >= least), "low")


def point_verdict(
    verdicts: SeriesVerdicts,
    index: int,
    *,
    key: str,
    name: str,
    position: int,
    time_ns: int,
    reading: float,
    alarm: bool,
    episode: Episode | None,
) -> Verdict:
    """The verdict on row `index`, a scored point; explained if it is told as an `alarm`.

    `key` and `position` become those of the verdict, `name` is what a person calls the series, and `reading`
    the value as it came.
    """
    score = float(verdicts.score[index])
    sentence, detail = explain_point(verdicts, index, name=name, reading=reading) if alarm else ("", {})
    return Verdict(
        key=key,
        first=position,
        last=position,
        first_time_ns=time_ns,
        last_time_ns=time_ns,
        events=1,
        score=score,
        p_value=float(verdicts.p_value[index]),
        surprise_bits=float(verdicts.surprise_bits[index]),
        calibration_size=int(verdicts.calibration_size[index]),
        alarm=alarm,
        severity=severity_of_bits(score),
        explanation=sentence,
        detail=detail,
        episode=episode,
    )


def severity_of_silence(bits: float) -> Severity:
    """The severity of a silence: how many pauses the series had made without one like it.

    | bits | severity | pauses before it, none as long |
    | --- | --- | --- |
    | 12 and more | high | 4,095 and more: three days of minutes |
    | 8 | medium | 255 |
    | less | low | 99, the fewest with the default threshold |
    """
    return "high" if bits >= 12.0 else "medium" if bits >= 8.0 else "low"


def silence_verdict(silence: Silence, *, key: str, name: str, names: Sequence[str], now_ns: int) -> Verdict:
    """The verdict on series that fell silent together: `silence` is that of the least surprising one.

    `name` says in words who; `names` are the series, for the detail.
    """
    sentence, detail = silence_text(silence, name=name)
    return Verdict(
        key=key,
        first=silence.event,
        last=silence.event,
        first_time_ns=silence.since_ns,
        last_time_ns=now_ns,
        events=0,
        score=silence.bits,
        p_value=silence.p_value,
        surprise_bits=silence.bits,
        calibration_size=silence.gaps,
        alarm=True,
        kind="silence",
        severity=severity_of_silence(silence.bits),
        explanation=sentence,
        detail={**detail, "series": list(names)},
    )


def number(value: float) -> str:
    """A number as people read it: four significant digits."""
    return f"{value:.4g}"


def explain_point(
    verdicts: SeriesVerdicts, index: int, *, name: str, reading: float | None
) -> tuple[str, dict[str, Any]]:
    """The sentence and the detail of row `index`; the parts in the detail sum to the score."""
    value, expected = float(verdicts.value[index]), float(verdicts.expected[index])
    low, high = float(verdicts.low[index]), float(verdicts.high[index])
    if not verdicts.band_held[index]:
        low = high = math.nan
    parts = dict(zip(PART_NAMES, (float(bits) for bits in verdicts.parts[index]), strict=True))
    size = int(verdicts.calibration_size[index])
    p_value = float(verdicts.p_value[index])
    reached = round(p_value * (1 + size)) - 1
    block_p_value = float(verdicts.block_p_value[index])
    blocks = "" if not reached else f", {number(block_p_value)} among maxima of {TAIL_BLOCK_POINTS} points"
    sentence = (
        f"{name} was {_value(value, reading)}{_expectation(expected, low, high)}: {_reason(parts)} "
        f"({number(float(verdicts.score[index]))} bits; {reached} of {size} earlier "
        f"points reached as much, p = {number(p_value)}{blocks})."
    )
    detail = {
        "value": value,
        "reading": value if reading is None else reading,
        "expected": _known(expected),
        "band": {"low": _known(low), "high": _known(high), "coverage": 0.95 if math.isfinite(low) else None},
        "deviation": _known(value - expected),
        "surprise_bits": float(verdicts.surprise_bits[index]),
        "score_bits": float(verdicts.score[index]),
        "parts_bits": parts,
        "p_value": p_value,
        "points_reaching": reached,
        "calibration_points": size,
        "block_p_value": block_p_value,
        "block_points": TAIL_BLOCK_POINTS,
    }
    return sentence, detail


def _value(value: float, reading: float | None) -> str:
    if reading is None or reading == value:
        return number(value)
    return f"{number(value)} a second (counter at {number(reading)})"


def _expectation(expected: float, low: float, high: float) -> str:
    if not math.isfinite(expected):
        return ""
    if not (math.isfinite(low) and math.isfinite(high)):
        return f" where {number(expected)} was expected"
    return f" where {number(expected)} was expected ({number(low)} to {number(high)} in 95 % of cases)"


def _reason(parts: dict[str, float]) -> str:
    name = max(_REASONS, key=lambda part: parts[part])
    return _REASONS[name]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
