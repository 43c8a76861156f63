"""`driftlock detect --follow`: judging a log as it grows.

Owns: taking whole lines from a file that is being written, going over to the file that its name stands for
after a rotation, and showing alarms as they come. Must not know how a line is read or judged.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console

from driftlock.cli.findings import Found, as_json, show
from driftlock.cli.logfile import LINE_BYTES_MAX, UNREADABLE, LogFile
from driftlock.cli.series_file import HEADER_BYTES
from driftlock.cli.shown import plain
from driftlock.cli.summary import followed_end, followed_state, followed_summary
from driftlock.cli.units import add_lines
from driftlock.core.log_settings import LogSettings
from driftlock.core.log_stream import LogStream
from driftlock.core.verdict import Verdict
from driftlock.errors import InputError, UsageError
from driftlock.library.clock import Clock
from driftlock.signals.csv_series import series_separator
from driftlock.signals.masking import Masking
from driftlock.signals.sessions import session_key
from driftlock.signals.textlog import extract_keys, text_batch

WAIT_S = 0.25
BATCH_LINES = 1_000
LAST_BYTES = 1_024
"""So many bytes before the end are compared: that they are the same lines again is no chance."""
IDLE_NS = 30_000_000_000
"""A followed session is complete when it has been silent for so long."""


def follow(name: str, settings: LogSettings, pattern: str | None, masking: Masking, form: str) -> int:
    """Shows alarms as they are found, until the input ends (a pipe) or Ctrl-C; returns how many there are."""
    errors = Console(stderr=True)

    def told(sentence: str) -> None:
        errors.print(plain(sentence), markup=False, highlight=False, soft_wrap=True)

    judge = Judge(name, settings, pattern, masking, form, told)
    with GrowingLog(name, told) as log:
        if pattern is None and series_separator(log.begin(HEADER_BYTES)) is not None:
            raise UsageError(
                "A series cannot be followed.", hint="Without --follow it is judged as it is now."
            )
        try:
            for chunk in log.chunks():
                judge.take(chunk)
        except KeyboardInterrupt:
            if judge.busy:  # the stream may have taken the lines in part: nothing more can be judged
                return judge.finish(flush=False)
        judge.take(log.remainder())
    return judge.finish()


class GrowingLog:
    """The whole lines of a log as they come; use it as a context.

    A plain file is followed by its name: when it was emptied, or its name stands for another file that holds
    something, `tell` gets a sentence and reading goes on from that beginning. A line without its end is no
    line yet, unless what it lies in has ended.
    """

    def __init__(self, name: str, tell: Callable[[str], None], *, wait_s: float = WAIT_S) -> None:
        self._name = name
        self._tell = tell
        self._wait_s = wait_s
        self._file = LogFile(name)
        self._lines: list[bytes] = []
        self._rest = b""
        self._last = b""  # what lies before the end that was reached
        self._gone = False

    def __enter__(self) -> GrowingLog:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.__exit__(*exception)

    def begin(self, count: int) -> bytes:
        """So many bytes of the beginning, before any are taken."""
        return self._file.begin(count)

    def chunks(self) -> Iterator[bytes]:
        """Pieces of whole lines, empty while nothing comes; ends with a pipe, never with a plain file."""
        try:
            while True:
                for piece in self._file.pieces(self._wait_s):
                    if piece is not None:
                        self._split(piece)
                    if piece is None or len(self._lines) >= BATCH_LINES:
                        yield self._taken()
                if self._file.size is None:
                    return
                self._last = self._file.before(LAST_BYTES)
                if self._moved():
                    continue
                yield self._taken()
                time.sleep(self._wait_s)
                if self._written_anew():
                    self._go_over("was emptied")
        except UNREADABLE as error:
            raise InputError(f"{self._name} cannot be read: {error}") from error

    def remainder(self) -> bytes:
        """What is left when reading is over, the last line with or without its end."""
        self._end_line()
        return self._taken()

    def _split(self, piece: bytes) -> None:
        *whole, rest = (self._rest + piece).split(b"\n")
        self._lines += [line.rstrip(b"\r")[:LINE_BYTES_MAX] for line in whole]
        self._rest = rest[:LINE_BYTES_MAX]

    def _taken(self) -> bytes:
        lines, self._lines = self._lines, []
        return b"\n".join(lines) + b"\n" if lines else b""

    def _end_line(self) -> None:
        if self._rest:
            self._split(b"\n")

    def _moved(self) -> bool:
        """At the end of a file: whether there is something to read at once, here or in the next file."""
        held = self._file.status()
        try:
            named = Path(self._name).stat()
        except OSError:
            if not self._gone:
                self._tell(f"{self._name} is gone; waiting for another file of that name.")
            self._gone = True
            return False
        self._gone = False
        # Until something is in the next file, its writer may still have this one.
        if os.path.samestat(held, named) or not named.st_size:
            return False
        if held.st_size > self._file.position:  # written since its end was reached
            return True
        return self._go_over("is another file now")

    def _written_anew(self) -> bool:
        """Whether what was read last is no longer there: the file was emptied, and may have grown since."""
        shorter = self._file.status().st_size < self._file.position
        return shorter or self._file.before(LAST_BYTES) != self._last

    def _go_over(self, happened: str) -> bool:
        try:
            following = LogFile(self._name)
        except InputError:  # gone again, or not readable yet
            return False
        self._end_line()
        self._file.__exit__()
        self._file = following
        self._tell(f"{self._name} {happened}; reading on from its beginning.")
        return True


class LogClock:
    """The clock of a log that grows, for blocks of time: its last line's time, and what has passed since.

    So it does not matter in which zone the lines tell their times. Before any line has one, it stands still.
    """

    def __init__(self, idle_ns: int) -> None:
        self.of_lines = Clock(idle_ns)
        self._heard_ns = time.monotonic_ns()

    def heard(self) -> None:
        """Lines came just now."""
        self._heard_ns = time.monotonic_ns()

    @property
    def now_ns(self) -> int:
        """The time now, as the log would tell it; 0 when that is not known."""
        last = self.of_lines.now_ns
        return last + time.monotonic_ns() - self._heard_ns if last else 0


class Judge:
    """Feeds chunks of lines to a stream, and shows its alarms. Lines count from 1, on through rotations.

    `tell` gets a sentence when the input pauses and what can be judged is not what it was, and at the end.
    """

    def __init__(
        self,
        name: str,
        settings: LogSettings,
        pattern: str | None,
        masking: Masking,
        form: str,
        tell: Callable[[str], None],
    ) -> None:
        if pattern is not None:
            settings = LogSettings(
                mode="session",
                session_idle_ns=IDLE_NS,
                p_value_threshold=settings.p_value_threshold,
                alert_budget=settings.alert_budget,
            )
        self._name = name
        self._settings = settings
        self._tell = tell
        self._phase_told = ""
        self._judged = 0
        self.busy = False
        """Whether lines are being taken: interrupted then, the stream has taken some of them in part."""
        self._stream = LogStream(settings)
        self._clock = LogClock(settings.session_idle_ns) if settings.mode == "time" else None
        self._pattern = pattern
        self._masking = masking
        self._form = form
        self._console = Console(highlight=False)
        self._lines = 0
        self._alarms = 0

    def take(self, chunk: bytes) -> None:
        """Whole lines; none when only time has passed."""
        self.busy = True
        self._take(chunk)
        self.busy = False

    def _take(self, chunk: bytes) -> None:
        now_ns = time.time_ns()
        if not chunk:
            self._show(self._stream.tick(now_ns if self._clock is None else self._clock.now_ns))
            self._tell_phase()
            return
        batch = text_batch(chunk, masking=self._masking)
        keys = self._keys(chunk)
        first = self._lines + 1
        clock = None if self._clock is None else self._clock.of_lines
        self._show(
            add_lines(self._stream, batch, first_line=first, now_ns=now_ns, clock=clock, sessions=keys)
        )
        if self._clock is not None:
            self._clock.heard()
        self._lines += len(batch)

    def finish(self, *, flush: bool = True) -> int:
        """Judges what is open, unless `flush` is false; returns how many alarms there were."""
        if flush:
            self._show(self._stream.flush(time.time_ns()))
        self._tell(followed_summary(self._name, self._lines, self._judged, self._alarms))
        return self._alarms

    def _tell_phase(self) -> None:
        warm_up = self._stream.warm_up
        if warm_up.phase != self._phase_told:
            self._phase_told = warm_up.phase
            self._tell(followed_state(self._name, warm_up, self._settings, self._lines))

    def _keys(self, chunk: bytes) -> Sequence[bytes] | None:
        if self._pattern is None:
            return None
        found = extract_keys(chunk, self._pattern).of_lines(missing=b"")
        redact = self._masking.redact
        shown = {key: session_key("", key.decode("utf-8", "replace"), redact) for key in set(found)}
        return [shown[key] for key in found]

    def _show(self, verdicts: Sequence[Verdict]) -> None:
        self._judged += len(verdicts)
        for verdict in verdicts:
            if verdict.alarm:
                self._show_alarm(Found(self._name, verdict, verdict.episode))
            elif verdict.episode is not None and not verdict.episode.open and verdict.episode.units > 1:
                self._tell(followed_end(verdict.episode))

    def _show_alarm(self, one: Found) -> None:
        self._alarms += 1
        if self._form == "json":
            sys.stdout.write(as_json(one) + "\n")
            sys.stdout.flush()
        else:
            show(self._console, one, None, many_files=False)
