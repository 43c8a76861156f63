"""When blocks of time end: for all streams of a partition at once, as all begin at multiples of one length.

Owns no state and no stream. A clock that nobody moves ends no block, so it says, too, when the partition's
clock is to be moved though nothing came, and which step of it was too long for anybody to have listened.
"""

from __future__ import annotations

from dataclasses import dataclass

from driftlock.core.log_settings import SECOND_NS, LogSettings

HEARD_NS = 60 * SECOND_NS
"""While a block is open the clock is moved as often as this, so that longer blocks are no unheard time."""
UNHEARD_NS = 120 * SECOND_NS
"""A step of the clock above this is time in which nobody listened, as with metric series."""
assert 2 * HEARD_NS <= UNHEARD_NS


@dataclass(frozen=True, slots=True)
class BlockClock:
    """The ends of the blocks that log streams are cut into; none unless `logs` are cut by time."""

    logs: LogSettings

    def ends(self, previous_ns: int, now_ns: int) -> bool:
        """Whether a block ends between two clocks."""
        block_ns = self.logs.block_ns
        return self.logs.mode == "time" and now_ns // block_ns > previous_ns // block_ns

    def due(self, previous_ns: int, now_ns: int) -> bool:
        """Whether a partition with open blocks has to move its clock."""
        return self.ends(previous_ns, now_ns) or now_ns - previous_ns >= HEARD_NS

    def unheard(self, previous_ns: int, now_ns: int) -> bool:
        """Whether nobody can have listened all the time between two clocks."""
        return self.logs.mode == "time" and now_ns - previous_ns > UNHEARD_NS
