"""The roles: what each is told, and how a process becomes one.

Each role is a function `run(settings, stop)` of its own package; here the one set of settings is mapped to
theirs, and clock, signals, loop and logging are handed to them.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import uvloop

from driftlock.errors import UsageError
from driftlock.runtime.logs import set_up_logging
from driftlock.runtime.settings import Settings

Role = Literal["collector", "detector", "api"]
Prepare = Callable[[Settings, asyncio.Event], Coroutine[Any, Any, None]]

READY_FD = "DRIFTLOCK_READY_FD"  # where a supervisor waits for the word that a role could be prepared

GRACE_S = 1.5  # what a role gives open requests and streams; below what a supervisor gives the role
DETECTOR_GC = (50_000, 20, 20)  # objects, and generations of them, between looks for garbage in cycles
DRAIN_S = 8  # a role that has not ended so long after it was told to is ended by the kernel


def run_role(role: Role, settings: Settings) -> None:
    """Be this role until SIGTERM or SIGINT. Raises DriftlockError when it cannot start."""
    settings.check()
    set_up_logging(
        process=role, level=settings.log_level, form=settings.log_format, redacted=settings.redacted
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_told(_WORK[role], settings))


async def _until_told(prepare: Prepare, settings: Settings) -> None:
    stop = asyncio.Event()

    def told() -> None:
        signal.alarm(DRAIN_S)  # SIGALRM ends the process by default, also when the loop hangs
        stop.set()

    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, told)
    work = prepare(settings, stop)
    _say_ready()
    await work
    signal.alarm(0)


def _say_ready() -> None:
    if fd := os.environ.pop(READY_FD, None):
        os.write(int(fd), b"1")
        os.close(int(fd))


# The roles' packages are imported late: a collector has no use for numba, and `--help` for neither.


def _collector(settings: Settings, stop: asyncio.Event) -> Coroutine[Any, Any, None]:
    nats_url = _nats_url(settings)
    from driftlock.collector.service import run
    from driftlock.collector.settings import CollectorSettings

    told = CollectorSettings(
        host=settings.host,
        grpc_port=settings.otlp_grpc_port,
        http_port=settings.otlp_http_port,
        nats_url=nats_url,
        partitions=settings.partitions,
        attributes=settings.stream_attributes,
        request_bytes_max=settings.request_bytes_max,
        inflight_bytes_max=settings.inflight_bytes_max,
        drain_timeout_s=GRACE_S,
        reuse_port=settings.collector_workers > 1,
        log_bytes_max=settings.log_bytes_max,
    )
    return run(told, stop, now_ns=time.time_ns)


def _detector(settings: Settings, stop: asyncio.Event) -> Coroutine[Any, Any, None]:
    database_url, nats_url = _database_url(settings), _nats_url(settings)
    from driftlock.core.log_settings import BLOCK_NS_DEFAULT, SECOND_NS, LogSettings
    from driftlock.core.series import SeriesSettings
    from driftlock.detector.service import run
    from driftlock.detector.settings import DetectorSettings
    from driftlock.engine.settings import EngineSettings
    from driftlock.runtime.kernels import compiled_kernels
    from driftlock.signals.masking import Masking
    from driftlock.signals.sessions import Sessions

    compiled_kernels()
    alerting = settings.alerting
    sizes: dict[str, Any] = {
        "baseline_size": settings.baseline_size,
        "window_size": settings.window_size,
        "hop_size": settings.hop_size,
        "p_value_threshold": alerting.p_value_threshold,
        "alert_budget": alerting.alert_budget,
        "byte_coder": settings.byte_coder,
        "session_idle_ns": int(settings.session_idle_s * 1e9),
    }
    told = DetectorSettings(
        database_url=database_url,
        nats_url=nats_url,
        engine=EngineSettings(
            attributes=settings.stream_attributes,
            logs=LogSettings(
                mode="time" if settings.time_block_s else "block",
                block_ns=settings.time_block_s * SECOND_NS or BLOCK_NS_DEFAULT,
                **sizes,
            ),
            traces=LogSettings(mode="session", calls=True, **sizes),
            series=SeriesSettings(
                p_value_threshold=alerting.p_value_threshold,
                series_max=max(1, settings.series_max // settings.partitions),
            ),
            masking=Masking.of(mask=settings.mask, redact=settings.redact),
            sessions=Sessions.of(attributes=settings.session_attributes, pattern=settings.session_pattern),
            streams_max=max(1, settings.streams_max // settings.partitions),
        ),
        partitions=settings.partitions,
        checkpoint_interval_s=settings.checkpoint_interval_s,
        log_bytes_max=settings.log_bytes_max,
    )
    # Streams are thousands of objects each that stay: looking through them at every 700 new ones took a third
    # of a detector's time when many streams were new.
    gc.freeze()
    gc.set_threshold(*DETECTOR_GC)
    return run(told, stop, now_ns=time.time_ns)


def _api(settings: Settings, stop: asyncio.Event) -> Coroutine[Any, Any, None]:
    database_url, nats_url = _database_url(settings), _nats_url(settings)
    from driftlock.api.service import run
    from driftlock.api.settings import ApiSettings

    told = ApiSettings(
        host=settings.host,
        port=settings.api_port,
        database_url=database_url,
        nats_url=nats_url,
        dev_api_key=settings.dev_api_key,
        sse_connections_max=settings.sse_connections_max,
        rate_limit_per_minute=settings.rate_limit_per_minute,
        shutdown_grace_s=GRACE_S,
    )
    return run(told, stop)


_WORK: dict[Role, Prepare] = {
    "collector": _collector,
    "detector": _detector,
    "api": _api,
}


def _database_url(settings: Settings) -> str:
    if settings.database_url is None:
        raise UsageError(
            "This role needs a PostgreSQL: give --database-url.",
            hint="`driftlock up` brings its own and starts every role.",
        )
    return settings.database_url


def _nats_url(settings: Settings) -> str:
    if settings.nats_url is None:
        raise UsageError(
            "This role needs a NATS server: give --nats-url.",
            hint="`driftlock up` brings its own and starts every role.",
        )
    return settings.nats_url
