from __future__ import annotations

import grpc
import pytest

from driftlock.collector.answers import (
    OverloadedError,
    TooSlowError,
    UnsupportedMediaError,
    answer_for,
    sentence_for,
)
from driftlock.errors import MalformedTelemetryError, TooLargeError, UnavailableError

# What the specification lets a client retry.
RETRYABLE_HTTP = {429, 502, 503, 504}
RETRYABLE_GRPC = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


@pytest.mark.parametrize(
    ("error", "http", "code", "retryable"),
    [
        (MalformedTelemetryError("x"), 400, grpc.StatusCode.INVALID_ARGUMENT, False),
        (TooLargeError("x"), 413, grpc.StatusCode.RESOURCE_EXHAUSTED, False),
        (UnsupportedMediaError("x"), 415, grpc.StatusCode.UNIMPLEMENTED, False),
        (TooSlowError("x"), 408, grpc.StatusCode.DEADLINE_EXCEEDED, False),
        (OverloadedError("x"), 503, grpc.StatusCode.UNAVAILABLE, True),
        (UnavailableError("x"), 503, grpc.StatusCode.UNAVAILABLE, True),
        (ZeroDivisionError("secret"), 500, grpc.StatusCode.INTERNAL, False),
    ],
)
def test_the_table(error: Exception, http: int, code: grpc.StatusCode, retryable: bool) -> None:
    answer = answer_for(error)
    assert (answer.http, answer.grpc) == (http, code)
    assert (answer.retry_after_s is not None) == retryable
    assert (answer.http in RETRYABLE_HTTP) == retryable
    if retryable:
        assert answer.grpc in RETRYABLE_GRPC


def test_nothing_of_an_unforeseen_fault_is_told() -> None:
    assert "secret" not in sentence_for(ZeroDivisionError("secret"))
    assert sentence_for(TooLargeError("too large")) == "too large"
