from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftlock.collector.answers import OverloadedError
from driftlock.collector.budget import Budget

CHANGES = st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 60)), max_size=40)


@given(changes=CHANGES)
def test_the_bound_holds_and_everything_is_given_back(changes: list[tuple[int, bool, int]]) -> None:
    budget = Budget(100)
    leases = [budget.lease() for _ in range(4)]
    for which, settle, count in changes:
        before = budget.held
        try:
            (leases[which].settle if settle else leases[which].grow)(count)
        except OverloadedError:
            assert budget.held == before
        assert budget.held == sum(lease.held for lease in leases) <= budget.bytes_max
    for lease in leases:
        with lease:
            pass
    assert budget.held == 0


def test_a_fault_gives_back_what_was_held() -> None:
    budget = Budget(10)

    def take_too_much() -> None:
        with budget.lease() as lease:
            lease.grow(10)
            lease.grow(1)

    with pytest.raises(OverloadedError):
        take_too_much()
    assert budget.held == 0
