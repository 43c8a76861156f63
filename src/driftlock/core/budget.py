"""The alert budget: how many alarms a week a stream may raise.

Owns the times of a stream's alarms in the last week of its clock. No week, wherever it begins, holds more
than the budget; the last quarter is kept for what is stranger than everything before, so that a run of small
finds does not silence it.
"""

from __future__ import annotations

from collections import deque

WEEK_NS = 7 * 86_400 * 1_000_000_000
BUDGET_MAX = 1_024
"""A budget beyond this is no bound: every alarm of the last week would have to be remembered."""
RECORDS_SHARE = 4


class AlertBudget:
    """One stream's budget of so many alarms a week (a fraction allows one in several weeks)."""

    def __init__(self, alarms: float) -> None:
        self._budget = alarms
        self._bound = 0 if alarms == 0 else max(int(min(alarms, BUDGET_MAX)), 1)
        self._span_ns = int(WEEK_NS / min(alarms, 1.0)) if alarms else WEEK_NS
        self._spent: deque[int] = deque()  # times, oldest first
        self._clock_ns = 0

    def move(self, now_ns: int) -> None:
        """Moves the clock, which never goes back."""
        self._clock_ns = max(self._clock_ns, now_ns)

    def spend(self, *, all_time: bool = False) -> bool:
        """Draws one alarm; False, and nothing is drawn, when there is none left (for what is no record)."""
        if self._budget > BUDGET_MAX:
            return True
        self._forget()
        kept = 0 if all_time or self._bound < 2 else max(self._bound // RECORDS_SHARE, 1)
        if len(self._spent) >= self._bound - kept:
            return False
        self._spent.append(self._clock_ns)
        return True

    @property
    def share_spent(self) -> float:
        """The share of the last week's budget that is spent; 0 without a bound."""
        self._forget()
        return len(self._spent) / self._bound if 0 < self._budget <= BUDGET_MAX else 0.0

    def _forget(self) -> None:
        while self._spent and self._spent[0] <= self._clock_ns - self._span_ns:
            self._spent.popleft()

    def take_over(self, earlier: AlertBudget) -> None:
        """Counts the alarms of another budget, which this one replaces."""
        self.load(earlier.state())

    def state(self) -> list[int]:
        """What `load` restores exactly: the clock, then the times of the alarms."""
        return [self._clock_ns, *self._spent]

    def load(self, state: list[int]) -> None:
        """Takes over a state made by `state`; what a larger budget allowed counts against a smaller one."""
        self._clock_ns, *spent = state
        self._spent = deque(spent[-self._bound :] if self._bound else [])

    @property
    def nbytes(self) -> int:
        """Bytes held, nearly."""
        return 40 * len(self._spent)
