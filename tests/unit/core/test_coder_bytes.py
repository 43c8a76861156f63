"""One contract for every byte coder: raw, deterministic, cheaper given what is known."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from core_logs import feed, zipf
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.coder_bytes import NAMES, ByteCoderName, byte_coder
from driftlock.core.coder_zstd import measures
from driftlock.core.log_stream import LogSettings, LogStream

NORMAL = b"\n".join(b"INFO worker: request %d of <uuid> served in <num> ms" % (n % 7) for n in range(40))
STRANGE = b"\n".join(b"FATAL kernel: page fault at <hex>, trace %d follows" % (n * n) for n in range(40))

_PROGRAM = """
from driftlock.core.coder_bytes import byte_coder
import sys
make = byte_coder(sys.argv[1])
text = bytes(range(256)) * 3 + b'the same text the same text'
print(make(b'').size(text), make(text).size(text[5:]), make(text).size(b''), make(b'').version)
"""


@pytest.mark.parametrize("name", NAMES)
def test_what_is_known_is_cheap_and_what_is_strange_stays_dear(name: ByteCoderName) -> None:
    make = byte_coder(name)
    alone, primed = make(b""), make(NORMAL)
    assert primed.code_length_bits(NORMAL) < 0.6 * alone.code_length_bits(NORMAL)
    assert primed.code_length_bits(STRANGE) > 0.6 * alone.code_length_bits(STRANGE)
    assert alone.code_length_bits(STRANGE) == 8 * alone.size(STRANGE)
    # no header, checksum or size: nothing costs next to nothing
    assert alone.size(b"") <= 5
    assert (alone.name, bool(alone.version)) == (name, True)


@pytest.mark.parametrize("name", NAMES)
@given(dictionary=st.binary(max_size=300), data=st.binary(max_size=300))
@settings(max_examples=25, deadline=None)
def test_coders_are_deterministic(name: ByteCoderName, dictionary: bytes, data: bytes) -> None:
    coder = byte_coder(name)(dictionary)
    assert coder.size(data) == coder.size(data) == byte_coder(name)(dictionary).size(data) >= 0


@pytest.mark.parametrize("name", NAMES)
def test_another_process_gives_the_same_sizes(name: ByteCoderName) -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", _PROGRAM, name], check=True, capture_output=True, text=True
        ).stdout
        for _ in range(2)
    ]
    assert told[0] == told[1]


@pytest.mark.parametrize("name", NAMES)
def test_an_alarm_names_coder_and_version_and_the_verdict_is_the_same(name: ByteCoderName) -> None:
    log = [*zipf(np.random.default_rng(8), 4_000, 12).tolist(), *[49] * 25]
    plain = feed(LogStream(LogSettings(window_size=25)), log)[-1]
    other = feed(LogStream(LogSettings(window_size=25, byte_coder=name)), log)[-1]
    assert (other.alarm, other.p_value, other.score) == (True, plain.p_value, plain.score)
    version = byte_coder(name)(b"").version
    assert (other.detail["text"]["coder"], other.detail["text"]["version"]) == (name, version)
    assert other.detail["significance"]["permutation"]["coder"] == f"{name} {version}"
    assert other.detail["text"]["bits_alone"] > 0
    assert other.measures is not None
    assert other.measures.compression_window > 0


@pytest.mark.parametrize("name", NAMES)
def test_measures_compare_by_any_coder(name: ByteCoderName) -> None:
    coder = byte_coder(name)(b"")
    alike, unlike = measures(NORMAL, [NORMAL], coder=coder), measures(STRANGE, [NORMAL * 3], coder=coder)
    assert alike.ncd < 0.5 < unlike.ncd <= 1.2


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="byte_coder is one of zstd"):
        LogSettings(byte_coder="gzip")  # type: ignore[arg-type]
