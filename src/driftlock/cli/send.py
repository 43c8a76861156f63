"""`driftlock send`: ship a log file as OTLP over HTTP.

Every request has an idempotency key and is sent again after a retryable refusal, so a file is in the log
exactly once even when Driftlock restarts midway. One request is under way at a time: that keeps the order.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import httpx
from cyclopts import Parameter
from cyclopts.validators import Number
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from driftlock.cli.logfile import LogFile, refuse_options
from driftlock.cli.shown import plain
from driftlock.errors import DriftlockError, InputError, TooLargeError, UnavailableError, UsageError

BATCH_BYTES_MAX = 1024 * 1024
# A pipe that falls silent: what is here is sent, the batch does not wait to be full.
PAUSE_S = 0.5
FIRST_ANSWER_S = 5.0
WAIT_MAX_S = 5.0
REQUEST_TIMEOUT_S = 30.0
# OTLP's retryable answers
RETRYABLE = frozenset({429, 502, 503, 504})
# Only the beginning of a line names its level.
LEVEL_WITHIN_BYTES = 160

_LEVELS = {
    b"trace": 1, b"debug": 5, b"info": 9, b"notice": 10, b"warn": 13, b"warning": 13, b"err": 17,
    b"error": 17, b"severe": 17, b"crit": 21, b"critical": 21, b"fatal": 21, b"panic": 22, b"alert": 22,
    b"emerg": 23,
}  # fmt: skip
_LEVEL = re.compile(rb"(?i)(?<![\w-])(" + b"|".join(sorted(_LEVELS, reverse=True)) + rb")(?![\w-])")

TIME_WITHIN_BYTES = 80
_TIME = re.compile(
    rb"(?<!\d)\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,6})?(?:\d*)(?:Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _own(text: str, **more: Any) -> Parameter:
    return Parameter(help=text, show_env_var=False, **more)


def send(
    file: Annotated[
        str,
        _own("Log file, plain or packed by gzip or zstd; - for standard input.", allow_leading_hyphen=True),
    ],
    *,
    service: Annotated[str, _own("The service.name that the lines belong to.")],
    endpoint: Annotated[str, _own("Where Driftlock receives OTLP over HTTP.")] = "http://127.0.0.1:4318",
    rate: Annotated[
        float | None, _own("Lines a second; without it, as fast as possible.", validator=Number(gt=0))
    ] = None,
    batch: Annotated[int, _own("Lines a request.", validator=Number(gte=1, lte=100_000))] = 512,
    timestamps: Annotated[
        Literal["received", "parse"],
        _own("The time of a line: when it is received, or as the line itself tells."),
    ] = "received",
    attribute: Annotated[
        tuple[str, ...], _own("A further resource attribute, NAME=VALUE.", negative=(), show_default=False)
    ] = (),
    patience: Annotated[
        float, _own("Seconds to go on trying when Driftlock is away.", validator=Number(gte=0, lte=540))
    ] = 120.0,
) -> None:
    """Send a log file to a running Driftlock.

    Empty lines are left out. What was sent is in Driftlock's log once, also when it restarts meanwhile.
    """
    refuse_options(file)
    resource = _resource(service, attribute)
    console = Console(stderr=True)
    with LogFile(file) as log_file, _Sender(endpoint, patience) as sender, _progress(console) as progress:
        task = progress.add_task(plain(service), total=log_file.size, lines=0)
        clock = _Pace(rate)
        for lines in _batches(log_file, batch if rate is None else min(batch, max(1, int(rate)))):
            clock.wait(len(lines))
            sender.send(_request(lines, resource, parse_times=timestamps == "parse"), len(lines))
            progress.update(task, completed=log_file.position, lines=sender.lines)
        seconds = clock.elapsed_s
    speed = sender.lines / seconds if seconds > 0 else 0.0
    print(f"Sent {sender.lines:,} lines of {plain(service)} in {seconds:.1f} s ({speed:,.0f} lines/s).")
    if sender.rejected:
        raise InputError(f"Driftlock rejected {sender.rejected:,} lines: {sender.rejection}")


@dataclass
class _Pace:
    """Holds a rate, counted from the first line."""

    rate: float | None
    _lines: int = 0
    _start: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._start

    def wait(self, lines: int) -> None:
        """Sleep until so many more lines are due."""
        if self.rate is not None:
            ahead = self._lines / self.rate - self.elapsed_s
            if ahead > 0:
                time.sleep(ahead)
        self._lines += lines


class _RetryableError(Exception):
    """Trying again may help, after `after_s` if the server said so."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class _Sender:
    """Sends requests, each until it is taken. Knows how many lines were."""

    def __init__(self, endpoint: str, patience_s: float) -> None:
        self.lines = 0
        self.rejected = 0
        self.rejection = ""
        self._endpoint = endpoint.rstrip("/")
        self._patience_s = patience_s
        self._run = secrets.token_hex(16)
        self._number = 0
        self._answered = False
        # Proxies of the environment are for the outside; trust_env would send loopback through them.
        self._client = httpx.Client(timeout=REQUEST_TIMEOUT_S, trust_env=False)

    def __enter__(self) -> _Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self, body: bytes, lines: int) -> None:
        """Raises what a person can act on when Driftlock refuses, or is away for too long."""
        self._number += 1
        key = f"{self._run}-{self._number}"
        retrying = Retrying(
            retry=retry_if_exception_type(_RetryableError),
            wait=_wait,
            stop=self._gives_up,
            reraise=True,
        )
        try:
            answer = retrying(self._post, body, key)
        except _RetryableError as error:
            raise UnavailableError(
                f"Driftlock at {self._endpoint} did not take the lines after {self.lines:,}: {error}",
                hint="Is it running (driftlock up), and is this its OTLP HTTP address (--endpoint)?",
            ) from error
        self.lines += lines
        partial = _partial(answer)
        if partial.rejected_log_records:
            self.rejected += partial.rejected_log_records
            self.rejection = partial.error_message

    def _gives_up(self, state: RetryCallState) -> bool:
        # Nobody at all at the address is told soon: it is likely a wrong one.
        patience_s = self._patience_s if self._answered else min(self._patience_s, FIRST_ANSWER_S)
        return state.seconds_since_start is not None and state.seconds_since_start >= patience_s

    def _post(self, body: bytes, key: str) -> bytes:
        headers = {"content-type": "application/x-protobuf", "idempotency-key": key}
        try:
            answer = self._client.post(f"{self._endpoint}/v1/logs", content=body, headers=headers)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise UsageError(f"--endpoint {self._endpoint} is not an address: {error}") from error
        except httpx.TransportError as error:
            raise _RetryableError(str(error) or type(error).__name__) from error
        self._answered = True
        if answer.status_code in RETRYABLE:
            raise _RetryableError(f"HTTP {answer.status_code}", _retry_after(answer))
        if answer.status_code == 413:
            raise TooLargeError("Driftlock refuses requests of this size", hint="Use a smaller --batch.")
        if answer.status_code != 200:
            raise DriftlockError(
                f"{self._endpoint} refuses the lines with HTTP {answer.status_code}",
                hint="Is this Driftlock's OTLP HTTP address (--endpoint)?",
            )
        return answer.content


