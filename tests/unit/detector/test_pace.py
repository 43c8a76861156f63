"""How often an owner writes a checkpoint."""

from __future__ import annotations

import asyncio
import time

from driftlock.detector.pace import CheckpointPace, Turn


def test_a_quick_checkpoint_comes_again_after_the_interval() -> None:
    pace = CheckpointPace(15.0, now_s=100.0)
    assert not pace.due(114.9)
    assert pace.due(115.0)
    pace.wrote(now_s=115.1, took_s=0.1, others_s=0.0)
    assert not pace.due(130.0)
    assert pace.due(130.1)


def test_a_costly_one_takes_a_twentieth_of_the_time() -> None:
    pace = CheckpointPace(15.0, now_s=0.0)
    pace.wrote(now_s=20.0, took_s=4.0, others_s=0.0)
    assert not pace.due(99.0)
    assert pace.due(100.0)


def test_the_time_that_others_scored_meanwhile_is_no_cost_of_it() -> None:
    pace = CheckpointPace(15.0, now_s=0.0)
    pace.wrote(now_s=20.0, took_s=10.0, others_s=9.5)
    assert pace.due(35.0)
    pace.wrote(now_s=40.0, took_s=1.0, others_s=1.5)  # clocks differ a little
    assert pace.due(55.0)


def test_a_baseline_that_people_wait_for_hurries_it() -> None:
    pace = CheckpointPace(15.0, now_s=100.0)
    pace.hurry()
    assert pace.due(100.0)


async def test_a_turn_counts_what_any_owner_scored_and_goes_round() -> None:
    turn, order = Turn(), []

    async def owner(name: str) -> None:
        for _ in range(2):
            async with turn:
                with turn.scoring():
                    time.sleep(0.01)  # noqa: ASYNC251 - scoring blocks the loop
                order.append(name)
                await asyncio.sleep(0)

    await asyncio.gather(owner("a"), owner("b"))
    assert order == ["a", "b", "a", "b"]
    assert turn.scored_s >= 0.04
