"""Every setting of Driftlock, once.

A setting has one name: the field `api_port` is the flag `--api-port`, the environment variable
`DRIFTLOCK_API_PORT` and the key `api_port` of the TOML file. A flag beats the environment, which beats the
file, which beats the default. `docs/reference/settings.md` is generated from here.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from cyclopts import Group, Parameter, Token
from cyclopts.validators import Number

from driftlock.core.profiles import Profile, ProfileName, chosen
from driftlock.errors import UsageError
from driftlock.runtime.datafolder import FREE_BYTES_MIN, default_data_dir
from driftlock.signals.attributes import CONVERSATION
from driftlock.signals.redaction import CLASSES, checked_classes

PREFIX = "DRIFTLOCK_"
TIME_BLOCK_S_MAX = 86_400
PARTITIONS_MAX = 1024  # a partition is a subject, a lock and an engine: thousands cost more than they share

_MIB = 1024**2
_GIB = 1024**3

_PLACES = Group("Where it listens and stores", sort_key=1)
_PROCESSES = Group("Processes", sort_key=2)
_DETECTION = Group("Detection", sort_key=3)  # sizes and threshold: until a person changes them by the API
_LIMITS = Group("Limits", sort_key=4)
_LOGGING = Group("Logging", sort_key=5)


def _option(
    group: Group, text: str, *, least: float | None = None, most: float | None = None, **more: Any
) -> Parameter:
    checks = Number(gte=least, lte=most) if least is not None or most is not None else ()
    return Parameter(group=group, help=text, validator=checks, **more)


def _names(_: object, tokens: Sequence[Token]) -> tuple[str, ...]:
    """Names separated by commas; a TOML list arrives as one token an item."""
    parts = (part.strip() for token in tokens for part in token.value.split(","))
    return tuple(part for part in parts if part)


def _lines(_: object, tokens: Sequence[Token]) -> tuple[str, ...]:
    """One text a flag or an item of a TOML list; one a line in the environment."""
    return tuple(line for token in tokens for line in token.value.split("\n") if line)


def _whole(_: object, value: str) -> list[str]:
    return [value]


def _port(text: str) -> Parameter:
    return _option(_PLACES, text, least=1, most=65535)


DataDir = Annotated[
    Path | None,
    _option(
        _PLACES,
        "Folder for everything that must survive a restart. Without it: /var/lib/driftlock for root, "
        "else ~/.local/share/driftlock.",
    ),
]
DatabaseUrl = Annotated[
    str | None,
    _option(
        _PLACES, "PostgreSQL to use, postgresql://user:password@host:port/name. Without it: an embedded one."
    ),
]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a running Driftlock is told. Sizes end in `_bytes`, times in `_s` (seconds)."""

    data_dir: DataDir = None
    host: Annotated[
        str, _option(_PLACES, "Address to listen on; 0.0.0.0 for every network of this machine.")
    ] = "127.0.0.1"
    api_port: Annotated[int, _port("Port of the REST API, the event stream and the metrics.")] = 8080
    otlp_grpc_port: Annotated[int, _port("Port for OTLP over gRPC.")] = 4317
    otlp_http_port: Annotated[int, _port("Port for OTLP over HTTP.")] = 4318
    database_url: DatabaseUrl = None
    nats_url: Annotated[
        str | None,
        _option(
            _PLACES, "NATS server with JetStream to use, nats://token@host:port. Without it: an embedded one."
        ),
    ] = None
    dev_api_key: Annotated[
        str | None,
        _option(
            _PLACES,
            "A fixed key with the role admin, for development. Refused unless the API listens on loopback.",
        ),
    ] = None

    detector_workers: Annotated[
        int | None,
        _option(_PROCESSES, "Detector processes. Without it: one a core.", least=0, most=1024),
    ] = None
    collector_workers: Annotated[
        int, _option(_PROCESSES, "Collector processes, which share the OTLP ports.", least=0, most=1024)
    ] = 1
    partitions: Annotated[
        int,
        _option(
            _PROCESSES,
            "Parts of the log that detectors share. Fixed once telemetry was received.",
            least=1,
            most=PARTITIONS_MAX,
        ),
    ] = 32
    checkpoint_interval_s: Annotated[
        float, _option(_PROCESSES, "A detector keeps its state this often.", least=0.1, most=3600)
    ] = 15.0

    stream_attributes: Annotated[
        tuple[str, ...],
        _option(
            _DETECTION,
            "Resource attributes that split streams beside service.name, separated by commas.",
            converter=_names,
            n_tokens=1,
            negative=(),
        ),
    ] = ()
    session_attributes: Annotated[
        tuple[str, ...],
        _option(
            _DETECTION,
            "Attributes that name the session of a log record or LLM call, separated by commas; the first "
            "that is there counts, on the record before its resource. none for none. A change makes log and "
            "LLM streams learn anew.",
            converter=_names,
            n_tokens=1,
            negative=(),
        ),
    ] = (CONVERSATION,)
    session_pattern: Annotated[
        str,
        _option(
            _DETECTION,
            "A regex whose first group, else whole match, in the body of a log record names its session, "
            "where no attribute does. In the syntax of Rust's regex crate.",
        ),
    ] = ""
    mask: Annotated[
        tuple[str, ...],
        _option(
            _DETECTION,
            "NAME=REGEX: what matches reads `<NAME>`, before all other masking. Repeatable; in the "
            "environment one a line. The regex is in the syntax of Rust's regex crate. A change makes log "
            "and trace streams learn anew.",
            converter=_lines,
            n_tokens=1,
            negative=(),
            env_var_split=_whole,
        ),
    ] = ()
    redact: Annotated[
        tuple[str, ...],
        _option(
            _DETECTION,
            "Classes of text that is not kept, separated by commas: secrets, personal; none for none.",
            converter=_names,
            n_tokens=1,
            negative=(),
        ),
    ] = CLASSES
    baseline_size: Annotated[
        int,
        _option(
            _DETECTION,
            "Events that a log stream's baseline holds. The sizes and the threshold hold until someone "
            "changes them by the API.",
            least=10,
            most=1_000_000,
        ),
    ] = 400
    window_size: Annotated[
        int, _option(_DETECTION, "Events in the window under test.", least=2, most=100_000)
    ] = 50
    hop_size: Annotated[
        int, _option(_DETECTION, "Events from one window to the next.", least=1, most=100_000)
    ] = 25
    time_block_s: Annotated[
        int,
        _option(
            _DETECTION,
            "Seconds of a block of log records without a session: it is judged when they are over, also if "
            "nothing came, so that silence and floods are found. 0 cuts blocks of hop_size events instead. A "
            "change makes log streams learn anew.",
            least=0,
            most=TIME_BLOCK_S_MAX,
        ),
    ] = 0
    profile: Annotated[
        ProfileName,
        _option(
            _DETECTION,
            "How much to be told: sensitive (p ≤ 0.05, at most 50 alarms a stream and week), balanced (0.01, "
            "20), strict (0.001, 5), or custom, with both numbers given.",
        ),
    ] = "balanced"
    p_value_threshold: Annotated[
        float | None,
        _option(
            _DETECTION,
            "Verdicts above this p-value are not significant. Without it, the profile's.",
            least=1e-9,
            most=0.5,
        ),
    ] = None
    alert_budget: Annotated[
        float | None,
        _option(
            _DETECTION,
            "Alarms that a log or trace stream raises in any week at most. Without it, the profile's.",
            least=0,
        ),
    ] = None
    byte_coder: Annotated[
        Literal["zstd", "lz4", "zlib", "openzl"],
        _option(
            _DETECTION,
            "Compressor that measures the text of anomalies (sizes, ratios, NCD); it decides on none. openzl "
            "needs the extra of that name.",
        ),
    ] = "zstd"
    session_idle_s: Annotated[
        float,
        _option(
            _DETECTION, "A session or trace without events for so long is complete.", least=0.1, most=1e9
        ),
    ] = 30.0

    request_bytes_max: Annotated[
        int,
        _option(
            _LIMITS, "Largest OTLP request, after decompression, in bytes.", least=1024, most=2 * _GIB - 1
        ),
    ] = 64 * _MIB
    inflight_bytes_max: Annotated[
        int,
        _option(
            _LIMITS, "OTLP bytes a collector holds at once; beyond, clients are told to retry.", least=_MIB
        ),
    ] = 256 * _MIB
    streams_max: Annotated[
        int, _option(_LIMITS, "Streams kept at once, over all partitions.", least=1, most=100_000_000)
    ] = 65_536
    series_max: Annotated[
        int,
        _option(
            _LIMITS,
            "Metric series kept at once, over all partitions, at 5.5 KB each. A service's series share one "
            "partition, and each partition has an equal part of this.",
            least=1,
            most=10_000_000,
        ),
    ] = 524_288
    log_bytes_max: Annotated[
        int, _option(_LIMITS, "Telemetry kept in the log, in bytes; the oldest goes first.", least=16 * _MIB)
    ] = 8 * _GIB
    sse_connections_max: Annotated[
        int, _option(_LIMITS, "Open event streams an API process.", least=0, most=1_000_000)
    ] = 1000
    rate_limit_per_minute: Annotated[
        int, _option(_LIMITS, "API requests a minute for a key without a limit of its own.", least=1)
    ] = 100
    disk_free_bytes_min: Annotated[
        int, _option(_LIMITS, "Free bytes that the data folder's disk must have at start.", least=0)
    ] = FREE_BYTES_MIN

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], _option(_LOGGING, "How much to log.")
    ] = "info"
    log_format: Annotated[Literal["text", "json"], _option(_LOGGING, "Lines for people, or JSON lines.")] = (
        "text"
    )

    @property
    def folder(self) -> Path:
        """The data folder, chosen or default."""
        return self.data_dir or default_data_dir()

    @property
    def redacted(self) -> tuple[str, ...]:
        """The classes of redaction that are on. Raises UsageError for an unknown one."""
        return checked_classes(self.redact)

    @property
    def alerting(self) -> Profile:
        """The profile with the numbers that were given. Raises UsageError where they do not make one."""
        try:
            return chosen(
                self.profile, p_value_threshold=self.p_value_threshold, alert_budget=self.alert_budget
            )
        except ValueError as error:
            raise UsageError(f"The {error}.") from error

    @property
    def detectors(self) -> int:
        """How many detector processes to run."""
        return self.detector_workers if self.detector_workers is not None else _cores()

    def check(self) -> None:
        """Raise UsageError where settings that are each valid do not go together."""
        if not self.baseline_size >= self.window_size >= self.hop_size:
            raise UsageError(
                f"The sizes do not fit: baseline {self.baseline_size}, window {self.window_size}, "
                f"hop {self.hop_size}.",
                hint="Choose baseline_size ≥ window_size ≥ hop_size.",
            )
        if self.byte_coder == "openzl" and find_spec("openzl") is None:
            raise UsageError(
                "The byte coder openzl is not installed.",
                hint="pip install 'driftlock[openzl]', or choose zstd.",
            )
        ports = (self.api_port, self.otlp_grpc_port, self.otlp_http_port)
        if len(set(ports)) != len(ports):
            raise UsageError(f"api_port, otlp_grpc_port and otlp_http_port must differ, they are {ports}.")
        checked_classes(self.redact)
        _ = self.alerting
        if self.mask:
            from driftlock.signals.patterns import parse_patterns  # late: nothing else needs polars here

            parse_patterns(self.mask)
        if self.session_pattern or self.session_attributes != DEFAULTS.session_attributes:
            from driftlock.signals.sessions import Sessions  # late, as above

            Sessions.of(attributes=self.session_attributes, pattern=self.session_pattern)
        if self.inflight_bytes_max < self.request_bytes_max:
            raise UsageError("inflight_bytes_max must be at least request_bytes_max.")
        if self.dev_api_key is not None and not is_loopback(self.host):
            raise UsageError(
                f"dev_api_key is for loopback only, and the API would listen on {self.host}.",
                hint="Make a key instead: driftlock keys create NAME --role admin.",
            )

    def environment(self) -> dict[str, str]:
        """The same settings as environment variables, for the role processes that a supervisor starts."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["mask"] = "\n".join(self.mask)
        values["redact"] = self.redact or ("none",)
        values["session_attributes"] = self.session_attributes or ("none",)
        return {environment_name(name): _text(v) for name, v in values.items() if v not in (None, (), "")}


DEFAULTS = Settings()


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class DatabasePlace:
    """Where the database is, for commands that need only that."""

    data_dir: DataDir = None
    database_url: DatabaseUrl = None


DATABASE_DEFAULT = DatabasePlace()


@dataclass(frozen=True, slots=True)
class Documented:
    """One setting as the reference shows it."""

    name: str
    kind: str
    default: str
    text: str
    group: str


def documented() -> list[Documented]:
    """Every setting with what its help says, in order."""
    hints = get_type_hints(Settings, include_extras=True)
    return [_documented(field.name, hints[field.name], field.default) for field in fields(Settings)]


def environment_name(name: str) -> str:
    return PREFIX + name.upper()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _documented(name: str, hint: Any, default: object) -> Documented:
    kind, parameter = hint.__origin__, hint.__metadata__[0]
    told = "" if default in (None, ()) else _text(default)
    group = parameter.group[0] if isinstance(parameter.group, tuple) else parameter.group
    return Documented(name, _kind(kind), told, str(parameter.help or ""), str(group.name))


def _cores() -> int:
    """The cores that this process may use, which in a container can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _kind(kind: Any) -> str:
    choices = getattr(kind, "__args__", ())
    if choices and all(isinstance(choice, str) for choice in choices):
        return " or ".join(choices)
    text = getattr(kind, "__name__", "") if not choices else str(kind)
    for name, plain in (("int", "whole number"), ("float", "number"), ("Path", "path"), ("tuple", "names")):
        if name in text:
            return plain
    return "text"


def _text(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
