"""What an engine is told: the detection settings of each signal, and the bounds on what it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field

from driftlock.core.log_stream import LogSettings
from driftlock.core.series import SeriesSettings
from driftlock.signals.masking import DEFAULT_MASKING, Masking
from driftlock.signals.sessions import DEFAULT_SESSIONS, Sessions

STREAMS_PER_PARTITION_MAX = 2_048
SWEEP_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of one partition's engine; the bounds are a partition's, so that no result depends on how
    many processes share the work.

    `attributes` are the resource attributes that split streams beside `service.name`. `logs` holds for log
    streams (blocks of events, or of time), `traces` for spans and LLM calls (a unit is a trace), `series` for
    metrics.
    `masking` is done to lines and names before anything is learned, and names the form of line streams.
    `sessions` tells which log records and LLM calls belong to a session; the streams of sessions of logs have
    the settings `logs` in mode "session".
    """

    attributes: tuple[str, ...] = ()
    logs: LogSettings = field(default_factory=LogSettings)
    traces: LogSettings = field(default_factory=lambda: LogSettings(mode="session", calls=True))
    series: SeriesSettings = field(default_factory=SeriesSettings)
    masking: Masking = DEFAULT_MASKING
    sessions: Sessions = DEFAULT_SESSIONS
    streams_max: int = STREAMS_PER_PARTITION_MAX
    config_version: int = 1
