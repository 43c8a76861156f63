"""Run as a program: prints a digest of every bit of the verdicts on made logs, traces and series.

    python verdict_digest.py [restart]

With `restart` every state is stored and restored halfway.
"""

from __future__ import annotations

import hashlib
import struct
import sys

import numpy as np

from driftlock.core.log_settings import LogSettings
from driftlock.core.log_stream import LogStream
from driftlock.core.series import SeriesBank, SeriesSettings
from driftlock.core.verdict import Verdict
from driftlock.signals.textlog import text_batch

LINES = 6_000
WORDS = ("accepted", "served", "stored", "queued", "closed", "dropped")


def made_lines() -> list[bytes]:
    """A log with ids, and a few lines near its end that it never had before."""
    rng = np.random.default_rng(5)
    kinds = rng.choice(len(WORDS), LINES, p=[0.4, 0.25, 0.15, 0.1, 0.07, 0.03])
    lines = [
        f"2026-01-05 10:00:00 INFO {WORDS[kind]} order {row} of 10.0.0.{row % 250} in {row % 77} ms"
        for row, kind in enumerate(kinds.tolist())
    ]
    for row in range(5_000, 5_010):
        lines[row] = f"2026-01-05 10:00:00 ERROR cannot reach db-{row} as bob@example.org s{row // 8}"
    return [line.encode() + b"\n" for line in lines]


def on_lines(settings: LogSettings, *, restart: bool) -> list[Verdict]:
    stream = LogStream(settings)
    lines = made_lines()
    found: list[Verdict] = []
    for begin in (0, LINES // 2):
        batch = text_batch(b"".join(lines[begin : begin + LINES // 2]))
        offsets = batch.canonical.offsets
        times, now_ns = batch.time_ns, begin + 1
        if settings.mode == "time":  # a line a second, and five minutes without any
            times = times + (np.arange(begin, begin + len(batch)) + (300 if begin else 0)) * 10**9
            now_ns = int(times[0])
        found += stream.add(
            batch.templates,
            batch.canonical.buffer,
            offsets[:-1],
            offsets[1:],
            times,
            np.arange(begin, begin + len(batch)),
            sessions=[b"%d" % ((begin + row) // 8) for row in range(len(batch))],
            now_ns=now_ns,
        )
        if restart:
            stream = LogStream.restore(settings, stream.snapshot())
    return found + stream.flush()


def on_series(*, restart: bool) -> bytes:
    bank = SeriesBank(SeriesSettings())
    rng = np.random.default_rng(6)
    parts = []
    for minute in range(1_200):
        values = np.cumsum(rng.normal(size=20)) + 5 * np.sin(minute / 100)
        values[3] += 400 * (minute == 1_100)
        times = np.full(20, minute * 60 * 10**9)
        found = bank.observe(np.arange(1, 21, dtype=np.uint64), times, values, np.zeros(20, np.bool_))
        parts += [found.score.tobytes(), found.p_value.tobytes(), found.alarm.tobytes()]
        if restart and minute == 600:
            stored = bank.snapshot()
            bank = SeriesBank.restore(SeriesSettings(), stored)
    return b"".join(parts)


def said(verdict: Verdict) -> bytes:
    numbers = struct.pack("<3d", verdict.score, verdict.p_value, verdict.surprise_bits)
    told = (verdict.key, verdict.alarm, verdict.severity, verdict.baseline_ref, verdict.explanation)
    return numbers + repr((*told, verdict.measures, verdict.detail)).encode()


def main() -> None:
    restart = sys.argv[1:] == ["restart"]
    digest = hashlib.sha256(on_series(restart=restart))
    alarms = 0
    by_time = LogSettings(mode="time", block_ns=20 * 10**9)
    for settings in (LogSettings(), LogSettings(mode="session"), by_time):
        for verdict in on_lines(settings, restart=restart):
            digest.update(said(verdict))
            alarms += verdict.alarm
    print(digest.hexdigest(), alarms)


if __name__ == "__main__":
    main()
