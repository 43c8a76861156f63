"""The reference pages say what the code says: every name in one is in the other."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import DOCS, ROOT, code_words, table
from prometheus_client import Counter, Gauge, Histogram

from driftlock import errors
from driftlock.api import problems
from driftlock.api.app import create_litestar
from driftlock.api.context import ApiContext
from driftlock.api.feed.hub import FeedHub
from driftlock.api.settings import ApiSettings
from driftlock.bus import envelope
from driftlock.cli.detect import FOUND_EXIT_CODE
from driftlock.collector.answers import _OURS, _TABLE
from driftlock.storage.anomalies import Anomaly
from driftlock.storage.migrate import known

REFERENCE = DOCS / "reference"
SOURCE = ROOT / "src"
KINDS = {"Counter": Counter, "Gauge": Gauge, "Histogram": Histogram}


def plain(cell: str) -> str:
    return cell.strip("`")


def makes_metrics(path: Path) -> bool:
    """Whether a module calls one of the metric classes at its top level."""
    tree = ast.parse(path.read_text("utf-8"))
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS
        for node in ast.walk(tree)
    )


def metrics_of_the_code() -> Iterator[tuple[str, str, str]]:
    """Name, kind and labels of every metric that any module registers."""
    for path in sorted(SOURCE.rglob("*.py")):
        if not makes_metrics(path):
            continue
        module = importlib.import_module(".".join(path.relative_to(SOURCE).with_suffix("").parts))
        for value in vars(module).values():
            if isinstance(value, (Counter, Gauge, Histogram)):
                (described,) = value.describe()
                suffix = "_total" if isinstance(value, Counter) else ""
                labels = ", ".join(f"`{label}`" for label in value._labelnames)
                yield described.name + suffix, described.type, labels


def test_every_metric_is_documented() -> None:
    page = [(plain(row[0]), row[1], row[2]) for row in table(REFERENCE / "metrics.md", "name")]
    assert sorted(page) == sorted(set(metrics_of_the_code()))


def test_every_outcome_of_otlp_is_documented() -> None:
    outcomes = {answer.outcome for _, answer in _TABLE} | {_OURS.outcome, "accepted", "aborted"}
    (row,) = [row for row in table(REFERENCE / "metrics.md", "name") if "otlp_requests" in row[0]]
    assert set(row[3].split("`")[3::2]) == outcomes


def test_every_field_of_an_anomaly_is_documented() -> None:
    page = [plain(row[0]) for row in table(REFERENCE / "anomaly.md", "field")]
    assert page == list(Anomaly.__struct_fields__) or sorted(page) == sorted(Anomaly.__struct_fields__)
    assert len(page) == len(set(page))


def test_every_problem_is_documented() -> None:
    page = {plain(row[0]): (int(row[1]), row[2]) for row in table(REFERENCE / "api.md", "name")}
    assert page == dict(problems.TABLE)


def test_every_route_is_documented() -> None:
    settings = ApiSettings(database_url="", nats_url="")
    nothing: Any = None
    context = ApiContext(settings=settings, pool=nothing, clock_s=lambda: 0.0, wall_s=lambda: 0.0)
    document = create_litestar(context, FeedHub(settings)).openapi_schema.to_schema()
    offered = {
        f"{method.upper()} `{path}`" for path, methods in document["paths"].items() for method in methods
    }
    page = {row[0] for row in table(REFERENCE / "api.md", "method and path")}
    assert page == offered


def test_the_limits_that_the_api_page_states_are_the_codes() -> None:
    from driftlock.api.access import REMEMBERED_MAX
    from driftlock.api.paging import LIMIT_MAX, OFFSET_MAX
    from driftlock.storage.upkeep import FEED_ENTRIES_MAX, FEED_KEPT, IDEMPOTENCY_KEPT

    settings = ApiSettings(database_url="", nats_url="")
    assert REMEMBERED_MAX > 0
    assert (LIMIT_MAX, OFFSET_MAX, FEED_ENTRIES_MAX) == (1000, 10_000, 1_000_000)
    assert (FEED_KEPT.days, IDEMPOTENCY_KEPT.total_seconds()) == (7, 24 * 3600)
    assert (settings.key_cache_s, settings.heartbeat_s) == (3.0, 15.0)


def test_every_header_of_the_log_is_documented() -> None:
    page = {plain(row[0]) for row in table(REFERENCE / "log-format.md", "header")} or {
        word for word in code_words(REFERENCE / "log-format.md") if word.startswith(("Driftlock-", "Nats-"))
    }
    assert page == {value for name, value in vars(envelope).items() if name.startswith("HEADER_")}


def test_the_log_is_named_as_it_is() -> None:
    words = code_words(REFERENCE / "log-format.md")
    assert {envelope.STREAM_NAME, envelope.subject(0), envelope.subject(1)} <= set(words)


def test_every_exit_code_is_documented() -> None:
    page = {int(row[0]) for row in table(REFERENCE / "exit-codes.md", "code")}
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {kind.exit_code for kind in classes if issubclass(kind, errors.DriftlockError)}
    assert codes | {0, FOUND_EXIT_CODE, 130, 141} == page


@pytest.mark.parametrize("migration", [m.name for m in known()])
def test_every_migration_is_listed(migration: str) -> None:
    assert migration in code_words(DOCS / "how-to" / "upgrade.md")


def test_no_migration_is_invented() -> None:
    listed = {word for word in code_words(DOCS / "how-to" / "upgrade.md") if word.endswith(".sql")}
    assert listed == {m.name for m in known()}


def test_every_placeholder_is_documented() -> None:
    from driftlock.signals.canonical import CANONICAL_VERSION, MARKS

    page = REFERENCE / "canonical-form.md"
    assert {plain(row[0]) for row in table(page, "placeholder")} == set(MARKS) - {" "}
    assert page.read_text("utf-8").startswith(f"# Canonical form, version {CANONICAL_VERSION}\n")


def test_the_examples_of_the_canonical_form_are_true() -> None:
    from driftlock.signals.canonical import canonicalise

    rows = table(REFERENCE / "canonical-form.md", "line")
    lines = [plain(row[0]).encode() for row in rows]
    ends = np.cumsum([len(line) for line in lines])
    starts = ends - [len(line) for line in lines]
    found = canonicalise(np.frombuffer(b"".join(lines), np.uint8), starts, ends)
    assert [found[n].decode() for n in range(len(found))] == [plain(row[1]) for row in rows]
    assert len(rows) >= 5
