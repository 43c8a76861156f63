"""From scored units to verdicts: what a score is ranked among, what alarms, what belongs to one event.

Owns the window under test, the calibration set, the decision, the open episode and the watch for drift, and
the order in which a unit passes them: rank → decide → drift → tell → rank those after it. Must not know how
units are assembled, or what the model has learned: who makes a judge says whether a cause was ever seen, and
what to tell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from driftlock.core.calibration_hours import NO_HOUR, CalibrationByHour, Rank, hour_of
from driftlock.core.coder import CodedUnit
from driftlock.core.decision import Cause, Decision, Evidence
from driftlock.core.edetector import Drift, DriftDetector
from driftlock.core.episode import BlockEpisodes, Episode
from driftlock.core.explanation import Significance
from driftlock.core.log_model import Assessment
from driftlock.core.log_run import WINDOW, Found
from driftlock.core.log_settings import LogSettings
from driftlock.core.log_units import Units
from driftlock.core.log_windows import Ended, Window
from driftlock.core.permutation import seed_of
from driftlock.core.verdict import Verdict

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

Unseen = Callable[[Cause, Assessment], bool]
Tell = Callable[[Significance, float, str, Drift | None], dict[str, Any]]


class Judge:
    """The judgement of one stream. Not thread-safe.

    `unseen` tells of a cause whether nothing like it was ever learned; `tell` gives the costly fields of an
    alarm's verdict, from its numbers, the score that one in a hundred reach, and a seed; or is None.
    """

    def __init__(self, settings: LogSettings, *, unseen: Unseen, tell: Tell | None) -> None:
        self._settings = settings
        self._unseen = unseen
        self._tell = tell
        self.calibration = CalibrationByHour(settings.calibration_max, threshold=settings.p_value_threshold)
        self.window = Window(settings.blocks_per_window)
        self._decision = Decision(
            p_value_threshold=settings.p_value_threshold, alert_budget=settings.alert_budget
        )
        self._episodes = BlockEpisodes(settings.p_value_threshold)
        self._drift = DriftDetector(alert_budget=settings.alert_budget)
        self._hour = NO_HOUR
        self.units_seen = 0
        """Units that the stream had, those of its baseline too."""

    @property
    def calibration_size(self) -> int:
        """How many scores a unit of the last one's hour is ranked among."""
        return self.calibration.size(self._hour)

    @property
    def in_episode(self) -> bool:
        """Whether an alarm's episode is still open."""
        return self._episodes.open

    def end_episode(self) -> Episode | None:
        """Ends the open episode, if any, and returns it as it stays."""
        return self._episodes.end()

    def forget(self, templates: list[int]) -> None:
        """Drops what is known of causes whose template ids are given to others."""
        self._decision.forget(templates)

    def take_over_spending(self, earlier: Judge) -> None:
        """Counts the alarms of the judge before this one: a new baseline is no new budget."""
        self._decision.take_over_spending(earlier._decision)

    def begin(self, units: Units, coded: Sequence[CodedUnit], assessments: Sequence[Assessment]) -> None:
        """Takes the units of a baseline, with leave-one-out scores, as the first of the calibration set."""
        scored: list[tuple[float, Assessment]] = []
        for row, (unit, assessment) in enumerate(zip(coded, assessments, strict=True)):
            self.window.add(units, row, unit, assessment)
            if self.window.full:
                score = self.window.score
                self._hour = hour_of(int(units.last_time_ns[row]))
                self.calibration.add(score, self._hour)
                scored.append((score, assessment))
        everything = self.calibration.whole
        for score, assessment in scored:
            reached = everything.at_least(score) - 1
            p_value = (1 + reached) / everything.size
            self._decision.observe(Evidence(score, p_value, reached == 0, cause_of(assessment), False, 0))

    def passed(
        self, units: Units, low: int, high: int, found: Found, now_ns: int | Int64s, *, ends: bool, ref: str
    ) -> list[Verdict]:
        """The verdicts on units that the kernel took, none of which reached the threshold.

        `now_ns` is the clock at all units or at each, `ref` the baseline's; `ends` as the model has it.
        """
        windows = self.window.pass_on(units, low, high, found, ends=ends)
        self._decision.pass_over(high - low, float(found.bits[low:high, WINDOW].max()))
        sizes = found.reached[low:high, 1]
        p_values = (1 + found.reached[low:high, 0]) / (1 + sizes)
        self._follow_drift(units, low, windows, p_values, now_ns)
        verdicts = list(
            map(
                Verdict,
                windows.keys,
                windows.first,
                windows.last,
                windows.first_time_ns,
                windows.last_time_ns,
                windows.events,
                found.bits[low:high, WINDOW].tolist(),
                p_values.tolist(),
                windows.surprise_bits,
                sizes.tolist(),
                repeat(False),
                units.known[low:high].tolist(),
                repeat("unit"),
                repeat("low"),
                repeat(ref),
            )
        )
        for at, row in enumerate(range(low, high)):
            if not self._episodes.open:
                break
            reached, held, of_hour = found.reached[row].tolist()
            verdicts[at] = self._with_episode(verdicts[at], Rank(reached, held, bool(of_hour)))
        self.units_seen += high - low
        self._hour = hour_of(int(units.last_time_ns[high - 1]))
        return verdicts

    def _follow_drift(
        self, units: Units, low: int, windows: Ended, p_values: Float64s, now_ns: int | Int64s
    ) -> None:
        """Hands the e-detector the p-values of new windows that share no unit."""
        count = len(p_values)
        ordinal = np.arange(self.units_seen + 1, self.units_seen + 1 + count)
        apart = np.flatnonzero((units.known[low : low + count] == 0) & self._is_whole_window(ordinal))
        if len(apart):
            clocks = np.full(len(apart), now_ns) if isinstance(now_ns, int) else now_ns[low + apart]
            first, began = (np.array(each)[apart] for each in (windows.first, windows.first_time_ns))
            self._drift.update_many(p_values[apart], first, began, clocks)

    def judge(
        self, units: Units, row: int, coded: CodedUnit, assessment: Assessment, now_ns: int, *, ref: str
    ) -> Verdict:
        """The verdict on a unit by its assessment from before it was learned."""
        self.window.add(units, row, coded, assessment)
        score, hour = self.window.score, hour_of(int(units.last_time_ns[row]))
        rank = self.calibration.rank(score, hour)
        alarm = self._alarms(units, row, rank, score, now_ns)
        oldest = self.window.oldest
        if not units.known[row] and self._is_whole_window(np.array(self.units_seen + 1)):
            began = {"first": oldest.first, "first_time_ns": oldest.first_time_ns}
            self._drift.update(rank.p_value, **began, now_ns=now_ns)
        drift = self._drifted(alarm)
        told: dict[str, Any] = {}
        if (alarm or drift) and self._tell is not None:
            usual, high = (self.calibration.quantile(share, hour) for share in (0.5, 0.99))
            facts = Significance(score, rank.p_value, rank.size, rank.reached, usual, of_hour=rank.of_hour)
            told = self._tell(facts, high, seed_of(ref, oldest.first, int(units.last[row])), drift)
        verdict = Verdict(
            key=self.window.key(units.keys[row]),
            first=oldest.first,
            last=int(units.last[row]),
            first_time_ns=oldest.first_time_ns,
            last_time_ns=int(units.last_time_ns[row]),
            events=self.window.events,
            score=score,
            p_value=rank.p_value,
            surprise_bits=self.window.surprise_bits,
            calibration_size=rank.size,
            alarm=alarm or drift is not None,
            events_known=int(units.known[row]),
            kind="drift" if drift else "silence" if alarm and not self.window.events else "unit",
            baseline_ref=ref,
            **told,
        )
        self.units_seen += 1
        self._hour = hour
        self.calibration.add(score, hour)
        return self._with_episode(verdict, rank, alarm=alarm)

    def _with_episode(self, verdict: Verdict, rank: Rank, *, alarm: bool = False) -> Verdict:
        """The verdict with the episode that its unit belongs to; sessions are events of their own."""
        if self._settings.mode == "session" or not (alarm or self._episodes.open):
            return verdict
        hour, score, time_ns = hour_of(verdict.last_time_ns), verdict.score, verdict.last_time_ns
        episode: Episode | None
        if alarm:
            name = (verdict.key, verdict.first, verdict.last)
            begun = Episode.begun(*name, time_ns=time_ns, score=score, p_value=rank.p_value)
            episode = self._episodes.begin(begun, hour)
        else:
            episode = self._episodes.take(verdict.last, time_ns=time_ns, score=score, rank=rank, hour=hour)
        return verdict if episode is None else msgspec.structs.replace(verdict, episode=episode)

    def _alarms(self, units: Units, row: int, rank: Rank, score: float, now_ns: int) -> bool:
        """Whether the window alarms; its cause is that of its strangest block."""
        made = max(self.window.recent, key=lambda block: block.assessment.score).assessment
        cause, strangest = cause_of(made), rank.reached == 0
        evidence = Evidence(
            score,
            rank.p_value,
            strangest and (not rank.of_hour or self.calibration.whole.at_least(score) == 0),
            cause,
            self._unseen(cause, made),
            now_ns,
            record_of_hour=rank.of_hour and strangest,
        )
        if units.alarmed[row]:  # one alarm a unit, however long it goes on
            self._decision.observe(evidence)
            return False
        return self._decision.decide(evidence, inside=self._episodes.open)

    def _is_whole_window(self, number: Int64s) -> npt.NDArray[np.bool_]:
        """Whether the window that ends with the stream's n-th unit shares no unit with the last such one."""
        return np.asarray(number % self._settings.blocks_per_window == 0)

    def _drifted(self, alarm: bool) -> Drift | None:
        """The lasting change that is told with this unit, if any: in its alarm, or in one of its own."""
        if self._drift.due and (alarm or self._decision.spend()):
            return self._drift.tell(silent=self._settings.calibration_max // self._settings.blocks_per_window)
        return None

    @property
    def growing_bytes(self) -> int:
        """Bytes of what grows with units judged, nearly."""
        return self.calibration.nbytes + self._decision.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes held, nearly."""
        return self.growing_bytes + self._episodes.nbytes + self._drift.nbytes + self.window.nbytes

    def state(self) -> dict[str, Any]:
        """What `load` restores exactly."""
        return {
            "calibration": self.calibration.state(),
            "window": self.window.state(),
            "decision": self._decision.state(),
            "episode": self._episodes.state(),
            "drift": self._drift.state(),
            "hour": self._hour,
            "units_seen": self.units_seen,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state`."""
        self.calibration.load(state["calibration"])
        self.window.load(state["window"])
        self._decision.load(state["decision"])
        self._episodes.load(state["episode"])
        self._drift.load(state["drift"])
        self._hour, self.units_seen = state["hour"], state["units_seen"]


def cause_of(assessment: Assessment) -> Cause:
    """What a unit's surprise is put down to: a template's presence, how often it occurs, who called it, or
    the size of a number in it."""
    causes = (
        ("presence", assessment.presence),
        ("count", assessment.count),
        ("call", assessment.call),
        ("number", assessment.number),
    )
    kind, part = max(causes, key=lambda cause: cause[1].bits)  # the first of equals
    return kind, part.template
