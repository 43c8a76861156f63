"""The state of one numeric series: a record of fixed size, so that thousands are one array.

Owns the layout and its size, nothing that computes. A record's bytes are its exact snapshot; `LAYOUT` names
the layout, and state of another layout is refused rather than misread.

All statistics live in the series' own units: y = (x − origin) / unit, where `origin` is the first value and
`unit` the first change, so that neither scale nor offset of the measurement can matter.
"""

from __future__ import annotations

import hashlib

import numpy as np

EXPERTS = 5
SEASON_BUCKETS = 48
WEEK_BUCKETS = 168
PEAKS = 3
"""Quantities judged against their block maxima: the code length, the departures from the season and from the
usual level."""
ENTRIES = 32
"""Entries of each dictionary."""
SHORT_BLOCKS = 6
LONG_BLOCKS = 12
TAIL_BINS = 128
EPISODE_PEAKS = 16

# what nearly every point touches comes first, so that it can be asked for ahead
_FIELDS: list[tuple[str, str] | tuple[str, str, tuple[int, ...]]] = [
    ("id", "u8"),
    ("seen", "i8"),  # points learned, and the running number of the next
    ("origin", "f8"),
    ("unit", "f8"),  # 0 until the value first changes
    ("raw_last", "f8"),  # of a cumulative series: its last reading and when
    ("time_last", "i8"),
    ("time_first", "i8"),  # of the first point, for the week must have passed once before it predicts
    ("low", "f8"),  # running range
    ("high", "f8"),
    ("last", "f8"),
    ("mean_fast", "f8"),
    ("mean_slow", "f8"),
    ("square", "f8", (EXPERTS,)),  # each expert's mean squared error
    ("weight", "f8", (EXPERTS,)),
    ("bits_mean", "f8"),
    ("bits_square", "f8"),
    ("peak_place", "f8", (PEAKS,)),  # location and scale of block maxima, and the present block's
    ("peak_scale", "f8", (PEAKS,)),
    ("peak_block", "f8", (PEAKS,)),
    ("season_drift", "f8"),  # smoothed departure from the season, and its mean square
    ("season_square", "f8"),
    ("level_mean", "f8"),
    ("level_spread", "f8"),
    ("level_low", "f8"),
    ("level_high", "f8"),
    ("level_drift", "f8"),  # smoothed departure from the usual level, bent, and its mean square
    ("level_square", "f8"),
    ("shape_mean", "f8"),
    ("shape_square", "f8"),
    ("pair_first", "f8"),
    ("long_sum", "f8"),
    ("band_factor", "f8"),
    ("tail_block", "f8"),
    ("value_entry", "f4", (ENTRIES,)),
    ("level_entry", "f4", (ENTRIES,)),
    ("short_now", "f4", (SHORT_BLOCKS,)),
    ("long_now", "f4", (LONG_BLOCKS,)),
    ("peak_bits", "f4", (EPISODE_PEAKS,)),
    ("peak_at", "u4", (EPISODE_PEAKS,)),
    ("band_points", "u2"),  # points whose band was checked of late, and how many it missed
    ("band_missed", "u2"),
    ("episode_units", "u4"),  # suspicious points of the open episode, 0 when none is
    ("value_used", "u4", (ENTRIES,)),  # running number of last use, 0 for an empty entry
    ("level_used", "u4", (ENTRIES,)),
    ("peaks", "u1"),
    ("started", "u1"),
    ("episode_calm", "u1"),  # calm points since the last of them
    ("points", "u2", (TAIL_BINS,)),  # scored points that reached each bin or a higher one
    ("tail", "u2", (TAIL_BINS,)),  # blocks whose maximum reached each bin or a higher one
    ("season_seen", "u1", (SEASON_BUCKETS,)),
    ("week_seen", "u1", (WEEK_BUCKETS,)),
    ("season", "f4", (SEASON_BUCKETS,)),
    ("week", "f4", (WEEK_BUCKETS,)),
    ("short_used", "u4", (ENTRIES,)),
    ("short_entry", "f4", (SHORT_BLOCKS, ENTRIES)),
    ("long_used", "u4", (ENTRIES,)),
    ("long_entry", "f4", (LONG_BLOCKS, ENTRIES)),
]

STATE = np.dtype(_FIELDS, align=True)
STATE_BYTES = STATE.itemsize
assert STATE.fields is not None
_OFFSET = {name: int(field[1]) for name, field in STATE.fields.items()}
SEASON_OFFSETS = tuple(_OFFSET[name] for name in ("season_seen", "week_seen", "season", "week"))
SHORT_OFFSET = _OFFSET["short_used"]
SHORT_BYTES = _OFFSET["long_used"] - SHORT_OFFSET
"""What every second point touches: the dictionary of short shapes."""
HOT_BYTES = _OFFSET["tail"] + 64
"""What nearly every point touches: the fields before `tail` and its first bins."""
LAYOUT = hashlib.blake2b(repr(STATE.descr).encode(), digest_size=8).digest()
assert STATE_BYTES <= 5632, "the state of a series is promised to fit 5.5 KB"