def _wait(state: RetryCallState) -> float:
    """What the server asked for, else longer each time."""
    assert state.outcome is not None
    error = state.outcome.exception()
    asked = error.after_s if isinstance(error, _RetryableError) else 0.0
    return max(min(asked, WAIT_MAX_S), min(WAIT_MAX_S, 0.1 * 2.0 ** min(state.attempt_number, 10)))


def _retry_after(answer: httpx.Response) -> float:
    told: str = answer.headers.get("retry-after", "")
    return float(told) if told.isdecimal() else 0.0


def _partial(body: bytes) -> Any:
    try:
        return ExportLogsServiceResponse.FromString(body).partial_success
    except Exception as error:
        raise DriftlockError("the answer is not OTLP: is --endpoint right?") from error


def _batches(log_file: LogFile, lines_max: int) -> Iterator[list[bytes]]:
    """Lines that are not empty, up to a number, a size, or a pause."""
    batch: list[bytes] = []
    size = 0
    for line in log_file.lines(pause_s=PAUSE_S):
        if line:
            batch.append(line)
            size += len(line)
        if batch and (line is None or len(batch) >= lines_max or size >= BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _resource(service: str, attributes: tuple[str, ...]) -> dict[str, str]:
    resource = {"service.name": service}
    for attribute in attributes:
        name, separator, value = attribute.partition("=")
        if not name or not separator:
            raise UsageError(f"--attribute {attribute!r} is not NAME=VALUE")
        resource[name] = value
    return resource


def _request(lines: list[bytes], resource: dict[str, str], *, parse_times: bool) -> bytes:
    request = ExportLogsServiceRequest()
    resource_logs = request.resource_logs.add()
    for name, value in resource.items():
        resource_logs.resource.attributes.add(key=name).value.string_value = value
    add = resource_logs.scope_logs.add().log_records.add
    for line in lines:
        time_ns = line_time_ns(line) if parse_times else 0
        record = add(severity_number=severity(line), time_unix_nano=time_ns)
        record.body.string_value = line.decode("utf-8", "replace")
    return bytes(request.SerializeToString())


def severity(line: bytes) -> int:
    """The OTLP severity number that the line's beginning names, 0 when it names none."""
    found = _LEVEL.search(line, 0, LEVEL_WITHIN_BYTES)
    return _LEVELS[found[1].lower()] if found else 0


def line_time_ns(line: bytes) -> int:
    """The time that the line's beginning tells, in nanoseconds since 1970, UTC without a zone; 0 for none."""
    found = _TIME.search(line, 0, TIME_WITHIN_BYTES)
    if found is None:
        return 0
    try:
        at = datetime.fromisoformat(found[0].decode("ascii").replace(",", "."))
    except ValueError:
        return 0
    since = (at if at.tzinfo else at.replace(tzinfo=UTC)) - _EPOCH
    return max(0, (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000)


class _Speed(ProgressColumn):
    """Lines a second."""

    def render(self, task: Task) -> Text:
        lines = int(task.fields["lines"])
        speed = lines / task.elapsed if task.elapsed else 0.0
        return Text(f"{lines:,} lines  {speed:,.0f} lines/s")


def _progress(console: Console) -> Progress:
    columns: tuple[Callable[[], ProgressColumn], ...] = (SpinnerColumn, BarColumn, _Speed)
    return Progress(
        TextColumn("{task.description}", markup=False),
        *(column() for column in columns),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
