"""Ending a task for certain."""

from __future__ import annotations

import asyncio
from typing import Any

CANCEL_AGAIN_S = 0.2


async def end(task: asyncio.Task[Any]) -> None:
    """Cancels a task until it is done, and swallows how it ended.

    Once is not always enough: in Python 3.11 `asyncio.wait_for` loses a cancellation that arrives in the
    moment in which what it waits for is done, and libraries below us use it in endless loops.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_AGAIN_S)
    if not task.cancelled():
        task.exception()  # taken note of: nobody else will ask
