"""What a log stream is told, and the limits on what it keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from driftlock.core.coder_bytes import NAMES, ByteCoderName

UNITS_BEFORE_VERDICT_MIN = 40
"""Units a baseline holds at least, whatever its size in events: fewer make no calibration set."""
UNITS_BEFORE_VERDICT_MAX = 200
"""Sessions or blocks of time after which a baseline is complete even if it holds few events."""
BASELINE_UNITS_MAX = 4_096
BASELINE_EVENTS_MAX = 131_072
BASELINE_EVENTS_ENOUGH, BASELINE_CALLS_ENOUGH = 24_576, 8_192
"""Events, and such that tell their callers, that make a baseline of however few units: they are held until
then, some 100 KiB of them, so that a stream of long sessions keeps within its bytes while it learns."""
CALIBRATION_SCORES_MAX = 2_000
SESSIONS_OPEN_MAX = 1_024
SESSIONS_BYTES_MAX = 156 * 1024
SESSIONS_BYTES_RANGE = (4 * 1024, 512 * 1024)  # the store counts in 16 bits
SESSION_EVENTS_LIMIT = 32_767
SESSION_EVENTS_MAX = 1_000
SESSION_KEY_BYTES_MAX = 256
SESSION_IDLE_NS_MAX = 10**18  # 31.7 years: added to a time, it has to stay within 64 bits
SECOND_NS = 1_000_000_000
BLOCK_NS_DEFAULT = 60 * SECOND_NS
BLOCK_NS_RANGE = (SECOND_NS, 86_400 * SECOND_NS)
"""A block of time is at least what a clock of whole seconds can tell, and at most a day: units of more than
that would have their first verdict after months."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Settings of a log stream. Sizes in events, times in nanoseconds; raises ValueError where they clash.

    In mode "block" a unit is a block of `hop_size` consecutive events and a verdict is on the blocks of the
    last `window_size` events (rounded up to whole blocks); the baseline is the first `baseline_size` events,
    and at least 40 blocks. In mode "session" a unit is the events of one key, complete when `session_idle_ns`
    passed without another or at `session_events_max`; if it goes on it is judged again as a whole, as
    long as `sessions_bytes_max` leaves room to remember it. The baseline is complete at 40 sessions with
    together `baseline_size` events, or at 200. In mode "time" a unit is what comes in `block_ns`, aligned to
    1970, also if nothing comes (`time_blocks`); the baseline is complete as with sessions. Any is complete
    with `BASELINE_EVENTS_ENOUGH` events, or `BASELINE_CALLS_ENOUGH` with `calls`, unless `baseline_size` is
    more.
    `baseline_units` replaces these rules by a number of units.
    `form` names how the events' lines were made: events of different forms do not mix in one state. With
    `calls`, in mode "session", events tell their spans and parents, and what called what is learned.
    `alert_budget` bounds the alarms a week of the stream's clock; it may be infinite. `byte_coder` measures
    the text of what alarms, and decides nothing.
    """

    mode: Literal["block", "session", "time"] = "block"
    baseline_size: int = 400
    window_size: int = 50
    hop_size: int = 25
    block_ns: int = BLOCK_NS_DEFAULT
    p_value_threshold: float = 0.05
    alert_budget: float = 20.0
    session_idle_ns: int = 30_000_000_000
    session_events_max: int = SESSION_EVENTS_MAX
    sessions_open_max: int = SESSIONS_OPEN_MAX
    sessions_bytes_max: int = SESSIONS_BYTES_MAX
    calibration_max: int = CALIBRATION_SCORES_MAX
    baseline_units: int | None = None
    byte_coder: ByteCoderName = "zstd"
    form: str = ""
    calls: bool = False

    def __post_init__(self) -> None:
        if self.mode not in ("block", "session", "time"):
            raise ValueError(f"mode is block, session or time, not {self.mode!r}")
        if not BLOCK_NS_RANGE[0] <= self.block_ns <= BLOCK_NS_RANGE[1] or self.block_ns % SECOND_NS:
            raise ValueError("block_ns is whole seconds, from one second to a day")
        if self.byte_coder not in NAMES:
            raise ValueError(f"byte_coder is one of {', '.join(NAMES)}, not {self.byte_coder!r}")
        if not self.baseline_size >= self.window_size >= self.hop_size >= 1:
            raise ValueError("baseline_size ≥ window_size ≥ hop_size ≥ 1 must hold")
        if not 0.0 < self.p_value_threshold < 1.0:
            raise ValueError("p_value_threshold lies between 0 and 1")
        if not self.alert_budget >= 0.0:
            raise ValueError("alert_budget is not negative")
        if min(self.session_idle_ns, self.session_events_max, self.sessions_open_max) < 1:
            raise ValueError("session limits are positive")
        if self.session_idle_ns > SESSION_IDLE_NS_MAX:
            raise ValueError(f"session_idle_ns is at most {SESSION_IDLE_NS_MAX} (31.7 years)")
        low, high = SESSIONS_BYTES_RANGE
        if not low <= self.sessions_bytes_max <= high or self.session_events_max > SESSION_EVENTS_LIMIT:
            raise ValueError(
                f"sessions_bytes_max lies between {low} and {high}, session_events_max is at most "
                f"{SESSION_EVENTS_LIMIT}"
            )
        if self.calls and self.mode != "session":
            raise ValueError('calls are those within a unit: they need mode="session"')
        if self.calibration_max < UNITS_BEFORE_VERDICT_MIN or (self.baseline_units or 2) < 2:
            raise ValueError("calibration_max is at least 40 and baseline_units at least 2")

    @property
    def units_to_reach_threshold(self) -> int:
        """Units after which 1/(n + 1) is at or under the threshold: before, no p-value can be."""
        return math.ceil(1.0 / self.p_value_threshold) - 1 + self.blocks_per_window - 1

    @property
    def blocks_per_window(self) -> int:
        """Units that a verdict is on: 1 for sessions and blocks of time."""
        return math.ceil(self.window_size / self.hop_size) if self.mode == "block" else 1

    def baseline_complete(self, units: int, events: int) -> bool:
        """Whether so many units with so many events make the baseline."""
        if units >= BASELINE_UNITS_MAX or events >= BASELINE_EVENTS_MAX:
            return True
        if self.baseline_units is not None:
            return units >= self.baseline_units
        if self.mode != "block" and units >= UNITS_BEFORE_VERDICT_MAX:
            return True
        enough = BASELINE_CALLS_ENOUGH if self.calls else BASELINE_EVENTS_ENOUGH
        if units >= 2 and events >= max(enough, self.baseline_size):
            return True
        return units >= self._units_min and events >= self.baseline_size

    @property
    def _units_min(self) -> int:
        # as many verdicts as blocks: windows of several blocks need some more blocks for their calibration
        return UNITS_BEFORE_VERDICT_MIN + self.blocks_per_window - 1

    @property
    def units_needed(self) -> int:
        """Units until the baseline is complete, as far as it can be told before."""
        if self.baseline_units is not None:
            return min(self.baseline_units, BASELINE_UNITS_MAX)
        if self.mode != "block":
            return UNITS_BEFORE_VERDICT_MAX
        blocks = max(math.ceil(self.baseline_size / self.hop_size), self._units_min)
        return min(blocks, BASELINE_UNITS_MAX, math.ceil(BASELINE_EVENTS_MAX / self.hop_size))

    @property
    def shape(self) -> list[str | int | None]:
        """What makes a state: under another shape a stored state means nothing, and learning starts anew."""
        sizes = [self.baseline_size, self.window_size, self.hop_size, self.baseline_units]
        if self.mode == "time":
            sizes = [self.baseline_size, self.block_ns, self.baseline_units]
        return [self.mode, *sizes, int(self.calls), self.form]
