"""The decision: which verdicts become alarms, so that a stationary stream falls silent.

A p-value of α flags a share α of the units of a stationary stream for ever; nobody would read that. So a
unit with p ≤ α alarms only if it is a record (stranger than the whole calibration set, which happens to an
exchangeable unit with probability 1/(n + 1)), or if its cause was not seen among suspicious units for the
last `REPEAT_UNITS` and either p ≤ α/5, or nothing of its hour is as strange (an hour's set may be too small
for α/5), or the cause is a line never seen at all (causes are templates, so a stationary stream runs out of
them). No week of the stream's clock, wherever it begins, holds more alarms than the alert budget; its last
quarter is kept for all-time records, so that a run of small finds does not silence what is stranger than
everything before. Within an open episode (`episode`) nothing alarms: it is known already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from driftlock.core.budget import AlertBudget

REPEAT_UNITS = 500
NEW_CAUSE_SHARE = 0.2
CAUSES_MAX = 1_024

Cause = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a unit when it is decided on.

    `record`: no calibration score, of its hour or of the whole stream, reaches its score; `record_of_hour`:
    it was ranked among its hour's, and none of those does. `unseen`: its cause is a line never learned
    before.
    """

    score: float
    p_value: float
    record: bool
    cause: Cause
    unseen: bool
    now_ns: int
    record_of_hour: bool = False


class Decision:
    """One stream's alarms."""

    def __init__(self, *, p_value_threshold: float, alert_budget: float) -> None:
        self._threshold = p_value_threshold
        self._budget = AlertBudget(alert_budget)
        self._all_time = 0.0
        self._units = 0
        self._causes: dict[Cause, int] = {}

    def observe(self, evidence: Evidence) -> None:
        """Takes note of a unit on which no verdict is due: its cause is then no news later."""
        self._units += 1
        self._all_time = max(self._all_time, evidence.score)
        if evidence.p_value <= self._threshold:
            self._note(evidence.cause)

    def decide(self, evidence: Evidence, *, inside: bool = False) -> bool:
        """Whether the unit alarms; `inside` an open episode none does, and the budget is not drawn on."""
        all_time = evidence.score > self._all_time
        seen = self._causes.get(evidence.cause)
        news = seen is None or self._units - seen >= REPEAT_UNITS
        self.observe(evidence)
        if evidence.p_value > self._threshold:
            return False
        self._budget.move(evidence.now_ns)
        small = evidence.p_value <= NEW_CAUSE_SHARE * self._threshold
        rare = evidence.unseen or evidence.record_of_hour or small
        strange = evidence.record or (news and rare)
        return strange and not inside and self.spend(all_time=all_time)

    def take_over_spending(self, earlier: Decision) -> None:
        """Counts the alarms of the decision before this one: a new baseline is no new budget."""
        self._budget.take_over(earlier._budget)

    def spend(self, *, all_time: bool = False) -> bool:
        """Draws one alarm on the budget; False, and nothing is drawn, when it is spent."""
        return self._budget.spend(all_time=all_time)

    def pass_over(self, units: int, highest: float) -> None:
        """What `decide` does for so many units in a row that do not reach the threshold."""
        self._units += units
        self._all_time = max(self._all_time, highest)

    def _note(self, cause: Cause) -> None:
        self._causes.pop(cause, None)
        self._causes[cause] = self._units
        if len(self._causes) > CAUSES_MAX:
            del self._causes[next(iter(self._causes))]

    def forget(self, templates: list[int]) -> None:
        """Drops causes whose template ids are given to others."""
        gone = set(templates)
        self._causes = {cause: at for cause, at in self._causes.items() if cause[1] not in gone}

    def state(self) -> list[Any]:
        """What `load` restores exactly."""
        causes = [[kind, template, at] for (kind, template), at in self._causes.items()]
        return [self._all_time, self._units, self._budget.state(), causes]

    def load(self, state: list[Any]) -> None:
        """Takes over a state made by `state`."""
        self._all_time, self._units, budget, causes = state
        self._budget.load(budget)
        self._causes = {(kind, template): at for kind, template, at in causes}

    @property
    def nbytes(self) -> int:
        """Bytes held, about 100 for each cause and 40 for each alarm."""
        return 200 + 100 * len(self._causes) + self._budget.nbytes
