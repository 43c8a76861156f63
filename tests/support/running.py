"""A whole Driftlock for acceptance tests: `driftlock up` as a person would start it.

    async with Driftlock(data_dir) as running:
        await running.client.get("/v1/anomalies")

It is used through its command line and its ports alone.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import httpx
import psutil

from driftlock.runtime.ports import free_port

DRIFTLOCK = [sys.executable, "-m", "driftlock"]
DEV_KEY = "dlk_development-key-of-the-tests"
START_S = 120.0


def run(*arguments: str, cwd: Path | None = None, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """One command to its end."""
    return subprocess.run(
        [*DRIFTLOCK, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=cwd or tempfile.gettempdir(),
        env=clean_environment(),
        check=False,
    )


def clean_environment() -> dict[str, str]:
    """Ours, without settings of a Driftlock on this machine."""
    return {key: value for key, value in os.environ.items() if not key.startswith("DRIFTLOCK_")}


class Driftlock:
    """`driftlock up` on free ports. `flags` are added to its command line."""

    def __init__(self, data_dir: Path, *flags: str, dev_key: str | None = DEV_KEY) -> None:
        self.data_dir = data_dir
        self.api_port = free_port()
        self.grpc_port = free_port([self.api_port])
        self.http_port = free_port([self.api_port, self.grpc_port])
        self.key: str | None = dev_key
        self._dev_key = dev_key
        self._flags: Sequence[str] = flags
        self._process: subprocess.Popen[bytes] | None = None
        self.output = ""

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def process(self) -> psutil.Process:
        assert self._process is not None, "not started"
        return psutil.Process(self._process.pid)

    @property
    def client(self) -> httpx.AsyncClient:
        """A new client of the API, with the key; to be closed by the caller (`async with`)."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return httpx.AsyncClient(base_url=self.api, headers=headers, timeout=30)

    async def start(self) -> None:
        """Start it and return once it says that it runs. Raises AssertionError with its words if not."""
        log = self._log_path()
        self.output = ""
        before = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it must outlive this loop if a test says so
                [*DRIFTLOCK, "up", *self._ports(), *self._flags],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                cwd=tempfile.gettempdir(),
                env=self._environment(),
            )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_S
        while "Ctrl-C ends it." not in self.output:
            self.output = log.read_bytes()[before:].decode(errors="replace")
            assert self._process.poll() is None, f"it ended by itself:\n{self.output}"
            assert loop.time() < deadline, f"it did not start:\n{self.output}"
            await asyncio.sleep(0.05)
        if self._dev_key is None:
            found = re.search(r"Admin key +(\S+)", self.output)
            self.key = found.group(1) if found else self.key

    def children(self, *words: str) -> list[psutil.Process]:
        """Its direct children whose command line holds all the words, in order of their start."""
        found = [one for one in self.process.children() if set(words) <= set(_words(one))]
        return sorted(found, key=lambda one: one.pid)

    def kill(self) -> None:
        """SIGKILL for the supervisor alone; its children must end by themselves."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    async def stop(self, sig: signal.Signals = signal.SIGTERM, *, within_s: float = 60) -> int:
        """Ask it to end; returns its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(sig)
        async with asyncio.timeout(within_s):
            while self._process.poll() is None:
                await asyncio.sleep(0.02)
        return self._process.returncode

    def log(self) -> str:
        """Everything that was printed, by every start on this folder."""
        return self._log_path().read_text(errors="replace")

    async def __aenter__(self) -> Driftlock:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        finally:
            assert self._process is not None
            if self._process.poll() is None:
                self.kill()

    def _log_path(self) -> Path:
        return self.data_dir.with_name(self.data_dir.name + ".log")

    def _ports(self) -> list[str]:
        ports = ("--api-port", self.api_port, "--otlp-grpc-port", self.grpc_port)
        ports += ("--otlp-http-port", self.http_port)
        return [str(part) for part in (*ports, "--data-dir", self.data_dir)]

    def _environment(self) -> dict[str, str]:
        key = {"DRIFTLOCK_DEV_API_KEY": self._dev_key} if self._dev_key else {}
        return {**clean_environment(), **key}


def _words(process: psutil.Process) -> list[str]:
    try:
        line = process.cmdline()
    except psutil.Error:
        return []
    return [Path(part).name for part in line[:1]] + line[1:]
