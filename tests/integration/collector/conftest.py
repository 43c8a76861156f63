from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from integration.bus.natsserver import NatsServer
from integration.collector.running import Collector, running


@pytest.fixture
async def collector(nats_url: str) -> AsyncIterator[Collector]:
    async with running(nats_url) as started:
        yield started


@pytest.fixture
async def client(collector: Collector) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=collector.url, timeout=60) as opened:
        yield opened


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A NATS that the test may kill."""
    server = NatsServer(tmp_path)
    server.start()
    yield server
    server.kill()
