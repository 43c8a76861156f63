"""Verdicts on the units of a log file, for `score` and `detect`.

Owns: reading a file in chunks of whole lines, and two ways to cut it into units. Blocks are scored as they
are read. Sessions of a file are complete only at its end: they are learned and scored then, the baseline (the
first ones to appear) before all others, those in the order in which they completed. No label is ever seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from driftlock.cli.logfile import LINE_BYTES_MAX, UNREADABLE, LogFile
from driftlock.core.log_stream import LogSettings, LogStream
from driftlock.core.log_units import Assembled
from driftlock.core.verdict import Verdict
from driftlock.errors import InputError
from driftlock.library.clock import SECOND_NS, Clock
from driftlock.signals.line_keys import keys_of
from driftlock.signals.masking import DEFAULT_MASKING, Masking
from driftlock.signals.sessions import session_key
from driftlock.signals.textlog import LineKeys, TextBatch, check_pattern, text_batch

_T = TypeVar("_T")

AHEAD = 2
"""Chunks that are read and made canonical while an earlier one is judged."""
CHUNK_BYTES = 4 * 1024 * 1024
LINES_MAX = 200_000_000

Progress = Callable[[int, int], None]
"""Told the lines read so far and the position in the packed file."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A file's verdicts in order of first appearance, and what was read for them."""

    verdicts: list[Verdict]
    lines: int
    units_baseline: int
    stream: LogStream
    settings: LogSettings


def chunks(file: LogFile) -> Iterator[bytes]:
    """The file in pieces of whole lines; a line beyond the limit is cut."""
    rest = b""
    while piece := file.read(CHUNK_BYTES):
        head, newline, tail = piece.rpartition(b"\n")
        if newline:
            yield rest + head + newline
            rest = tail
        elif len(rest) < LINE_BYTES_MAX:
            rest += piece
    if rest:
        yield rest


def score_blocks(
    file: LogFile,
    settings: LogSettings,
    progress: Progress,
    *,
    masking: Masking = DEFAULT_MASKING,
    tells: bool = True,
) -> Scored:
    """Verdicts on the windows, or blocks of time, of an un-keyed log. Positions are line numbers from 1."""
    settings = replace(settings, form=masking.version)
    stream, lines = LogStream(settings, tells=tells), 0
    clock = Clock(settings.session_idle_ns) if settings.mode == "time" else None
    verdicts: list[Verdict] = []
    for batch in ahead(partial(text_batch, masking=masking), readable(file)):
        verdicts += add_lines(stream, batch, first_line=lines + 1, clock=clock)
        lines += len(batch)
        progress(lines, file.position)
    if clock is not None and lines and not clock.now_ns:
        raise InputError(f"No line of {file.name} has a time, so nothing tells where a block ends.")
    verdicts += stream.flush()
    return Scored(verdicts, lines, stream.warm_up.units_seen - len(verdicts), stream, settings)


def add_lines(
    stream: LogStream,
    batch: TextBatch,
    *,
    first_line: int,
    now_ns: int | None = None,
    clock: Clock | None = None,
    sessions: Sequence[bytes] | None = None,
) -> list[Verdict]:
    """Feeds the lines of a batch that are not blank; the clock is that of the log unless one is given.

    For blocks of time that is `clock`, which the lines move on, each its own: a leap of one line waits.
    """
    rows = np.flatnonzero(batch.ends > batch.starts)
    if not len(rows):
        return []
    offsets, times = batch.canonical.offsets, batch.time_ns[rows]
    if clock is not None:
        clocks = clock.at(times)
        times, now_ns = np.minimum(times, clocks + (SECOND_NS - 1)), int(clocks[0])
    return stream.add(
        batch.templates[rows],
        batch.canonical.buffer,
        offsets[:-1][rows],
        offsets[1:][rows],
        times,
        rows + first_line,
        numbers=batch.canonical.numbers[rows],
        sessions=None if sessions is None else [sessions[row] for row in rows.tolist()],
        now_ns=int(batch.time_ns.max()) if now_ns is None else now_ns,
    )


def ahead(work: Callable[[bytes], _T], pieces: Iterator[bytes]) -> Iterator[_T]:
    """What `work` makes of each piece, in order, begun before it is asked for.

    In threads, since the kernels that read text leave the interpreter to others. `work` has no memory, so how
    many there are changes nothing.
    """
    begun: deque[Future[_T]] = deque()
    with ThreadPoolExecutor(AHEAD) as pool:
        for piece in pieces:
            begun.append(pool.submit(work, piece))
            if len(begun) > AHEAD:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def readable(file: LogFile) -> Iterator[bytes]:
    """`chunks`, with a fault in the packed data told as such."""
    try:
        yield from chunks(file)
    except UNREADABLE as error:
        raise InputError(f"{file.name} cannot be read: {error}") from error


