"""Verdicts counted by tenant and hour: how an anomaly's p-value stands among all that were tested with it.

Owns the counts. Must not know streams. A run of messages may be cut anywhere within a second of the clock, so
what a second's verdicts add counts from the next second on: an anomaly's q-value then is the same however the
log was cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from driftlock.core.multiplicity import Tally
from driftlock.core.packing import pack, unpack

HOUR_NS = 3_600 * 1_000_000_000
TENANTS_MAX = 1_024
"""Tenants counted in an hour; the anomalies of others get no q-value."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A p-value among its tenant's verdicts of this hour in the partition: its q-value, and their number."""

    q_value: float
    verdicts: int


class HourTally:
    """The p-values of one partition's line streams in the present hour of its clock."""

    def __init__(self) -> None:
        self._hour = 0
        self._counted: dict[str, Tally] = {}
        self._pending: dict[str, Tally] = {}
        self.dirty = False
        """Whether anything came since the last `dump`."""

    def move_on(self, now_ns: int) -> None:
        """A new second begins: what came in the last one counts from now on; a new hour starts from zero."""
        hour = now_ns // HOUR_NS
        if hour != self._hour:
            self._hour, self._counted = hour, {}
        else:
            for tenant, tally in self._pending.items():
                self._of(self._counted, tenant).merge(tally)
        self._pending = {}

    def add(self, tenant: str, p_value: float) -> None:
        """Counts a verdict."""
        if tenant in self._pending or len(self._pending) < TENANTS_MAX:
            self._of(self._pending, tenant).add(p_value)
            self.dirty = True

    def standing(self, tenant: str, p_value: float) -> Standing | None:
        """How a p-value stands among those counted; None where the tenant is not counted."""
        if tenant not in self._counted and len(self._counted) >= TENANTS_MAX:
            return None
        tally = self._counted.get(tenant, Tally())
        return Standing(tally.q_value(p_value), sum(tally.counts) + 1)

    @staticmethod
    def _of(tallies: dict[str, Tally], tenant: str) -> Tally:
        found = tallies.get(tenant)
        if found is None:
            found = tallies[tenant] = Tally()
        return found

    def dump(self) -> bytes:
        """What `load` restores exactly."""
        self.dirty = False
        return pack(
            [self._hour, *([[t, c.counts] for t, c in d.items()] for d in (self._counted, self._pending))]
        )

    def load(self, data: bytes) -> None:
        """Takes over what `dump` made."""
        raw: list[Any] = unpack(data)
        self._hour = raw[0]
        self._counted, self._pending = ({t: Tally(counts) for t, counts in part} for part in raw[1:])
