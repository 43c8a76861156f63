from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from driftlock.bus.log import TelemetryLog
from integration.bus.natsserver import NatsServer


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def log(nats_server: NatsServer) -> AsyncIterator[TelemetryLog]:
    telemetry_log = await TelemetryLog.connect(nats_server.url, name="test")
    await telemetry_log.ensure(bytes_max=1 << 30)
    yield telemetry_log
    await telemetry_log.close()
