"""A whole Driftlock as its users run it: `driftlock up` as a process, spoken to over its ports."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from driftlock.runtime.ports import free_port

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0


@dataclass(slots=True)
class Running:
    """A started tree. `key` is the admin key of the first start."""

    process: asyncio.subprocess.Process
    folder: Path
    ports: dict[str, int]
    key: str
    output: list[str]

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports['api']}"

    @property
    def otlp_http(self) -> str:
        return f"http://127.0.0.1:{self.ports['http']}"

    @property
    def otlp_grpc(self) -> str:
        return f"127.0.0.1:{self.ports['grpc']}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def children(self, word: str) -> list[psutil.Process]:
        """Direct children of the supervisor whose command line names `word`."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if word in " ".join(child.cmdline()):
                    found.append(child)
        return found

    async def get(self, path: str, **params: Any) -> Any:
        """The JSON of a GET, with the admin key."""
        async with httpx.AsyncClient(base_url=self.api, headers=self.headers, timeout=20) as client:
            answer = await client.get(path, params=params)
            answer.raise_for_status()
            return answer.json()

    async def anomalies(self, **filters: Any) -> list[dict[str, Any]]:
        """All anomalies that pass the filters."""
        page = await self.get("/v1/anomalies", limit=1000, **filters)
        assert not page["has_more"]
        return list(page["anomalies"])

    async def stop(self) -> float:
        """Ends it as Ctrl-C would; how many seconds that took."""
        started = time.monotonic()
        if self.process.returncode is None:
            self.process.terminate()
        await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        return time.monotonic() - started


@asynccontextmanager
async def running(
    folder: Path, *flags: str, ports: dict[str, int] | None = None, key: str = ""
) -> AsyncIterator[Running]:
    """`driftlock up` on a data folder, ended when the context ends. Give ports and key to start it again."""
    ports = ports or {"api": free_port(), "grpc": free_port(), "http": free_port()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "driftlock", "up", "--data-dir", str(folder),
        "--api-port", str(ports["api"]), "--otlp-grpc-port", str(ports["grpc"]),
        "--otlp-http-port", str(ports["http"]), "--rate-limit-per-minute", "100000",
        "--checkpoint-interval-s", "0.5", *flags,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output: list[str] = []
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            async for raw in process.stdout:
                text = raw.decode(errors="replace").rstrip()
                output.append(text)
                if text.startswith("Ctrl-C"):
                    break
            else:
                raise AssertionError("driftlock up ended:\n" + "\n".join(output))
        reader = asyncio.create_task(_collect(process.stdout, output))
        told = re.search(r"Admin key\s+(\S+)", "\n".join(output))
        tree = Running(process, folder, ports, told.group(1) if told else key, output)
        try:
            yield tree
        finally:
            await tree.stop()
            await reader
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _collect(stream: asyncio.StreamReader, output: list[str]) -> None:
    output.extend([raw.decode(errors="replace").rstrip() async for raw in stream])


async def driftlock(*arguments: str, timeout_s: float = 120.0) -> str:
    """Runs a `driftlock` command to its end and gives back what it printed; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "driftlock", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = printed.decode(errors="replace")
    assert process.returncode == 0, text
    return text
