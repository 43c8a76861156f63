"""`Detector`: the server's detection of one log stream, in a Python program, without a server.

Owns the way from lines to `core.log_stream`: canonical form, session keys, the clock, positions, snapshots.
Decides nothing about anomalies. No threads, no I/O, no wall clock: the same calls give the same verdicts, and
how lines are cut into calls changes none of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from driftlock.core.log_settings import SESSION_IDLE_NS_MAX, LogSettings
from driftlock.core.log_stream import LogStream
from driftlock.core.log_units import Assembled
from driftlock.core.packing import pack, seal, unpack, unseal
from driftlock.core.profiles import Profile, ProfileName, chosen
from driftlock.core.verdict import Verdict, WarmUp
from driftlock.errors import InputError
from driftlock.library.alone import alone
from driftlock.library.clock import SECOND_NS, Clock
from driftlock.library.inputs import (
    Line,
    LinesIn,
    Time,
    TimesIn,
    as_bytes,
    encoded,
    lines_of,
    row_times,
    time_in_ns,
)
from driftlock.signals.batch import Lines
from driftlock.signals.canonical import CANONICAL_VERSION, hash_lines
from driftlock.signals.line_batch import LineReader
from driftlock.signals.textlog import check_pattern, extract_keys

SNAPSHOT_FORMAT = 2
LINES_A_PASS = 65_536
"""Lines canonicalised at one go, so that memory does not follow the size of a call."""
_MAGIC = b"DLDETECT"

Sessions = Line | Sequence[Line | None] | None
Int64s = npt.NDArray[np.int64]


DEFAULTS = Profile(p_value_threshold=0.05, alert_budget=20.0)
"""Without a profile: every significant verdict within the usual budget, as a person at a prompt wants."""


class Detector:
    """Finds what is unusual in one stream of log lines, scoring each unit before learning it.

    Sizes are in lines. In mode "block" a verdict is on the window of the last `window_size` lines, one every
    `hop_size` lines, after a baseline of `baseline_size` lines and at least 41 blocks. In mode "session" a
    unit is the lines of one key: what the first group of `session_pattern` matches in a line (Rust's regex
    syntax), or what `observe` is told. A session is complete after `session_idle_s` seconds of the stream's
    clock without another line, or handed in whole by `observe_unit`. In mode "time" a unit is what comes in
    `block_s` seconds of the clock, also if nothing comes; the first and the last block are no units, for they
    are not whole, and neither are empty blocks beyond three in a row. `baseline_units` sets how many units
    are learned first. `p_value_threshold` and `alert_budget` (alarms a week; may be infinite) decide which
    verdicts are alarms. Raises ValueError for settings that clash, UsageError for a pattern.

    The clock is the latest time seen: of the lines themselves, or as told. It moves in whole seconds. Lines
    without any time leave it where it is; the alert budget is then not renewed. A leap of more than a day (or
    of 24 times `session_idle_s`) waits for three lines in a row, so that one wrong stamp does not stop it.

    Not thread-safe: a call while another thread's is not finished raises ConcurrentUseError.

    >>> detector = Detector(baseline_size=400, window_size=50, hop_size=25)
    >>> calm = [f"GET /item/{n} took {n * 37 % 900} ms" for n in range(3_000)]
    >>> [verdict for verdict in detector.observe(calm) if verdict.alarm]
    []
    >>> found = detector.observe(["worker 7 lost its database connection"] + calm[:100])
    >>> [verdict.alarm for verdict in found].count(True)
    1
    """

    def __init__(
        self,
        *,
        mode: Literal["block", "session", "time"] = "block",
        baseline_size: int = 400,
        window_size: int = 50,
        hop_size: int = 25,
        profile: ProfileName | None = None,
        p_value_threshold: float | None = None,
        alert_budget: float | None = None,
        session_pattern: str | None = None,
        session_idle_s: float = 30.0,
        block_s: int = 60,
        baseline_units: int | None = None,
    ) -> None:
        if not 0.0 < session_idle_s <= SESSION_IDLE_NS_MAX / SECOND_NS:
            raise ValueError(
                f"session_idle_s is a positive number of seconds, at most {SESSION_IDLE_NS_MAX // SECOND_NS}"
            )
        told = {"p_value_threshold": p_value_threshold, "alert_budget": alert_budget}
        numbers = chosen(profile, **told) if profile is not None else DEFAULTS
        settings = LogSettings(
            mode=mode,
            baseline_size=baseline_size,
            window_size=window_size,
            hop_size=hop_size,
            p_value_threshold=numbers.p_value_threshold if p_value_threshold is None else p_value_threshold,
            alert_budget=numbers.alert_budget if alert_budget is None else alert_budget,
            session_idle_ns=round(session_idle_s * SECOND_NS),
            block_ns=_whole_seconds(block_s) * SECOND_NS,
            baseline_units=baseline_units,
        )
        if session_pattern is not None:
            if mode != "session":
                raise ValueError('session_pattern needs mode="session"')
            if not session_pattern:
                raise ValueError("session_pattern is empty; without one, tell each line's session to observe")
            check_pattern(session_pattern)
        self._begin(settings, session_pattern, LogStream(settings), LineReader())

    def _begin(
        self, settings: LogSettings, pattern: str | None, stream: LogStream, reader: LineReader
    ) -> None:
        self._settings = settings
        self._pattern = pattern
        self._stream = stream
        self._reader = reader
        self._lines = 0
        self._clock = Clock(settings.session_idle_ns)
        self._busy = threading.Lock()

    @alone
    def observe(
        self, lines: LinesIn, *, session: Sessions = None, time: TimesIn | None = None
    ) -> list[Verdict]:
        """Takes lines in order; returns the verdicts on the units that they complete, alarm or not.

        `lines` is one text, cut at its line breaks, or an iterable of lines. `session` and `time` are one
        value for all lines or one a line; a line without a session key belongs to no unit. `time` is in
        nanoseconds since 1970, ISO 8601, an aware datetime or datetime64; without it the lines' own
        timestamps are read. Blank lines count as lines and are no events. Positions in a verdict are line
        numbers from 1. Raises InputError for what is not a line, a key or a time; nothing is learned then.
        """
        raw = lines_of(lines)
        keys = self._keys(raw, session)
        told = None if time is None else row_times(time, len(raw))
        verdicts: list[Verdict] = []
        for start in range(0, len(raw), LINES_A_PASS):
            part = slice(start, start + LINES_A_PASS)
            verdicts += self._observe(
                raw[part], None if keys is None else keys[part], None if told is None else told[part]
            )
        return verdicts

    @alone
    def observe_unit(self, lines: LinesIn, *, key: Line = "", time: TimesIn | None = None) -> Verdict | None:
        """Takes a whole unit, such as all lines of one job; None while the baseline grows.

        For mode "session" only. Blank lines are left out; a unit without any other line is none.
        """
        if self._settings.mode != "session":
            raise ValueError('whole units need mode="session"')
        raw = lines_of(lines)
        canonical, times = self._reader.read(raw)
        if time is not None:
            times = row_times(time, len(raw))
        rows = _filled(raw)
        first, self._lines = self._lines + 1, self._lines + len(raw)
        if not len(rows):
            return None
        now_ns = int(self._clock.at(times[rows])[-1])
        places, at = rows + first, times[rows]
        name = encoded(key).decode("utf-8", "replace")
        unit = Assembled([name], np.array([0, len(rows)]), places[:1], places[-1:], at[:1], at[-1:])
        numbers = canonical.numbers[rows]
        verdicts = self._stream.add_units(unit, *_columns(canonical, rows), numbers=numbers, now_ns=now_ns)
        return verdicts[0] if verdicts else None

    @alone
    def advance(self, time: Time) -> list[Verdict]:
        """Moves the clock on; returns the verdicts on sessions that are silent, or blocks of time that are
        over, by then."""
        return self._stream.tick(self._clock.move(time_in_ns(time)))

    @alone
    def flush(self) -> list[Verdict]:
        """Ends the input: closes open sessions and drops an unfinished block; returns the last verdicts."""
        return self._stream.flush(self._clock.now_ns)

    @property
    def warm_up(self) -> WarmUp:
        """Progress to the first verdict, and the smallest p-value that is possible now."""
        return self._stream.warm_up

    @property
    def settings(self) -> LogSettings:
        """The settings in force."""
        return self._settings

    @property
    def baseline_ref(self) -> str:
        """SHA-256 of the learned baseline, empty before it is complete; every verdict names it."""
        return self._stream.baseline_ref

    @property
    def lines_seen(self) -> int:
        """Lines taken so far, blank ones too."""
        return self._lines

    @property
    def lines_late(self) -> int:
        """Lines of a block of time that was over when they came; they count in the one after it."""
        return self._stream.late_events

    @property
    def state_bytes(self) -> int:
        """Bytes held, nearly."""
        return self._stream.state_bytes

    @alone
    def snapshot(self) -> bytes:
        """The whole state, settings too. `restore` continues from it with the same verdicts, bit for bit."""
        state = pack(
            {
                "format": SNAPSHOT_FORMAT,
                "canonical": CANONICAL_VERSION,
                "settings": asdict(self._settings),
                "pattern": self._pattern,
                "votes": self._reader.votes,
                "lines": self._lines,
                "clock": self._clock.state(),
                "units": self._stream.warm_up.units_seen,
                "stream": self._stream.snapshot(),
            }
        )
        return _MAGIC + seal(state)

    @classmethod
    def restore(cls, data: bytes) -> Detector:
        """The detector that `snapshot` described.

        Raises InputError for anything else, also for a snapshot by a version of Driftlock whose states mean
        something else. Snapshots are data, not code, yet restore only those that you trust.
        """
        state = _unpacked(data)
        try:
            settings = LogSettings(**state["settings"])
            stream = LogStream.restore(settings, state["stream"])
        except (TypeError, ValueError, KeyError, IndexError) as error:
            raise InputError("the snapshot is damaged, or of another version of Driftlock") from error
        if stream.warm_up.units_seen != state["units"]:  # how a stream says that it cannot use a state
            raise InputError("the snapshot was made by another version of Driftlock")
        detector = cls.__new__(cls)
        detector._begin(settings, state["pattern"], stream, LineReader(state["votes"]))
        detector._lines = state["lines"]
        detector._clock.load(state["clock"])
        return detector

    def __reduce__(self) -> tuple[Callable[[bytes], Detector], tuple[bytes]]:
        return type(self).restore, (self.snapshot(),)

    def _observe(
        self, raw: Sequence[bytes], keys: Sequence[bytes] | None, told: Int64s | None
    ) -> list[Verdict]:
        canonical, times = self._reader.read(raw)
        times = times if told is None else told
        rows = _filled(raw)
        first, self._lines = self._lines + 1, self._lines + len(raw)
        hashes, buffer, starts, ends = _columns(canonical, rows)
        times, positions, numbers = times[rows], rows + first, canonical.numbers[rows]
        clocks = self._clock.at(times)
        verdicts: list[Verdict] = []
        of_time = self._settings.mode == "time"
        times = np.minimum(times, clocks + (SECOND_NS - 1)) if of_time else times  # a leap waits
        for low, high in [(0, len(clocks))] if of_time and len(clocks) else _runs(clocks):
            part = slice(low, high)
            verdicts += self._stream.add(
                hashes[part],
                buffer,
                starts[part],
                ends[part],
                times[part],
                positions[part],
                sessions=None if keys is None else [keys[row] for row in rows[part].tolist()],
                numbers=numbers[part],
                now_ns=int(clocks[low]),
            )
        return verdicts

    def _keys(self, raw: Sequence[bytes], session: Sessions) -> list[bytes] | None:
        """Each line's session key, empty for none; None in the other modes."""
        if self._settings.mode != "session":
            if session is not None:
                raise ValueError('session needs mode="session"')
            return None
        if session is None and self._pattern is None:
            raise ValueError("mode session needs a session for the lines, or a session_pattern")
        if session is None:
            assert self._pattern is not None
            text = b"\n".join(line.replace(b"\n", b" ") for line in raw)
            return extract_keys(text + b"\n", self._pattern).of_lines(missing=b"")
        if isinstance(session, str | bytes):
            return [encoded(session)] * len(raw)
        if len(session) != len(raw):
            raise InputError(f"there are {len(session)} session keys for {len(raw)} lines")
        return [b"" if key is None else encoded(key) for key in session]


