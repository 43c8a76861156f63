"""Values that pass between the core and its callers: units in, verdicts out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from driftlock.core.episode import Episode

Severity = Literal["critical", "high", "medium", "low"]
Kind = Literal["unit", "drift", "silence"]
Phase = Literal["learning", "calibrating", "ready"]


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Progress to the first verdict. `earliest_p` is the smallest p-value that calibration allows now."""

    phase: Phase
    units_seen: int
    units_needed: int
    calibration_size: int
    earliest_p: float


@dataclass(frozen=True, slots=True)
class Measures:
    """Sizes in bytes, ratios (compressed by raw), entropies in bits a byte; baseline against unit."""

    ncd: float
    compression_baseline: int
    compression_window: int
    compression_combined: int
    ratio_baseline: float
    ratio_window: float
    baseline_entropy: float
    window_entropy: float


class Verdict(msgspec.Struct, frozen=True, gc=False):  # one is made for every unit; none is in a cycle
    """A test's outcome for one unit.

    `score` is higher for stranger units; `p_value` is its conformal tail probability under the null that
    the unit is exchangeable with the calibration units, never 0. `surprise_bits` is the unit's conditional
    code length. `alarm` is the decision; its `kind` is drift when it tells that the stream has changed and
    stays changed, with the unit as an example, and silence when something steady stopped. A session that went
    on is judged again as a whole: `events_known` are its events that an earlier verdict was on. The costly
    parts (`measures`, `explanation`, `detail`) exist only when `alarm` is true or they were asked for.
    `episode` is the event that an alarm tells of, as it stands with this unit: on the verdict that alarms, on
    later suspicious ones while it is open, and on the quiet one that ends it.
    """

    key: str
    first: int
    last: int
    first_time_ns: int
    last_time_ns: int
    events: int
    score: float
    p_value: float
    surprise_bits: float
    calibration_size: int
    alarm: bool
    events_known: int = 0
    kind: Kind = "unit"
    severity: Severity = "low"
    baseline_ref: str = ""
    measures: Measures | None = None
    explanation: str = ""
    detail: dict[str, Any] = {}  # msgspec makes each its own
    episode: Episode | None = None
