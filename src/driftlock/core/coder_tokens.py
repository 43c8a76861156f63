"""The token coder: what each word of a canonical line costs, given the two words before it.

Prediction by partial matching over tokens (Cleary and Witten 1984), blended over orders 2, 1, 0 with escape
method C (Moffat 1990): P_k(s) = (c_k(s) + t_k P_{k−1}(s)) / (C_k + t_k), where a context was seen C_k times,
c_k(s) of them before s, with t_k different tokens. Below order 0 the line ends with probability ½, or a
token is spelled: bytes and an end sign at their KT frequencies, so that the probabilities of all tokens sum
to 1. It has true frequencies, which a dictionary compressor lacks: a rare line in the training text stays
dear, however exactly it is repeated.

A line's code length is the sum of its tokens', exactly, as all lie on the grid. Trained when something is to
be told, from lines and how often each occurred; it is no part of any stream's state.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from driftlock.core.coder import on_grid
from driftlock.core.logarithm import exp2, log2

ORDER = 2
TOKENS_MAX = 64
"""Of a line with more tokens, those beyond count as one."""
LINES_MAX = 4_096
"""Different lines trained on at most, the most frequent first."""

_END = "\n"  # no token holds it, as lines do not
_SYMBOLS = 257  # bytes and the end of a token

Context = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CodedLine:
    """A line's tokens with their bits, and the bits of its end. They sum to `bits` exactly."""

    tokens: tuple[str, ...]
    token_bits: tuple[float, ...]
    end_bits: float

    @property
    def bits(self) -> float:
        """The line's code length."""
        return sum(self.token_bits) + self.end_bits


def tokens_of(line: str) -> list[str]:
    """A line's tokens: what stands between spaces, at most `TOKENS_MAX`."""
    words = line.split(" ")
    if len(words) <= TOKENS_MAX:
        return words
    return [*words[: TOKENS_MAX - 1], " ".join(words[TOKENS_MAX - 1 :])]


class TokenCoder:
    """A trained model of lines. Never changes once it is made.

    >>> coder = TokenCoder({"user logged in": 98, "user logged out": 2})
    >>> [round(bits, 1) for bits in coder.code("user logged out").token_bits]
    [0.0, 0.0, 5.6]
    """

    name: ClassVar[str] = "tokens"
    version: ClassVar[int] = 1

    def __init__(self, lines: Mapping[str, int]) -> None:
        self._after: dict[Context, Counter[str]] = defaultdict(Counter)
        letters: Counter[int] = Counter()
        for line, count in sorted(lines.items(), key=lambda item: (-item[1], item[0]))[:LINES_MAX]:
            for context, token in _steps(tokens_of(line)):
                for order in range(ORDER + 1):
                    self._after[context[ORDER - order :]][token] += count
            for token in tokens_of(line):
                letters.update(dict.fromkeys([_SYMBOLS - 1], 1))
                letters.update(token.encode("utf-8", "surrogatepass"))
        self._totals = {context: sum(after.values()) for context, after in self._after.items()}
        spelled = sum(letters.values()) + _SYMBOLS / 2
        self._letter_bits = [log2(spelled / (letters[symbol] + 0.5)) for symbol in range(_SYMBOLS)]

    def code(self, line: str) -> CodedLine:
        """What each token of a line costs, in bits on the grid."""
        tokens = tokens_of(line)
        *bits, end = (on_grid(self._bits(context, token)) for context, token in _steps(tokens))
        return CodedLine(tuple(tokens), tuple(bits), end)

    def code_length_bits(self, lines: Iterable[str]) -> float:
        """The code length of a unit: the sum of its lines'."""
        return sum(self.code(line).bits for line in lines)

    def _bits(self, context: Context, token: str) -> float:
        spelling = 1.0 if token == _END else 1.0 + self._spelling(token)
        contexts = [context[ORDER - order :] for order in range(ORDER + 1)]
        known = [c for c in contexts if c in self._totals]
        if not any(token in self._after[c] for c in known):
            return spelling + sum(log2(self._totals[c] / len(self._after[c]) + 1.0) for c in known)
        p = exp2(-spelling)
        for c in known:
            after = self._after[c]
            p = (after[token] + len(after) * p) / (self._totals[c] + len(after))
        return -log2(p)

    def _spelling(self, token: str) -> float:
        letters = self._letter_bits
        data = token.encode("utf-8", "surrogatepass")
        return sum([letters[byte] for byte in data], letters[_SYMBOLS - 1])


def _steps(tokens: Sequence[str]) -> Iterable[tuple[Context, str]]:
    """Each token, and the end, with the `ORDER` tokens before it; a line begins after empty ones."""
    padded = [_END] * ORDER + list(tokens) + [_END]
    for at in range(ORDER, len(padded)):
        yield tuple(padded[at - ORDER : at]), padded[at]
