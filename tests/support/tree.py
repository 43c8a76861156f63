"""A running Driftlock and the few things that acceptance tests ask of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from support.running import DRIFTLOCK, Driftlock, clean_environment


class Tree(Driftlock):
    """`driftlock up` with quick checkpoints and no rate limit worth the name."""

    def __init__(self, data_dir: Path, *flags: str) -> None:
        super().__init__(
            data_dir, "--rate-limit-per-minute", "100000", "--checkpoint-interval-s", "0.5", *flags
        )

    @property
    def otlp_http(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    async def get(self, path: str, **params: Any) -> Any:
        """The JSON of a GET, with the key."""
        async with self.client as client:
            answer = await client.get(path, params=params)
            answer.raise_for_status()
            return answer.json()

    async def anomalies(self, **filters: Any) -> list[dict[str, Any]]:
        """All anomalies that pass the filters."""
        page = await self.get("/v1/anomalies", limit=1000, **filters)
        assert not page["has_more"]
        return list(page["anomalies"])


async def driftlock(*arguments: str, timeout_s: float = 120.0) -> str:
    """Runs a `driftlock` command to its end and gives back what it printed; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *(*DRIFTLOCK, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=clean_environment(),
    )
    try:
        printed, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    text = printed.decode(errors="replace")
    assert process.returncode == 0, text
    return text
