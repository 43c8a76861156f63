"""A damaged snapshot is refused with a clear error, whatever bit is wrong: kernels trust a state."""

from __future__ import annotations

import numpy as np
import pytest

from driftlock import Detector, SeriesDetector
from driftlock.core.log_stream import LogSettings, LogStream
from driftlock.errors import InputError

Kind = type[Detector] | type[SeriesDetector]


def snapshot_of(kind: Kind) -> bytes:
    if kind is Detector:
        detector = Detector()
        detector.observe([f"job {n % 7} of queue {'abc'[n % 3]} done" for n in range(1_200)])
        return detector.snapshot()
    series = SeriesDetector()
    series.observe(np.arange(150.0) % 7, np.arange(150) * 60 * 10**9)
    return series.snapshot()


@pytest.mark.parametrize("kind", [Detector, SeriesDetector])
def test_every_flipped_bit_is_noticed(kind: Kind) -> None:
    whole = snapshot_of(kind)
    assert kind.restore(whole).snapshot() == whole
    step = max(len(whole) // 2_000, 1)
    for place in range(0, len(whole), step):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            with pytest.raises(InputError):
                kind.restore(bytes(damaged))


@pytest.mark.parametrize("kind", [Detector, SeriesDetector])
def test_what_is_cut_empty_or_of_another_kind_is_refused(kind: Kind) -> None:
    whole = snapshot_of(kind)
    other = snapshot_of(SeriesDetector if kind is Detector else Detector)
    for data in (b"", whole[:5], whole[:-1], whole + b"x", other, b"no snapshot at all"):
        with pytest.raises(InputError):
            kind.restore(data)


def test_a_damaged_stream_is_refused_before_it_is_read() -> None:
    whole = LogStream(LogSettings()).snapshot()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        with pytest.raises(InputError, match="damaged"):
            LogStream.restore(LogSettings(), bytes(damaged))
