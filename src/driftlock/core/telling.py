"""What an alarm tells beside its numbers: explanation, measures of its text, a second test, severity.

Owns the costly parts of a verdict, tens of milliseconds each. Reads a stream's state from before it learned
the unit, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from driftlock.core.coder_bytes import ByteCoder, ByteCoderName, byte_coder
from driftlock.core.coder_zstd import measures
from driftlock.core.combination import of_verdict
from driftlock.core.edetector import Drift
from driftlock.core.explanation import Explained, Explainer, Significance, drift_detail, drift_sentence
from driftlock.core.log_baseline import Baseline
from driftlock.core.log_model import LogModel
from driftlock.core.permutation import permutation_test, pool_places, told
from driftlock.core.severity import severity_of
from driftlock.core.templates import TemplateTable

PRIMED_BYTES = 8 * 1024
"""Of each baseline sample, what a coder is primed with."""


class Teller:
    """Tells of alarms of one stream, for the blocks of one window."""

    def __init__(
        self, templates: TemplateTable, model: LogModel, baseline: Baseline, coder: ByteCoderName
    ) -> None:
        self._templates = templates
        self._model = model
        self._baseline = baseline
        self._coder_of = byte_coder(coder)

    def told(
        self,
        blocks: Sequence[Explained],
        facts: Significance,
        *,
        high_score: float,
        seed: str,
        drift: Drift | None,
    ) -> dict[str, Any]:
        """The fields of a verdict: severity, measures, explanation, detail. `high_score` is what one in a
        hundred calibration units reach; `seed` draws the permutations."""
        explainer = Explainer(self._templates, self._model, self._baseline)
        units = [b"\n".join(self._templates.text(t) for t in b.unit.ids.tolist()) for b in blocks]
        text, coder = b"\n".join(units), self._coder_of(b"")
        detail = explainer.detail(blocks, facts.score)
        detail["text"] = self._text(text, coder)
        detail["significance"] = self._significance(facts, units, seed, coder)
        sentence = explainer.sentence(blocks, facts)
        if drift:
            detail["drift"] = drift_detail(drift)
            sentence = f"{drift_sentence(drift)} {sentence}"
        references = self._baseline.references(len(text))
        return {
            "severity": severity_of(facts.score, usual=facts.usual_score, high=high_score),
            "measures": measures(text or b"\n", references or [b"\n"], coder=coder),
            "explanation": sentence,
            "detail": detail,
        }

    def _text(self, text: bytes, coder: ByteCoder) -> dict[str, Any]:
        primed = self._coder_of(b"\n".join(self._baseline.references(PRIMED_BYTES)))
        return {
            "bits_given_baseline": primed.code_length_bits(text),
            "bits_alone": coder.code_length_bits(text),
            "coder": coder.name,
            "version": coder.version,
        }

    def _significance(
        self, facts: Significance, window: Sequence[bytes], seed: str, coder: ByteCoder
    ) -> dict[str, Any]:
        baseline = [self._baseline.text(unit) for unit in pool_places(len(self._baseline.units))]
        permuted = permutation_test(window, baseline, seed=seed, coder=coder)
        return {
            "p_conformal": facts.p_value,
            "p_permutation": permuted.p_value,
            "p_combined": of_verdict(facts.p_value, permuted.p_value),
            "permutation": told(permuted),
        }
