"""A whole `driftlock up` to measure, and what its processes cost.

Owns starting and ending the tree in a folder of its own on free ports, reading its metrics and streams over
its API, and CPU time and memory by role. It must not know what is sent.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import httpx
import psutil

from benchmarks.load import RECORDS_A_REQUEST, Kind, Shape, fresh, requests
from benchmarks.speed_client import METHODS

KEY = "dlk_key-of-the-benchmark-on-loopback"
STARTED = "Ctrl-C ends it."
START_TIMEOUT_S = 180.0
END_TIMEOUT_S = 60.0
SETTLED_TIMEOUT_S = 300.0
PAGE = 1_000
COMPILED: tuple[Kind, ...] = ("logs", "traces", "metrics")
COMPILED_STREAMS = 100
ROLES = ("collector", "detector", "api", "nats", "postgres", "supervisor")


class Tree:
    """`driftlock up` on free ports, as a context. `flags` are added to its command line."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.grpc_port, self._http_port, self._api_port = _free_ports(3)
        self._folder = folder
        self._flags: Sequence[str] = flags
        self._process: subprocess.Popen[bytes] | None = None
        headers = {"Authorization": f"Bearer {KEY}"}
        self.api_url = f"http://127.0.0.1:{self._api_port}"
        self.headers = headers
        self._client = httpx.Client(base_url=self.api_url, headers=headers, timeout=60)

    def __enter__(self) -> Self:
        log = self._folder / "driftlock.log"
        ports = ("--api-port", self._api_port, "--otlp-grpc-port", self.grpc_port)
        more = ("--otlp-http-port", self._http_port, "--rate-limit-per-minute", 1_000_000)
        flags = [str(part) for part in (*ports, *more, "--data-dir", self._folder / "data", *self._flags)]
        own = {k: v for k, v in os.environ.items() if not k.startswith("DRIFTLOCK_")}
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "driftlock", "up", *flags],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                env={**own, "DRIFTLOCK_DEV_API_KEY": KEY},
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while STARTED not in log.read_text(errors="replace"):
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self._end()
                raise RuntimeError(f"driftlock up did not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()
        self._end()

    def _end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def compile(self) -> None:
        """Send a little of every signal, so that the detectors have compiled what they run."""
        for kind in COMPILED:
            payloads = requests(kind, Shape(COMPILED_STREAMS, 10, "compile"), count=2, seed=1)
            before = self.processed(kind)
            with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
                export: Any = channel.unary_unary(METHODS[kind])
                for number, payload in enumerate(payloads):
                    export(fresh(payload, now_ns=time.time_ns(), round_number=number), timeout=60)
            self.await_processed(kind, before + 2 * RECORDS_A_REQUEST, timeout_s=START_TIMEOUT_S)

    def processed(self, signal_name: str) -> int:
        """Events whose verdicts are committed, as Prometheus is told."""
        text = self._client.get("/metrics").raise_for_status().text
        found = re.search(rf'driftlock_events_processed_total{{stream_type="{signal_name}"}} (\S+)', text)
        return int(float(found.group(1))) if found else 0

    def await_processed(
        self, signal_name: str, count: int, *, timeout_s: float, look_s: float = 0.1
    ) -> float:
        """The monotonic time at which `count` was first seen to be reached."""
        deadline_s = time.monotonic() + timeout_s
        while (seen := self.processed(signal_name)) < count:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{seen} of {count} {signal_name} after {timeout_s:.0f} s")
            time.sleep(look_s)
        return time.monotonic()

    def settled(self, prefix: str, events: int) -> list[dict[str, Any]]:
        """The streams of services with this prefix, once checkpoints tell that they saw so many events."""
        deadline_s = time.monotonic() + SETTLED_TIMEOUT_S
        while True:
            mine = [stream for stream in self.streams() if stream["service"].startswith(f"{prefix}-")]
            seen = sum(stream["events_seen"] for stream in mine)
            if seen >= events:
                return mine
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"checkpoints tell {seen} of {events} events")
            time.sleep(2.0)

    def streams(self) -> list[dict[str, Any]]:
        """All streams as the last checkpoints told them."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            query = {"limit": str(PAGE)} | ({"cursor": cursor} if cursor else {})
            page = self._client.get("/v1/streams", params=query).raise_for_status().json()
            found += page["streams"]
            cursor = page["next_cursor"]
            if not cursor:
                return found

    def processes(self) -> Iterator[tuple[str, psutil.Process]]:
        """Every process of the tree with its role."""
        assert self._process is not None
        root = psutil.Process(self._process.pid)
        yield "supervisor", root
        for process in root.children(recursive=True):
            with _vanishing():
                yield _role(process), process

    def cpu_s(self) -> dict[tuple[str, int], float]:
        """CPU seconds of each process so far, by role and process id.

        PostgreSQL's ended children are in the account of the process that waited for them.
        """
        spent: dict[tuple[str, int], float] = {}
        for role, process in self.processes():
            with _vanishing():
                times = process.cpu_times()
                ended = times.children_user + times.children_system if role == "postgres" else 0.0
                spent[role, process.pid] = times.user + times.system + ended
        return spent

    def memory_bytes(self, role: str) -> int:
        """Resident memory of all processes of a role."""
        total = 0
        for found, process in self.processes():
            with _vanishing():
                total += process.memory_info().rss if found == role else 0
        return total


def by_role(before: dict[tuple[str, int], float], after: dict[tuple[str, int], float]) -> dict[str, float]:
    """CPU seconds that each role spent between two accounts."""
    spent: defaultdict[str, float] = defaultdict(float)
    for (role, pid), seconds in after.items():
        spent[role] += seconds - before.get((role, pid), 0.0)
    return {role: spent[role] for role in ROLES if role in spent}


def busiest(
    before: dict[tuple[str, int], float], after: dict[tuple[str, int], float], *, wall_s: float
) -> list[tuple[str, float]]:
    """Single processes by their share of one core, the busiest first."""
    shares = [
        (role, (seconds - before.get((role, pid), 0.0)) / wall_s) for (role, pid), seconds in after.items()
    ]
    return sorted(shares, key=lambda share: -share[1])[:6]


def phases(streams: Sequence[dict[str, Any]]) -> dict[str, int]:
    """How many streams are in each phase of warm-up."""
    return dict(Counter(stream["warm_up"]["phase"] for stream in streams))


@contextmanager
def _vanishing() -> Iterator[None]:
    """A process may end while it is looked at."""
    try:
        yield
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return


def _role(process: psutil.Process) -> str:
    words = process.cmdline()
    if not words:
        return "supervisor"
    name = Path(words[0]).name
    if name.startswith("nats-server"):
        return "nats"
    if name.startswith("postgres"):
        return "postgres"
    return next((role for role in ROLES if role in words), "supervisor")


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
