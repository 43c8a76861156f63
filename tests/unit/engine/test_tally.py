"""The hour's verdicts: counted by tenant, forgotten with the hour, the same however a second is cut."""

from __future__ import annotations

from driftlock.engine.tally import HOUR_NS, TENANTS_MAX, HourTally

SECOND_NS = 1_000_000_000


def test_verdicts_count_from_the_next_second_on_and_to_the_end_of_the_hour() -> None:
    tally = HourTally()
    tally.move_on(HOUR_NS)
    for _ in range(99):
        tally.add("a", 0.5)
    standing = tally.standing("a", 0.001)
    assert standing is not None
    assert standing.verdicts == 1
    tally.move_on(HOUR_NS + SECOND_NS)
    standing = tally.standing("a", 0.001)
    assert standing is not None
    assert standing.verdicts == 100
    assert 0.1 <= standing.q_value <= 0.1 * 2**0.5
    other = tally.standing("b", 0.001)
    assert other is not None
    assert other.verdicts == 1
    tally.move_on(2 * HOUR_NS)
    standing = tally.standing("a", 0.001)
    assert standing is not None
    assert standing.verdicts == 1


def test_a_restored_tally_goes_on_and_tenants_are_bounded() -> None:
    tally, twin = HourTally(), HourTally()
    tally.move_on(HOUR_NS)
    for tenant in range(TENANTS_MAX + 5):
        tally.add(str(tenant), 0.2)
    assert tally.dirty
    twin.load(tally.dump())
    assert not tally.dirty
    for each in (tally, twin):
        each.move_on(HOUR_NS + SECOND_NS)
        assert each.standing(str(TENANTS_MAX + 1), 0.2) is None
        known = each.standing("7", 0.2)
        assert known is not None
        assert known.verdicts == 2
    assert twin.dump() == tally.dump()
