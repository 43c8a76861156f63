"""Records a second from an OTLP client to committed verdicts, on a whole tree.

A run sends a fixed number of requests as fast as they are acknowledged; it ends when the detectors have
committed all of it, which they count afterwards. Its clock starts with the first request. The load generator
runs on the same machine and shares its cores.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from types import TracebackType
from typing import Any, Self

import msgspec
import psutil

from benchmarks.load import RECORDS_A_REQUEST, Kind, Shape
from benchmarks.speed_client import Order, Sent, Spec
from benchmarks.speed_tree import Tree, busiest, by_role, phases

POOL_REQUESTS = 200
DRAIN_TIMEOUT_S = 900.0
RUN_S = 12.0
FIRST_GUESS_A_SECOND = 30_000.0


class Client:
    """The load generator in a process of its own, as a context."""

    def __init__(self, spec: Spec) -> None:
        self._spec = msgspec.json.encode(spec).decode()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed_client", self._spec],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def start(self, order: Order) -> None:
        """Begin; `result` waits for the end."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order).decode() + "\n")
        self._process.stdin.flush()

    def result(self) -> Sent:
        return msgspec.json.decode(self._read(), type=Sent)

    def send(self, order: Order) -> Sent:
        """Send everything of the order and wait until it is acknowledged."""
        self.start(order)
        return self.result()

    def cpu_s(self) -> float:
        assert self._process is not None
        times = psutil.Process(self._process.pid).cpu_times()
        return float(times.user + times.system)

    def _read(self) -> str:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended")
        return line


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run. CPU seconds by role; `busiest` are single processes by their share of a core."""

    records: int
    bytes: int
    wall_s: float
    acknowledged_s: float
    refused: int
    cpu_s: dict[str, float]
    busiest: list[tuple[str, float]]

    @property
    def records_a_second(self) -> float:
        return self.records / self.wall_s


@dataclass(frozen=True, slots=True)
class Throughput:
    """All runs of one shape, and what the streams were like afterwards."""

    kind: str
    streams: int
    runs: list[Run]
    warm_up: dict[str, int] = field(default_factory=dict)
    state_bytes_a_stream: float = 0.0
    detector_growth_bytes_a_stream: float = 0.0

    @property
    def records_a_second(self) -> float:
        return median(run.records_a_second for run in self.runs)

    def told(self) -> dict[str, Any]:
        """For the results file."""
        rates = [run.records_a_second for run in self.runs]
        return {
            "kind": self.kind,
            "streams": self.streams,
            "records_a_second": {"median": median(rates), "least": min(rates), "most": max(rates)},
            "cpu_s_a_million_records": cpu_a_million(self.runs),
            "phases": self.warm_up,
            "state_bytes_a_stream": self.state_bytes_a_stream,
            "detector_growth_bytes_a_stream": self.detector_growth_bytes_a_stream,
            "runs": [msgspec.to_builtins(run) for run in self.runs],
        }


def cpu_a_million(runs: Sequence[Run]) -> dict[str, float]:
    """CPU seconds a million records by role, over all runs together."""
    records = sum(run.records for run in runs)
    roles = dict.fromkeys(role for run in runs for role in run.cpu_s)
    return {role: sum(run.cpu_s.get(role, 0.0) for run in runs) / records * 1e6 for role in roles}


def measure(tree: Tree, kind: Kind, shape: Shape, *, warm_up_a_stream: int, runs: int) -> Throughput:
    """Warm the streams up with so many records each, then measure `runs` times about `RUN_S` seconds."""
    spec = Spec(tree.grpc_port, kind, shape.streams, shape.run, shape.prefix, POOL_REQUESTS)
    memory_before = tree.memory_bytes("detector")
    with Client(spec) as client:
        done = [warm(tree, client, kind, records=warm_up_a_stream * shape.streams)]
        for _ in range(runs):
            done.append(one_run(tree, client, kind, requests=_requests_for(done[-1].records_a_second)))
    mine = tree.settled(shape.prefix, sum(run.records for run in done))
    growth = tree.memory_bytes("detector") - memory_before
    return Throughput(
        kind=kind,
        streams=shape.streams,
        runs=done[1:],
        warm_up=phases(mine),
        state_bytes_a_stream=sum(s["bytes_held"] for s in mine) / max(1, len(mine)),
        detector_growth_bytes_a_stream=growth / shape.streams,
    )


def warm(tree: Tree, client: Client, kind: Kind, *, records: int) -> Run:
    """Send so many records, and at least some seconds' worth, and wait for their verdicts."""
    requests = max(-(-records // RECORDS_A_REQUEST), _requests_for(FIRST_GUESS_A_SECOND) // 4)
    return one_run(tree, client, kind, requests=requests)


def one_run(tree: Tree, client: Client, kind: Kind, *, requests: int) -> Run:
    """Send so many requests and wait for their verdicts."""
    before, cpu_before, client_before = tree.processed(kind), tree.cpu_s(), client.cpu_s()
    sent = client.send(Order(requests))
    done_s = tree.await_processed(kind, before + sent.records, timeout_s=DRAIN_TIMEOUT_S)
    cpu_after, client_after = tree.cpu_s(), client.cpu_s()
    wall_s = done_s - sent.first_s
    client_spent = client_after - client_before
    shares = [*busiest(cpu_before, cpu_after, wall_s=wall_s), ("load generator", client_spent / wall_s)]
    return Run(
        records=sent.records,
        bytes=sent.bytes,
        wall_s=wall_s,
        acknowledged_s=sent.acknowledged_s - sent.first_s,
        refused=sent.refused,
        cpu_s=by_role(cpu_before, cpu_after) | {"load generator": client_spent},
        busiest=sorted(shares, key=lambda share: -share[1]),
    )


def _requests_for(rate: float) -> int:
    return max(1, int(rate * RUN_S / RECORDS_A_REQUEST))
