"""The examples in the docstrings of the library run."""

from __future__ import annotations

import doctest

import pytest

from driftlock.library import detector, estimators, online, series


@pytest.mark.parametrize("module", [detector, estimators, online, series], ids=lambda module: module.__name__)
def test_docstrings(module) -> None:  # type: ignore[no-untyped-def]
    result = doctest.testmod(module)
    assert result.attempted >= 3
    assert result.failed == 0
