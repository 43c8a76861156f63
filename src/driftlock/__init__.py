"""Driftlock: anomaly detection for OpenTelemetry, measured in bits.

What a Python program uses without a server is named here and loaded when it is first asked for, so that
importing the package, and the command line with it, costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from driftlock.core.verdict import Verdict, WarmUp
    from driftlock.library.detector import Detector
    from driftlock.library.estimators import RowOutlierDetector, UnitOutlierDetector
    from driftlock.library.online import RowScorer, TextScorer
    from driftlock.library.series import SeriesDetector

__version__ = "0.1.0"

_PLACES = {
    "Detector": "driftlock.library.detector",
    "RowOutlierDetector": "driftlock.library.estimators",
    "RowScorer": "driftlock.library.online",
    "SeriesDetector": "driftlock.library.series",
    "TextScorer": "driftlock.library.online",
    "UnitOutlierDetector": "driftlock.library.estimators",
    "Verdict": "driftlock.core.verdict",
    "WarmUp": "driftlock.core.verdict",
}

__all__ = [
    "Detector",
    "RowOutlierDetector",
    "RowScorer",
    "SeriesDetector",
    "TextScorer",
    "UnitOutlierDetector",
    "Verdict",
    "WarmUp",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
