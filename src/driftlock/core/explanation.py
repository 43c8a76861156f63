"""Why a unit scored what it scored: one plain sentence, and structured detail whose bits add up to the score.

Owns how a score's parts are laid on lines and tokens. Exact: all bits lie on one grid, a line's bits are the
sum of its coders' parts, its tokens' bits sum to the line's, and the lines' with the whole unit's to the
score. Tokens share a line's bits by what they cost in it (`coder_tokens`, trained on the baseline): that is a
convention, the sums are not. Deterministic, no language model. Knows nothing of what becomes an anomaly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from driftlock.core.coder import BIT_GRID, CodedUnit
from driftlock.core.coder_calls import ELSEWHERE, NOBODY
from driftlock.core.coder_numbers import Strange
from driftlock.core.coder_tokens import CodedLine, TokenCoder
from driftlock.core.edetector import UNUSUAL_P, Drift
from driftlock.core.log_baseline import Baseline
from driftlock.core.log_model import Assessment, LogModel
from driftlock.core.templates import TemplateTable

LINES_SHOWN_MAX = 12
TOKEN_WEIGHT_MIN = 1.0 / 64
"""Added to each token's cost when a line's bits are shared, so that ordinary tokens have shares, too."""
TEMPLATES_SHOWN_MAX = 8
SENTENCE_LINE_CHARS_MAX = 160
USUAL_BITS_TOLD_MIN = 0.05
"""Below, what is usual would read 0.0, and how often it goes into the score would tell nothing."""
GONE_SHARE = 0.5
SIZES = (
    "none", "zero", "below .001", ".001 to .01", ".01 to .1", ".1 to 1", "1 to 9", "10 to 99", "100 to 999",
    "1,000 to 9,999", "10,000 to 99,999", "100,000 to 999,999", "1 to 10 million", "10 to 100 million",
    "100 million to 1 billion", "1 billion or more",
)  # fmt: skip
"""What the buckets of `coder_numbers` are called; a sign is left out."""
TOOK = b" took<duration>"
"""How the lines of spans end, whose first numbers are their durations (`signals.spans`)."""
_BOUNDS = tuple(
    tuple(f"{62.5 * 2**n / 1000**unit:.4g} {('µs', 'ms', 's')[unit]}" for n, unit in grid)
    for grid in ([(n, 0 if n < 4 else 1 if n < 14 else 2) for n in range(first, 26, 2)] for first in (0, 1))
)
DURATIONS = tuple(
    (
        *("none", "none", f"below {bounds[0]}"),
        *(f"{low} to {high}" for low, high in pairwise(bounds)),
        f"{bounds[-1]} or more",
    )
    for bounds in _BOUNDS
)
"""What the buckets of spans' durations are called, of the first size and of the second."""
_ORDINAL_ENDINGS = {2: "nd", 3: "rd"}
_WHENCE = {NOBODY: "root", ELSEWHERE: "elsewhere"}
_CALLED = {NOBODY: "called by nobody", ELSEWHERE: "called by what is not in its trace here"}
_SET, _END, _NOTHING = "its set of templates", "its end", "that nothing came"
_MISSING, _MANY = "a usual line is missing", "how many lines came"
_FINE_GRID = 4 * BIT_GRID  # halved parts and their shares lie on it


@dataclass(frozen=True, slots=True)
class Explained:
    """One block of the window under test, coded, with its assessment from before it was learned."""

    unit: CodedUnit
    assessment: Assessment


@dataclass(frozen=True, slots=True)
class Significance:
    """The test's numbers that the sentence tells; `of_hour`: among units of the same hour of the day."""

    score: float
    p_value: float
    calibration_size: int
    reached_by: int
    usual_score: float
    of_hour: bool = False


