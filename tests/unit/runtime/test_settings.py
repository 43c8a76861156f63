"""One name a setting; flag over environment over file over default; nothing misspelt passes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from cyclopts import App, CycloptsError

from driftlock.cli.reference import settings_page
from driftlock.cli.sources import ConfigFile, providers
from driftlock.core.log_settings import BLOCK_NS_RANGE, SESSION_IDLE_NS_MAX
from driftlock.errors import UsageError
from driftlock.runtime.settings import DEFAULTS, Settings, documented, environment_name, is_loopback
from driftlock.signals.sessions import Sessions

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for field in fields(Settings):
        monkeypatch.delenv(environment_name(field.name), raising=False)


def read(*flags: str) -> Settings:
    app = App()

    @app.default
    def show(*, settings: Settings = DEFAULTS, config: ConfigFile = None) -> Settings:
        return settings

    app.config = tuple(providers())
    return app(list(flags), exit_on_error=False, print_error=False, result_action="return_value")


def test_defaults_hold_without_any_source() -> None:
    assert read() == DEFAULTS


def test_flag_beats_environment_beats_file_beats_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "driftlock.toml").write_text("api_port = 1001\nhop_size = 11\npartitions = 3\n")
    monkeypatch.setenv("DRIFTLOCK_API_PORT", "1002")
    monkeypatch.setenv("DRIFTLOCK_HOP_SIZE", "12")
    told = read("--api-port", "1003")
    assert (told.api_port, told.hop_size, told.partitions, told.window_size) == (1003, 12, 3, 50)


def test_a_file_can_be_named_by_flag_or_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text('stream_attributes = ["a", "b"]\nlog_format = "json"\n')
    assert read("--config", str(file)).stream_attributes == ("a", "b")
    monkeypatch.setenv("DRIFTLOCK_CONFIG", str(file))
    assert read().log_format == "json"


@pytest.mark.parametrize("source", ["flag", "environment"])
def test_names_are_separated_by_commas(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTLOCK_STREAM_ATTRIBUTES", "k8s.pod, host" if source == "environment" else "")
    told = read(*(["--stream-attributes", "k8s.pod,host"] if source == "flag" else []))
    assert told.stream_attributes == ("k8s.pod", "host")


MASKS = ("order-id=ORD-[0-9A-Z]+, x", "b=a{2,3} c")


@pytest.mark.parametrize("source", ["flag", "environment", "file"])
def test_patterns_keep_their_spaces_and_commas(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if source == "environment":
        monkeypatch.setenv("DRIFTLOCK_MASK", "\n".join(MASKS))
    if source == "file":
        (tmp_path / "driftlock.toml").write_text(f"mask = ['{MASKS[0]}', '{MASKS[1]}']\n")
    told = read(*(["--mask", MASKS[0], "--mask", MASKS[1]] if source == "flag" else []))
    assert told.mask == MASKS


def test_redaction_is_on_and_can_be_narrowed() -> None:
    assert read().redacted == ("secrets", "personal")
    assert read("--redact", "secrets").redacted == ("secrets",)
    assert read("--redact", "none").redacted == ()


@pytest.mark.parametrize("source", ["flag", "environment", "file"])
def test_what_names_a_session_reaches_the_roles_from_every_source(
    source: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert read().session_attributes == ("gen_ai.conversation.id",)
    pattern = r"order ([A-Z]{2,3}, \d+)"
    if source == "environment":
        monkeypatch.setenv("DRIFTLOCK_SESSION_ATTRIBUTES", "order.id, session.id")
        monkeypatch.setenv("DRIFTLOCK_SESSION_PATTERN", pattern)
    if source == "file":
        (tmp_path / "driftlock.toml").write_text(
            f'session_attributes = ["order.id", "session.id"]\nsession_pattern = \'{pattern}\'\n'
        )
    flags = ["--session-attributes", "order.id,session.id", "--session-pattern", pattern]
    told = read(*(flags if source == "flag" else []))
    assert (told.session_attributes, told.session_pattern) == (("order.id", "session.id"), pattern)
    told.check()
    assert handed_on(told, monkeypatch) == told


@pytest.mark.parametrize("text", ["none", ""])
def test_no_attribute_may_name_sessions(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = read("--session-attributes", text)
    handed = handed_on(told, monkeypatch)
    for one in (told, handed):
        chosen = Sessions.of(attributes=one.session_attributes, pattern=one.session_pattern)
        assert chosen == Sessions((), "")


def handed_on(told: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings as a process reads them that a supervisor starts."""
    for name, value in told.environment().items():
        monkeypatch.setenv(name, value)
    return read()


