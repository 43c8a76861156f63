"""The token coder: bits that add up, true frequencies, equal to a slow oracle."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.coder import BIT_GRID
from driftlock.core.coder_tokens import LINES_MAX, ORDER, TOKENS_MAX, TokenCoder, tokens_of

words = st.sampled_from(["a", "b", "c", "dd", "é"])
line = st.lists(words, min_size=1, max_size=5).map(" ".join)
training = st.dictionaries(line, st.integers(1, 5), max_size=8)


def oracle(lines: dict[str, int], wanted: list[str], at: int) -> float:
    """P of one token by its definition: recursion over orders, counts by scanning the repeated lines."""
    text = [(["\n"] * ORDER + tokens_of(each) + ["\n"]) for each, n in lines.items() for _ in range(n)]
    padded = ["\n"] * ORDER + wanted + ["\n"]
    token, spot = padded[at + ORDER], at + ORDER

    def chance(order: int) -> float:
        if order < 0:
            return spelled(token, list(lines))
        context = padded[spot - order : spot]
        seen = [t[i] for t in text for i in range(ORDER, len(t)) if t[i - order : i] == context]
        if not seen:
            return chance(order - 1)
        kinds = len(set(seen))
        return (seen.count(token) + kinds * chance(order - 1)) / (len(seen) + kinds)

    return chance(ORDER)


def spelled(token: str, lines: list[str]) -> float:
    if token == "\n":
        return 0.5
    signs: Counter[object] = Counter()
    for each in lines:
        for word in tokens_of(each):
            signs.update([*word.encode(), "end"])
    total = sum(signs.values()) + 257 / 2
    return 0.5 * math.prod((signs[s] + 0.5) / total for s in [*token.encode(), "end"])


@given(training, line)
@settings(max_examples=80, deadline=None)
def test_bits_equal_the_definition_and_lie_on_the_grid(lines: dict[str, int], wanted: str) -> None:
    before = dict(lines)
    coded = TokenCoder(lines).code(wanted)
    assert lines == before
    tokens = tokens_of(wanted)
    bits = [*coded.token_bits, coded.end_bits]
    for at, found in enumerate(bits):
        assert found == pytest.approx(-math.log2(oracle(lines, tokens, at)), abs=2 / BIT_GRID)
        assert (found * BIT_GRID).is_integer()
    assert sum(reversed(bits)) == coded.bits
    assert " ".join(coded.tokens) == wanted


@given(training, st.lists(line, max_size=6))
@settings(max_examples=30, deadline=None)
def test_a_unit_costs_what_its_tokens_cost(lines: dict[str, int], unit: list[str]) -> None:
    coder = TokenCoder(lines)
    told = [bits for each in unit for bits in (*coder.code(each).token_bits, coder.code(each).end_bits)]
    assert coder.code_length_bits(unit) == sum(told)
    assert TokenCoder(dict(reversed(lines.items()))).code_length_bits(unit) == sum(told)


def test_the_word_that_is_strange_carries_the_bits() -> None:
    coder = TokenCoder({"INFO request <num> served": 900, "WARN request <num> refused": 3})
    known, rare = coder.code("INFO request <num> served"), coder.code("WARN request <num> refused")
    strange = coder.code("INFO request <num> exploded")
    assert known.bits < 1.0
    assert max(rare.token_bits) == rare.token_bits[0] > 7.0
    assert max(strange.token_bits) == strange.token_bits[3] > 20.0
    cut = coder.code("INFO request <num>")
    assert cut.end_bits > 5.0 > sum(cut.token_bits)


def test_frequencies_are_true_where_a_dictionary_would_copy() -> None:
    """A line that occurred once among a thousand stays dear, however exactly it is repeated."""
    coder = TokenCoder({"all is well": 1_000, "disk failure": 1})
    assert coder.code("disk failure").bits > 8.0
    assert coder.code("all is well").bits < 0.1


def test_long_lines_and_many_lines_are_bounded() -> None:
    coder = TokenCoder({f"line {n}": 1 for n in range(LINES_MAX + 100)} | {"line 0": 9})
    long = " ".join(["word"] * 1_000)
    coded = coder.code(long)
    assert len(coded.tokens) == TOKENS_MAX
    assert math.isfinite(coded.bits)
    assert " ".join(coded.tokens) == long
    assert coder.code("").bits > 0.0


def test_probabilities_sum_to_one() -> None:
    """Tokens of one byte and the end have nearly all; longer tokens the rest."""
    coder = TokenCoder({"a b": 3, "a c": 1})
    ends = 2.0 ** -coder.code("a").end_bits
    signs = [chr(c) for c in range(128) if chr(c) not in " \n"]
    told = {sign: 2.0 ** -coder.code(f"a {sign}").token_bits[1] for sign in signs}
    assert told["b"] + told["c"] + ends < 1.0
    assert 0.8 < ends + sum(told.values()) < 1.0