class Explainer:
    """Explains against one state of a stream's model, which must not have learned the blocks yet."""

    def __init__(self, templates: TemplateTable, model: LogModel, baseline: Baseline) -> None:
        self._templates = templates
        self._model = model
        self._baseline = baseline
        self._tokens_of = TokenCoder(baseline.line_counts())
        self._coded: dict[int, CodedLine] = {}

    def detail(self, blocks: Sequence[Explained], score: float) -> dict[str, Any]:
        """Structured detail, JSON-serialisable; lines, other lines, the whole unit and earlier
        blocks sum to `score_bits`, and so do the `parts` by coder when there are no earlier blocks."""
        bits, whole = _bits_by_template(blocks)
        counts = _counts(blocks)
        lines = [self._line(template, counts[template], bits[template]) for template in _ranked(bits)]
        shown, rest = lines[:LINES_SHOWN_MAX], lines[LINES_SHOWN_MAX:]
        told = sum(line["bits"] for line in lines) + sum(whole.values())
        return {
            "score_bits": score,
            "lines": shown,
            "other_lines": {"count": len(rest), "bits": sum(line["bits"] for line in rest)},
            "whole_unit": [{"why": why, "bits": value} for why, value in sorted(whole.items()) if value],
            "earlier_blocks": {"bits": score - told},
            "parts": _parts(blocks),
            "text_model": self._text_model(counts),
            **self._call(blocks),
            **self._number(blocks),
            **self._volume(blocks),
            "templates_new": self._new(counts),
            "templates_gone": self._gone(counts),
            "templates_shifted": self._shifted(blocks),
            "nearest_normal": self._nearest(counts, len(blocks)),
        }

    def _text_model(self, counts: Counter[int]) -> dict[str, Any]:
        """The code length of all the window's lines under the token coder."""
        bits = sum(count * self._code(t).bits for t, count in counts.items())
        return {"name": TokenCoder.name, "version": TokenCoder.version, "bits": bits}

    def _line(self, template: int, count: int, bits: float) -> dict[str, Any]:
        coded = self._code(template)
        return {
            "line": self._text(template),
            "count": count,
            "bits": bits,
            "units_before": int(self._model.presence.df[template]),
            "text_bits": coded.bits,
            "text_end_bits": coded.end_bits,
            "tokens": _tokens(coded, bits),
        }

    def _code(self, template: int) -> CodedLine:
        if template not in self._coded:
            self._coded[template] = self._tokens_of.code(self._text(template))
        return self._coded[template]

    def _text(self, template: int) -> str:
        return self._templates.text(template).decode("utf-8", "replace")

    def _new(self, counts: Counter[int]) -> list[dict[str, Any]]:
        df = self._model.presence.df
        new = [template for template in counts if df[template] == 0][:TEMPLATES_SHOWN_MAX]
        return [{"line": self._text(t), "count_now": counts[t], "units_before": 0} for t in new]

    def _gone(self, counts: Counter[int]) -> list[dict[str, Any]]:
        df, units = self._model.presence.df, self._model.presence.units
        usual = [t for t in range(self._templates.size) if df[t] > GONE_SHARE * units and t not in counts]
        usual.sort(key=lambda t: -int(df[t]))
        return [
            {"line": self._text(t), "count_now": 0, "share_before": int(df[t]) / units}
            for t in usual[:TEMPLATES_SHOWN_MAX]
        ]

    def _shifted(self, blocks: Sequence[Explained]) -> list[dict[str, Any]]:
        shifted: dict[int, dict[str, Any]] = {}
        for block in blocks:
            part = block.assessment.count
            usual = self._model.count.usual(part.template) if part.template >= 0 else None
            if usual is not None:
                place = block.unit.distinct.tolist().index(part.template)
                shifted[part.template] = {
                    "line": self._text(part.template),
                    "count_now": int(block.unit.counts[place]),
                    "count_before": usual[0],
                    "count_before_most": usual[1],
                }
        return list(shifted.values())[:TEMPLATES_SHOWN_MAX]

    def _nearest(self, counts: Counter[int], blocks: int) -> dict[str, Any]:
        """As many units of the baseline: beside fewer, half of the ordinary lines would be too many."""
        by_hash = {int(self._templates.hashes[t]): n for t, n in counts.items()}
        index, own = self._baseline.nearest(by_hash, units=blocks)
        texts = self._baseline.lines()
        here = {int(self._templates.hashes[t]): self._text(t) for t in counts}
        more = [{"line": here[k], "more": n - own[k]} for k, n in by_hash.items() if n > own[k]]
        fewer = [
            {"line": texts[k].decode("utf-8", "replace"), "more": n - by_hash.get(k, 0)}
            for k, n in own.items()
            if n > by_hash.get(k, 0)
        ]
        return {
            "unit": index,
            "units": blocks,
            "only_here": more[:LINES_SHOWN_MAX],
            "only_there": fewer[:LINES_SHOWN_MAX],
        }

    def sentence(self, blocks: Sequence[Explained], facts: Significance) -> str:
        """One plain sentence: how surprising, against what, and the main cause."""
        cause = max(blocks, key=lambda block: block.assessment.score)
        usual = ", where next to nothing is usual"
        if facts.usual_score >= USUAL_BITS_TOLD_MIN:
            usual = f", {facts.score / facts.usual_score:.1f} times the usual {facts.usual_score:.1f}"
        whose = " of this hour of the day" if facts.of_hour else ""
        return (
            f"Costs {facts.score:.1f} bits to describe{usual}, and "
            f"{facts.reached_by} of {facts.calibration_size} ordinary units{whose} reach that "
            f"(p = {facts.p_value:.3g}): {self._why(cause)}."
        )

    def _why(self, block: Explained) -> str:
        presence, count, call = block.assessment.presence, block.assessment.count, block.assessment.call
        units, number = self._model.presence.units, block.assessment.number
        if number.bits > max(presence.bits, count.bits, call.bits):
            return self._why_number(Strange.of(block.assessment.number_cause))
        if call.bits > max(presence.bits, count.bits):
            return self._why_called(block)
        if not block.unit.volume or (count.bits > presence.bits and count.template < 0):
            return self._why_so_many(block.unit.volume)
        if count.bits > presence.bits:
            place = block.unit.distinct.tolist().index(count.template)
            usual = _told_counts(self._model.count.usual(count.template))
            return f"“{self._short(count.template)}” occurs {_times(block.unit.counts[place])} where {usual}"
        before = int(self._model.presence.df[presence.template])
        line = self._short(presence.template)
        if presence.template in block.unit.distinct:
            seen = f"in {before} of {units} units before" if before else f"in none of {units} units before"
            return f"it holds “{line}”, seen {seen}"
        return f"it lacks “{line}”, which {before} of {units} units before held"

    def _why_so_many(self, volume: int) -> str:
        lines = f"{volume:,} lines came" if volume > 1 else "one line came" if volume else "no line came"
        usual = self._model.volume.usual
        few = "one a block is" if usual else "none is"
        return f"{lines}, where {f'about {usual:,} a block are' if usual > 1 else few} usual"

    def _volume(self, blocks: Sequence[Explained]) -> dict[str, Any]:
        """How many lines came as `volume`, where units are blocks of time."""
        if not self._model.volume.active:
            return {}
        now = sum(block.unit.volume for block in blocks)
        return {"volume": {"lines_now": now, "lines_usual": self._model.volume.usual}}

    def _why_called(self, block: Explained) -> str:
        alike, calls = self._calls_before(block)
        seen = f"{alike} of {calls}" if alike else f"none of {calls}"
        operation, caller = self._operation(block.assessment.call.template), self._caller(block)
        whence = f"called by “{caller}”" if caller else _CALLED[block.assessment.caller]
        return f"“{operation}” is {whence}, as {seen} such calls before"

    def _call(self, blocks: Sequence[Explained]) -> dict[str, Any]:
        """The most surprising call as `call`, where events tell who called them."""
        block = max(blocks, key=lambda each: each.assessment.call.bits)
        if block.assessment.call.template < 0:
            return {}
        alike, calls = self._calls_before(block)
        found = {
            "operation": self._operation(block.assessment.call.template),
            "caller": self._caller(block),
            "whence": _WHENCE.get(block.assessment.caller, "operation"),
            "bits": block.assessment.call.bits,
            "like_it_before": alike,
            "calls_before": calls,
        }
        return {"call": found}

    def _sizes(self, strange: Strange) -> tuple[str, int, Sequence[str]]:
        """What the number is, its place from 1, and the names of its sizes."""
        durations = len(DURATIONS) if self._templates.text(strange.template).endswith(TOOK) else 0
        if strange.place < durations:
            return "duration", 0, DURATIONS[strange.place]
        return "number", strange.place + 1 - durations, SIZES

    def _why_number(self, strange: Strange) -> str:
        kind, place, sizes = self._sizes(strange)
        which = f"the {_ordinal(place)} number" if kind == "number" else "the duration"
        found, usual = sizes[strange.bucket], sizes[strange.usual]
        often = " as never before" if strange.unseen else ""
        line = f"{'of' if kind == 'duration' else 'in'} “{self._short(strange.template)}”"
        return f"{which} {line} is {found}{often}, where {usual} is usual"

    def _number(self, blocks: Sequence[Explained]) -> dict[str, Any]:
        """The most surprising number as `number`, where there is one."""
        made = max((block.assessment for block in blocks), key=lambda each: each.number.bits)
        if not made.number.bits:
            return {}
        strange = Strange.of(made.number_cause)
        kind, place, sizes = self._sizes(strange)
        found = {
            "line": self._text(strange.template),
            "kind": kind,
            "place": place,
            "size": sizes[strange.bucket],
            "usual_size": sizes[strange.usual],
            "seen_before": not strange.unseen,
            "bits": made.number.bits,
        }
        return {"number": found}

    def _calls_before(self, block: Explained) -> tuple[int, int]:
        made = block.assessment
        return self._model.calls.counts(int(self._templates.operations[made.call.template]), made.caller)

    def _caller(self, block: Explained) -> str | None:
        """The caller's operation, None where it is none of this unit."""
        for template in block.unit.distinct.tolist():
            if self._templates.operations[template] == block.assessment.caller:
                return self._operation(template)
        return None

    def _operation(self, template: int) -> str:
        return _cut(self._templates.operation(template).decode("utf-8", "replace"))

    def _short(self, template: int) -> str:
        return _cut(self._text(template))


