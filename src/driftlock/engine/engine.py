"""One partition's detection: messages of the log in, findings out, state to checkpoint and restore.

Owns how decoded batches reach the core and what becomes a finding. It knows no sockets, no SQL and no wall
clock: its time is the received time of the messages, made monotonic. Its state after a message depends on
the messages before it and the settings alone, so a restored engine that replays the log finds the same.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np

from driftlock.core.episode import EPISODE_SILENT_NS, Episode
from driftlock.core.log_stream import LogSettings
from driftlock.core.verdict import Phase, Verdict, WarmUp
from driftlock.engine.batches import Rows, decode, rows_by_stream, unit_keys
from driftlock.engine.block_clock import BlockClock
from driftlock.engine.finding import Course, Finding
from driftlock.engine.metrics import MetricSeries
from driftlock.engine.refresh import RefreshMark, RefreshStatus, parse_refresh
from driftlock.engine.registry import (
    SERIES_SETTLED_EVENTS,
    StreamEntry,
    StreamRegistry,
    dump_entry,
    load_entry,
)
from driftlock.engine.runs import ROW_BITS, Message, Origins, second_of
from driftlock.engine.settings import EngineSettings
from driftlock.engine.tally import HourTally
from driftlock.signals.batch import LogBatch, PointBatch, Signal, SpanBatch, StreamKey, StreamUnit
from driftlock.signals.logs import decode_logs_together

"""An episode is over, too, when its stream has sent nothing for so long: else its end would never come."""
BANK_ID = uuid.UUID("00000000-0000-8000-8000-000000000001")
"""The checkpoint row that holds a partition's metric series, and what names them."""
TALLY_ID = uuid.UUID("00000000-0000-8000-8000-000000000002")
"""The checkpoint row that holds a partition's counts of this hour's verdicts."""
CLOCK_ID = uuid.UUID("00000000-0000-8000-8000-000000000003")
"""The checkpoint row that holds the clock of the watch for silent series."""


@dataclass(frozen=True, slots=True)
class StoredState:
    """A piece of a checkpoint: a stream's entry (kind "stream"), the bank of metric series
    ("bank"), the clock that finds them silent ("clock"), or the counts of the hour's verdicts ("tally")."""

    stream_id: uuid.UUID
    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """What people are told of a stream."""

    key: StreamKey
    events: int
    findings: int
    last_received_ns: int
    state_bytes: int
    warm_up: WarmUp
    baseline_ref: str


