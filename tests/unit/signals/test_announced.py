"""Secrets and addresses in less common dress: what is hidden in names and lines, and what must stay."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftlock.signals.announced import hide
from driftlock.signals.masking import Masking
from driftlock.signals.redaction import redact
from driftlock.signals.second_look import LOOK_BYTES_MAX, hidden
from driftlock.signals.textlog import text_batch

SECRET = "CorrectHorseBattery"

HOSTILE = [
    "db_password_prod={}", "password1={}", "passwords: {}", "userPass={}", "pass={}", "pw={}", "x/y pw: {}",
    "passphrase={}", "pwd={}", "sig={}", "otp={}", "encryption_key={}", "db.password.prod={}",
    "SharedAccessSignature={}", "sessionid={}", "JSESSIONID={}", "PHPSESSID={}", "API key: {}",
    "Incorrect API key provided: {}", "api_key_prod => {}",
    "password:= {}", "password = = {}", 'params "password"=>"{}"', "password=>{}", "params password=[{}]",
    "params password=({})", "params password={{{}}}", "password=\0{}", 'password: "correct \\" {}"',
    r'{{\"password\":\"{}\"}}', '{{"form":{{"password":["{}"]}}}}',
    "<password>{}</password>", '<wsse:Password Type="text">{}</wsse:Password>',
    "Authorization: Custom {}", "Authorization: AWS4-HMAC-SHA256 Credential=x/y, Signature={}",
    'Authorization: Digest username="u", response={}',
    '{{"Authorization": "Digest username=\\"u\\", response={}"}}', "Cookie: theme=dark; sessionid={}",
    "Set-Cookie: a=b; Path=/; sid={}",
    "connecting to https:\\/\\/u:{}@h\\/", "postgres://u:ab){}@h/db", "postgres://u:ab'{}@h/db",
    "postgres://u:ab|{}@h/db", "https://u:{}@h/", "nats://{}@h:4222",
    "run curl -u admin:{} https://h/x", "curl --user admin:{} https://h/x", "mysql -h db -p{}",
    "CREATE USER u IDENTIFIED BY '{}'",
    "GET /hook/xoxb-123456789012-1234567890123-{}Xyz/z", "oauth ya29.a0AfH6SMBx-{}_qrst",
    "ghp_abcdefghijklmnopqr{}", "x_glpat-{}abc",
    "mail jörg.{}@müller.de", "mail {}@müller.de", "mail {}%40example.com", "mail {}&#64;example.com",
    'mail "{}"@example.com', "mail to user-{}@example.com-x", "mail {}@[10.0.0.1]", "mail {}＠example.com",
    "passwordHash={}", "password -> {}", "password=`{}`", "<pwd>{}</pwd>",
    "<password><![CDATA[{}]]></password>",
    '<add key="password" value="{}"/>', '{{"name":"DB_PASSWORD","value":"{}"}}x',
    "--password {}", "--auth-token {}",
    "curl --proxy-user a:{} x", "sshpass -p {} ssh h", "sshpass -p{} ssh h", "https:%2F%2Fu:{}@h/",
    "ALTER ROLE a PASSWORD '{}'", "SELECT PASSWORD('{}')", 'set_password("{}")',
    "IDENTIFIED WITH mysql_native_password BY '{}'",
]  # fmt: skip

INNOCENT = [
    "monkey=banana keyboard=us design=flat author=ann passed=3 bypass=off compass=north signal=9",
    "max_tokens=512 total_tokens: 1024 token_count=7 tokens=12 tokenizer=bpe",
    "pass=3 fail=0 pass: true pin=off sid:1 cport:-1",
    "primary_key=id cache_key=users key=value key: abc keys: many",
    "pass: all good", "signature: valid", "session_duration=12 session closed", "assignment: done",
    "password_changed=true password_attempts=3", "secret_count: 12",
    "root@mesos-slave-07 logged in", "@media (min-width: 10px)", "pkg@1.2.3", "git@host:repo",
    "-p 22 -u root -user x", "identified as bob", "100%40", "a > b <b>bold</b>", "12:30:45 up=1",
    "authorization: denied for bob", "use --password to set it --max-tokens 512 --user bob", "docker -p 80",
    "password for 'x'", "run --password-file /etc/app/pw", "secretName: web-tls passwordPolicy=strict",
    '"name": "region", "value": "eu" secretary=bob', 'secret "web-tls" not found',
]  # fmt: skip


def line_of(text: str, masking: Masking | None = None) -> str:
    batch = text_batch(text.encode(), masking=masking) if masking else text_batch(text.encode())
    return "\n".join(batch.canonical[row].decode() for row in range(len(batch)))


@pytest.mark.parametrize("text", HOSTILE, ids=[str(n) for n in range(len(HOSTILE))])
def test_a_secret_stays_neither_in_a_line_nor_in_a_name(text: str) -> None:
    told = text.format(SECRET)
    assert "horse" not in line_of(told).lower()
    assert "horse" not in redact(told).lower()
    assert redact(redact(told)) == redact(told)


@pytest.mark.parametrize("text", INNOCENT, ids=[str(n) for n in range(len(INNOCENT))])
def test_what_only_looks_alike_stays(text: str) -> None:
    assert hide(text, secrets=True, personal=True, userinfo="") == text


def test_secrets_can_be_left_alone_in_lines_and_addresses_never_are() -> None:
    kept = Masking.of(redact=("none",))
    assert line_of("userPass=hunter by jörg@müller.de", kept) == "userPass=hunter by <email>"


def through_the_quick_look(lines: list[bytes]) -> list[bytes]:
    bounds = np.cumsum([0, *map(len, lines)])
    found, starts, ends = hidden(np.frombuffer(b"".join(lines), np.uint8), bounds[:-1], bounds[1:])
    return [found[s:e].tobytes() for s, e in zip(starts.tolist(), ends.tolist(), strict=True)]


# Plain addresses are the scanner's, so only those within URLs must be looked at.
pieces = st.sampled_from(
    [*(text for text in HOSTILE if "@" not in text or "/" in text), "password", "pass", "Pass", "sig", "api",
     "_", "-", ".", " ", "key", "=", ": ", ":=", "=>", '"', "\\", "x.org", "ü", "://", "://a@", "[", ">",
     "</", "<secret>", "1", "-u ", "by '", "cookie",
     "--", "-p", "%2F", "('", '", "', "value", "->", "sshpass ", "token", "Hash", ";", "a", "authorization"]
)  # fmt: skip


@given(st.lists(pieces | st.text("aPs=:. ", max_size=4), max_size=10).map("".join))
@settings(deadline=None, max_examples=1_500)
def test_the_quick_look_over_lines_misses_nothing(text: str) -> None:
    raw = text.encode()
    expected = hide(text, secrets=True, personal=True, userinfo="").encode()
    assert through_the_quick_look([b"x", raw, b"y"]) == [b"x", expected, b"y"]


@given(st.lists(st.binary(max_size=40), max_size=5))
@settings(deadline=None, max_examples=200)
def test_other_lines_come_through_byte_by_byte(lines: list[bytes]) -> None:
    for raw, found in zip(lines, through_the_quick_look(lines), strict=True):
        told = hide(raw.decode("utf-8", "surrogateescape"), secrets=True, personal=True, userinfo="")
        assert found == told.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "piece",
    ["a", "password", "=", "a=", '"', "a@", "x.", "<", "-p", "ghp_", "authorization: a ", "\\", "://"],
)
def test_a_long_line_takes_time_in_proportion(piece: str) -> None:
    """A rule that went back over the line again and again would not return."""
    (found,) = through_the_quick_look([(piece * LOOK_BYTES_MAX).encode() + b" pass=x"])
    assert b"pass=x" not in found or len(found) > LOOK_BYTES_MAX