def _ordinal(number: int) -> str:
    return "first" if number == 1 else f"{number}{_ORDINAL_ENDINGS.get(number, 'th')}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _told_counts(usual: tuple[int, int | None] | None) -> str:
    least, most = usual or (0, 0)
    if most == least:
        return f"{least} is usual"
    return f"{least} and more are usual" if most is None else f"{least} to {most} are usual"


def _cut(text: str) -> str:
    return text if len(text) <= SENTENCE_LINE_CHARS_MAX else text[: SENTENCE_LINE_CHARS_MAX - 1] + "…"


def drift_sentence(drift: Drift) -> str:
    """One plain sentence: that the stream has changed, by how much, and what to do if it should have."""
    return (
        f"This stream has changed and stays so: for about {drift.updates} units, {drift.unusual} of the last "
        f"{drift.recent} were unusual (p ≤ {UNUSUAL_P}) where {UNUSUAL_P * drift.recent:.0f} are expected; "
        f"if it should be like this, refresh its baseline. The latest of them:"
    )


def drift_detail(drift: Drift) -> dict[str, Any]:
    """The same in structure, JSON-serialisable."""
    return {
        "since_position": drift.first,
        "since_time_ns": drift.first_time_ns,
        "units": drift.updates,
        "recent_unusual": drift.unusual,
        "recent": drift.recent,
        "unusual_p": UNUSUAL_P,
        "evidence": drift.evidence,
        "threshold": drift.threshold,
        "memory": drift.memory,
        "offer": "refresh the baseline",
    }


