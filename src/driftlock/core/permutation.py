"""Permutation p-values of the size-matched NCD: does the window's text differ from that of baseline units?

Owns the draws, the stopping rule and the p-value. Null: the window's units and the baseline's units are
exchangeable. Whole units change places, never lines: lines of an ordered log depend on their neighbours, and
shuffling them makes p-values of 0 on normal data. T is the NCD of the window against as many bytes of other
units, the mean over `REFERENCES` such references; with unequal sizes it would measure little but size.
Permutations are drawn until `EXCEEDANCES` of them reach the observed T, at most `PERMUTATIONS_MAX`: p is then
h/l, else (1 + g)/(1 + n) (Besag and Clifford 1991, "Sequential Monte Carlo p-values"), valid under the null
for any statistic, and never 0.

The NCD has little power: the p-value is evidence beside the conformal one, and silences no alarm.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from driftlock.core.coder_bytes import ByteCoder
from driftlock.core.coder_zstd import ZstdCoder, ncd_of

PERMUTATIONS_MAX = 99
"""With the observed order 100 in all: no p-value below .01. In an incident many streams alarm at once, and
each must be told soon; twice as many orders found no more at .05."""
EXCEEDANCES = 10
REFERENCES = 4
"""The NCD is the mean over so many references; one alone had half the power. An order costs at most
1 + 3 · 4 compressions."""
POOL_UNITS_MAX = 256
"""Baseline units that take part, from evenly spaced places."""
WINDOW_BYTES_MAX = 4 * 1024
UNIT_BYTES_MIN = 64
RULE = f"Besag and Clifford 1991: stop at {EXCEEDANCES} exceedances or {PERMUTATIONS_MAX} permutations"

Statistic = Callable[[Iterator[int]], float]
"""Of an order of the pool: its first units are the window, those after them the reference."""


@dataclass(frozen=True, slots=True)
class Permuted:
    """The test's outcome. `statistic` is the observed NCD; `units` took part, `window_units` of them the
    window's; `exceedances` of `permutations` reached the observed value."""

    p_value: float
    statistic: float
    permutations: int
    exceedances: int
    units: int
    window_units: int
    seed: str
    coder: str


def told(outcome: Permuted) -> dict[str, Any]:
    """The outcome as a verdict's detail has it: all that is needed to draw again, JSON-serialisable."""
    return {
        "ncd": outcome.statistic,
        "permutations": outcome.permutations,
        "exceedances": outcome.exceedances,
        "units": outcome.units,
        "window_units": outcome.window_units,
        "rule": RULE,
        "seed": outcome.seed,
        "coder": outcome.coder,
    }


class Draws:
    """Uniform integers from a seed alone: SHA-256 of the seed and a counter, the same on any machine."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._counter = 0
        self._words: list[int] = []

    def below(self, n: int) -> int:
        """A number from 0 to n − 1, all equally likely (values beyond the last multiple of n are drawn
        again); n is at most 2³²."""
        while True:
            word = self._word()
            if word < (1 << 32) // n * n:
                return word % n

    def _word(self) -> int:
        if not self._words:
            block = hashlib.sha256(self._seed + self._counter.to_bytes(8, "little")).digest()
            self._words = [int.from_bytes(block[i : i + 4], "little") for i in range(0, 32, 4)]
            self._counter += 1
        return self._words.pop()


def seed_of(baseline_ref: str, first: int, last: int) -> str:
    """The test's seed in hex: a hash of what the verdict compares, so that whoever has it can draw again."""
    return hashlib.sha256(f"permutation\0{baseline_ref}\0{first}\0{last}".encode()).hexdigest()


def permutation_test(
    window: Sequence[bytes], baseline: Sequence[bytes], *, seed: str, coder: ByteCoder | None = None
) -> Permuted:
    """Tests whether the window's units are exchangeable with the baseline's.

    `window` and `baseline` are canonical texts of units, at least one each. Every text counts by its first
    `WINDOW_BYTES_MAX` / len(window) bytes, whichever side it stands on. `coder` compresses (else zstd).

    >>> normal = [b"started job\\nfinished job %d" % (n % 3) for n in range(60)]
    >>> permutation_test([b"out of memory: killed process"], normal, seed="7").p_value < 0.05
    True
    """
    coder = coder or ZstdCoder()
    step = max(WINDOW_BYTES_MAX // len(window), UNIT_BYTES_MIN)
    taken = [baseline[place] for place in pool_places(len(baseline))]
    pool = [text[:step] for text in (*window, *taken)]
    statistic = _matched_ncd(pool, len(window), coder)
    others = shuffled(len(taken), Draws(seed + " reference"))
    observed = statistic(chain(range(len(window)), (len(window) + place for place in others)))
    drawn, reached = sequential(statistic, observed, len(pool), seed=seed)
    return Permuted(
        p_value=reached / drawn if reached == EXCEEDANCES else (1 + reached) / (1 + drawn),
        statistic=observed,
        permutations=drawn,
        exceedances=reached,
        units=len(pool),
        window_units=len(window),
        seed=seed,
        coder=f"{coder.name} {coder.version}",
    )


def sequential(statistic: Statistic, observed: float, units: int, *, seed: str) -> tuple[int, int]:
    """Draws permutations of so many units until the rule stops; returns how many, and how many of them
    reached `observed`."""
    draws = Draws(seed)
    reached = 0
    for drawn in range(1, PERMUTATIONS_MAX + 1):
        reached += statistic(shuffled(units, draws)) >= observed
        if reached == EXCEEDANCES:
            return drawn, reached
    return PERMUTATIONS_MAX, reached


def shuffled(n: int, draws: Draws) -> Iterator[int]:
    """A uniform permutation of range(n) (Fisher and Yates), drawn only as far as it is read."""
    items = list(range(n))
    for at in range(n):
        other = at + draws.below(n - at)
        items[at], items[other] = items[other], items[at]
        yield items[at]


def _matched_ncd(pool: Sequence[bytes], window_units: int, coder: ByteCoder) -> Statistic:

    def statistic(order: Iterator[int]) -> float:
        window = b"\n".join(pool[unit] for unit in islice(order, window_units))
        cy, found = coder.size(window), []
        for _ in range(REFERENCES):
            reference = _joined((pool[unit] for unit in order), len(window))
            short = window[: len(reference)]
            size = cy if len(short) == len(window) else coder.size(short)
            if short:
                found.append(ncd_of(coder.size(reference), size, coder.size(reference + short)))
        return sum(found) / max(len(found), 1)

    return statistic


def _joined(texts: Iterator[bytes], length: int) -> bytes:
    parts: list[bytes] = []
    size = -1  # separators stand between texts only
    while size < length and (text := next(texts, None)) is not None:
        parts.append(text)
        size += len(text) + 1
    return b"\n".join(parts)[:length]


def pool_places(units: int) -> list[int]:
    """Which of so many baseline units take part."""
    taken = min(units, POOL_UNITS_MAX)
    return [units * k // taken for k in range(taken)]
