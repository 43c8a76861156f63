"""Secrets and addresses in less common dress: one grammar for names and for lines.

Owns: `hide`. What is common (`password=…`, bearer tokens, keys by their form) the scanner of the canonical
form masks by itself (`secrets.py`); which lines of many are worth this closer look, `second_look.py` says.
Must not know: where texts come from.

- Names of secrets by their parts: `db_password_prod`, `password1`, `userPass`, `JSESSIONID`, `sig`.
- Values after `=>`, `:=`, within brackets, and as the text of an XML element.
- `Authorization:` with any scheme, to the end of the line or quotation.
- Passwords in URLs whatever bytes they have, `-u user:password`, `IDENTIFIED BY '…'`.
- Keys of services by their beginning alone, where nothing else begins so.
- E-mail addresses in any script, quoted, with `%40` or `&#64;`, at an address in brackets.

Every repetition is bounded, so that time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

KEYS_OF = "api|access|account|secret|private|auth|encryption|signing|ssh|master|shared|storage|license"
# Nothing else begins like these, so no digit is asked for.
BEGINNINGS = (
    "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- xoxa- xoxb- xoxe- xoxp- xoxr- xoxs- AIza "
    "sk_live_ sk_test_ rk_live_ rk_test_ shpat_ dop_v1_ whsec_"
)
NAMES_CACHED_MAX = 8_192

_JOINT = r"[_.-]?"
_STRONG = (
    rf"(?:pass{_JOINT}(?:word|wd|phrase|code)|secret|(?:{KEYS_OF})[_. -]?key"
    rf"|shared{_JOINT}access{_JOINT}signature|(?:j|php)?sess(?:ion)?id|credential)"
    r"(?:s|(?:\ provided))?\d{0,4}(?:[_.-][a-z0-9]{1,24}|(?-i:[A-Z][a-z0-9]{1,24})){0,3}"
)
_WEAK = r"(?:pass|pwd|pw|sig|signature|sid|otp|pin|dsn|creds?)\d{0,4}"
_ANNOUNCES = re.compile(
    rf"(?:{_STRONG}|(?<![a-z]){_WEAK}|(?-i:(?<=[a-z])(?:Pass|Pwd|Pw|Sig|Otp|Pin)\d{{0,4}}))\Z", re.IGNORECASE
)
# `--password-file`, `secretName`, `passwordPolicy` tell about a secret, not the secret.
_ABOUT = re.compile(
    r"(?:[_.-]|(?-i:(?<=[a-z])(?=[A-Z])))(?:file|path|name|ref|policy|type|length)\Z", re.IGNORECASE
)
_NAMED = re.compile(
    r"""((?i:api\ key(?:\ provided)?)|[\w.-]{2,64}+)"""
    r"""(\\?["']?\]?\s{0,2}(?:=>|->|:=|==?|:)\s{0,2}(?:=\s)?[\[({`]?)"""
)
_VALUE = re.compile(
    r"""\\["'][^\\"']{1,1024}+|"(?:[^"\\]|\\.){1,1024}+|'(?:[^'\\]|\\.){1,1024}+"""
    r"""|[^\s,;&"'`()\[\]{}<>|\\]{1,1024}+"""
)
_AUTHORIZATION = re.compile(  # to the end of the quotation that it is in, or of the line
    r"""(?P<name>authorization\\?["']?\s{0,2}[:=]\s{0,2})"""
    r"""(?P<value>\\["'][^"'\\\r\n]{1,4096}+|["'](?:[^"'\\\r\n]|\\.){1,4096}+|[^"'\\\r\n][^\r\n]{0,4096}+)""",
    re.IGNORECASE,
)
_QUOTES = re.compile(r"""\\?["']?""")
_PLAIN = re.compile(r"[a-z.:!]{1,19}")
_NO_SECRET = re.compile(r"\d{1,6}|true|false|null|none|nil|yes|no|ok|on|off", re.IGNORECASE)
_SCHEMES = ("basic", "bearer", "token", "apikey", "negotiate")
_KEY = re.compile(rf"(?<![A-Za-z0-9])(?:(?:{'|'.join(map(re.escape, BEGINNINGS.split()))})[\w-]{{16,255}}+"
                  r"|ya29\.[\w-]{16,1024}+|A[KS]IA[0-9A-Z]{16}(?![0-9A-Z]))")  # fmt: skip
_COOKIE_VALUE = r"""(?:"[^"]{1,1024}+"?|[^\s,;&"'`)\]}<>|\\]{1,1024}+)"""
_COOKIES = re.compile(  # the whole list of `name=value` (RFC 6265, section 4.2.1)
    rf"""(cookie\\?["']?\s?[:=]\s?)(?!<secret>)({_COOKIE_VALUE})((?:;\s?[\w.-]{{1,64}}+={_COOKIE_VALUE})*+)""",
    re.IGNORECASE,
)
_ELEMENT = re.compile(
    r"(<(?!secret>)[\w:.-]{0,48}(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|token|credentials?"
    r"|(?<![a-z])(?:pass|pwd|pw))(?:\s[^<>]{0,256})?>(?:<!\[CDATA\[)?)[^<\s][^<]{0,1023}",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"""(:(?:\\?/|%2[Ff]){2})[^\s/?#"\\]{1,256}@(?=[\w\[])""")
_OPTION = re.compile(r"((?:^|\s)(?:-u|--user|--proxy-user)[ =][^\s:]{1,64}:)(?!<secret>)\S{1,256}")
_SQL = re.compile(
    r"""(identified\s{1,4}(?:with\s{1,4}[^\s]{1,64}\s{1,4})?by\s{1,4}["'])(?!<secret>)[^"']{1,256}""",
    re.IGNORECASE,
)
_MYSQL = re.compile(r"(\b(?:mysql|mariadb)\w{0,8}\s(?:[^\n]{0,200}\s)?-p)(?!<secret>)[^\s-]\S{0,255}")
_SSHPASS = re.compile(r"(\bsshpass -p ?)(?!<secret>)[^\s-]\S{0,255}")
_QUOTED = r"""(?:\\["'][^\\"']{1,1024}+|"(?:[^"\\]|\\.){1,1024}+|'(?:[^'\\]|\\.){1,1024}+)"""
_CALLED = re.compile(  # `PASSWORD 'x'` of SQL, `set_password("x")`: quoted, so no prose
    r"""(pass(?:word|wd|phrase|code)(?: \(?|\() ?)"""
    rf"""(?!\\?["'](?:[\s:=,]{{0,4}}\\?["']|<secret>))({_QUOTED})""",
    re.IGNORECASE,
)
_FLAG = re.compile(r"((?:^|(?<= ))--([\w-]{2,48}+) )(?!-|<secret>)([^\s\"'`]{1,1024}+)")
_PAIR = re.compile(  # `"name": "DB_PASSWORD", "value": "x"`, `<add key="password" value="x"/>`
    r"""(["'](?P<said>[\w.-]{2,64})\\?["'][ ,]{1,3}\\?["']?value\\?["']?\s{0,2}[:=]\s{0,2})"""
    rf"""(?P<value>{_QUOTED})""",
    re.IGNORECASE,
)
_MAIL = re.compile(
    r"""(?:"[^"\s]{1,64}"|(?<![^\s"'<>()\[\]{},;:=|@/&])[^\s"'<>()\[\]{},;:=|@/&]{1,256}?)(?:@|%40|&\#64;|＠)"""
    r"""(?:\[[0-9A-Fa-f.:]{3,45}\]|(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24})"""
)

_Replace = str | Callable[[re.Match[str]], str]


@lru_cache(maxsize=NAMES_CACHED_MAX)
def _announces(name: str) -> bool:
    return _ANNOUNCES.search(name) is not None and _ABOUT.search(name) is None


def _assigned(text: str) -> str:
    parts: list[str] = []
    done = 0
    for found in _NAMED.finditer(text):
        if found.start() < done or not _announces(found[1]):
            continue
        value = _VALUE.match(text, found.end())
        if value is None or not _is_secret(value[0], found[2]):
            continue
        quote = _QUOTES.match(value[0])
        parts += [text[done : value.start()], quote[0] if quote else "", "<secret>"]
        done = value.end()
    return "".join([*parts, text[done:]]) if parts else text


def _is_secret(value: str, gap: str) -> bool:
    said = value.lstrip("\\\"'")
    if not said or _NO_SECRET.fullmatch(said):
        return False
    # `pass: all tests done` is prose
    return not (":" in gap and gap.endswith(" ") and said == value and _PLAIN.fullmatch(said))


def _authorized(found: re.Match[str]) -> str:
    quote = _QUOTES.match(found["value"])
    opened = found["name"] + (quote[0] if quote else "")
    words = found["value"][len(opened) - len(found["name"]) :].split()
    scheme = words[0] if words else ""
    if scheme.lower() == "digest":
        return f"{opened}{scheme} <secret>"
    if len(words) < 2 or scheme.lower() in _SCHEMES or _PLAIN.fullmatch(scheme) or scheme == "<secret>":
        return found[0]
    return f"{opened}<secret>"


def _called(found: re.Match[str]) -> str:
    quote = _QUOTES.match(found[2])
    return f"{found[1]}{quote[0] if quote else ''}<secret>"


def _paired(found: re.Match[str]) -> str:
    quote = _QUOTES.match(found["value"])
    if not _announces(found["said"]) or not _is_secret(found["value"], "="):
        return found[0]
    return f"{found[1]}{quote[0] if quote else ''}<secret>"


def _flagged(found: re.Match[str]) -> str:
    tells = _announces(found[2]) or found[2].lower().endswith("token")
    return f"{found[1]}<secret>" if tells and _is_secret(found[3], ": ") else found[0]


def _cookies(found: re.Match[str]) -> str:
    prose = found[1].endswith(": ") and _PLAIN.fullmatch(found[2])
    return found[0] if prose else f"{found[1]}<secret>"


# Each rule with what a text must hold, in lower case, for it to find anything.
_SECRETS: tuple[tuple[tuple[str, ...], re.Pattern[str], _Replace], ...] = (
    (("cookie",), _COOKIES, _cookies),
    (("authorization",), _AUTHORIZATION, _authorized),
    (("<",), _ELEMENT, r"\1<secret>"),
    (("-u",), _OPTION, r"\1<secret>"),
    (("mysql", "mariadb"), _MYSQL, r"\1<secret>"),
    (("sshpass",), _SSHPASS, r"\1<secret>"),
    (("identified",), _SQL, r"\1<secret>"),
    (("pass",), _CALLED, _called),
    (("value",), _PAIR, _paired),
    (("--",), _FLAG, _flagged),
    ((*BEGINNINGS.lower().split(), "ya29.", "akia", "asia"), _KEY, "<secret>"),
)


def hide(text: str, *, secrets: bool, personal: bool, userinfo: str) -> str:
    """`text` with what the rules find replaced; `userinfo` stands for what precedes the host in a URL."""
    if secrets:
        low = text.lower()
        if "@" in text:
            text = _USERINFO.sub(rf"\1{userinfo}", text)
        for pieces, pattern, replacement in _SECRETS:
            if any(piece in low for piece in pieces):
                text = pattern.sub(replacement, text)
        text = _assigned(text)
    if personal and ("@" in text or "%40" in text or "&#64;" in text or "＠" in text):
        text = _MAIL.sub("<email>", text)
    return text
