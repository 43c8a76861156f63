"""Silence of numeric series: how long each usually pauses, and which pause is now too long.

Owns the gaps between reports of each series, the deadline that follows from them, and what is told when it
passes. Series are row numbers of the caller's; knows no names, no transport, no clock but the one handed in.

A report is any number of points in one second of the caller's clock; a gap is the whole seconds between
two reports. Of each series the counts of gaps that reached each of `EDGES` seconds are kept. The p-value of
a pause of t seconds is its conformal rank among the series' own gaps, (1 + those that reached the edge at or
below t) / (1 + all), so never 0; its null: the pause comes from the distribution of the series' past gaps
(stationarity; independence is not needed for the long-run share). −log2 p is its code length under the same
counts. See Vovk, Gammerman and Shafer, "Algorithmic learning in a random world" (2005), ch. 2.

A steady series has thousands of gaps a week, so p ≤ α alone would tell far too much. A pause is told when
also no gap reached as much (N gaps of a stationary series hold about ln N records), or when such pauses are
expected at most `SILENCES_A_WEEK` times a week; and never before `PAUSE_FACTOR` usual gaps have passed,
since one lost report is no silence.

Time in which nobody could have heard is not counted: a step of the clock above `LEAP_S` counts nothing, for a
listener that runs steps it every second or two while anything is pending.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.core.coder import on_grid
from driftlock.core.logarithm import log2
from driftlock.errors import UsageError

WEEK_S = 7 * 86_400
SILENCES_A_WEEK = 2.0
"""Of a series with gaps like its past ones, pauses that are no record are told at most so often."""
PAUSE_FACTOR = 3
"""A pause shorter than so many usual gaps is a lost report, not a silence."""
LEAP_S = 120
GIVE_UP_S = 3_600
"""A series that cannot be judged yet is waited for so long, or ten times its mean gap, then no more."""
GAPS_MAX = 65_535
"""At so many gaps all counts are halved: it is the most that 16 bits hold, and the past fades."""
NEVER = np.iinfo(np.int64).max
_MAGIC = b"DLQUIET1"


def _edges() -> list[int]:
    edges = [1]
    while edges[-1] < WEEK_S:
        edges.append(max(edges[-1] + 1, edges[-1] * 6 // 5))
    return edges


EDGES = np.array(_edges(), np.int64)
"""Seconds that gaps are counted by: every second up to 9, then steps of a fifth, to a week."""
assert all(a < b for a, b in pairwise(EDGES.tolist()))

STATE = np.dtype(
    [
        ("last_s", "i8"),  # the counted clock at the last report, −1 before the first
        ("last_ns", "i8"),
        ("event", "i8"),
        ("deadline_s", "i8"),
        ("seconds", "f8"),  # all gaps together
        ("stream", "i4"),
        ("told", "u1"),
        ("reach", "u2", (len(EDGES),)),  # gaps that reached each edge; reach[0] counts all
    ],
    align=True,
)
STATE_BYTES = STATE.itemsize
LAYOUT = hashlib.blake2b(repr((STATE.descr, EDGES.tolist())).encode(), digest_size=8).digest()
assert STATE_BYTES <= 256, "the watch is promised to add at most a quarter of a KB to a series"

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Silence:
    """A series fell silent: `row` and `stream` as handed in, `event` and `since_ns` of its last report.

    It has been silent for `elapsed_s` seconds; half of its `gaps` were at most `usual_s` long, `reached` of
    them as long as this one. So long pauses come `expected_a_week` times a week in a series like its past.
    """

    row: int
    stream: int
    event: int
    since_ns: int
    elapsed_s: int
    usual_s: int
    gaps: int
    reached: int
    p_value: float
    expected_a_week: float
    bits: float


class SilenceWatch:
    """The pauses of many series. Its state depends on what it was told, in which order, and nothing else."""

    def __init__(self, *, p_value_threshold: float) -> None:
        self._threshold = p_value_threshold
        self._state = np.zeros(0, STATE)
        self._clock_ns = 0
        self._now_s = 0
        self._earliest_s = int(NEVER)

    @property
    def pending(self) -> bool:
        """Whether a series is waited for, so that the passing of time alone may tell something."""
        return self._earliest_s != NEVER

    @property
    def state_bytes(self) -> int:
        """Bytes held."""
        return self._state.nbytes

    @property
    def clock(self) -> tuple[int, int]:
        """Where the clock stands, in nanoseconds since 1970 and in counted seconds.

        It moves more often than anything else here changes, so it is kept apart from the snapshot.
        """
        return self._clock_ns, self._now_s

    @clock.setter
    def clock(self, clock: tuple[int, int]) -> None:
        self._clock_ns, self._now_s = clock

    def heard(self, rows: Rows, streams: Rows, events: Rows, *, now_ns: int) -> Rows:
        """Series reported now: `rows` without repeats, the stream of each, the event that it came with.

        Returns the rows of those whose silence was told.
        """
        self._clock_ns = self._clock_ns or now_ns // 1_000_000_000 * 1_000_000_000
        self._grow(int(rows.max()) + 1 if len(rows) else 0)
        state = self._state[rows]
        back = rows[state["told"] > 0]
        gap = np.where(state["last_s"] >= 0, self._now_s - state["last_s"], 0)
        changed = (gap > 0) | (state["last_s"] < 0) | (state["told"] > 0)
        _learn(state, gap)
        state["last_s"] = self._now_s
        state["last_ns"] = now_ns
        state["event"], state["stream"], state["told"] = events, streams, 0
        if changed.any():
            wait = waits(state["reach"][changed], state["seconds"][changed], self._threshold)
            mean = state["seconds"][changed] / np.maximum(state["reach"][changed, 0], 1)
            patience = np.maximum(GIVE_UP_S, (10 * mean).astype(np.int64))
            wait = np.where(wait == NEVER, patience, wait)
            state["deadline_s"][changed] = self._now_s + wait
            self._earliest_s = min(self._earliest_s, int((self._now_s + wait).min()))
        self._state[rows] = state
        return back

    def move(self, now_ns: int) -> list[Silence]:
        """Moves the clock on to a whole second `now_ns`; returns who is silent by then, in row order."""
        step = (now_ns - self._clock_ns) // 1_000_000_000
        if self._clock_ns and 0 < step <= LEAP_S:
            self._now_s += step
        self._clock_ns = max(self._clock_ns, now_ns)
        if self._now_s < self._earliest_s:
            return []
        due = np.flatnonzero(self._state["deadline_s"] <= self._now_s)
        found = [s for s in (self._judge(int(row)) for row in due) if s is not None]
        self._state["deadline_s"][due] = NEVER
        self._earliest_s = int(self._state["deadline_s"].min(initial=NEVER))
        return found

    def _judge(self, row: int) -> Silence | None:
        r = self._state[row]
        elapsed = self._now_s - int(r["last_s"])
        gaps, reached = int(r["reach"][0]), int(r["reach"][_bin(elapsed)])
        if int(waits(r["reach"][None, :], r["seconds"][None], self._threshold)[0]) > elapsed:
            return None  # given up: too little is known of it
        r["told"] = 1
        p = (1.0 + reached) / (1.0 + gaps)
        return Silence(
            row=row,
            stream=int(r["stream"]),
            event=int(r["event"]),
            since_ns=int(r["last_ns"]),
            elapsed_s=elapsed,
            usual_s=int(usual(r["reach"][None, :])[0]),
            gaps=gaps,
            reached=reached,
            p_value=p,
            expected_a_week=p * WEEK_S * gaps / float(r["seconds"]),
            bits=on_grid(-log2(p)),
        )

    def _grow(self, size: int) -> None:
        held = len(self._state)
        if size > held:
            larger = np.zeros(max(size, 2 * held), STATE)
            larger[:held] = self._state
            larger["last_s"][held:] = -1
            larger["deadline_s"][held:] = NEVER
            self._state = larger

    def snapshot(self) -> bytes:
        """The exact state but for the clock; `restore` continues from both."""
        held = int(np.flatnonzero(self._state["last_s"] >= 0).max(initial=-1)) + 1
        return _MAGIC + LAYOUT + self._state[:held].tobytes()

    @classmethod
    def restore(cls, data: bytes, *, p_value_threshold: float) -> SilenceWatch:
        """The watch that `snapshot` described. Raises UsageError for state of another layout."""
        head = len(_MAGIC) + len(LAYOUT)
        if data[:head] != _MAGIC + LAYOUT or (len(data) - head) % STATE_BYTES:
            raise UsageError("the state was written by another version of the watch for silence")
        watch = cls(p_value_threshold=p_value_threshold)
        watch._state = np.frombuffer(data, STATE, offset=head).copy()
        watch._earliest_s = int(watch._state["deadline_s"].min(initial=NEVER))
        return watch


def waits(reach: npt.NDArray[Any], seconds: npt.NDArray[Any], threshold: float) -> npt.NDArray[np.int64]:
    """The shortest pause that is told, in seconds, of each series (n, edges); NEVER where none is yet."""
    gaps = reach[:, :1].astype(np.float64)
    p = (1.0 + reach) / (1.0 + gaps)
    mean = np.maximum(seconds[:, None], 1.0) / np.maximum(gaps, 1.0)
    told = (p <= threshold) & ((reach == 0) | (p * (WEEK_S / mean) <= SILENCES_A_WEEK))
    told &= PAUSE_FACTOR * usual(reach)[:, None] <= EDGES
    shortest: npt.NDArray[np.int64] = np.where(told.any(axis=1), EDGES[told.argmax(axis=1)], NEVER)
    return shortest


def usual(reach: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Seconds that at least half of each series' gaps did not exceed."""
    half = 2 * reach.astype(np.int64) > reach[:, :1]
    above = np.minimum(half.sum(axis=1), len(EDGES) - 1)
    seconds: npt.NDArray[np.int64] = np.maximum(EDGES[above] - 1, 1)
    return seconds


