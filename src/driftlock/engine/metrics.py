"""The metric series of one partition: the core's bank of series, and what people call each series."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from driftlock.core.budget import AlertBudget
from driftlock.core.episode import Episode
from driftlock.core.series import REFUSED, SeriesBank, SeriesSettings, SeriesVerdicts
from driftlock.core.series_episodes import SeriesEpisodes
from driftlock.core.series_text import point_verdict, silence_verdict
from driftlock.core.silence import Silence, SilenceWatch
from driftlock.core.verdict import Verdict
from driftlock.engine.finding import Course, Finding
from driftlock.engine.silences import OpenSilences
from driftlock.signals.batch import PointBatch, StreamKey

SILENT_NAMES_MAX = 20
"""So many series are named in one finding of silence; the others are counted."""


class _Stored(msgspec.Struct, frozen=True):
    bank: bytes
    names: dict[int, str]
    silence: bytes
    streams: list[tuple[str, str, tuple[tuple[str, str], ...]]]  # tenant, service, attributes
    spent: dict[int, list[int]]  # by stream, in their order
    episodes: dict[int, list[Any]]  # by series, and when their findings were
    told_ns: dict[int, int]
    silences: list[Any]


class MetricSeries:
    """Series of many streams, scored together. A series without room in the bank is counted, not scored."""

    def __init__(self, settings: SeriesSettings, *, alert_budget: float) -> None:
        self._settings = settings
        self._alert_budget = alert_budget
        self._budgets: dict[int, AlertBudget] = {}  # of streams that raised an alarm
        self._bank = SeriesBank(settings)
        self._names: dict[int, str] = {}
        self._episodes = SeriesEpisodes()
        self._told_ns: dict[int, int] = {}  # by series with an open episode, when its finding was
        self._silences = OpenSilences()
        self.courses: list[Course] = []
        """How episodes of earlier findings have gone on, until whoever tells of them clears the list."""
        self._watch = SilenceWatch(p_value_threshold=settings.p_value_threshold)
        self._streams: dict[StreamKey, int] = {}  # only of series in the bank, so no more than it holds
        self.clock_dirty = False
        self.dirty = False
        self.refused_points = 0
        """Points of series that found no room in the bank: counted, not scored."""

    @property
    def state_bytes(self) -> int:
        """Bytes held by the series' states."""
        return self._bank.state_bytes + self._watch.state_bytes

    @property
    def waits_for_clock(self) -> bool:
        """Whether a series is waited for, whose silence only the passing of time will tell."""
        return self._watch.pending

    def __len__(self) -> int:
        return len(self._bank)

    def observe(
        self,
        batch: PointBatch,
        rows: npt.NDArray[np.int64],
        *,
        position: int,
        base: int,
        received_ns: int,
        config_version: int,
    ) -> list[Finding]:
        """Scores the given rows of a batch, in order, and returns a finding for each alarm."""
        self.dirty = True
        for series, name in batch.names.items():
            if len(self._names) < self._settings.series_max:
                self._names.setdefault(series, name)
        verdicts = self._bank.observe(
            batch.series[rows], batch.time_ns[rows], batch.value[rows], batch.cumulative[rows]
        )
        self.refused_points += int((verdicts.status == REFUSED).sum())
        self._hear(batch, rows, base, received_ns)
        findings = []
        for index in np.flatnonzero(verdicts.episode).tolist():
            row = int(rows[index])
            key, series = batch.keys[batch.stream[row]], int(batch.series[row])
            verdict = self._verdict(batch, row, verdicts, index, base + row, received_ns)
            if verdict.alarm:
                metadata = {"series": self._names.get(series, ""), "value": float(batch.value[row])}
                findings.append(
                    Finding(key, verdict, position, received_ns, config_version, metadata=metadata)
                )
                self._told_ns[series] = findings[-1].timestamp_ns
            elif verdict.episode is not None and verdict.episode.is_news:
                self.courses.append(Course(key, verdict.episode, self._told_ns[series]))
                if not verdict.episode.open:
                    del self._told_ns[series]
        return findings

    def _is_told(self, stream: int, verdicts: SeriesVerdicts, index: int, now_ns: int) -> bool:
        """Whether a row that is in no episode that was told of becomes an alarm: the budget must allow it."""
        record = verdicts.p_value[index] * (1.0 + verdicts.calibration_size[index]) <= 1.0
        return bool(verdicts.strange[index]) and self._spend(stream, now_ns, all_time=bool(record))

    def _spend(self, stream: int, now_ns: int, *, all_time: bool) -> bool:
        """Draws an alarm on a stream's budget, whose last quarter is for records of a series."""
        budget = self._budgets.setdefault(stream, AlertBudget(self._alert_budget))
        budget.move(now_ns)
        return budget.spend(all_time=all_time)

    def _hear(self, batch: PointBatch, rows: npt.NDArray[np.int64], base: int, now_ns: int) -> None:
        """Tells the watch which series reported, each with the last of its points."""
        series, back = np.unique(batch.series[rows][::-1], return_index=True)
        places = self._bank.places(series)
        last = rows[::-1][back][places >= 0]
        number = np.zeros(len(batch.keys), np.int64)
        for index in np.unique(batch.stream[last]).tolist():
            number[index] = self._streams.setdefault(batch.keys[index], len(self._streams))
        again = self._watch.heard(places[places >= 0], number[batch.stream[last]], base + last, now_ns=now_ns)
        for place in again.tolist():
            if over := self._silences.heard(place, now_ns):
                stream, episode, told_ns = over
                self.courses.append(Course(list(self._streams)[stream], episode, told_ns))

    def move_clock(self, now_ns: int, *, position: int, config_version: int) -> list[Finding]:
        """Moves the clock to a whole second; a finding for each stream of which series are now silent.

        What stops together is told together, with the p-value of the least surprising series.
        """
        if not len(self._bank):
            return []
        self.clock_dirty = True
        silent: dict[int, list[Silence]] = {}
        for silence in self._watch.move(now_ns):
            silent.setdefault(silence.stream, []).append(silence)
        self.dirty |= bool(silent)
        keys = list(self._streams) if silent else []
        findings = []
        for stream, group in silent.items():
            if self._spend(stream, now_ns, all_time=True):
                findings.append(self._silence(keys[stream], group, now_ns, position, config_version))
            for silence in group:
                self._end_episode(self._bank.series_at(silence.row), keys[stream])
        return findings

    def _silence(
        self, key: StreamKey, group: list[Silence], now_ns: int, position: int, config_version: int
    ) -> Finding:
        chosen = max(group, key=lambda silence: silence.p_value)
        names = [self._name(self._bank.series_at(s.row)) for s in group]
        series = self._bank.series_at(chosen.row)
        name = self._name(series) + (f" (with {len(group) - 1} more series)" if len(group) > 1 else "")
        verdict = silence_verdict(
            chosen, key=f"silence {series:016x}", name=name, names=names[:SILENT_NAMES_MAX], now_ns=now_ns
        )
        metadata = {"series": self._name(series), "silent_series": len(group)}
        episode = Episode.begun(
            verdict.key,
            verdict.first,
            verdict.last,
            time_ns=now_ns,
            score=verdict.score,
            p_value=verdict.p_value,
        )
        episode = msgspec.structs.replace(episode, units=len(group))
        verdict = msgspec.structs.replace(verdict, episode=episode)
        finding = Finding(key, verdict, position, now_ns, config_version, metadata=metadata)
        places = {silence.row for silence in group}
        self._silences.begin(episode, stream=chosen.stream, told_ns=finding.timestamp_ns, places=places)
        return finding

    def _end_episode(self, series: int, key: StreamKey) -> None:
        """A series that fell silent, told or not, goes on with nothing."""
        if (episode := self._episodes.end(series)) is not None:
            self.courses.append(Course(key, episode, self._told_ns.pop(series)))

    def _name(self, series: int) -> str:
        return self._names.get(series, f"series {series:016x}")

    def _verdict(
        self, batch: PointBatch, row: int, verdicts: SeriesVerdicts, index: int, event: int, now_ns: int
    ) -> Verdict:
        """The verdict on a row that is in an episode."""
        series = int(batch.series[row])
        key, time_ns = f"{series:016x}", int(batch.time_ns[row])
        stream = self._streams[batch.keys[batch.stream[row]]]
        alarm = series not in self._episodes and self._is_told(stream, verdicts, index, now_ns)
        return point_verdict(
            verdicts,
            index,
            key=key,
            name=self._name(series),
            position=event,
            time_ns=time_ns,
            reading=float(batch.value[row]),
            alarm=alarm,
            episode=self._episodes.follow(
                series, verdicts, index, key=key, event=event, time_ns=time_ns, alarm=alarm
            ),
        )

    def dump(self) -> bytes:
        """The bank and the names, for a checkpoint."""
        self.dirty = False
        streams = [(key.tenant, key.service, key.attributes) for key in self._streams]
        spent = {stream: budget.state() for stream, budget in self._budgets.items()}
        stored = _Stored(
            self._bank.snapshot(),
            self._names,
            self._watch.snapshot(),
            streams,
            spent,
            self._episodes.state(),
            self._told_ns,
            self._silences.state(),
        )
        return msgspec.msgpack.encode(stored)

    def load(self, data: bytes) -> None:
        """The inverse of `dump`."""
        stored = msgspec.msgpack.decode(data, type=_Stored)
        self._bank = SeriesBank.restore(self._settings, stored.bank)
        self._names = dict(stored.names)
        self._episodes.load(stored.episodes)
        self._told_ns = dict(stored.told_ns)
        self._silences.load(stored.silences)
        for stream, spent in stored.spent.items():
            self._budgets[stream] = AlertBudget(self._alert_budget)
            self._budgets[stream].load(spent)
        threshold = self._settings.p_value_threshold
        clock = self._watch.clock  # may have been loaded before
        self._watch = SilenceWatch.restore(stored.silence, p_value_threshold=threshold)
        self._watch.clock = clock
        self._streams = {
            StreamKey(tenant, "metrics", service, attributes): number
            for number, (tenant, service, attributes) in enumerate(stored.streams)
        }

    def dump_clock(self) -> bytes:
        """The clock that finds series silent, for a checkpoint."""
        self.clock_dirty = False
        return msgspec.msgpack.encode(self._watch.clock)

    def load_clock(self, data: bytes) -> None:
        """The inverse of `dump_clock`."""
        self._watch.clock = msgspec.msgpack.decode(data, type=tuple[int, int])
