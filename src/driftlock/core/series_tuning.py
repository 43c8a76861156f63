"""The constants of the numeric coder: chosen once for all series, in no unit of measurement.

Owns numbers only. They were chosen on the Numenta Anomaly Benchmark's files and, against fitting to those,
on the same files thinned out, cut, with noise added and bent by asinh and exp, on simulated bursts, counts
and levels, and by the score at thresholds taken from other categories (`benchmarks/detection_nab.py`).
Differences below two points there are noise, so values are rounded, and none is worth defending to a digit.
"""

from __future__ import annotations

LEAD_POINTS = 30
"""Points before squared errors are capped and peaks are calibrated: scales must first find themselves."""

# Predictors and their mixture
FAST_RATE = 0.1
SLOW_RATE = 0.05
SEASON_RATE = 0.165
WEEK_RATE = 0.05
WEEK_GAIN = 0.8  # of the daily season's squared error: only well below it does the week take its place
ERROR_RATE = 0.013
ERROR_CAP = 9.0  # squared deviations an outlier may count in a scale
EXPERT_SHARE = 0.005  # weight every expert keeps, so that a regime that returns finds its expert alive
SCALE_FLOOR = 1e-5  # of the running range
RANGE_FADE = 1e-5  # of the range a point: one glitch must not blind the novelty of values for ever

# Calibration of the code length
BITS_RATE = 0.0005  # half-life of 1,400 points
BITS_CAP = 3.0
BITS_CAP_AFTER = 20
BITS_FLOOR = 0.05
PEAK_BLOCK_POINTS = 35
PEAK_RATE = 0.028
PEAK_GROWTH_MAX = 1.4
PEAK_SCALE_MIN = 0.05
PEAK_SPREAD = 1.25  # standard deviation by mean absolute deviation, of a normal variable
PEAK_HEAD = 5.0  # bits granted to a point that equals the usual maximum
CODE_BITS_MAX = 24.0

# Departure from the season of the day
SEASON_DRIFT_RATE = 0.011
SEASON_ERROR_RATE = 0.003
SEASON_FLOOR = 1e-4
SEASON_WEIGHT = 1.0
SEASON_BITS_MAX = 24.0

# Departure from the usual level, on a scale bent by asinh: what lasts, where bursts hide it in the mean
LEVEL_DRIFT_RATE = 0.011
LEVEL_ERROR_RATE = 0.003
LEVEL_ERROR_FLOOR = 1e-3
LEVEL_SCALE_FLOOR = 0.02
LEVEL_BITS_MAX = 24.0

# Dictionaries
VALUE_VIGILANCE = 0.03  # of the range
SHORT_VIGILANCE = 0.02  # of the spread
LONG_VIGILANCE = 0.15
ENTRY_RATE = 0.05
LEVEL_RATE = 0.0045
LEVEL_FLOOR = 1e-3
SHAPE_RATE = 0.0075
SHAPE_FLOOR = 1e-2
EXTREME_SHARE = 0.03
VALUE_WEIGHT = 7.4
VALUE_UNIT = 0.083
SHORT_WEIGHT = 1.5
LONG_WEIGHT = 1.2

# Recurrence and episodes
RECURRENCE_WEIGHT = 4.0
RECURRENCE_SHARE = 0.29  # of the blocks of 64 points count: neighbours recur together
RECURRENCE_SLACK = 1.25
RECURRENCE_SLACK_SHARE = 0.05
YOUTH_WEIGHT = 1.5
YOUTH_POINTS = 1000.0
"""What few points have not shown yet is little news: records come at a rate of one through their number."""
EPISODE_SHARE = 0.05  # of all points seen
EPISODE_POINTS_MIN = 64
EPISODE_POINTS_MAX = 210
EPISODE_CALM_POINTS = 12
"""An episode is over after so many calm points: until then the short shape still holds its last one."""
EPISODE_OWN_MAX = 500
"""So many of an episode's points are left out of the comparison at most: what lasts longer becomes usual."""
EPISODE_SEASON_SHARE = 0.1
"""So much of its rate a season keeps while an episode is open."""

# Alarms
STRIKING_BITS = 12.0
"""A score, less what youth takes off, that alarms by itself once its p-value allows: the recurrence part has
taken off what recurs."""

# The expected band
BAND_MISS = 0.05
BAND_RATE = 0.02
BAND_CHECKED_MIN = 256
BAND_CHECKED_MAX = 1024
"""At this many checks both counts are halved: a band is told by what it kept of late."""
BAND_MISS_MAX = 0.08