def _whole_seconds(block_s: int) -> int:
    if block_s != int(block_s):
        raise ValueError(f"block_s is whole seconds, not {block_s}")
    return int(block_s)


def _columns(
    canonical: Lines, rows: Int64s
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8], Int64s, Int64s]:
    offsets = canonical.offsets
    return hash_lines(canonical)[rows], canonical.buffer, offsets[:-1][rows], offsets[1:][rows]


def _filled(raw: Iterable[bytes]) -> Int64s:
    """The rows that are not blank."""
    return np.flatnonzero(np.fromiter((bool(line.strip()) for line in raw), np.bool_))


def _runs(clocks: Int64s) -> Iterator[tuple[int, int]]:
    """Bounds of the runs of equal clocks."""
    if not len(clocks):
        return
    cuts = (np.flatnonzero(np.diff(clocks)) + 1).tolist()
    yield from zip([0, *cuts], [*cuts, len(clocks)], strict=True)


def _unpacked(snapshot: bytes) -> dict[str, Any]:
    data = as_bytes(snapshot)
    if not data.startswith(_MAGIC):
        raise InputError("this is not a snapshot of a Detector")
    try:
        state: Any = unpack(unseal(data[len(_MAGIC) :]))
    except msgspec.DecodeError as error:
        raise InputError("the snapshot is damaged") from error
    if not isinstance(state, dict):
        raise InputError("the snapshot is damaged")
    if (state.get("format"), state.get("canonical")) != (SNAPSHOT_FORMAT, CANONICAL_VERSION):
        raise InputError("the snapshot was made by another version of Driftlock")
    return state
