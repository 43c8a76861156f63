from __future__ import annotations

import gzip
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.collector.gunzip import MEMBERS_MAX, SLICE_BYTES, STEP_BYTES, Gunzip, gunzip
from driftlock.errors import MalformedTelemetryError, TooLargeError


@given(members=st.lists(st.binary(max_size=2000), min_size=1, max_size=4), cut=st.integers(1, 500))
def test_pieces_of_any_size_yield_what_the_library_yields(members: list[bytes], cut: int) -> None:
    packed = b"".join(map(gzip.compress, members))
    held: list[int] = []
    stream = Gunzip(bytes_max=10_000, hold=held.append)
    for start in range(0, len(packed), cut):
        stream.feed(packed[start : start + cut])
    whole = stream.finish()
    assert whole == gzip.decompress(packed)
    assert sum(held) == len(whole)


@given(data=st.binary(min_size=1, max_size=2000), end=st.floats(0, 1, exclude_max=True))
def test_a_missing_end_is_refused(data: bytes, end: float) -> None:
    packed = gzip.compress(data)
    cut = packed[: int(end * len(packed))]
    if cut:
        with pytest.raises(MalformedTelemetryError):
            gunzip(cut, bytes_max=10_000, hold=lambda _: None)


@given(noise=st.binary(min_size=1, max_size=300))
def test_noise_is_refused_or_is_gzip(noise: bytes) -> None:
    try:
        whole = gunzip(noise, bytes_max=10_000_000, hold=lambda _: None)
    except MalformedTelemetryError:
        with pytest.raises((OSError, EOFError)):
            gzip.decompress(noise)
    else:
        assert whole == gzip.decompress(noise)


def test_an_empty_body_is_empty() -> None:
    assert gunzip(b"", bytes_max=1, hold=lambda _: None) == b""


def test_a_bomb_is_stopped_at_the_bound() -> None:
    bomb = gzip.compress(bytes(50 * STEP_BYTES), 9)
    held: list[int] = []
    with pytest.raises(TooLargeError):
        gunzip(bomb, bytes_max=3 * STEP_BYTES, hold=held.append)
    assert sum(held) <= 3 * STEP_BYTES


def test_a_body_of_empty_members_is_stopped_at_the_bound() -> None:
    member = gzip.compress(b"")
    assert gunzip(member * MEMBERS_MAX, bytes_max=1, hold=lambda _: None) == b""
    with pytest.raises(MalformedTelemetryError, match="members"):
        gunzip(member * (MEMBERS_MAX + 1), bytes_max=1, hold=lambda _: None)


def test_a_large_body_comes_whole_through_the_slices() -> None:
    data = random.Random(1).randbytes(3 * SLICE_BYTES + 7)
    assert gunzip(gzip.compress(data) * 2, bytes_max=2 * len(data), hold=lambda _: None) == data * 2


def test_what_holding_refuses_ends_it() -> None:
    def refuse(count: int) -> None:
        raise RuntimeError(str(count))

    with pytest.raises(RuntimeError):
        gunzip(gzip.compress(b"abc"), bytes_max=10, hold=refuse)
