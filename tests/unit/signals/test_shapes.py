"""Shapes stand for their lines: canonical lines and keys by shape are those of every line by itself."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from driftlock.signals.canonical import hash_lines
from driftlock.signals.line_keys import keys_of, takes_digits_alike
from driftlock.signals.masking import DEFAULT_MASKING, Masking
from driftlock.signals.shapes import PROBED_LINES, SHAPE_BYTES_MAX, SHAPES_MAX, shapes_of
from driftlock.signals.textlog import extract_keys, line_bounds, text_batch

LOGHUB = Path(__file__).parents[4] / "shared" / "data" / "loghub"

# What the canonical form, or the second look, tells by the digits themselves, and what looks like it.
READS_DIGITS = [
    "Dec 04 04:47:44 2005 x",
    "Sun Dec  4 04:47:44.5 UTC 1999",
    "Dec 10 06:55:46 GMT 3005",
    "Dec 04 04:47:44 +0100 1905,",
    "Jan 2 00:00:00Z\t2011",
    "0x1f",
    "at 0X00ff_0x12 -0x7",
    "10x20 0xzz",
    "status=404 code 7",
    "errno: 1312",
    '"GET /a HTTP/1.1" 200 17',
    'x" 604 y',
    "HTTP/2 503",
    "exit(137)",
    "dop_v1_0123456789abcdef0123456789",
    "dop_v7_abcdefghijklmnopqrst8",
    "ya29.a0AfH6SMBxxxxxxxxxxxxxxx",
    "bob%40example.org",
    "bob%41example.org",
    "bob&#64;example.org",
    "user@host12.example.org",
    "sk-0123456789abcdefghij",
    "ghp_012345678901234567890123456789",
    "password=hunter22",
    "token: 12345678",
    "AKIAIOSFODNN7EXAMPLE",
    "12-34-56-78-9a-bc",
    "fe80::1:2",
    "10.0.0.1:8080",
    "123e4567-e89b-12d3-a456-426614174000",
    "2008-11-09T20:35:30.123456Z",
    "/var/log/app-12/3/4",
    "20171223-22:15:29:606|Step_SPUtils|3",
    "6e10 1.5e-7 1e5x",
    "0.007 00.0123 1.2.3 4e05 x0045y",
    "Zürich 12 \x01 3\xa04",
    "b64 <b64> <num> 1",
]


def by_itself(lines: list[bytes], masking: Masking = DEFAULT_MASKING) -> list[tuple[bytes, int]]:
    found = []
    for line in lines:
        bounds = np.array([0, len(line)])
        made = masking.canonical(np.frombuffer(line, np.uint8), bounds[:1], bounds[1:])
        found.append((made[0], int(made.numbers[0])))
    return found


def by_shape(lines: list[bytes], masking: Masking = DEFAULT_MASKING) -> list[tuple[bytes, int]]:
    text = np.frombuffer(b"".join(lines), np.uint8)
    bounds = np.cumsum([0, *map(len, lines)])
    made, hashes = masking.canonical_by_shape(text, bounds[:-1], bounds[1:])
    assert hashes.tolist() == hash_lines(made).tolist()
    return [(made[row], int(made.numbers[row])) for row in range(len(made))]


def with_digits(text: str, digits: str) -> bytes:
    """The text with other digits, in turn."""
    many = iter(digits * (len(text) // len(digits) + 1))
    return re.sub("[0-9]", lambda _: next(many), text).encode()


def redone(text: str) -> list[bytes]:
    """A line of digits that tell nothing, then those that tell most, so that the first makes the shape."""
    return [with_digits(text, digits) for digits in ("7", "0", "19", "20", "40", "64", "29", "1", "5", "6")]


parts = st.one_of(st.sampled_from(READS_DIGITS), st.text("0123456789abxX ._-:/=@%&#;\"'\t", max_size=8))


@given(st.lists(parts, min_size=1, max_size=4), st.sampled_from([" ", "", "_", ": ", "/"]))
@settings(max_examples=400, deadline=None)
@example(["Dec 04 04:47:44 2005 x"], " ")
@example(["Dec", "04 04:47:44", "2005"], "\t")
def test_lines_of_one_shape_have_the_canonical_line_of_each(pieces: list[str], joint: str) -> None:
    line = joint.join(pieces)
    lines = [line.encode(), *redone(line)] * 3
    assert by_shape(lines) == by_itself(lines)


@pytest.mark.parametrize("line", READS_DIGITS)
def test_what_reads_digits_is_read_in_every_line(line: str) -> None:
    lines = [*redone(line), line.encode()] * 3
    assert by_shape(lines) == by_itself(lines)
    bare = Masking.of(redact=("personal",))
    assert by_shape(lines, bare) == by_itself(lines, bare)


@pytest.mark.parametrize("path", sorted(LOGHUB.glob("*.log")), ids=lambda path: path.stem)
def test_real_logs(path: Path) -> None:
    lines = path.read_bytes().split(b"\n")
    other = [re.sub(rb"[0-9]", lambda digit: b"%d" % ((int(digit[0]) * 7 + 1) % 10), line) for line in lines]
    both = [line for pair in zip(lines, other, strict=True) for line in pair]
    assert by_shape(both) == by_itself(both)


def test_users_patterns_come_before_shapes() -> None:
    masking = Masking.of(mask=("seven=7[0-9]+",))
    lines = [b"took 712 ms for 31", b"took 812 ms for 31", b"took 712 ms for 32"] * 4
    assert by_shape(lines, masking) == by_itself(lines, masking)
    assert len({line for line, _ in by_shape(lines, masking)}) == 2


def test_a_shape_is_found_again() -> None:
    lines = [b"took 12 ms", b"took 123 ms", b"took 99 ms", b"", b"took 4x ms", b"took 12 mS", b""] * 4
    bounds = np.cumsum([0, *map(len, lines)])
    shapes = shapes_of(np.frombuffer(b"".join(lines), np.uint8), bounds[:-1], bounds[1:])
    assert shapes.of_line.tolist() == [0, 1, 0, 2, 3, 4, 2] * 4
    texts = [shapes.buffer[low:high].tobytes() for low, high in zip(shapes.starts, shapes.ends, strict=True)]
    assert texts == [b"took 11 ms", b"took 111 ms", b"", b"took 1x ms", b"took 11 mS"]


def test_long_lines_have_no_shape_and_their_own_canonical_line() -> None:
    lines = [
        b"x" * SHAPE_BYTES_MAX,
        b"x" * (SHAPE_BYTES_MAX + 1),
        b"took 7 ms " * 900,
        b"short 1",
        b"short 2",
        b"3",
    ] * 8
    bounds = np.cumsum([0, *map(len, lines)])
    shapes = shapes_of(np.frombuffer(b"".join(lines), np.uint8), bounds[:-1], bounds[1:])
    assert shapes.of_line.tolist() == [0, -1, -1, 1, 1, 2] * 8
    assert by_shape(lines) == by_itself(lines)


@pytest.mark.parametrize("repeats", [1, 4])
def test_more_shapes_than_are_held(repeats: int) -> None:
    words = [f"{number:x}".translate(str.maketrans("0123456789", "ghijklmnop")) for number in range(6_000)]
    lines = [f"{word} took {row % 10} ms".encode() for row in range(repeats) for word in words]
    bounds = np.cumsum([0, *map(len, lines)])
    shapes = shapes_of(np.frombuffer(b"".join(lines), np.uint8), bounds[:-1], bounds[1:])
    assert len(shapes) == 0 if repeats == 1 else len(shapes) <= SHAPES_MAX
    assert by_shape(lines) == by_itself(lines)
    assert len(lines) > PROBED_LINES


LINES = [
    b"081109 203530 148 INFO blk_-1608999687919862906 src: /10.250.19.102:54106",
    b"081109 203531 14 INFO blk_7503483334202473044 blk_1 src: /10.251.215.16:55695",
    b"no key here 12",
    b"",
    b"abab=12 session=ab12 ab12",
    b"caf\xc3\xa9 blk_17 session=\xff9",
    b"blk_ session= 4",
]
PATTERNS = [
    r"blk_-?\d+",
    r"src: /(\S+)",
    r"(?:session|abab)=(\w+)",
    r"session=(?P<name>[a-z0-9]*)",
    r"(\d+)",
    r"x*",
    r"blk_1\d*",
    r"[0-4]+",
    r"\d{3}(,\d)?",
    r"a(b)?",
    r"(?i)INFO|SRC",
]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_keys_by_shape_are_those_of_every_line(pattern: str) -> None:
    lines = [with_digits(line.decode("latin-1"), digits).decode().encode("latin-1")
             for digits in ("7", "1234567890", "02468", "19") for line in LINES]  # fmt: skip
    data = b"\n".join(lines * 3) + b"\n"
    batch = text_batch(data)
    assert batch.shapes is not None
    assert len(batch.shapes)
    by_line, found = extract_keys(data, pattern), keys_of(data, batch, pattern)
    assert found.names == by_line.names
    assert found.codes.tolist() == by_line.codes.tolist()


@given(st.text("a0-9[]\\d{},^&.~+:?()|x", max_size=10))
@settings(max_examples=300, deadline=None)
def test_patterns_that_take_digits_alike_do(pattern: str) -> None:
    if not takes_digits_alike(pattern):
        return
    try:
        found = re.compile(pattern)  # what both grammars share is the same in both
    except re.error:
        return
    for text in ("a0", "9x:7", "12.34-56", "0-9a,8", "d55{2}"):
        spans = {
            match and match.span()
            for match in (found.search(with_digits(text, digits).decode()) for digits in "0123456789")
        }
        assert len(spans) == 1


def test_which_patterns_take_digits_alike() -> None:
    assert all(
        map(takes_digits_alike, (r"blk_-?\d+", r"\[(\w+)\]", r"id=([0-9a-f-]{8,})", r"pid: (?P<p>\d+)$"))
    )
    for pattern in ("blk_1", "[1-5]", "[+-9]", "[ -~]", r"\x31", "[^7]", r"[\d&&[0-4]]", "(?x) a", r"\p{Nd}"):
        assert not takes_digits_alike(pattern)


def test_bounds_of_lines_are_those_of_the_chunk() -> None:
    data = b"a 1\n\nb 2\r\nc 3"
    starts, ends = line_bounds(np.frombuffer(data, np.uint8))
    assert [data[low:high] for low, high in zip(starts, ends, strict=True)] == data.split(b"\n")
