"""Compiles what touches every record before the first record comes.

numba compiles a kernel when it is first called, which takes about a minute for all of them, and keeps the
machine code on disk. Here a throw-away engine is fed until every path to a verdict was taken, so that neither
a stream nor the log ever waits for the compiler.
"""

from __future__ import annotations

from driftlock.core.log_settings import LogSettings
from driftlock.engine.engine import PartitionEngine
from driftlock.engine.settings import EngineSettings
from driftlock.signals.sample import sample_logs, sample_points, sample_spans

BLOCKS = 45  # a little over the 40 that a baseline needs, so that units are judged, too
SECOND_NS = 1_000_000_000


def compile_kernels() -> None:
    """Compiles, or loads from numba's cache, everything that a detector calls. Takes seconds or a minute."""
    settings = EngineSettings()
    engine = PartitionEngine(settings)
    messages = [
        ("logs", sample_logs(settings.logs.hop_size * BLOCKS)),
        ("traces", sample_spans(BLOCKS)),
        ("metrics", sample_points(settings.series.warm_up_points + 1)),
        ("tick", b""),
    ]
    for position, (kind, payload) in enumerate(messages, 1):
        received_ns = position * (settings.traces.session_idle_ns + SECOND_NS)
        engine.feed(kind, payload, tenant="", received_ns=received_ns, position=position)
    states, _ = engine.take_changes()
    PartitionEngine(settings).restore(states, now_ns=engine.now_ns)
    _compile_blocks_of_time()


def _compile_blocks_of_time() -> None:
    """What blocks of events have no use for."""
    logs = LogSettings(mode="time", block_ns=SECOND_NS, baseline_units=2)
    engine = PartitionEngine(EngineSettings(logs=logs))
    for position in range(1, 8):
        received_ns = position * SECOND_NS
        engine.feed("logs", sample_logs(3), tenant="", received_ns=received_ns, position=position)
