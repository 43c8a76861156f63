"""Whatever is killed midway, the anomalies are those of an undisturbed run: same ids, scores, p-values.

The same file is sent by `driftlock send` while one part of the tree, or all of it, dies by SIGKILL.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support import telemetry
from support.tree import Tree, driftlock

LINES = 24_000
RATE = 4_000
SERVICE = "crash-test"
DONE_TIMEOUT_S = 120.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("crash")]


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ordinary lines with bursts of strange ones, each of its own kind: what comes again soon is no news."""
    rng = random.Random(11)
    at = datetime.now(UTC) - timedelta(hours=1)
    strange_at = {LINES * n // 10: kind for n, kind in zip((5, 6, 7, 8, 9), telemetry.STRANGE, strict=True)}
    lines, burst, kind = [], 0, ""
    for number in range(LINES):
        if number in strange_at:
            burst, kind = 40, strange_at[number]
        at += timedelta(milliseconds=100)
        text = telemetry.line(rng, kind) if burst else telemetry.normal_line(rng)
        burst = max(0, burst - 1)
        lines.append(f"{at.strftime('%Y-%m-%dT%H:%M:%S.%f')}Z INFO {text}")
    path = tmp_path_factory.mktemp("crash") / "app.log"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What the undisturbed run found, filled by the first test that needs it."""
    return {}


async def send(tree: Tree, path: Path) -> None:
    await driftlock(
        "send", str(path), "--service", SERVICE, "--endpoint", tree.otlp_http,
        "--rate", str(RATE), "--timestamps", "parse", timeout_s=240,
    )  # fmt: skip


async def events_seen(tree: Tree) -> list[int]:
    """Events of our stream in checkpoints; none while PostgreSQL recovers and the API says 503."""
    async with tree.client as client:
        answer = await client.get("/v1/streams")
    if answer.status_code == 503:
        return []
    answer.raise_for_status()
    return [s["events_seen"] for s in answer.json()["streams"] if s["service"] == SERVICE]


async def outcome(tree: Tree) -> list[tuple[Any, ...]]:
    """The anomalies, once every line that was sent is in a checkpoint."""
    deadline = time.monotonic() + DONE_TIMEOUT_S
    while True:
        seen = await events_seen(tree)
        if seen == [LINES]:
            break
        assert time.monotonic() < deadline, f"{seen} of {LINES} events after {DONE_TIMEOUT_S} s"
        await asyncio.sleep(0.3)
    rows = await tree.anomalies(service=SERVICE)
    fields = ("id", "timestamp", "p_value", "surprise_bits", "ncd_score", "log_position", "baseline_ref")
    course = [(row["episode"]["units"], row["episode"]["window_end"]) for row in rows]
    assert any(units > 1 for units, _ in course), "a burst of 40 lines is in two windows at least"
    return sorted(
        (*(row[f] for f in fields), row["metadata"]["score"], *told)
        for row, told in zip(rows, course, strict=True)
    )


async def undisturbed(data_dir: Path, log_file: Path, expected: dict[str, Any]) -> list[tuple[Any, ...]]:
    if "rows" not in expected:
        async with Tree(data_dir.with_name("calm")) as tree:
            await send(tree, log_file)
            expected["rows"] = await outcome(tree)
    rows: list[tuple[Any, ...]] = expected["rows"]
    assert len(rows) >= 3, "the file holds five bursts of strange lines"
    return rows


def kill_children(word: str) -> Callable[[Tree], Awaitable[None]]:
    async def kill(tree: Tree) -> None:
        victims = tree.children(word)
        assert victims, f"no child is called {word}"
        for victim in victims:
            victim.kill()

    return kill


@pytest.mark.parametrize("victim", ["detector", "nats-server", "postgres"])
async def test_a_killed_part_changes_nothing(
    victim: str, data_dir: Path, log_file: Path, expected: dict[str, Any]
) -> None:
    wanted = await undisturbed(data_dir, log_file, expected)
    async with Tree(data_dir) as tree:
        sending = asyncio.create_task(send(tree, log_file))
        for _ in range(2):
            await asyncio.sleep(2.0)
            await kill_children(victim)(tree)
        assert not sending.done(), "the kill must come midway"
        await sending
        assert await outcome(tree) == wanted


async def test_the_whole_tree_killed_and_started_again_changes_nothing(
    data_dir: Path, log_file: Path, expected: dict[str, Any]
) -> None:
    wanted = await undisturbed(data_dir, log_file, expected)
    async with Tree(data_dir) as tree:
        sending = asyncio.create_task(send(tree, log_file))
        await asyncio.sleep(3.0)
        for process in tree.children():
            process.kill()
        tree.kill()
        assert not sending.done(), "the kill must come midway"
        await tree.start()
        await sending
        assert await outcome(tree) == wanted
