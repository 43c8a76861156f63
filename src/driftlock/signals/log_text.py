"""What a log record reads like before masking, from its protobuf form: the rules, said plainly in Python.

Owns: the raw line of a record (`SEVERITY event_name body key=value …`) and the rendering of structured
values. Must not know: masking, streams. `log_walk.py` follows the same rules in compiled code for records
with plain bodies; a test holds the two equal.

Attributes belong to the line, because what tells two events apart is often only there (an exception's type,
a queue's name), but bounded: of the first `ATTRIBUTES_MAX`, sorted by key; a value longer than
`VALUE_BYTES_MAX` reads `<text>`, a structured one `<list>` or `<map>`, and what passes
`ATTRIBUTES_BYTES_MAX` together is left out. An attribute whose values never repeat and are no number, id or
address therefore makes lines that never repeat: take it out at the source.

What people and models said to each other is never kept, however short: the string values of attributes that
begin as `PROMPT_KEYS` do read `<text>`, and so do strings in the body of a GenAI record, but for those of
`BODY_WORDS`, which say what kind of message it is.

An attribute that names sessions is left out: its values say which session, never what happened.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from itertools import islice
from typing import Any

from driftlock.signals.chars import DELIMITERS

BODY_BYTES_MAX = 3072
ATTRIBUTES_MAX = 32
ATTRIBUTES_BYTES_MAX = 896
VALUE_BYTES_MAX = 64
KEY_BYTES_MAX = 64
EVENT_BYTES_MAX = 64
SEVERITY_BYTES_MAX = 16
STRUCTURE_DEPTH_MAX = 16
STRUCTURE_VALUES_MAX = 256

# By (severity number - 1) // 4.
SEVERITIES = (b"TRACE", b"DEBUG", b"INFO", b"WARN", b"ERROR", b"FATAL")
SEVERITY_NUMBER_MAX = 24

# GenAI conventions of OpenTelemetry (also their older events), OpenLLMetry, OpenInference, Vercel's AI SDK.
GENAI_PREFIX = "gen_ai."
PROMPT_KEYS = (
    b"gen_ai.prompt",
    b"gen_ai.completion",
    b"gen_ai.input.messages",
    b"gen_ai.output.messages",
    b"gen_ai.system_instructions",
    b"gen_ai.tool.call.arguments",
    b"gen_ai.tool.call.result",
    b"gen_ai.retrieval.query",
    b"gen_ai.retrieval.documents",
    b"gen_ai.evaluation.explanation",
    b"llm.prompts",
    b"llm.completions",
    b"llm.input_messages",
    b"llm.output_messages",
    b"llm.prompt_template",
    b"retrieval.documents",
    b"reranker.query",
    b"reranker.input_documents",
    b"reranker.output_documents",
    b"embedding.embeddings",
    b"embedding.text",
    b"tool.parameters",
    b"ai.prompt",
    b"ai.response.text",
    b"ai.response.object",
    b"ai.response.toolCalls",
    b"ai.toolCall.args",
    b"ai.toolCall.result",
    b"traceloop.entity.input",
    b"traceloop.entity.output",
    b"input.value",
    b"output.value",
)
BODY_WORDS = ("role", "finish_reason", "type", "name")

_CHUNK_ENDS = frozenset((*DELIMITERS, *range(33), 127))
LIST, MAP, TEXT, BYTES, NUMBER, CUT = b"<list>", b"<map>", b"<text>", b"<bytes>", b"<num>", b"<cut>"
DOUBLE_SIZES = (0.001, 0.01, 0.1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
"""Where the buckets of `magnitudes` begin."""


def record_line(record: Any, *, without: tuple[str, ...] = ()) -> bytes:
    """The raw line of an OTLP log record, without the attributes named in `without`."""
    head = [
        severity_text(record.severity_number, record.severity_text.encode()),
        record.event_name.encode()[:EVENT_BYTES_MAX],
        body_text(record.body, genai=is_genai(record)),
        attributes_text(item for item in record.attributes if item.key not in without),
    ]
    return b" ".join(part for part in head if part)


def severity_text(number: int, text: bytes) -> bytes:
    """The class of a severity number, else what the sender calls it."""
    if 1 <= number <= SEVERITY_NUMBER_MAX:
        return SEVERITIES[(number - 1) // 4]
    return text[:SEVERITY_BYTES_MAX]


def is_genai(record: Any) -> bool:
    """Whether a log record is of the GenAI conventions."""
    return record.event_name.startswith(GENAI_PREFIX) or any(
        item.key.startswith(GENAI_PREFIX) for item in record.attributes
    )


def body_text(value: Any, *, genai: bool = False) -> bytes:
    """A body as text: strings as they are, structures as sorted `key=value` pairs."""
    text = structure_text(value, quiet=genai)
    return text if len(text) <= BODY_BYTES_MAX else cut(text, BODY_BYTES_MAX) + CUT


def cut(text: bytes, size_max: int) -> bytes:
    """`text` up to a size, without the chunk that would be cut in two: half a key has no form to mask."""
    end = size_max
    if len(text) > end and text[end] not in _CHUNK_ENDS:
        while end and text[end - 1] not in _CHUNK_ENDS:
            end -= 1
    return text[:end]


def attributes_text(attributes: Iterable[Any]) -> bytes:
    """` `-separated `key=value`, sorted by key and bounded."""
    pairs = [(item.key.encode(), item.value) for item in islice(attributes, ATTRIBUTES_MAX)]
    parts: list[bytes] = []
    size = 0
    for key, value in sorted(pairs, key=lambda pair: pair[0]):
        part = key[:KEY_BYTES_MAX] + b"=" + pair_value(key, value)
        size += len(part) + 1
        if size > ATTRIBUTES_BYTES_MAX:
            break
        parts.append(part)
    return b" ".join(parts)


def pair_value(key: bytes, value: Any) -> bytes:
    """`attribute_value`, but what was said to or by a model reads `<text>`."""
    if key.startswith(PROMPT_KEYS) and value.WhichOneof("value") == "string_value":
        return TEXT
    return attribute_value(value)


def attribute_value(value: Any) -> bytes:
    """A value on one line; with spaces inside it is quoted, so that a secret's value is seen whole."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return LIST
    if kind == "kvlist_value":
        return MAP
    text = scalar_text(value, kind)
    if len(text) > VALUE_BYTES_MAX:
        return TEXT
    return b'"' + text + b'"' if b" " in text else text


