"""The OpenAPI document is complete: every path, every refusal typed, every field of the contract."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import sentinel

import pytest

from driftlock.api import problems
from driftlock.api.app import create_litestar
from driftlock.api.context import ApiContext
from driftlock.api.feed.hub import FeedHub
from driftlock.api.settings import ApiSettings

METHODS = ("get", "post", "patch", "put", "delete")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    settings = ApiSettings(database_url="", nats_url="")
    # the document needs no database: nothing may touch the pool
    context = ApiContext(settings=settings, pool=sentinel.pool, clock_s=lambda: 0.0, wall_s=lambda: 0.0)
    found: dict[str, Any] = json.loads(create_litestar(context, FeedHub(settings)).state.document)
    return found


def test_is_3_1_and_names_every_path(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        "/healthz", "/readyz", "/v1/version", "/metrics", "/openapi.json",
        "/v1/anomalies", "/v1/anomalies/{anomaly_id}", "/v1/anomalies/{anomaly_id}/status",
        "/v1/streams", "/v1/streams/{stream_id}", "/v1/streams/{stream_id}/baseline", "/v1/stream/anomalies",
    }  # fmt: skip


def test_every_error_is_typed(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for method in METHODS:
            for status, response in item.get(method, {}).get("responses", {}).items():
                if int(status) >= 400:
                    content = response["content"]
                    assert list(content) == [problems.MEDIA_TYPE], (path, method, status)
                    assert "ProblemDetails" in str(content), (path, method, status)


def test_every_guarded_route_tells_its_refusals(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item and path.startswith("/v1/") and path != "/v1/version":
                assert {"401", "403", "429", "500", "503"} <= set(item[method]["responses"]), path


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [r for value in node.values() for r in references(value)]
        return [r for value in node for r in references(value)] if isinstance(node, list) else []

    found = references(document)
    assert found
    for reference in found:
        node: Any = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part.replace("~1", "/").replace("~0", "~")]


def test_the_schemas_carry_the_contract(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    anomaly = next(schema for name, schema in schemas.items() if name.endswith("Anomaly"))
    contract = """id timestamp stream_type stream service severity status ncd_score p_value
        confidence_level is_statistically_significant compression_baseline compression_window
        compression_combined compression_ratio_baseline compression_ratio_window
        compression_ratio_change baseline_entropy window_entropy entropy_change surprise_bits
        glass_box_explanation detailed_explanation baseline_ref window_start window_end log_position
        detector_version config_version tags metadata trace_ids acknowledged_by acknowledged_at
        dismissed_by dismissed_at notes created_at updated_at"""
    assert set(contract.split()) <= set(anomaly["properties"])
    parameters = {p["name"] for p in document["paths"]["/v1/anomalies"]["get"]["parameters"]}
    filters = """stream_type status severity service stream tag min_ncd_score max_p_value start_time
        end_time only_significant q"""
    assert set(f"{filters} cursor limit offset".split()) == parameters
    live = {p["name"] for p in document["paths"]["/v1/stream/anomalies"]["get"]["parameters"]}
    assert set(f"{filters} after Last-Event-ID".split()) == live


def test_keys_are_declared_and_public_routes_are_open(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert document["security"] == [{"key": []}]
    assert {} in document["paths"]["/healthz"]["get"]["security"]
    assert {} not in document["paths"]["/v1/anomalies"]["get"].get("security", [])
