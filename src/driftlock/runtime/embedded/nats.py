"""NATS with JetStream as a child: writes its configuration, starts it, knows when it is ready."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Sequence
from pathlib import Path

from driftlock.errors import StartError
from driftlock.runtime.account import Account, give
from driftlock.runtime.datafolder import disk_fault, told_plainly
from driftlock.runtime.embedded.logfile import fault_in, tail
from driftlock.runtime.ports import LOOPBACK
from driftlock.runtime.process import Child, Program, spawn

PAYLOAD_BYTES_MAX = 8 * 1024 * 1024  # a message carries a batch of records; the server's default is 1 MiB
READY_S = 60.0  # it reads its store at start
_LOOK_S = 0.02

_CONFIG = """\
# Written by Driftlock at each start; changes are lost.
server_name: driftlock
host: {host}
port: {port}
pid_file: {pid_file}
authorization {{ token: {token} }}
max_payload: {payload}
max_pending: 256MB
write_deadline: "10s"
jetstream {{
  store_dir: {store}
  max_memory_store: 64MB
  max_file_store: {store_bytes}
  # A killed server loses nothing, the pages are the kernel's. A power cut can lose what was not yet synced:
  # a second is the bound we accept, where the default is two minutes.
  sync_interval: "1s"
}}
"""


class Nats:
    """A `Service`: one NATS server over one folder, on one port for its lifetime."""

    name = "NATS"
    end_steps: Sequence[tuple[signal.Signals, float]] = ((signal.SIGTERM, 0.8),)

    def __init__(
        self,
        folder: Path,
        *,
        program: Path,
        account: Account | None,
        port: int,
        token: str,
        log_file: Path,
        store_bytes_max: int,
    ) -> None:
        self.folder = folder
        self.port = port
        self.log_file = log_file
        self._program_path = program
        self._account = account
        self._token = token
        self._store_bytes_max = store_bytes_max
        self._config = folder / "nats.conf"
        self._pid_file = folder / "nats.pid"

    @property
    def url(self) -> str:
        return f"nats://{self._token}@{LOOPBACK}:{self.port}"

    async def prepare(self) -> None:
        """Write the folder and the configuration. Raises StartError."""
        with told_plainly(self.folder):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            give(self.folder, self._account, 0o700)
            part = self._config.with_suffix(".part")
            part.touch(mode=0o600)
            part.write_text(
                _CONFIG.format(
                    host=LOOPBACK,
                    port=self.port,
                    token=self._token,
                    payload=PAYLOAD_BYTES_MAX,
                    store_bytes=self._store_bytes_max,
                    # NATS reads quoted strings with JSON's escapes
                    pid_file=json.dumps(str(self._pid_file)),
                    store=json.dumps(str(self.folder / "store")),
                )
            )
            give(part, self._account, 0o600)
            part.rename(self._config)

    async def launch(self) -> Child:
        """Start it and wait until it greets, as our own child, with JetStream on. Raises StartError."""
        mark = self.log_file.stat().st_size if self.log_file.exists() else 0
        child = spawn(self._program())
        try:
            if await self._ready(child):
                return child
        except BaseException:
            await child.end(self.end_steps)
            raise
        raise self._refusal(tail(self.log_file, since=mark))

    async def _ready(self, child: Child) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_S
        while child.returncode is None:
            if self._is_own(child.pid) and await _greets_with_jetstream(self.port):
                return True
            if loop.time() > deadline:
                raise StartError(f"NATS was not ready after {READY_S:.0f} s.", hint=f"See {self.log_file}.")
            await asyncio.sleep(_LOOK_S)
        return False

    def _is_own(self, pid: int) -> bool:
        try:
            return self._pid_file.read_text().strip() == str(pid)
        except OSError:
            return False

    def _program(self) -> Program:
        return Program(
            name="nats-server",
            argv=[str(self._program_path), "-c", str(self._config)],
            death_signal=signal.SIGTERM,
            cwd=self.folder,
            account=self._account,
            log=self.log_file,
        )

    def _refusal(self, said: str) -> StartError:
        if "address already in use" in said:
            return StartError(f"Port {self.port}, which the embedded NATS uses, is taken.")
        lines = [line.strip() for line in said.splitlines() if "[FTL]" in line or "[ERR]" in line]
        words = (lines or said.strip().splitlines() or ["it said nothing"])[-1][:300]
        return disk_fault(fault_in(said), self.folder) or StartError(
            f"NATS did not start: {words}", hint=f"See {self.log_file}."
        )


async def _greets_with_jetstream(port: int) -> bool:
    """Whether the INFO line that a NATS server opens with says that JetStream is on."""
    try:
        async with asyncio.timeout(1.0):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                line = await reader.readline()
            finally:
                writer.close()
                await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return line.startswith(b"INFO ") and json.loads(line[5:]).get("jetstream") is True
