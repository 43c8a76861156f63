"""What the tests of the API share: a running API, example anomalies, and what a problem looks like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from driftlock.api import service
from driftlock.api.feed.hub import CONNECTIONS
from driftlock.api.settings import ApiSettings
from driftlock.storage.anomalies import NewAnomaly, anomaly_id

TIMEOUT_S = 30.0
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


@dataclass
class Api:
    """One running API process's worth: where it is, and how to stop it."""

    url: str
    settings: ApiSettings
    stop: asyncio.Event
    task: asyncio.Task[None]

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=TIMEOUT_S)

    async def end(self) -> None:
        self.stop.set()
        await self.task


@asynccontextmanager
async def running(settings: ApiSettings, **more: Any) -> AsyncIterator[Api]:
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(service.run(settings, stop, ready=ready, **more))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        await task
    api = Api(f"http://{settings.host}:{settings.port}", settings, stop, task)
    try:
        yield api
    finally:
        await api.end()
        assert CONNECTIONS._value.get() == 0, "an event stream was not given back"


Start = Callable[..., Awaitable[Api]]
Store = Callable[..., Awaitable[Sequence[NewAnomaly]]]


def make(seed: bytes = b"s", timestamp: datetime = NOW, **fields: Any) -> NewAnomaly:
    told = {"stream_type": "logs", "stream": "checkout", "service": "checkout", "severity": "high", **fields}
    return NewAnomaly(id=anomaly_id(timestamp, seed), timestamp=timestamp, **told)


def problem(response: httpx.Response, status: int, name: str) -> dict[str, Any]:
    """Checks that an answer is the problem it should be, and gives its body."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["type"], body["status"]) == (f"urn:driftlock:problem:{name}", status)
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == response.request.url.path
    return body