def scalar_text(value: Any, kind: str | None) -> bytes:
    """A string, an integer in digits, true or false, and placeholders for the rest."""
    if kind == "string_value":
        return bytes(value.string_value.encode())
    if kind == "int_value":
        return b"%d" % value.int_value
    if kind == "bool_value":
        return b"true" if value.bool_value else b"false"
    if kind == "double_value":
        return double_text(value.double_value)
    return BYTES if kind == "bytes_value" else b""


def double_text(value: float) -> bytes:
    """A power of ten of the size of a number that is not whole, for its digits say nothing more; its sign,
    like that of all numbers, is left out. `<num>` for what is not finite.
    """
    size = abs(value)
    if not size < math.inf:
        return NUMBER
    return b"1e%d" % (bisect_right(DOUBLE_SIZES, size) - 4) if size else b"0"


def structure_text(value: Any, *, quiet: bool = False) -> bytes:
    """A value of any kind as text, independent of the order of keys, bounded in depth and size.

    With `quiet` strings read `<text>`, but for those under `BODY_WORDS`.
    """
    budget = [STRUCTURE_VALUES_MAX]
    return _structure(value, budget, 0, quiet)


def _structure(value: Any, budget: list[int], depth: int, quiet: bool) -> bytes:
    kind = value.WhichOneof("value")
    budget[0] -= 1
    if kind == "array_value":
        if depth >= STRUCTURE_DEPTH_MAX:
            return LIST
        items = [
            _structure(one, budget, depth + 1, quiet) for one in value.array_value.values[: max(budget[0], 0)]
        ]
        return b"[" + b", ".join(items) + b"]"
    if kind == "kvlist_value":
        if depth >= STRUCTURE_DEPTH_MAX:
            return MAP
        pairs = sorted(value.kvlist_value.values, key=lambda item: item.key)[: max(budget[0], 0)]
        text = b" ".join(
            item.key.encode()
            + b"="
            + _structure(item.value, budget, depth + 1, quiet and item.key not in BODY_WORDS)
            for item in pairs
        )
        return b"{" + text + b"}" if depth else text
    if quiet and kind == "string_value" and value.string_value:
        return TEXT
    text = scalar_text(value, kind)
    return b'"' + text + b'"' if depth and b" " in text else text
