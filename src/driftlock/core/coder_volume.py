"""The volume coder: how many events a block of time holds, against how many the blocks before held.

−log2 of twice the smaller of two shares, blocks with as many or more and blocks with as many or fewer; 0
where neither is below a half. Smoothed as (share · n + ½ u⁻³) / (n + ½), n at most `SAMPLE`, so that what was
never seen costs the same at any age of the stream, but the more the farther it is: u is 1 + its distance from
the nearest volume seen, in widths of the middle half of all blocks. So falls the tail of Student's t with 3
degrees of freedom, by which numeric series are told, too: a stream whose minutes are alike is told sooner
that one is not. Volumes are counted exactly below 16 and in eight buckets an octave from there on, so that a
flood is as far away on any scale. Nothing (0) is a volume like others.

Blocks of so many events have no volume to tell, and sessions end when they end: only blocks of time have it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numba
import numpy as np
import numpy.typing as npt

from driftlock.core.coder import UNITS_REMEMBERED_MAX, CodedUnit, Part, on_grid
from driftlock.core.logarithm import log2
from driftlock.core.packing import pack_array, unpack_array

SAMPLE = 1_000
"""As for templates: rarer than one in so many blocks costs no more, but for its distance."""
OCTAVE = 8
BUCKETS = 512
"""More than 64 bits of volume can reach."""
Histogram = npt.NDArray[np.int32]


@numba.njit(cache=True)
def volume_bucket(volume: int) -> int:
    """The bucket of a volume: itself below 16, then eight an octave."""
    octaves = 0
    while volume >= 2 * OCTAVE:
        volume >>= 1
        octaves += 1
    return octaves * OCTAVE + volume


def middle_of(bucket: int) -> int:
    """A volume in the middle of a bucket."""
    octaves = max(bucket // OCTAVE - 1, 0)
    return ((bucket - octaves * OCTAVE) << octaves) + ((1 << octaves) - 1) // 2


@numba.njit(cache=True)
def volume_bits(histogram: Histogram, volume: int) -> float:
    """The bits of a volume."""
    total = histogram.sum()
    if total == 0:
        return 0.0
    b = volume_bucket(volume)
    fewer = histogram[: b + 1].sum()
    tail = min(fewer, total - fewer + histogram[b])
    sample = min(total, SAMPLE)
    prior = 0.5
    if tail == 0:
        away = 1
        while (b < away or not histogram[b - away]) and (
            b + away >= len(histogram) or not histogram[b + away]
        ):
            away += 1
        u = 1.0 + away / _middle_half(histogram, total)
        prior /= u * u * u
    return max(on_grid(log2((sample + 0.5) / (tail * sample / total + prior)) - 1.0), 0.0)


@numba.njit(cache=True)
def _middle_half(histogram: Histogram, total: int) -> int:
    """Buckets from the lower to the upper quartile, at least 1."""
    fewer, low, high = 0, 0, 0
    for b in range(len(histogram)):
        fewer += histogram[b]
        low += 4 * fewer < total
        high += 4 * fewer < 3 * total
    return max(high - low, 1)


@numba.njit(cache=True)
def learn_volume(histogram: Histogram, volume: int, weight: int) -> None:
    """Adds `weight` where a volume falls; halves all when they are too many."""
    histogram[volume_bucket(volume)] += weight
    if histogram.sum() >= UNITS_REMEMBERED_MAX:
        histogram >>= 1


class VolumeCoder:
    """A histogram of volumes. Without `active` there is none, and it takes no room."""

    name: ClassVar[str] = "volume"
    version: ClassVar[int] = 1

    def __init__(self, *, active: bool) -> None:
        self.active = active
        self.halved = 0
        self.histogram: Histogram = np.zeros(BUCKETS if active else 0, np.int32)

    def code(self, unit: CodedUnit) -> Part:
        """The bits of the unit's volume; no template causes it."""
        return Part(float(volume_bits(self.histogram, unit.volume)) if self.active else 0.0, -1)

    def learn(self, unit: CodedUnit, weight: int = 1) -> None:
        """Counts a unit."""
        if self.active:
            learn_volume(self.histogram, unit.volume, weight)

    @property
    def usual(self) -> int:
        """The median volume, to the bucket; 0 when none was learned."""
        seen = np.cumsum(self.histogram)
        return middle_of(int(np.searchsorted(seen, (seen[-1] + 1) // 2))) if self.active else 0

    def reserve(self, capacity: int) -> None:
        """Nothing to do: there are no templates here."""

    def forget(self, templates: list[int]) -> None:
        """Nothing to do: there are no templates here."""

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""
        return {"histogram": pack_array(self.histogram)}

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        self.histogram = unpack_array(state["histogram"])

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.histogram.nbytes