@dataclass
class _KeyedLines:
    """The keyed lines of a file, as columns; texts of templates once each."""

    keys: dict[bytes, int] = field(default_factory=dict)
    texts: dict[int, bytes] = field(default_factory=dict)
    columns: list[tuple[npt.NDArray[np.int64], ...]] = field(default_factory=list)
    templates: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    lines: int = 0

    def take(self, batch: TextBatch, found: LineKeys) -> None:
        keys = self.keys
        # one more for lines without a key: -1 is the last
        known = np.array([*(keys.setdefault(name, len(keys)) for name in found.names), -1], np.int64)
        codes = known[found.codes]
        rows = np.flatnonzero(codes >= 0)
        self.templates.append(batch.templates[rows])
        numbers = batch.canonical.numbers[rows].astype(np.int64)
        self.columns.append((codes[rows], rows + (self.lines + 1), batch.time_ns[rows], numbers))
        self._keep_texts(batch, rows)
        self.lines += len(batch)

    def _keep_texts(self, batch: TextBatch, rows: npt.NDArray[np.int64]) -> None:
        distinct, where = np.unique(batch.templates[rows], return_index=True)
        for template, place in zip(distinct.tolist(), rows[where].tolist(), strict=True):
            if template not in self.texts:
                self.texts[template] = batch.canonical[place]


def score_sessions(
    file: LogFile,
    settings: LogSettings,
    progress: Progress,
    *,
    pattern: str,
    baseline_fraction: float,
    masking: Masking = DEFAULT_MASKING,
    tells: bool = True,
    wanted: str | None = None,
) -> Scored:
    """Verdicts on the complete sessions of a file, the baseline's left out. Positions are line numbers.

    `wanted` says what a line needs in order to be of a session, where the pattern is none of the user's.
    """
    check_pattern(pattern)
    held = _KeyedLines()
    for batch, found in ahead(partial(_keyed, pattern=pattern, masking=masking), readable(file)):
        held.take(batch, found)
        progress(held.lines, file.position)
    wanted = wanted or f"a match of {pattern!r}"
    if not held.keys:
        raise InputError(f"No line of {file.name} has {wanted}.")
    if len(held.keys) == 1:
        raise InputError(f"All lines of {file.name} with {wanted} are of one session; there is no other.")
    baseline = max(ceil(len(held.keys) * baseline_fraction), 2)
    chosen = replace(_for_file(settings, min(baseline, 4_096)), form=masking.version)
    stream = LogStream(chosen, tells=tells)
    names = [key.decode("utf-8", "replace") for key in held.keys]
    if tells:  # to people, who may pass them on; where units are measured, names are those of the labels
        names = [session_key("", name, masking.redact).decode() for name in names]
    verdicts = _score_units(stream, held, names, baseline)
    return Scored(verdicts, held.lines, baseline, stream, chosen)


def _keyed(chunk: bytes, *, pattern: str, masking: Masking) -> tuple[TextBatch, LineKeys]:
    batch = text_batch(chunk, masking=masking)
    return batch, keys_of(chunk, batch, pattern)


def _for_file(settings: LogSettings, baseline_units: int) -> LogSettings:
    return LogSettings(
        mode="session",
        baseline_units=baseline_units,
        p_value_threshold=settings.p_value_threshold,
        alert_budget=settings.alert_budget,
    )


def _score_units(stream: LogStream, held: _KeyedLines, names: Sequence[str], baseline: int) -> list[Verdict]:
    codes, lines, times, numbers = (np.concatenate(column) for column in zip(*held.columns, strict=True))
    templates = np.concatenate(held.templates)
    by_unit = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[by_unit], np.arange(len(held.keys) + 1))
    ended = by_unit[bounds[1:] - 1]  # the row of each unit's last line
    order = np.concatenate([np.arange(baseline), baseline + np.argsort(ended[baseline:], kind="stable")])
    sizes = np.diff(bounds)[order]
    rows = by_unit[np.repeat(bounds[:-1][order] - np.cumsum(sizes) + sizes, sizes) + np.arange(len(by_unit))]
    starts_at = np.concatenate([[0], np.cumsum(sizes)])
    first, last = rows[starts_at[:-1]], rows[starts_at[1:] - 1]
    units = Assembled(
        [names[code] for code in order.tolist()],
        starts_at,
        lines[first],
        lines[last],
        times[first],
        times[last],
    )
    buffer, starts, ends = _texts_of(held.texts, templates)
    events = (templates[rows], buffer, starts[rows], ends[rows])
    verdicts = stream.add_units(units, *events, numbers=numbers[rows].astype(np.uint32))
    judged = order[len(order) - len(verdicts) :]  # those before are the baseline
    found = dict(zip(judged.tolist(), verdicts, strict=True))
    return [found[code] for code in sorted(found) if code >= baseline]


def _texts_of(
    texts: dict[int, bytes], templates: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """One buffer of all texts, and start and end of each line's text in it."""
    hashes = np.array(sorted(texts), np.uint64)
    ordered = [texts[template] for template in hashes.tolist()]
    ends = np.cumsum([len(text) for text in ordered], dtype=np.int64)
    starts = ends - np.array([len(text) for text in ordered], np.int64)
    place = np.searchsorted(hashes, templates)
    return np.frombuffer(b"".join(ordered), np.uint8), starts[place], ends[place]
