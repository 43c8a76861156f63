"""The detector role: claims partitions and runs an owner for each.

A claim is a PostgreSQL advisory lock on one connection; when that connection ends, all claims of this
process end with it, and another detector may have them already. So the owners stop at once, whatever they
were doing, and everything starts anew. Detectors count each other and give back what is beyond their share.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

import asyncpg

from driftlock.bus.log import TelemetryLog
from driftlock.core.log_settings import LogSettings
from driftlock.core.profiles import Profile, name_of
from driftlock.core.verdict import Phase
from driftlock.detector import metrics
from driftlock.detector.owner import PartitionOwner
from driftlock.detector.pace import Turn
from driftlock.detector.settings import DetectorSettings
from driftlock.engine.settings import EngineSettings
from driftlock.errors import UnavailableError
from driftlock.storage import config, partitions, pool
from driftlock.storage.errors import FencedError

logger = logging.getLogger(__name__)

BUDGET = "alert_budget"  # in the settings of a stored configuration
RETRY_WAIT_S = 0.5
DRAIN_TIMEOUT_S = 1.2  # below what a supervisor gives a role to end
POOL_CONNECTIONS_MAX = 4
# what ends a claim without being anybody's mistake
PASSING_FAULTS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, UnavailableError, FencedError)


@dataclass(slots=True)
class _Running:
    owner: PartitionOwner
    task: asyncio.Task[None]
    stop: asyncio.Event


async def run(settings: DetectorSettings, stop: asyncio.Event, *, now_ns: Callable[[], int]) -> None:
    """Detect until `stop` is set, through every restart of PostgreSQL and NATS.

    `now_ns` is the wall clock; it is only written into the log as ticks, never used for a verdict.
    """
    while not stop.is_set():
        try:
            await _serve(settings, stop, now_ns)
        except PASSING_FAULTS as error:
            logger.warning("detection pauses: %s", error)
            await _pause(stop, RETRY_WAIT_S)


async def _serve(settings: DetectorSettings, stop: asyncio.Event, now_ns: Callable[[], int]) -> None:
    """One life: from connecting until `stop` or until a connection is lost."""
    claims = await pool.connect(settings.database_url, name=partitions.CLAIMS_NAME)
    lost = asyncio.Event()
    claims.add_termination_listener(lambda _: lost.set())
    try:
        database = await pool.create_pool(
            settings.database_url, name="driftlock-detector", connections_max=POOL_CONNECTIONS_MAX
        )
        try:
            log = await TelemetryLog.connect(settings.nats_url, name="driftlock-detector")
            try:
                await log.ensure(bytes_max=settings.log_bytes_max)
                engine = await _engine_settings(settings.engine, claims)
                desk = _Claims(settings, engine, claims, database, log, now_ns)
                await desk.run(stop, lost)
            finally:
                await log.close()
        finally:
            database.terminate()
    finally:
        if not claims.is_closed():
            claims.terminate()


async def _engine_settings(engine: EngineSettings, conn: asyncpg.Connection) -> EngineSettings:
    """The engine's settings under the detection configuration in force, whose version verdicts name."""
    logs = engine.logs
    told = _told_alerting(logs)
    wanted = config.Wanted(logs.p_value_threshold, logs.baseline_size, logs.window_size, logs.hop_size, told)
    present = await config.settle(conn, wanted)
    stored = present.settings.get(BUDGET, logs.alert_budget)
    budget = math.inf if stored is None else float(stored)
    return replace(
        engine,
        logs=replace(
            engine.logs,
            p_value_threshold=present.p_value_threshold,
            baseline_size=present.baseline_size,
            window_size=present.window_size,
            hop_size=present.hop_size,
            alert_budget=budget,
        ),
        traces=replace(engine.traces, p_value_threshold=present.p_value_threshold, alert_budget=budget),
        series=replace(engine.series, p_value_threshold=present.p_value_threshold),
        config_version=present.version,
    )


def _told_alerting(logs: LogSettings) -> dict[str, Any]:
    """Profile and budget as the stored configuration tells them; a budget without bound is null."""
    profile = name_of(Profile(logs.p_value_threshold, logs.alert_budget))
    return {
        "profile": profile,
        BUDGET: logs.alert_budget if math.isfinite(logs.alert_budget) else None,
    }


class _Claims:
    """The partitions that this process owns, each with its owner's task."""

    def __init__(
        self,
        settings: DetectorSettings,
        engine: EngineSettings,
        claims: asyncpg.Connection,
        database: asyncpg.Pool,
        log: TelemetryLog,
        now_ns: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._claims = claims
        self._database = database
        self._log = log
        self._now_ns = now_ns
        self._turn = Turn()
        self._running: dict[int, _Running] = {}

    async def run(self, stop: asyncio.Event, lost: asyncio.Event) -> None:
        """Claims, shares and reaps until `stop` (then drains) or until the claims connection is `lost`."""
        try:
            while not stop.is_set():
                if lost.is_set():
                    raise UnavailableError("the connection that holds the claims was lost")
                await self._reap()
                await self._share()
                self._tell()
                await _first_of(stop, lost, timeout_s=self._settings.claim_interval_s)
            await self._drain(list(self._running))
        finally:
            await self._abandon()
            self._tell()

    def _tell(self) -> None:
        census = [running.owner.census for running in self._running.values()]
        metrics.PARTITIONS_OWNED.set(len(census))
        metrics.STATE_BYTES.set(sum(one.state_bytes for one in census))
        for phase in get_args(Phase):
            metrics.STREAMS.labels(phase).set(sum(one.phases[phase] for one in census))

    async def _share(self) -> None:
        """Takes free partitions up to the fair share, and gives back what is beyond it."""
        detectors = max(1, await partitions.detectors_alive(self._claims))
        share = math.ceil(self._settings.partitions / detectors)
        surplus = sorted(self._running)[share:]
        if surplus:
            await self._drain(surplus)
            return
        owned = set(await partitions.owned(self._claims))
        for partition in range(self._settings.partitions):
            if len(self._running) >= share:
                return
            if partition not in owned and await partitions.try_claim(self._claims, partition):
                self._start(partition)

    def _start(self, partition: int) -> None:
        owner = PartitionOwner(
            partition,
            settings=self._settings,
            engine_settings=self._engine,
            pool=self._database,
            log=self._log,
            now_ns=self._now_ns,
            turn=self._turn,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(owner.run(stop), name=f"partition-{partition}")
        self._running[partition] = _Running(owner, task, stop)

    async def _reap(self) -> None:
        """Gives back partitions whose owner ended, and passes on what ended it."""
        for partition, running in list(self._running.items()):
            if running.task.done():
                del self._running[partition]
                await partitions.release(self._claims, partition)
                running.task.result()

    async def _drain(self, drained: list[int]) -> None:
        """Lets owners stop with a checkpoint, then gives their partitions back."""
        for partition in drained:
            self._running[partition].stop.set()
        tasks = [self._running[partition].task for partition in drained]
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_TIMEOUT_S)
        for partition in drained:
            running = self._running.pop(partition)
            if not running.task.done():
                # Without a checkpoint the next owner replays a little more: slower, not wrong.
                running.task.cancel()
                await asyncio.gather(running.task, return_exceptions=True)
            elif running.task.exception() is not None:
                logger.warning("partition %d ended with: %s", partition, running.task.exception())
            await partitions.release(self._claims, partition)

    async def _abandon(self) -> None:
        """Stops owners at once: their claims may be somebody else's by now."""
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()


async def _first_of(*events: asyncio.Event, timeout_s: float) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    await _first_of(stop, timeout_s=seconds)
