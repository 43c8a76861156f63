"""The zstd coder: how many bits text costs with and without a dictionary, and distances made of that.

Conditional code length is the size of a raw frame under a dictionary primed with baseline text. Frames carry
no magic number, checksum, content size or dictionary id: fixed headers bias small inputs. NCD is
(C(xy) − min(C(x), C(y))) / max(C(x), C(y)) (Cilibrasi and Vitányi 2005), and only means something on inputs
of matched size: with unequal ones it measures little but size. Costly: for units that pass the first test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import zstandard

from driftlock.core.logarithm import log2
from driftlock.core.verdict import Measures

if TYPE_CHECKING:
    from driftlock.core.coder_bytes import ByteCoder

LEVEL = 6
"""The permutation test has the power that it has at level 9, at half the time; at 5 and below it loses it."""
DICTIONARY_BYTES_MAX = 64 * 1024
"""A larger dictionary made detection worse: a rare anomaly in the baseline becomes a cheap copy."""


class ZstdCoder:
    """Code lengths of bytes given a dictionary of raw text (empty: unconditional). Deterministic."""

    name: ClassVar[str] = "zstd"
    version: ClassVar[str] = ".".join(map(str, zstandard.ZSTD_VERSION))

    def __init__(self, dictionary: bytes = b"", *, level: int = LEVEL) -> None:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            write_checksum=False,
            write_content_size=False,
            write_dict_id=False,
        )
        primed = zstandard.ZstdCompressionDict(
            dictionary[-DICTIONARY_BYTES_MAX:], dict_type=zstandard.DICT_TYPE_RAWCONTENT
        )
        self._compressor = zstandard.ZstdCompressor(
            compression_params=parameters, dict_data=primed if len(dictionary) >= 8 else None
        )

    def size(self, data: bytes) -> int:
        """Bytes of the raw frame."""
        return len(self._compressor.compress(data))

    def code_length_bits(self, data: bytes) -> float:
        """Bits of the raw frame."""
        return 8.0 * self.size(data)


def byte_entropy(data: bytes) -> float:
    """Shannon entropy of the byte frequencies, in bits a byte; 0 for nothing."""
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
    bits = 0.0
    for count in counts[counts > 0].tolist():
        bits += count * log2(len(data) / count)
    return bits / max(len(data), 1)


def ncd_of(cx: int, cy: int, cxy: int) -> float:
    """The NCD of two texts by the sizes of their frames, and of the frame of both together."""
    return max((cxy - min(cx, cy)) / max(cx, cy), 0.0)


def measures(window: bytes, references: Sequence[bytes], *, coder: ByteCoder | None = None) -> Measures:
    """Sizes, ratios and entropies of a window beside the nearest of the baseline references.

    Each reference is cut to the window's length or, if it is shorter, the window to the reference's, so that
    the NCD compares inputs of one size. `references` and `window` must not be empty.
    `coder` compresses (without it, zstd).
    """
    coder = coder or ZstdCoder()
    compared = [_compare(coder, window, reference) for reference in references]
    return min(compared, key=lambda m: m.ncd)


def _compare(coder: ByteCoder, window: bytes, reference: bytes) -> Measures:
    length = min(len(window), len(reference))
    x, y = reference[:length], window[:length]
    cx, cy, cxy = coder.size(x), coder.size(y), coder.size(x + y)
    return Measures(
        ncd=ncd_of(cx, cy, cxy),
        compression_baseline=cx,
        compression_window=cy,
        compression_combined=cxy,
        ratio_baseline=cx / max(length, 1),
        ratio_window=cy / max(length, 1),
        baseline_entropy=byte_entropy(x),
        window_entropy=byte_entropy(y),
    )
