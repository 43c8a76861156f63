"""The zstd coder and the measures made of it."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from driftlock.core.coder_zstd import ZstdCoder, byte_entropy, measures

NORMAL = b"\n".join(b"INFO worker: request <num> served in <num> ms" for _ in range(20))
STRANGE = b"\n".join(b"FATAL kernel: page fault at <hex>, stack trace %d follows" % n for n in range(20))


@given(st.binary(max_size=2_000), st.binary(max_size=2_000))
def test_frames_are_raw_deterministic_and_read_back(dictionary: bytes, data: bytes) -> None:
    coder = ZstdCoder(dictionary)
    assert (
        coder.code_length_bits(data) == 8 * coder.size(data) == ZstdCoder(dictionary).code_length_bits(data)
    )
    # no magic number, content size, checksum or dictionary id: an empty input costs next to nothing
    assert coder.size(b"") <= 5


def test_a_primed_dictionary_makes_the_known_cheap_and_leaves_the_strange_dear() -> None:
    primed, alone = ZstdCoder(NORMAL), ZstdCoder()
    assert primed.code_length_bits(NORMAL) < 0.6 * alone.code_length_bits(NORMAL)
    assert primed.code_length_bits(STRANGE) > 3 * primed.code_length_bits(NORMAL)


def test_frames_are_smaller_than_with_headers() -> None:
    framed = zstandard.ZstdCompressor(level=9, write_checksum=True).compress(NORMAL)
    assert ZstdCoder().size(NORMAL) <= len(framed) - 8


@given(st.binary(min_size=1, max_size=500))
def test_entropy_equals_its_definition(data: bytes) -> None:
    shares = [n / len(data) for n in Counter(data).values()]
    assert byte_entropy(data) == pytest.approx(-sum(p * math.log2(p) for p in shares), abs=1e-9)
    assert 0.0 <= byte_entropy(data) <= 8.0


def test_measures_compare_matched_sizes_and_take_the_nearest_reference() -> None:
    alike, unlike = measures(NORMAL, [STRANGE, NORMAL * 3]), measures(STRANGE, [NORMAL * 3])
    assert alike.ncd < 0.3 < unlike.ncd <= 1.2
    assert unlike.window_entropy == pytest.approx(byte_entropy(STRANGE[: len(NORMAL) * 3]))
    assert alike.compression_combined >= max(alike.compression_baseline, alike.compression_window)
    assert 0.0 < alike.ratio_window < 1.0
