from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from integration.collector.running import Collector, running


@pytest.fixture
async def collector(nats_url: str) -> AsyncIterator[Collector]:
    async with running(nats_url) as started:
        yield started


@pytest.fixture
async def client(collector: Collector) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=collector.url, timeout=60) as opened:
        yield opened
