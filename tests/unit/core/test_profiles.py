"""Profiles: one word for a threshold and a budget."""

from __future__ import annotations

from itertools import pairwise

import pytest

from driftlock.core.profiles import PROFILES, Profile, chosen, name_of


def test_stricter_profiles_ask_for_more_and_tell_less() -> None:
    ordered = [PROFILES[name] for name in ("sensitive", "balanced", "strict")]
    for looser, stricter in pairwise(ordered):
        assert looser.p_value_threshold > stricter.p_value_threshold
        assert looser.alert_budget > stricter.alert_budget


def test_numbers_given_by_hand_go_before_the_profile() -> None:
    assert chosen("balanced") == Profile(0.01, 20.0)
    assert chosen("strict", p_value_threshold=0.02) == Profile(0.02, 5.0)
    assert chosen("custom", p_value_threshold=0.02, alert_budget=3.0) == Profile(0.02, 3.0)


def test_numbers_of_no_profile_are_custom() -> None:
    assert [name_of(profile) for profile in PROFILES.values()] == list(PROFILES)
    assert name_of(chosen("strict", alert_budget=4.0)) == "custom"
    assert name_of(chosen("balanced", p_value_threshold=0.05, alert_budget=50.0)) == "sensitive"


@pytest.mark.parametrize("given", [{}, {"p_value_threshold": 0.1}, {"alert_budget": 1.0}])
def test_custom_needs_both_numbers(given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="custom needs"):
        chosen("custom", **given)


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(ValueError, match="one of sensitive"):
        chosen("loud")  # type: ignore[arg-type]
