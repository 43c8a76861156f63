"""Values that pass between the core and its callers: units in, verdicts out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["critical", "high", "medium", "low"]
Kind = Literal["unit", "drift"]
Phase = Literal["learning", "calibrating", "ready"]


@dataclass(frozen=True, slots=True)
class Unit:
    """What the statistics treat as exchangeable: a session, a trace, or a hop-sized block of events.

    `lines` are the canonical lines in order and `templates` their 64-bit hashes. `first` and `last` are
    the positions (any increasing integers) and `first_time_ns` and `last_time_ns` the event times of its
    first and last event. `key` names the unit: a session key, or a block number.
    """

    key: str
    templates: Sequence[int]
    lines: Sequence[bytes]
    first: int
    last: int
    first_time_ns: int
    last_time_ns: int


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """A test's outcome for one unit.

    `score` is higher for stranger units; `p_value` is its conformal tail probability under the null that
    the unit is exchangeable with the calibration units, never 0. `surprise_bits` is the unit's conditional
    code length. `alarm` is the decision; its `kind` is drift when it tells that the stream has changed and
    stays changed, with the unit as an example. The costly parts (`measures`, `explanation`, `detail`) are
    there only when `alarm` is true or when they were asked for.
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
    kind: Kind = "unit"
    severity: Severity = "low"
    baseline_ref: str = ""
    measures: Measures | None = None
    explanation: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
