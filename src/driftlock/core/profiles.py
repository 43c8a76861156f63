"""Profiles: how much an operator wants to be told, as one word.

Owns the table. A profile sets the p-value that a verdict must reach and the alert budget; either number given
by hand goes before it, and `custom` is both by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

ProfileName = Literal["sensitive", "balanced", "strict", "custom"]
NAMES: tuple[ProfileName, ...] = get_args(ProfileName)


@dataclass(frozen=True, slots=True)
class Profile:
    """The p-value that a verdict must reach to be significant, and a stream's alarms in any week at most."""

    p_value_threshold: float
    alert_budget: float


# The budgets: what a person can look at for one stream, several a day, a few a day, less than one a day. The
# thresholds leave a stationary stream well below its budget, as `benchmarks.detection_promises` measures.
PROFILES: dict[ProfileName, Profile] = {
    "sensitive": Profile(0.05, 50.0),
    "balanced": Profile(0.01, 20.0),
    "strict": Profile(0.001, 5.0),
}


def name_of(profile: Profile) -> ProfileName:
    """The name of a profile's numbers: `custom` for those of none.

    >>> name_of(Profile(0.01, 20.0)), name_of(Profile(0.01, 3.0))
    ('balanced', 'custom')
    """
    for name in NAMES:
        if PROFILES.get(name) == profile:
            return name
    return "custom"


def chosen(
    name: ProfileName, *, p_value_threshold: float | None = None, alert_budget: float | None = None
) -> Profile:
    """The profile of a name, with the numbers that were given by hand.

    Raises ValueError for an unknown name, and for `custom` without both numbers.

    >>> chosen("strict", alert_budget=2.0)
    Profile(p_value_threshold=0.001, alert_budget=2.0)
    """
    if name not in NAMES:
        raise ValueError(f"profile is one of {', '.join(NAMES)}, not {name!r}")
    if name == "custom":
        if p_value_threshold is None or alert_budget is None:
            raise ValueError("profile custom needs p_value_threshold and alert_budget")
        return Profile(p_value_threshold, alert_budget)
    base = PROFILES[name]
    return Profile(
        base.p_value_threshold if p_value_threshold is None else p_value_threshold,
        base.alert_budget if alert_budget is None else alert_budget,
    )
