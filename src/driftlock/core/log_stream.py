"""One stream of log lines or spans: assembles units, scores them before learning them, decides on alarms.

Owns a stream's whole state and its order of work: unit complete → score → rank among the calibration set →
decide → explain if it alarms → learn. The first units are the baseline: learned as a whole, trimmed, and the
calibration set's first members by leave-one-out scores, which are exchangeable with later scores as long as
the stream is. State is bounded, and a function of the events and clocks handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from driftlock.core.calibration import Calibration
from driftlock.core.coder import CodedUnit, Part, coded_unit
from driftlock.core.coder_bytes import ByteCoder, byte_coder
from driftlock.core.coder_zstd import measures
from driftlock.core.combination import of_verdict
from driftlock.core.decision import Decision, Evidence
from driftlock.core.edetector import Drift, DriftDetector
from driftlock.core.explanation import Explained, Explainer, Significance, drift_detail, drift_sentence
from driftlock.core.log_baseline import Baseline, StoredBaseline
from driftlock.core.log_model import Assessment, LogModel
from driftlock.core.log_settings import LogSettings
from driftlock.core.log_units import BlockAssembler, IdUnit, SessionAssembler
from driftlock.core.packing import compress, decompress, pack, pack_array, unpack, unpack_array
from driftlock.core.permutation import permutation_test, seed_of, told
from driftlock.core.severity import severity_of
from driftlock.core.templates import TemplateTable
from driftlock.core.verdict import Verdict, WarmUp

__all__ = ["LogSettings", "LogStream", "UnitOf"]

SNAPSHOT_FORMAT = 2
BLOCKS_EXPLAINED_MAX = 32
"""Of a window of more blocks than this, only the last ones are kept for explanation."""

Hashes = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Span:
    """Where and when a scored unit began and ended, its score and its code length."""

    key: str
    events: int
    first: int
    first_time_ns: int
    score: float
    surprise_bits: float


@dataclass(frozen=True, slots=True)
class UnitOf:
    """What names a unit assembled by the caller, and where and when it began and ended."""

    key: str
    first: int
    last: int
    first_time_ns: int = 0
    last_time_ns: int = 0


class LogStream:
    """A log stream's detector. Not thread-safe; one owner."""

    def __init__(self, settings: LogSettings) -> None:
        self._settings = settings
        self._templates = TemplateTable()
        self._model = LogModel(self._templates, ends=settings.mode == "session")
        self._calibration = Calibration(settings.calibration_max)
        self._decision = Decision(
            p_value_threshold=settings.p_value_threshold,
            alert_budget=settings.alert_budget,
            episodes=settings.mode == "block",
        )
        self._drift = DriftDetector(alert_budget=settings.alert_budget)
        self._blocks = BlockAssembler(settings.hop_size)
        self._sessions = SessionAssembler(settings)
        self._marks = np.zeros(self._templates.capacity, np.int32)
        self._warming: list[IdUnit] = []
        self._warming_events = 0
        self._baseline: StoredBaseline | None = None
        self._window: deque[_Span] = deque(maxlen=settings.blocks_per_window)
        self._recent: deque[Explained] = deque(maxlen=min(settings.blocks_per_window, BLOCKS_EXPLAINED_MAX))
        self._units_seen = 0

    def add(
        self,
        templates: Hashes,
        buffer: npt.NDArray[np.uint8],
        starts: Int64s,
        ends: Int64s,
        times_ns: Int64s,
        positions: Int64s,
        *,
        sessions: Sequence[bytes] | None = None,
        now_ns: int,
    ) -> list[Verdict]:
        """Takes events in order; returns the verdicts on the units that are complete now.

        Row i is an event: its template's hash, its canonical line `buffer[starts[i]:ends[i]]`, its time (0
        if unknown) and its position (increasing). In session mode `sessions` has its key; events with an
        empty key belong to no unit and are counted. `now_ns` is the stream's clock.
        """
        verdicts = self.tick(now_ns)
        row = 0
        while row < len(templates):
            part = slice(row, None)
            first_event = self._templates.events
            ids, evicted = self._templates.ids(
                templates[part], buffer, starts[part], ends[part], pinned_from=self._pinned_from()
            )
            self._forget(evicted)
            part = slice(row, row + len(ids))
            units = (
                self._blocks.add(ids, positions[part], times_ns[part])
                if sessions is None or self._settings.mode == "block"
                else self._sessions.add(
                    ids,
                    sessions[part],
                    positions[part],
                    times_ns[part],
                    first_event=first_event,
                    now_ns=now_ns,
                )
            )
            verdicts += self._verdicts(units, now_ns)
            row += len(ids)
        return verdicts

    def tick(self, now_ns: int) -> list[Verdict]:
        """Closes sessions that are silent at `now_ns`; returns the verdicts on them."""
        return self._verdicts(self._sessions.idle(now_ns), now_ns) if len(self._sessions) else []

    def flush(self, now_ns: int = 0) -> list[Verdict]:
        """Ends the input: closes all sessions, drops an unfinished block; returns the last verdicts."""
        verdicts = self._verdicts(self._sessions.flush(), now_ns)
        return verdicts + self._verdicts(self._blocks.flush(), now_ns)

    def add_unit(
        self,
        unit: UnitOf,
        templates: Hashes,
        buffer: npt.NDArray[np.uint8],
        starts: Int64s,
        ends: Int64s,
        *,
        now_ns: int,
    ) -> Verdict | None:
        """Takes a unit that the caller has assembled from whole input; None while the baseline grows.

        Rows are its events as in `add`; there is at least one.
        """
        begin = None if self._baseline is None else self._templates.events
        parts: list[npt.NDArray[np.int32]] = []
        row = 0
        while row < len(templates):
            part = slice(row, None)
            ids, evicted = self._templates.ids(
                templates[part], buffer, starts[part], ends[part], pinned_from=begin
            )
            self._forget(evicted)
            parts.append(ids)
            row += len(ids)
        return self._take(
            IdUnit(
                unit.key, np.concatenate(parts), unit.first, unit.last, unit.first_time_ns, unit.last_time_ns
            ),
            now_ns,
        )

    @property
    def open_sessions(self) -> int:
        """Sessions that only time, or their events, will complete."""
        return len(self._sessions)

    @property
    def overflowed(self) -> int:
        """Events whose template found no room."""
        return self._templates.overflowed

    @property
    def warm_up(self) -> WarmUp:
        """Progress to the first verdict."""
        ready = self._baseline is not None
        earliest = self._calibration.earliest_p
        allowed = earliest <= self._settings.p_value_threshold
        return WarmUp(
            "learning" if not ready else "ready" if allowed else "calibrating",
            self._units_seen,
            self._settings.units_needed,
            self._calibration.size,
            earliest,
        )

    @property
    def baseline_ref(self) -> str:
        """SHA-256 of `baseline_bytes()` in hex, empty before the baseline is complete."""
        return self._baseline.ref if self._baseline is not None else ""

    def baseline_bytes(self) -> bytes:
        """The encoded baseline (see `log_baseline`), empty before it is complete."""
        return self._baseline.data if self._baseline is not None else b""

    @property
    def state_bytes(self) -> int:
        """Bytes held, nearly."""
        warming = sum(unit.ids.nbytes + 200 for unit in self._warming)
        stored = len(self._baseline.compressed) if self._baseline is not None else 0
        recent = sum(200 + 16 * len(block.unit) for block in self._recent) + 200 * len(self._window)
        parts = (
            self._templates,
            self._model,
            self._calibration,
            self._decision,
            self._drift,
            self._blocks,
            self._sessions,
        )
        return sum(part.nbytes for part in parts) + warming + stored + recent + self._marks.nbytes

    def _pinned_from(self) -> int | None:
        """The first event that may not lose its template: of an open session or the window; None: warming."""
        if self._baseline is None:
            return None
        if self._settings.mode == "session":
            oldest = self._sessions.oldest_event
            return self._templates.events if oldest is None else oldest
        return self._templates.events - self._blocks.pending_events - sum(len(b.unit) for b in self._recent)

    def _forget(self, evicted: list[int]) -> None:
        if evicted:
            self._model.forget(evicted)
            self._decision.forget(evicted)

    def _verdicts(self, units: Iterable[IdUnit], now_ns: int) -> list[Verdict]:
        taken = (self._take(unit, now_ns) for unit in units)
        return [verdict for verdict in taken if verdict is not None]

    def _take(self, unit: IdUnit, now_ns: int) -> Verdict | None:
        self._units_seen += 1
        if len(self._marks) < self._templates.capacity:
            self._marks = np.zeros(self._templates.capacity, np.int32)
            self._model.reserve(self._templates.capacity)
        if self._baseline is None:
            self._warm(unit)
            return None
        coded = coded_unit(unit.ids, self._marks)
        assessment = self._model.assess(coded)
        self._remember(unit, coded, assessment)
        verdict = self._judge(unit, assessment, now_ns)
        self._model.learn(coded, assessment)
        self._calibration.add(verdict.score)
        return verdict

    def _warm(self, unit: IdUnit) -> None:
        self._warming.append(unit)
        self._warming_events += len(unit.ids)
        if self._settings.baseline_complete(len(self._warming), self._warming_events):
            self._learn_baseline()

    def _learn_baseline(self) -> None:
        warming, self._warming = self._warming, []
        units = [coded_unit(unit.ids, self._marks) for unit in warming]
        assessments, kept = self._model.learn_baseline(units)
        # ids are given in order of appearance: higher ones belong to events that came in the same call
        named = range(1 + max(int(unit.ids.max()) for unit in warming))
        texts = [(int(self._templates.hashes[t]), self._templates.text(t)) for t in named]
        self._baseline = StoredBaseline.of(
            Baseline(
                texts,
                [unit.ids for unit in warming],
                kept,
                warming[0].first,
                warming[-1].last,
                {"shape": self._settings.shape, "coders": self._model.versions()},
            )
        )
        scored: list[tuple[float, Assessment]] = []
        for unit, coded, assessment in zip(warming, units, assessments, strict=True):
            self._remember(unit, coded, assessment)
            if len(self._window) == self._settings.blocks_per_window:
                score = sum(span.score for span in self._window)
                self._calibration.add(score)
                scored.append((score, assessment))
        for score, assessment in scored:
            reached = self._calibration.at_least(score) - 1
            p_value = (1 + reached) / self._calibration.size
            self._decision.observe(Evidence(score, p_value, reached == 0, _cause(assessment), 0))

    def _remember(self, unit: IdUnit, coded: CodedUnit, assessment: Assessment) -> None:
        self._recent.append(Explained(coded, assessment))
        self._window.append(
            _Span(
                unit.key,
                len(coded),
                unit.first,
                unit.first_time_ns,
                assessment.score,
                assessment.surprise_bits,
            )
        )

    def _judge(self, unit: IdUnit, assessment: Assessment, now_ns: int) -> Verdict:
        score = sum(span.score for span in self._window)
        reached = self._calibration.at_least(score)
        p_value = (1 + reached) / (1 + self._calibration.size)
        strangest = max(self._recent, key=lambda block: block.assessment.score).assessment
        cause = _cause(strangest)
        unseen = cause[0] == "presence" and self._model.presence.df[cause[1]] == 0
        alarm = self._decision.decide(
            Evidence(score, p_value, reached == 0, cause, now_ns, unseen=bool(unseen))
        )
        oldest = self._window[0]
        drift = self._drifted(p_value, oldest, alarm, now_ns)
        told = (
            self._tell(
                Significance(score, p_value, self._calibration.size, reached, self._usual()),
                seed_of(self.baseline_ref, oldest.first, unit.last),
                drift,
            )
            if alarm or drift
            else {}
        )
        return Verdict(
            key=unit.key if len(self._window) == 1 else f"{oldest.key} to {unit.key.removeprefix('block ')}",
            first=oldest.first,
            last=unit.last,
            first_time_ns=oldest.first_time_ns,
            last_time_ns=unit.last_time_ns,
            events=sum(span.events for span in self._window),
            score=score,
            p_value=p_value,
            surprise_bits=sum(span.surprise_bits for span in self._window),
            calibration_size=self._calibration.size,
            alarm=alarm or drift is not None,
            kind="drift" if drift else "unit",
            baseline_ref=self.baseline_ref,
            **told,
        )

    def _drifted(self, p_value: float, oldest: _Span, alarm: bool, now_ns: int) -> Drift | None:
        """The lasting change that is told with this unit, if any: in its alarm, or in one of its own."""
        blocks = self._settings.blocks_per_window
        if self._units_seen % blocks == 0:  # windows between overlap
            self._drift.update(p_value, first=oldest.first, first_time_ns=oldest.first_time_ns, now_ns=now_ns)
            if self._drift.due and (alarm or self._decision.spend()):
                return self._drift.tell(silent=self._settings.calibration_max // blocks)
        return None

    def _usual(self) -> float:
        return self._calibration.quantile(0.5)

    def _tell(self, facts: Significance, seed: str, drift: Drift | None) -> dict[str, Any]:
        """The costly parts of a verdict: explanation, measures, severity."""
        assert self._baseline is not None
        baseline = self._baseline.load()
        blocks = list(self._recent)
        explainer = Explainer(self._templates, self._model, baseline)
        text = b"\n".join(self._templates.text(t) for block in blocks for t in block.unit.ids.tolist())
        references = baseline.references(len(text))
        detail = explainer.detail(blocks, facts.score)
        coder_of = byte_coder(self._settings.byte_coder)
        primed, coder = coder_of(b"\n".join(baseline.references(8 * 1024))), coder_of(b"")
        detail["text"] = {
            "bits_given_baseline": primed.code_length_bits(text),
            "bits_alone": coder.code_length_bits(text),
            "coder": coder.name,
            "version": coder.version,
        }
        detail["significance"] = self._significance(facts, baseline, seed, coder)
        sentence = explainer.sentence(blocks, facts)
        if drift:
            detail["drift"] = drift_detail(drift)
            sentence = f"{drift_sentence(drift)} {sentence}"
        return {
            "severity": severity_of(
                facts.score, usual=facts.usual_score, high=self._calibration.quantile(0.99)
            ),
            "measures": measures(text or b"\n", references or [b"\n"], coder=coder),
            "explanation": sentence,
            "detail": detail,
        }

    def _significance(
        self, facts: Significance, baseline: Baseline, seed: str, coder: ByteCoder
    ) -> dict[str, Any]:
        window = [b"\n".join(self._templates.text(t) for t in b.unit.ids.tolist()) for b in self._recent]
        units = [baseline.text(unit) for unit in range(len(baseline.units))]
        permuted = permutation_test(window, units, seed=seed, coder=coder)
        return {
            "p_conformal": facts.p_value,
            "p_permutation": permuted.p_value,
            "p_combined": of_verdict(facts.p_value, permuted.p_value),
            "permutation": told(permuted),
        }

    def snapshot(self) -> bytes:
        """The whole state: a stream restored from it continues with the same verdicts, bit for bit."""
        state = {
            "format": SNAPSHOT_FORMAT,
            "shape": self._settings.shape,
            "templates": self._templates.state(),
            "model": self._model.state(),
            "calibration": self._calibration.state(),
            "decision": self._decision.state(),
            "drift": self._drift.state(),
            "blocks": self._blocks.state(),
            "sessions": self._sessions.state(),
            "warming": [_unit_state(unit) for unit in self._warming],
            "baseline": [self._baseline.compressed, self._baseline.ref] if self._baseline else None,
            "window": [
                [s.key, s.events, s.first, s.first_time_ns, s.score, s.surprise_bits] for s in self._window
            ],
            "recent": [_explained_state(block) for block in self._recent],
            "units_seen": self._units_seen,
        }
        return compress(pack(state))

    @classmethod
    def restore(cls, settings: LogSettings, data: bytes) -> LogStream:
        """A stream that continues where `snapshot` was taken.

        Thresholds, budgets and limits may differ from then. If mode or sizes do, the state means nothing any
        more, and the stream starts anew.
        """
        stream = cls(settings)
        state = unpack(decompress(data))
        if state["shape"] != settings.shape or state["format"] != SNAPSHOT_FORMAT:
            return stream
        stream._load(state)
        return stream

    def _load(self, state: dict[str, Any]) -> None:
        self._templates.load(state["templates"])
        self._model.load(state["model"])
        self._calibration.load(state["calibration"])
        self._decision.load(state["decision"])
        self._drift.load(state["drift"])
        self._blocks.load(state["blocks"])
        self._sessions.load(state["sessions"])
        self._marks = np.zeros(len(self._model.presence.df), np.int32)
        self._warming = [_unit_of(raw) for raw in state["warming"]]
        self._warming_events = sum(len(unit.ids) for unit in self._warming)
        self._baseline = StoredBaseline(*state["baseline"]) if state["baseline"] else None
        self._window.extend(_Span(*raw) for raw in state["window"])
        self._recent.extend(_explained_of(raw, self._marks) for raw in state["recent"])
        self._units_seen = state["units_seen"]


def _cause(assessment: Assessment) -> tuple[str, int]:
    """What a unit's surprise is put down to: a template's presence, or how often it occurs."""
    presence, count = assessment.presence, assessment.count
    return ("count", count.template) if count.bits > presence.bits else ("presence", presence.template)


def _unit_state(unit: IdUnit) -> list[Any]:
    ids = pack_array(unit.ids)
    return [unit.key, ids, unit.first, unit.last, unit.first_time_ns, unit.last_time_ns]


def _unit_of(raw: list[Any]) -> IdUnit:
    return IdUnit(raw[0], unpack_array(raw[1]), *raw[2:])


def _explained_state(block: Explained) -> list[Any]:
    made = block.assessment
    parts = [made.presence.bits, made.presence.template, made.count.bits, made.count.template]
    shares = pack_array(made.order_shares)
    return [pack_array(block.unit.ids), made.score, made.surprise_bits, made.set_bits, parts, shares]


def _explained_of(raw: list[Any], marks: npt.NDArray[np.int32]) -> Explained:
    ids, score, surprise_bits, set_bits, parts, shares = raw
    made = Assessment(
        score, surprise_bits, Part(*parts[:2]), Part(*parts[2:]), set_bits, unpack_array(shares)
    )
    return Explained(coded_unit(unpack_array(ids), marks), made)
