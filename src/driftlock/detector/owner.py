"""One partition in the hands of its owner: restore, read the log, commit what is found, checkpoint.

The order of things is what makes a crash harmless. Findings are committed before the next message is scored;
a checkpoint writes the changed states and the position they stand for in one transaction. After a crash the
states of the last checkpoint meet the messages after its position again, find the same under the same ids,
and the database keeps one of each.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence

import asyncpg

from driftlock.bus.envelope import Envelope
from driftlock.bus.log import TelemetryLog
from driftlock.bus.reader import Reader
from driftlock.detector import metrics
from driftlock.detector.census import Census
from driftlock.detector.pace import CheckpointPace, Turn
from driftlock.detector.records import episode_row, moment, to_row
from driftlock.detector.settings import DetectorSettings
from driftlock.engine.engine import PartitionEngine, StoredState, StreamStatus
from driftlock.engine.finding import Finding
from driftlock.engine.runs import runs
from driftlock.engine.settings import EngineSettings
from driftlock.errors import MalformedTelemetryError
from driftlock.storage import anomalies, baselines, checkpoints, refreshes, streams
from driftlock.storage.anomalies import anomaly_id
from driftlock.storage.baselines import NewBaseline
from driftlock.storage.checkpoints import StreamState
from driftlock.storage.refreshes import Progress
from driftlock.storage.streams import StreamRow

logger = logging.getLogger(__name__)

READ_WAIT_S = 0.5


class PartitionOwner:
    """Runs one partition until told to stop. Made anew for each claim; holds no claim itself.

    `turn` is shared by the owners of a process: whoever holds it may score.
    """

    def __init__(
        self,
        partition: int,
        *,
        settings: DetectorSettings,
        engine_settings: EngineSettings,
        pool: asyncpg.Pool,
        log: TelemetryLog,
        now_ns: Callable[[], int],
        turn: Turn,
    ) -> None:
        self.partition = partition
        self._turn = turn
        self.census = Census()
        self._settings = settings
        self._pool = pool
        self._log = log
        self._now_ns = now_ns
        self._engine = PartitionEngine(engine_settings)
        self._position = 0
        self._checkpoint_position = 0
        self._pace = CheckpointPace(settings.checkpoint_interval_s, now_s=0.0)
        self._last_message_at = 0.0
        self._told_events: dict[str, int] = {}
        self._told_gaps = 0
        self._told_refused = 0
        self._told_points = (0, 0)
        self._told_evicted = 0
        self._told_refreshes: set[tuple[uuid.UUID, str]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Score the partition's messages until `stop`, then leave a checkpoint behind.

        Raises UnavailableError, asyncpg's or OS errors when a server goes away: the claim is then over.
        """
        await self._restore()
        loop = asyncio.get_running_loop()
        self._pace = CheckpointPace(self._settings.checkpoint_interval_s, now_s=loop.time())
        self._last_message_at = loop.time()
        reader = await self._log.read(self.partition, after=self._position, wait_s=READ_WAIT_S)
        async with reader:
            async for envelopes in reader:
                for run in runs(envelopes, now_ns=self._engine.now_ns):
                    await self._take(run)
                await self._between(reader, had_messages=bool(envelopes))
                if stop.is_set():
                    break
        await self._checkpoint()

    async def _restore(self) -> None:
        with metrics.COMPUTATION.labels("restore").time():
            async with self._pool.acquire() as conn:
                checkpoint = await checkpoints.load(conn, self.partition)
                if checkpoint is None:
                    return
                states = await checkpoints.load_states(conn, self.partition)
            stored = (StoredState(s.stream_id, s.kind, s.state) for s in states)
            self._engine.restore(stored, now_ns=checkpoint.received_ns)
        self._position = self._checkpoint_position = checkpoint.position
        self.census.update(self._engine.statuses())

    async def _take(self, run: Sequence[Envelope]) -> None:
        async with self._turn:
            with metrics.COMPUTATION.labels("score").time(), self._turn.scoring():
                findings = self._score(run)
            self._position = run[-1].position
            # Between two runs, whoever's, the loop sees to all sockets: else each of the steps of a commit
            # would wait for a run of every partition, and anomalies would come seconds late under load.
            await asyncio.sleep(0)
        if findings or self._engine.replaced or self._engine.courses:
            await self._commit(findings)

    def _score(self, run: Sequence[Envelope]) -> list[Finding]:
        """The findings of a run of messages; what cannot be scored is told and left behind.

        Failing open is deliberate: a message that always fails would otherwise stop its partition for ever.
        The engine sees the same messages again in every replay, so even the outcome of a malformed one is
        the same; after a fault of our own the rest of its run is lost to the streams that it did not reach.
        """
        if len(run) > 1:
            try:
                findings = self._engine.feed_together(run)
            except Exception:
                logger.exception(
                    "partition %d: positions %d to %d were skipped",
                    self.partition,
                    run[0].position,
                    run[-1].position,
                )
                metrics.SKIPPED_MESSAGES.labels("fault").inc(len(run))
                return []
            if findings is not None:
                return findings
        return [finding for envelope in run for finding in self._score_alone(envelope)]

    def _score_alone(self, envelope: Envelope) -> list[Finding]:
        try:
            return self._engine.feed(
                envelope.kind,
                envelope.payload,
                tenant=envelope.tenant,
                received_ns=envelope.received_ns,
                position=envelope.position,
            )
        except MalformedTelemetryError as error:
            reason = "malformed"
            logger.warning("partition %d, position %d: %s", self.partition, envelope.position, error)
        except Exception:
            reason = "fault"
            logger.exception("partition %d: position %d was skipped", self.partition, envelope.position)
        metrics.SKIPPED_MESSAGES.labels(reason).inc()
        return []

    async def _commit(self, findings: Sequence[Finding]) -> None:
        """Anomalies and the baselines they name, in one transaction, each row with its log position."""
        rows = [to_row(finding, partition=self.partition) for finding in findings]
        snapshots = {
            ref: NewBaseline(ref, content, key.id, key.tenant) for key, ref, content in self._engine.replaced
        }
        for finding in findings:
            baseline = self._engine.baseline(finding.key)
            if baseline is not None and baseline[0] == finding.verdict.baseline_ref:
                snapshots[baseline[0]] = NewBaseline(
                    baseline[0], baseline[1], finding.key.id, finding.key.tenant
                )
        with metrics.COMPUTATION.labels("commit").time():
            async with self._pool.acquire() as conn, conn.transaction():
                await baselines.save(conn, list(snapshots.values()))
                inserted = await anomalies.insert(conn, rows) if rows else 0
                await self._follow_episodes(conn)
        self._engine.courses.clear()
        if self._engine.replaced:
            self._engine.replaced.clear()
            self._pace.hurry()  # people wait to be told that the stream learns anew
        if inserted:
            self._count(findings)

    async def _follow_episodes(self, conn: asyncpg.Connection) -> None:
        """Brings anomalies of earlier findings, or of this run, to where their episodes are."""
        latest = {course.seed: course for course in self._engine.courses}
        for seed, course in latest.items():
            timestamp = moment(course.timestamp_ns)
            await anomalies.follow_episode(
                conn,
                anomaly_id(timestamp, seed),
                timestamp,
                episode_row(course.episode, timestamp),
                tenant_id=course.key.tenant,
            )

    def _count(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            signal, verdict = finding.key.signal, finding.verdict
            metrics.ANOMALIES.labels(signal, verdict.severity).inc()
            metrics.P_VALUE.labels(signal).observe(verdict.p_value)
            if verdict.measures is not None:
                metrics.NCD_SCORE.labels(signal).observe(verdict.measures.ncd)
                ratio = metrics.COMPRESSION_RATIO
                ratio.labels(signal, "baseline").observe(verdict.measures.ratio_baseline)
                ratio.labels(signal, "window").observe(verdict.measures.ratio_window)

    async def _between(self, reader: Reader, *, had_messages: bool) -> None:
        """Periodic work between reads: the clock of sessions, metrics, the checkpoint."""
        now = asyncio.get_running_loop().time()
        if had_messages:
            self._last_message_at = now
        elif now - self._last_message_at > self._settings.tick_after_s and self._engine.waits_for_clock(
            self._now_ns()
        ):
            self._last_message_at = now
            await self._tick()
        for signal, events in self._engine.events.items():
            metrics.EVENTS.labels(signal).inc(events - self._told_events.get(signal, 0))
            self._told_events[signal] = events
        metrics.LOG_LAG.labels(str(self.partition)).set(reader.pending)
        if len(reader.gaps) > self._told_gaps:
            metrics.LOG_GAPS.labels(str(self.partition)).inc(len(reader.gaps) - self._told_gaps)
            self._told_gaps = len(reader.gaps)
        self._tell_bounds()
        if self._pace.due(now):
            await self._checkpoint()

    async def _tick(self) -> None:
        """Puts the time into the log, so that a replay closes the same sessions at the same place."""
        envelope = Envelope("tick", "", self._now_ns(), b"")
        await self._log.append(self.partition, envelope, message_id=uuid.uuid4().hex, timeout_s=5.0)

    async def _checkpoint(self) -> None:
        if self._position == self._checkpoint_position:
            return
        loop = asyncio.get_running_loop()
        started, scored_s = loop.time(), self._turn.scored_s
        states, removed = self._engine.take_changes()
        rows = [StreamState(s.stream_id, s.kind, s.data) for s in states]
        told = self._engine.statuses({s.stream_id for s in states})
        async with self._pool.acquire() as conn, conn.transaction():
            await checkpoints.save(
                conn,
                self.partition,
                position=self._position,
                received_ns=self._engine.now_ns,
                states=rows,
                removed=removed,
            )
            await streams.upsert(conn, [self._stream_row(status) for status in told])
            await streams.remove(conn, removed)
            await self._tell_refreshes(conn)
        self._checkpoint_position = self._position
        self.census.update(told, removed)
        now = loop.time()
        took = now - started
        self._pace.wrote(now_s=now, took_s=took, others_s=self._turn.scored_s - scored_s)
        metrics.COMPUTATION.labels("checkpoint").observe(took)
        metrics.CHECKPOINTS.inc()
        metrics.CHECKPOINT_BYTES.inc(sum(len(row.state) for row in rows))

    async def _tell_refreshes(self, conn: asyncpg.Connection) -> None:
        """Brings the records of refreshes to where the streams are, and keeps new baselines."""
        known = self._engine.refreshes()
        steps = [one for one in known if (one.id, one.baseline_after) not in self._told_refreshes]
        for one in steps:
            baseline = self._engine.baseline(one.key)
            if one.baseline_after and baseline is not None:
                await baselines.save(conn, [NewBaseline(*baseline, one.key.id, one.key.tenant)])
        await refreshes.follow(
            conn,
            [Progress(one.id, one.position, one.baseline_before, one.baseline_after) for one in steps],
        )
        await refreshes.lapse(
            conn, self.partition, position=self._position, running=[one.id for one in known]
        )
        self._told_refreshes = {(one.id, one.baseline_after) for one in known}

    def _stream_row(self, status: StreamStatus) -> StreamRow:
        key, warm_up = status.key, status.warm_up
        return StreamRow(
            id=key.id,
            tenant_id=key.tenant,
            signal=key.signal,
            name=key.name,
            service=key.service,
            attributes=dict(key.attributes),
            partition=self.partition,
            phase=warm_up.phase,
            units_seen=warm_up.units_seen,
            units_needed=warm_up.units_needed,
            events_seen=status.events,
            calibration_size=warm_up.calibration_size,
            earliest_p=warm_up.earliest_p,
            bytes_held=status.state_bytes,
            anomalies_found=status.findings,
            baseline_ref=status.baseline_ref or None,
            last_event_at=moment(status.last_received_ns),
        )

    def _tell_bounds(self) -> None:
        refused, evicted = self._engine.refused_events, self._engine.evicted_streams
        if refused > self._told_refused and self._told_refused == 0:
            logger.warning(
                "partition %d: more streams than %d; events of further ones are counted, not scored",
                self.partition,
                self._settings.engine.streams_max,
            )
        points = (self._engine.skipped_points, self._engine.refused_points)
        if points[1] and not self._told_points[1]:
            logger.warning(
                "partition %d: more metric series than %d; points of further ones are counted, not scored",
                self.partition,
                self._settings.engine.series.series_max,
            )
        for reason, now, told in zip(("not_finite", "no_room"), points, self._told_points, strict=True):
            metrics.SKIPPED_POINTS.labels(reason).inc(now - told)
        self._told_points = points
        metrics.REFUSED_EVENTS.inc(refused - self._told_refused)
        metrics.EVICTED_STREAMS.inc(evicted - self._told_evicted)
        self._told_refused, self._told_evicted = refused, evicted
