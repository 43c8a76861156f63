"""Whatever comes in, what goes out is text that PostgreSQL takes and JSON that every reader takes."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from driftlock.storage.values import JSON_DEPTH_MAX, JSON_TOO_DEEP, clean_float, clean_json, clean_text

ANY_TEXT = st.text(st.characters())  # surrogates and NUL too
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(ANY_TEXT)
def test_clean_text_is_storable_and_keeps_what_was_storable(text: str) -> None:
    cleaned = clean_text(text)
    assert "\0" not in cleaned
    cleaned.encode()
    assert clean_text(cleaned) == cleaned
    kept = [c for c in text if c != "\0" and not 0xD800 <= ord(c) <= 0xDFFF]
    assert [c for c in cleaned if c != "\ufffd"] == [c for c in kept if c != "\ufffd"]


@given(ANY_JSON)
def test_clean_json_survives_strict_json(value: Any) -> None:
    cleaned = clean_json(value)
    text = msgspec.json.encode(cleaned)
    assert b"\\u0000" not in text
    assert json.loads(text) == cleaned


def test_clean_json_cuts_the_deep_end() -> None:
    value: Any = "bottom"
    for _ in range(10_000):
        value = [value]
    cleaned = clean_json(value)
    for _ in range(JSON_DEPTH_MAX):
        cleaned = cleaned[0]
    assert cleaned == JSON_TOO_DEEP


def test_clean_json_takes_numpy() -> None:
    value = {"a": np.float64(1.5), "b": np.int64(2), "c": np.array([1, 2]), "d": np.float32("nan")}
    assert clean_json(value) == {"a": 1.5, "b": 2, "c": [1, 2], "d": "NaN"}


def test_clean_float() -> None:
    assert [clean_float(x) for x in (None, math.nan, math.inf, -math.inf, 1)] == [None, None, None, None, 1.0]