class PartitionEngine:
    """The streams of one partition. Not thread-safe: one owner feeds it, message by message, in order."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._lines = _line_settings(settings)
        self._registry = StreamRegistry(settings.streams_max)
        self._metrics = MetricSeries(settings.series, alert_budget=settings.logs.alert_budget)
        self._tally = HourTally()
        self._blocks = BlockClock(settings.logs)
        self._now_ns = 0
        self._open: set[StreamKey] = set()  # streams with open sessions; an evicted one leaves at the sweep
        self._timed: set[StreamKey] = set()  # streams with an open block of time, likewise
        self._in_episode: set[StreamKey] = set()
        self._evicted_before = 0
        self.events: Counter[Signal] = Counter()
        self.replaced: list[tuple[StreamKey, str, bytes]] = []
        """Baselines that a refresh ended, with ref and bytes, until whoever keeps them clears the list."""
        self.courses: list[Course] = []
        """How episodes of earlier findings have gone on, until whoever tells of them clears the list."""
        self.skipped_points = 0
        """Metric points that were not finite, or said that they hold no value."""

    @property
    def now_ns(self) -> int:
        """The partition's clock: the latest received time seen."""
        return self._now_ns

    @property
    def refused_points(self) -> int:
        """Metric points of series that found no room."""
        return self._metrics.refused_points

    @property
    def refused_events(self) -> int:
        """Events of streams that found no room."""
        return self._registry.refused_events

    @property
    def evicted_streams(self) -> int:
        """Streams that gave way to others while warming up."""
        return self._registry.evicted_streams

    def __len__(self) -> int:
        return len(self._registry)

    def feed(
        self, kind: str, payload: bytes, *, tenant: str, received_ns: int, position: int
    ) -> list[Finding]:
        """Takes one message of the log; returns what it completed and found, in a fixed order.

        `kind` is logs, metrics, traces, tick or refresh. Raises MalformedTelemetryError for a payload that is
        not OTLP, or no refresh; the engine's state is then as it was before.
        """
        wish = parse_refresh(payload) if kind == "refresh" else None
        batch = decode(kind, payload, tenant, self._settings)
        findings = self._move_clock(received_ns, position)
        if isinstance(batch, PointBatch):
            findings += self._feed_points(batch, position)
        elif batch is not None:
            origins = Origins.of([position], np.array([len(batch)]), [self._now_ns])
            findings += self._feed_lines(batch, origins)
        elif wish is not None:
            findings += self._refresh(*wish, tenant, position)
        return findings

    def _refresh(
        self, stream_id: uuid.UUID, refresh_id: uuid.UUID, tenant: str, position: int
    ) -> list[Finding]:
        """Lets a line stream of this tenant learn anew; its open sessions are judged by the old baseline.

        The message may come twice, when an append was repeated late: the second changes nothing.
        """
        entry = self._registry.by_id(stream_id)
        if entry is None or entry.detector is None or entry.key.tenant != tenant:
            return []
        if entry.refresh is not None and entry.refresh.id == refresh_id:
            return []
        findings = self._alarms(entry, entry.detector.flush(second_of(self._now_ns)), position, self._now_ns)
        self._tell_course(entry, entry.detector.end_episode())
        before = entry.detector.baseline_ref
        if before:
            self.replaced.append((entry.key, before, entry.detector.baseline_bytes()))
        entry.refresh = RefreshMark(refresh_id, position, before)
        entry.detector = entry.detector.renewed()
        self._note_open(entry)
        self._registry.restarted(entry)
        return findings

    def refreshes(self) -> list[RefreshStatus]:
        """The latest refresh of each stream that had one."""
        return [
            RefreshStatus(
                mark.id, entry.key, mark.position, mark.baseline_before, entry.detector.baseline_ref
            )
            for entry in self._registry
            if (mark := entry.refresh) is not None and entry.detector is not None
        ]

    def feed_together(self, run: Sequence[Message]) -> list[Finding] | None:
        """Takes a run (see `runs`) at once, with the same outcome as one message after another.

        None, and nothing has changed, when that cannot be promised: a message is not of the usual form, or
        the bound on streams may be reached midway.
        """
        times = list(accumulate((m.received_ns for m in run), max, initial=self._now_ns))[1:]
        if self._is_crowded() or second_of(times[0]) != second_of(times[-1]):
            return None
        found = decode_logs_together(
            [message.payload for message in run],
            tenant=run[0].tenant,
            attributes=self._settings.attributes,
            masking=self._settings.masking,
            sessions=self._settings.sessions,
        )
        if found is None or not self._may_share_a_run(found[0]):
            return None
        batch, rows = found
        findings = self._move_clock(times[0], run[0].position)
        self._now_ns = times[-1]
        findings += self._feed_lines(batch, Origins.of([m.position for m in run], rows, times))
        return findings

    def _is_crowded(self) -> bool:
        """Whether streams gave way since the last run: in a flood of names, to decode runs is in vain."""
        before, self._evicted_before = self._evicted_before, self.evicted_streams
        return self.evicted_streams > before

    def _may_share_a_run(self, batch: LogBatch) -> bool:
        known = sum(self._registry.get(key) is not None for key in batch.keys)
        return len(self._registry) + len(batch.keys) - known <= self._settings.streams_max

    def _move_clock(self, received_ns: int, position: int) -> list[Finding]:
        previous, self._now_ns = self._now_ns, max(self._now_ns, received_ns)
        if previous and second_of(self._now_ns) > second_of(previous):
            self._tally.move_on(self._now_ns)
            if self._blocks.unheard(previous, self._now_ns):
                self._interrupt_blocks()
            ended = self._blocks.ends(previous, self._now_ns)
            return self._sweep(position, blocks=ended) + self._move_series(position)
        return []

    def _interrupt_blocks(self) -> None:
        """What nobody could hear is no silence: blocks of time that hold such a while are no units."""
        for entry in self._registry:
            if entry.detector is not None and self._is_timed(entry):
                entry.detector.interrupt(second_of(self._now_ns))
                self._registry.changed(entry)

    def _is_timed(self, entry: StreamEntry) -> bool:
        return self._lines[entry.key.signal, entry.key.unit].mode == "time"

    def waits_for_clock(self, now_ns: int) -> bool:
        """Whether only the passing of time will tell something: a session is open, a series may be silent, or
        at `now_ns` a block of time is over, or a stream with an open episode has been silent for long."""
        if self._open or self._metrics.waits_for_clock:
            return True
        block = bool(self._timed) and self._blocks.due(self._now_ns, now_ns)
        return block or bool(self._ended_in_silence(now_ns))

    def _ended_in_silence(self, now_ns: int) -> list[StreamEntry]:
        """Streams whose episodes are over. Where silence is told, it is the episode, and ends with the next
        lines."""
        entries = filter(None, (self._registry.get(key) for key in self._in_episode))
        silent = [
            entry
            for entry in entries
            if now_ns - entry.last_received_ns > EPISODE_SILENT_NS and not self._is_timed(entry)
        ]
        return sorted(silent, key=lambda entry: entry.last_active)

    def _feed_lines(self, batch: LogBatch | SpanBatch, origins: Origins) -> list[Finding]:
        findings: list[Finding] = []
        streams = [
            (origins.last_active(rows), batch.keys[index], rows)
            for index, rows in rows_by_stream(batch.stream, len(batch.keys))
        ]
        for active, key, rows in sorted(streams, key=lambda stream: stream[0]):
            _, received_ns = origins.message_of(active)
            entry = self._registry.touch(
                key,
                settings=self._lines[key.signal, key.unit],
                events=len(rows),
                now_ns=received_ns,
                active=active,
            )
            if entry is None or entry.detector is None:
                continue
            findings += self._feed_stream(entry, batch, rows, origins)
            self._registry.changed(entry)
            self._note_open(entry)
            self.events[key.signal] += len(rows)
        return sorted(findings, key=lambda finding: finding.position)

    def _feed_stream(
        self, entry: StreamEntry, batch: LogBatch | SpanBatch, rows: Rows, origins: Origins
    ) -> list[Finding]:
        """The findings of one stream's rows.

        Sessions are fed message by message: a verdict does not tell which message completed its session, for
        that may have come with an event of another one, which needed the room. Blocks of time are closed by
        the clock alone, before (`_sweep`): what senders' clocks say of an event moves none on.
        """
        assert entry.detector is not None
        findings: list[Finding] = []
        mode = self._lines[entry.key.signal, entry.key.unit].mode
        of_sessions, now_ns = mode == "session", second_of(self._now_ns)
        times = np.minimum(batch.time_ns, now_ns) if mode == "time" else batch.time_ns
        for part in origins.parts(rows) if of_sessions else (rows,):
            verdicts = entry.detector.add(
                batch.template[part],
                batch.canonical.buffer,
                batch.canonical.offsets[:-1][part],
                batch.canonical.offsets[1:][part],
                times[part],
                origins.positions[part],
                sessions=unit_keys(batch, entry.key, part) if of_sessions else None,
                calls=batch.calls[part] if isinstance(batch, SpanBatch) else None,
                heads=batch.heads[part] if isinstance(batch, SpanBatch) else None,
                numbers=batch.canonical.numbers[part],
                now_ns=now_ns,
            )
            for verdict in verdicts:
                # a block of events is complete with its last one
                place = verdict.last if mode == "block" else int(origins.positions[part[-1]])
                findings += self._alarms(entry, [verdict], *origins.message_of(place))
        return findings

    def _feed_points(self, batch: PointBatch, position: int) -> list[Finding]:
        self.skipped_points += batch.skipped
        admitted = np.zeros(len(batch.keys), np.bool_)
        base = position << ROW_BITS
        for index, rows in rows_by_stream(batch.stream, len(batch.keys)):
            entry = self._registry.touch(
                batch.keys[index], settings=None, events=len(rows), now_ns=self._now_ns, active=base + index
            )
            if entry is not None:
                admitted[index] = True
                self._registry.changed(entry)
        rows = np.flatnonzero(admitted[batch.stream])
        if not len(rows):
            return []
        self.events["metrics"] += len(rows)
        found = self._metrics.observe(
            batch,
            rows,
            position=position,
            base=base,
            received_ns=self._now_ns,
            config_version=self._settings.config_version,
        )
        self._take_courses()
        for finding in found:
            entry = self._registry.get(finding.key)
            assert entry is not None
            entry.findings += 1
        return found

    def _take_courses(self) -> None:
        self.courses += self._metrics.courses
        self._metrics.courses.clear()

    def _settings_of(self, key: StreamKey) -> LogSettings | None:
        """The settings of a line stream; None for metrics."""
        return self._lines.get((key.signal, key.unit))

    def _sweep(self, position: int, *, blocks: bool) -> list[Finding]:
        """Lets the clock close idle sessions, once a second of log time, in order of stream activity, and
        `blocks` of time, when one ends."""
        findings: list[Finding] = []
        waiting = [self._registry.get(key) for key in (*self._open, *(self._timed if blocks else ()))]
        known = {entry.key for entry in waiting if entry is not None}
        self._open &= known
        self._timed &= known if blocks else self._timed
        for entry in sorted(filter(None, waiting), key=lambda e: e.last_active):
            assert entry.detector is not None
            verdicts = entry.detector.tick(second_of(self._now_ns))
            self._registry.changed(entry)
            self._note_open(entry)
            findings += self._alarms(entry, verdicts, position, self._now_ns)
        for entry in self._ended_in_silence(self._now_ns):
            assert entry.detector is not None
            self._tell_course(entry, entry.detector.end_episode())
            self._registry.changed(entry)
            self._note_open(entry)
        return findings

    def _tell_course(self, entry: StreamEntry, episode: Episode | None) -> None:
        if episode is not None and episode.is_news:
            self.courses.append(Course(entry.key, episode, entry.episode_ns))

    def _note_open(self, entry: StreamEntry) -> None:
        detector = entry.detector
        for keys, is_open in (
            (self._open, detector is not None and detector.open_sessions > 0),
            (self._in_episode, detector is not None and detector.in_episode),
            (self._timed, detector is not None and detector.waits_for_block),
        ):
            keys.add(entry.key) if is_open else keys.discard(entry.key)

    def _move_series(self, position: int) -> list[Finding]:
        """Lets the clock tell which series have fallen silent; those of an evicted stream are left out."""
        version = self._settings.config_version
        found = self._metrics.move_clock(second_of(self._now_ns), position=position, config_version=version)
        self._take_courses()
        entries = [self._registry.get(finding.key) for finding in found]
        for entry in filter(None, entries):
            entry.findings += 1
            self._registry.changed(entry)
        return [finding for finding, entry in zip(found, entries, strict=True) if entry is not None]

    def _alarms(
        self, entry: StreamEntry, verdicts: Iterable[Verdict], position: int, received_ns: int
    ) -> list[Finding]:
        version = self._settings.config_version
        found = []
        for v in verdicts:
            self._tally.add(entry.key.tenant, v.p_value)
            if v.alarm:
                among = self._among(entry.key.tenant, v.p_value)
                traces = _trace_ids(entry.key, v)
                found.append(Finding(entry.key, v, position, received_ns, version, among, traces))
            if v.alarm and v.episode:
                entry.episode_ns = found[-1].timestamp_ns
            else:
                self._tell_course(entry, v.episode)
        entry.findings += len(found)
        return found

    def _among(self, tenant: str, p_value: float) -> dict[str, Any]:
        """How an anomaly's p-value stands among all verdicts of its tenant in this partition and hour."""
        standing = self._tally.standing(tenant, p_value)
        return {} if standing is None else {"q_value": standing.q_value, "verdicts": standing.verdicts}

    def take_changes(self) -> tuple[list[StoredState], list[uuid.UUID]]:
        """State that changed since the last call, and streams that are gone: what a checkpoint must write."""
        changed, removed = self._registry.take_changes()
        states = [StoredState(entry.key.id, "stream", dump_entry(entry)) for entry in changed]
        if self._metrics.dirty:
            states.append(StoredState(BANK_ID, "bank", self._metrics.dump()))
        if self._metrics.clock_dirty:
            states.append(StoredState(CLOCK_ID, "clock", self._metrics.dump_clock()))
        if self._tally.dirty:
            states.append(StoredState(TALLY_ID, "tally", self._tally.dump()))
        return states, removed

    def restore(self, states: Iterable[StoredState], *, now_ns: int) -> None:
        """Fills a new engine from a checkpoint taken at the clock `now_ns`."""
        self._now_ns = now_ns
        entries = []
        for state in states:
            if state.kind == "bank":
                self._metrics.load(state.data)
            elif state.kind == "clock":
                self._metrics.load_clock(state.data)
            elif state.kind == "tally":
                self._tally.load(state.data)
            else:
                entries.append(load_entry(state.data, self._settings_of))
        self._registry.restore(entries)
        for entry in entries:
            self._note_open(entry)

    def statuses(self, stream_ids: Iterable[uuid.UUID] | None = None) -> list[StreamStatus]:
        """What people are told of the streams (of those given, or of all)."""
        wanted = None if stream_ids is None else set(stream_ids)
        return [
            _status(e, self._settings_of(e.key))
            for e in self._registry
            if wanted is None or e.key.id in wanted
        ]

    def baseline(self, key: StreamKey) -> tuple[str, bytes] | None:
        """A line stream's present baseline: its content hash and the bytes, or None for metric streams."""
        entry = self._registry.get(key)
        if entry is None or entry.detector is None:
            return None
        return entry.detector.baseline_ref, entry.detector.baseline_bytes()


