"""Waiting in tests: for a condition, with a generous bound that only a hang reaches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

WITHIN_S = 60.0


async def until(condition: Callable[[], bool], *, within_s: float = WITHIN_S) -> None:
    """Return once the condition holds; TimeoutError when it never does."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)
