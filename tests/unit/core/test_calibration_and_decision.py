"""Conformal p-values, and what becomes an alarm."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.budget import WEEK_NS
from driftlock.core.calibration import Calibration, slack_of
from driftlock.core.decision import REPEAT_UNITS, Decision, Evidence


@given(
    st.lists(st.integers(0, 9).map(float), max_size=300), st.integers(0, 9).map(float), st.integers(1, 150)
)
@settings(max_examples=60, deadline=None)
def test_p_values_equal_their_definition_over_the_last_scores(
    scores: list[float], score: float, size_max: int
) -> None:
    calibration, exact = Calibration(size_max), Calibration(size_max, exact=True)
    for past in scores:
        calibration.add(past)
        exact.add(past)
    kept = scores[-size_max:]
    assert calibration.p_value(score) == (1 + sum(s >= score for s in kept)) / (1 + len(kept))
    assert exact.p_value(score) == calibration.p_value(score)  # whole numbers: none is near another
    assert exact.p_value(score - 0.05) == exact.p_value(score)
    assert calibration.p_value(score + 0.05) == calibration.p_value(score)
    assert calibration.earliest_p == 1 / (1 + len(kept))
    twin = Calibration(size_max)
    twin.load(calibration.state())
    for each in (calibration, twin):
        each.add(score)
    assert twin.state() == calibration.state()


def test_the_slack_is_a_quarter_bit_for_each_doubling_since_the_oldest_score_held() -> None:
    assert slack_of(0, 0) == slack_of(2_000, 2_000) == slack_of(2_100, 2_000) == 0.75
    assert slack_of(4_000, 2_000) == 0.25
    assert slack_of(8_000, 6_000) == 0.5
    assert slack_of(10**9, 2_000) == 0.1


def test_quantiles() -> None:
    calibration = Calibration(500)
    assert calibration.quantile(0.5) == 0.0
    for score in range(100):
        calibration.add(float(score))
    assert calibration.quantile(0.5) == 50.0
    assert calibration.quantile(0.99) == 99.0


def evidence(
    p: float, score: float = 10.0, *, cause: int = 1, record: bool = False, now: int = 1
) -> Evidence:
    return Evidence(score, p, record, ("presence", cause), False, now)


def decision(*, budget: float = 20.0) -> Decision:
    return Decision(p_value_threshold=0.05, alert_budget=budget)


def test_only_significant_units_alarm_and_only_records_or_news() -> None:
    one = decision()
    one.observe(evidence(1.0, 100.0))
    assert not one.decide(evidence(0.06, record=True))
    assert one.decide(evidence(0.01, cause=1))
    assert not decision_with_record().decide(evidence(0.02, cause=2))
    assert decision_with_record().decide(evidence(0.02, cause=2, record=True))


def decision_with_record() -> Decision:
    one = decision()
    one.observe(evidence(1.0, 100.0))
    return one


def test_a_known_cause_is_no_news_until_it_was_away_for_long() -> None:
    one = decision()
    assert one.decide(evidence(0.005))
    assert not one.decide(evidence(0.005))
    for _ in range(REPEAT_UNITS):
        assert not one.decide(evidence(0.9, 1.0))
    assert one.decide(evidence(0.005))


def test_nothing_alarms_within_an_open_episode_and_the_budget_stays() -> None:
    one = decision(budget=2.0)
    assert one.decide(evidence(0.005, cause=0))
    assert not any(one.decide(evidence(0.005, cause=c), inside=True) for c in range(1, 9))
    assert not one.decide(evidence(0.005, cause=3))  # noted meanwhile, so no news
    assert one.decide(evidence(0.001, 99.0, cause=9, record=True))


def test_the_budget_keeps_a_quarter_for_all_time_records_and_comes_back_after_a_week() -> None:
    one = decision(budget=8.0)
    one.observe(evidence(1.0, 100.0))
    assert sum(one.decide(evidence(0.005, cause=c)) for c in range(10)) == 6
    records = [one.decide(evidence(0.001, 101.0 + c, cause=50 + c, record=True)) for c in range(5)]
    assert sum(records) == 2
    assert not one.decide(evidence(0.005, cause=70, now=WEEK_NS))
    assert sum(one.decide(evidence(0.005, cause=100 + c, now=1 + WEEK_NS)) for c in range(10)) == 6


@given(
    st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.7, 20.0]),
    st.lists(st.tuples(st.integers(0, WEEK_NS // 3), st.booleans()), max_size=200),
)
def test_no_week_wherever_it_begins_holds_more_alarms_than_the_budget(
    budget: float, steps: list[tuple[int, bool]]
) -> None:
    one, now, alarms, score = decision(budget=budget), 1, [], 100.0
    for cause, (step, record) in enumerate(steps):
        now += step
        score += record
        if one.decide(evidence(0.001, score if record else 1.0, cause=cause, record=record, now=now)):
            alarms.append(now)
    span = WEEK_NS if budget >= 1 else WEEK_NS / max(budget, 1e-9)
    for start in alarms:
        assert sum(start <= at < start + span for at in alarms) <= max(budget, 1.0)
    if not budget:
        assert not alarms
    twin = decision(budget=budget)
    twin.load(one.state())
    assert twin.state() == one.state()


def test_a_boundless_budget_never_runs_out_and_state_survives() -> None:
    one = decision(budget=math.inf)
    assert all(one.decide(evidence(0.005, cause=c, now=c * WEEK_NS)) for c in range(100))
    twin = decision(budget=math.inf)
    twin.load(one.state())
    assert twin.state() == one.state()
    assert twin.nbytes < 32_768


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_stationary_stream_falls_silent(seed: int) -> None:
    rng = np.random.default_rng(seed)
    calibration, one, alarms = Calibration(2_000), decision(budget=math.inf), []
    for unit in range(20_000):
        score = float(rng.exponential())
        p = calibration.p_value(score)
        record = calibration.at_least(score) == 0
        if unit < 100:
            one.observe(evidence(p, score, cause=int(rng.integers(8))))
        else:
            alarms.append(one.decide(evidence(p, score, record=record, cause=int(rng.integers(8)))))
        calibration.add(score)
    # 5 % of 20,000 would be a thousand; records of a rolling 2,000 are about ln(20) + 18,000 / 2,000
    assert sum(alarms) <= 25


def test_a_line_never_seen_needs_no_more_than_significance() -> None:
    known, unseen = decision_with_record(), decision_with_record()
    assert not known.decide(evidence(0.04))
    assert unseen.decide(replace(evidence(0.04), unseen=True))
    assert not unseen.decide(replace(evidence(0.06, cause=2), unseen=True))


def test_a_new_baseline_is_no_new_budget() -> None:
    old, new = (Decision(p_value_threshold=0.05, alert_budget=1.0) for _ in range(2))
    strange = Evidence(9.0, 0.001, True, ("presence", 1), True, 10**18)
    assert old.decide(strange)
    new.take_over_spending(old)
    assert not new.decide(replace(strange, score=99.0, now_ns=10**18 + 1))
    assert new.decide(replace(strange, score=999.0, now_ns=10**18 + WEEK_NS + 1))