@pytest.mark.parametrize("flags", [("--session-pattern", "(?=x)"), ("--session-attributes", "x" * 300)])
def test_what_can_name_no_session_is_refused_at_start(flags: tuple[str, str]) -> None:
    with pytest.raises(UsageError):
        read(*flags).check()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("apiport = 1", "Did you mean api_port"),
        ("[up]\napi_port = 1", "'up' that Driftlock does not know"),
        ("api_port = ", "not valid TOML"),
        ('api_port = "x"', "api_port must be a whole number; in driftlock.toml it is a text."),
        (
            "baseline_size = 400.5",
            "baseline_size must be a whole number; in driftlock.toml it is a fraction.",
        ),
        ("alert_budget = true", "alert_budget must be a number; in driftlock.toml it is true or false."),
        ("host = true", "host must be a text; in driftlock.toml it is true or false."),
        ("database_url = ['postgresql://u:hunter2@h/d']", "database_url must be a text; in driftlock.toml"),
        ("mask = [1]", "mask must be a text or a list of texts; in driftlock.toml it is a list."),
        ("redact = {a = 1}", "redact must be a text or a list of texts; in driftlock.toml it is a table."),
        ("profile = 2026-01-01", "profile must be a text; in driftlock.toml it is a time."),
    ],
)
def test_a_file_that_says_what_nobody_knows_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "driftlock.toml").write_text(text)
    with pytest.raises(UsageError) as fault:
        read()
    assert words in f"{fault.value.message} {fault.value.hint}"
    assert "hunter2" not in fault.value.message


@pytest.mark.parametrize(("key", "value"), [("api_port", "70000"), ("profile", "'loud'")])
def test_a_value_of_a_file_that_is_not_allowed_names_its_key(key: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "driftlock.toml").write_text(f"{key} = {value}\n")
    with pytest.raises(CycloptsError) as fault:
        read()
    assert f" for {key} " in str(fault.value)


def test_a_named_file_must_exist() -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read("--config", "nowhere.toml")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--api-port", "0"),
        ("--api-port", "65536"),
        ("--partitions", "0"),
        ("--log-level", "loud"),
        ("--p-value-threshold", "0"),
        ("--sse-connections-max", "-1"),
        ("--session-idle-s", "1e300"),
        ("--session-idle-s", "inf"),
        ("--session-idle-s", "nan"),
        ("--time-block-s", "-1"),
        ("--time-block-s", "86401"),
    ],
)
def test_values_out_of_bounds_are_refused(flag: str, value: str) -> None:
    with pytest.raises(CycloptsError):
        read(flag, value)


def test_the_longest_silence_is_one_that_a_stream_takes() -> None:
    settings = read("--session-idle-s", "1e9")
    assert int(settings.session_idle_s * 1e9) == SESSION_IDLE_NS_MAX


def test_the_longest_block_of_time_is_one_that_a_stream_takes() -> None:
    settings = read("--time-block-s", "86400")
    assert settings.time_block_s * 10**9 == BLOCK_NS_RANGE[1]


def test_a_longer_environment_name_is_not_taken_for_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    # Kubernetes sets such names by itself for a service named driftlock-host
    monkeypatch.setenv("DRIFTLOCK_HOST_SERVICE_PORT", "99")
    assert read() == DEFAULTS


@pytest.mark.parametrize(
    "settings",
    [
        Settings(window_size=500),
        Settings(hop_size=60),
        Settings(api_port=4317),
        Settings(inflight_bytes_max=2**20),
        Settings(host="0.0.0.0", dev_api_key="secret"),
        Settings(mask=(r"a=(x)\1",)),
        Settings(redact=("all",)),
    ],
    ids=["baseline", "hop", "same port", "in flight", "development key in the open", "pattern", "redaction"],
)
def test_settings_that_do_not_go_together_are_refused(settings: Settings) -> None:
    with pytest.raises(UsageError):
        settings.check()


def test_the_development_key_is_for_loopback() -> None:
    Settings(dev_api_key="secret").check()
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "10.0.0.1", "::", "x")] == [
        *(True, True, True),
        *(False, False, False),
    ]


def test_settings_reach_a_child_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Settings(
        api_port=9000,
        data_dir=Path("/somewhere"),
        stream_attributes=("a", "b"),
        checkpoint_interval_s=0.5,
        log_format="json",
        database_url="postgresql://u:p@h/d",
        mask=MASKS,
        redact=("none",),
    )
    for name, value in told.environment().items():
        monkeypatch.setenv(name, value)
    assert read() == told


def test_every_setting_is_documented() -> None:
    rows = documented()
    assert [row.name for row in rows] == [field.name for field in fields(Settings)]
    assert [row.name for row in rows if len(row.text) < 10 or not row.kind or not row.group] == []


def test_the_reference_page_is_current() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert page == settings_page(), "run `make docs`"
