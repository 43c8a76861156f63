"""The bounded table of templates, and its evictions."""

from __future__ import annotations

import numpy as np
import pytest
from core_logs import hash_of, line_of
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.core.templates import OTHER, TEMPLATE_TEXT_BYTES_MAX, TEMPLATES_MAX, TemplateTable


def take(
    table: TemplateTable, templates: list[int], *, pinned: list[int] | None = None, line: bytes | None = None
) -> tuple[list[int], list[int]]:
    lines = [line_of(t) if line is None else line for t in templates]
    ends = np.cumsum([len(text) for text in lines]).astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    hashes = np.array([hash_of(t) for t in templates], np.uint64)
    buffer = np.frombuffer(b"".join(lines), np.uint8)
    held = None if pinned is None else (lambda: np.array(pinned, np.int32))
    ids, evicted = table.ids(hashes, buffer, starts, ends, pinned=held)
    return ids.tolist(), evicted


@given(st.lists(st.integers(0, 100), min_size=1, max_size=200))
@settings(max_examples=30, deadline=None)
def test_ids_follow_first_appearance_and_texts_follow_ids(templates: list[int]) -> None:
    table = TemplateTable()
    ids, evicted = take(table, templates)
    order = list(dict.fromkeys(templates))
    assert ids == [1 + order.index(t) for t in templates]
    assert not evicted
    assert [table.text(i) for i in ids] == [line_of(t) for t in templates]
    twin = TemplateTable()
    twin.load(table.state())
    assert take(twin, templates)[0] == ids
    assert twin.state()["events"] == 2 * len(templates)


def test_a_full_table_names_newcomers_other_and_counts_them_while_nothing_may_go() -> None:
    table = TemplateTable()
    take(table, list(range(TEMPLATES_MAX - 1)))
    assert take(table, [10_000, 3]) == ([OTHER, 4], [])
    assert take(table, [10_001]) == ([OTHER], [])
    assert table.overflowed == 2


def test_what_was_seen_longest_ago_gives_way_but_never_what_is_pinned() -> None:
    table = TemplateTable()
    take(table, list(range(TEMPLATES_MAX - 1)))
    take(table, [0, 1])
    ids, evicted = take(table, [10_000], pinned=[])
    assert evicted == list(range(3, 3 + TEMPLATES_MAX // 8))
    assert table.text(ids[0]) == line_of(10_000)
    assert take(table, [0, 1, 200])[0] == [1, 2, 201]
    pinned = TemplateTable()
    take(pinned, list(range(TEMPLATES_MAX - 1)))
    assert take(pinned, [10_000], pinned=list(range(TEMPLATES_MAX))) == ([OTHER], [])
    assert take(pinned, [10_000], pinned=list(range(1, 200)))[1][0] == 200


def test_a_call_ends_before_the_event_that_needs_an_eviction() -> None:
    table = TemplateTable()
    take(table, list(range(TEMPLATES_MAX - 1)))
    ids, evicted = take(table, [5, 6, 10_000, 7], pinned=[])
    assert ids == [6, 7]
    assert not evicted


def test_texts_are_cut_and_hostile_churn_stays_bounded() -> None:
    table = TemplateTable()
    take(table, [1], line=b"x" * 100_000)
    assert len(table.text(1)) == TEMPLATE_TEXT_BYTES_MAX
    for start in range(0, 20_000, 100):
        rest = list(range(start, start + 100))
        while rest:
            done = len(take(table, rest, pinned=[], line=b"y" * 700)[0])
            rest = rest[done:]
    assert table.nbytes <= 128 * 1024
    assert table.size <= TEMPLATES_MAX


@pytest.mark.parametrize("capacity", [32, 64])
def test_lookups_survive_growth(capacity: int) -> None:
    table = TemplateTable()
    first = take(table, list(range(capacity - 2)))[0]
    take(table, list(range(1_000, 1_000 + capacity)))
    assert take(table, list(range(capacity - 2)))[0] == first