def _line_settings(settings: EngineSettings) -> dict[tuple[Signal, StreamUnit], LogSettings]:
    """The settings of each kind of line streams, with the form of their lines.

    Which events are in a stream of log records or LLM calls depends on what names sessions, so that is part
    of their form.
    """
    form = settings.masking.version
    keyed = form + settings.sessions.version
    logs, llm = replace(settings.logs, form=keyed), replace(settings.traces, form=keyed)
    return {
        ("logs", ""): logs,
        ("logs", "session"): replace(logs, mode="session"),
        ("traces", ""): replace(settings.traces, form=form),
        ("llm", ""): llm,
        ("llm", "session"): llm,
    }


def _trace_ids(key: StreamKey, verdict: Verdict) -> tuple[str, ...]:
    return (verdict.key,) if key.signal in ("traces", "llm") and not key.unit else ()


def _status(entry: StreamEntry, settings: LogSettings | None) -> StreamStatus:
    detector = entry.detector
    if detector is None or settings is None:
        seen = min(entry.events, SERIES_SETTLED_EVENTS)
        phase: Phase = "ready" if entry.settled else "learning"
        warm_up = WarmUp(phase, entry.events, SERIES_SETTLED_EVENTS, seen, 1.0 / (1 + seen))
        return StreamStatus(entry.key, entry.events, entry.findings, entry.last_received_ns, 0, warm_up, "")
    # a verdict that cannot reach the threshold is no news to a person who waits for alarms
    needed = max(detector.warm_up.units_needed, settings.units_to_reach_threshold)
    return StreamStatus(
        entry.key,
        entry.events,
        entry.findings,
        entry.last_received_ns,
        detector.state_bytes,
        replace(detector.warm_up, units_needed=needed),
        detector.baseline_ref,
    )