def _bits_by_template(blocks: Sequence[Explained]) -> tuple[dict[int, float], dict[str, float]]:
    """Bits of each template that occurs, and bits of the unit as a whole by reason."""
    lines: dict[int, float] = {}
    whole = dict.fromkeys((_SET, _END, _NOTHING, _MISSING, _MANY), 0.0)
    for block in blocks:
        unit, made = block.unit, block.assessment
        for template, share in zip(unit.ids.tolist(), made.order_shares.tolist(), strict=False):
            lines[template] = lines.get(template, 0.0) + share
        whole[_END if len(unit) else _NOTHING] += float(made.order_shares[len(unit) :].sum())
        whole[_SET] += made.set_bits
        if made.presence.template in lines and made.presence.template in unit.distinct:
            lines[made.presence.template] += made.presence.bits
        else:
            whole[_MISSING] += made.presence.bits
        for part in (made.count, made.call, made.number):
            if part.template >= 0:
                lines[part.template] += part.bits
            else:
                whole[_MANY] += part.bits
    return lines, whole


def _counts(blocks: Sequence[Explained]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for block in blocks:
        counts.update(dict(zip(block.unit.distinct.tolist(), block.unit.counts.tolist(), strict=True)))
    return counts


def _ranked(bits: dict[int, float]) -> list[int]:
    return sorted(bits, key=lambda template: -bits[template])


def _parts(blocks: Sequence[Explained]) -> dict[str, float]:
    made = [block.assessment for block in blocks]
    return {
        "presence": sum(a.presence.bits for a in made),
        "order": float(sum(a.order_shares.sum() for a in made)),
        "count": sum(a.count.bits for a in made),
        "set": sum(a.set_bits for a in made),
        "call": sum(a.call.bits for a in made),
        "number": sum(a.number.bits for a in made),
    }


def _tokens(coded: CodedLine, bits: float) -> list[dict[str, Any]]:
    """The tokens with their code lengths, and their shares of a line's bits, which sum to those."""
    weights = [cost + TOKEN_WEIGHT_MIN for cost in coded.token_bits]
    scale = bits / sum(weights)
    shares = [round(weight * scale * _FINE_GRID) / _FINE_GRID for weight in weights]
    shares[weights.index(max(weights))] += bits - sum(shares)
    told = zip(coded.tokens, shares, coded.token_bits, strict=True)
    return [{"text": word, "bits": share, "text_bits": cost} for word, share, cost in told]