def _bin(seconds: int) -> int:
    return max(int(np.searchsorted(EDGES, seconds, side="right")) - 1, 0)


def _learn(state: npt.NDArray[Any], gap: Rows) -> None:
    state["reach"] += ((gap[:, None] >= EDGES) & (gap[:, None] > 0)).astype(np.uint16)
    state["seconds"] += gap
    full = state["reach"][:, 0] >= GAPS_MAX
    if full.any():
        state["reach"][full] //= 2
        state["seconds"][full] *= 0.5


def silence_text(silence: Silence, *, name: str) -> tuple[str, dict[str, Any]]:
    """One sentence and the numbers."""
    s = silence
    sentence = (
        f"{name} has fallen silent: nothing for {s.elapsed_s} seconds, where half of its pauses are at most "
        f"{s.usual_s} seconds ({s.bits:.4g} bits; {s.reached} of {s.gaps} earlier pauses were as long, "
        f"p = {s.p_value:.4g})."
    )
    detail = {
        "silent_since_ns": s.since_ns,
        "silent_s": s.elapsed_s,
        "usual_gap_s": s.usual_s,
        "gaps": s.gaps,
        "gaps_reaching": s.reached,
        "expected_a_week": s.expected_a_week,
        "surprise_bits": s.bits,
        "score_bits": s.bits,
        "p_value": s.p_value,
    }
    assert math.isfinite(s.expected_a_week)
    return sentence, detail
