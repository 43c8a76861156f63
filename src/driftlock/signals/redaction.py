"""Redaction of names and of log lines of our own: what is kept there as it came, but for secrets.

Owns: the classes of redaction, the words that announce a secret, the forms of well-known keys, and `redact`
for short texts whose numbers stay: names of streams and series, and what our processes log. Canonical lines
are not its business: there the compiled scanner masks by type, and `secrets.py` shares the words with it.

- `secrets`: values after `password=` and the like, bearer tokens, JSON web tokens, keys of known form,
  passwords in URLs, PEM blocks of keys.
- `personal`: e-mail addresses; payment card numbers (ISO/IEC 7812-1, check digit of Luhn) and IBANs
  (ISO 13616, remainder 97). Names of persons have no form that could be told from other words.

Every pattern runs in time linear in the text, nearly: each repetition is bounded or cannot give back.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache

from driftlock.errors import UsageError
from driftlock.signals.announced import hide

SECRETS, PERSONAL = "secrets", "personal"
CLASSES = (SECRETS, PERSONAL)
TEXTS_CACHED_MAX = 65_536
TEXT_CHARS_CACHED_MAX = 512

# Names that announce a secret, matched as the lower-case end of what precedes the separator; a `_` or `-`
# may stand between their letters.
ALWAYS = (
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "passcode",
    "secret",
    "apikey",
    "accesskey",
    "accountkey",
    "secretkey",
    "privatekey",
    "authkey",
)
UNLESS_PROSE = ("token", "authorization", "cookie", "credential", "credentials")
SCHEMES = ("basic", "bearer", "digest", "token", "apikey", "negotiate")
# How keys of well-known services begin, and how many of [0-9A-Za-z_-] they have at least.
KEY_BYTES_MIN = 20
KEY_PREFIXES = (
    *(f"gh{kind}_" for kind in "pousr"),  # GitHub
    "github_pat_",
    "glpat-",  # GitLab
    *(f"xox{kind}-" for kind in "abeprs"),  # Slack
    "AIza",  # Google
    *(f"{kind}_{mode}_" for kind in ("sk", "rk", "pk") for mode in ("live", "test")),  # Stripe
    "shpat_",  # Shopify
    "dop_v1_",  # DigitalOcean
    "sk-",  # several providers of language models
    "hf_",  # Hugging Face
    "npm_",
    "pypi-",
    "whsec_",
)

_Replace = str | Callable[[re.Match[str]], str]

# What is in every text that a rule matches: most names and lines are done with this quick look.
_HINT_FORMS = re.compile(r"\d[\d -]{11}|[A-Z]{2}\d\d[ \dA-Z]{8}")
_HINT_WORDS = (*ALWAYS, *UNLESS_PROSE, "bearer")  # without the joints that may stand in them
_HINT_PIECES = ("@", "://", "eyj", "-----begin", "akia", "asia", *(prefix.lower() for prefix in KEY_PREFIXES))


def _joined(words: tuple[str, ...]) -> str:
    return "|".join("[_-]?".join(word) for word in words)


_VALUE = r"""(?:"[^"]*+"?|'[^']*+'?|[^\s,;&"'`)\]}<>|\\]++)"""
_SCHEME = rf"(?:(?:{'|'.join(SCHEMES)})\s++)?+"
_PREFIXES = "|".join(re.escape(prefix) for prefix in KEY_PREFIXES)

_SECRETS: tuple[tuple[re.Pattern[str], _Replace], ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,64}KEY[A-Z0-9 ]{0,64}-----.*?(?:-----END [A-Z0-9 ]{0,64}-{0,5}|\Z)", re.S
        ),
        "<secret>",
    ),
    (re.compile(r"(?<=://)[^\s/@]{1,256}+(?=@)"), "<secret>"),
    (re.compile(r"\beyJ[\w-]*+\.[\w-]*+\.[\w-]*+"), "<jwt>"),
    (re.compile(rf"(?<![\w-])(?:{_PREFIXES})(?=[\w-]*\d)[\w-]{{{KEY_BYTES_MIN - 3},}}+"), "<secret>"),
    (re.compile(r"\bA[KS]IA[0-9A-Z]{16}\b"), "<secret>"),
    (
        re.compile(
            rf"""((?:{_joined(ALWAYS + UNLESS_PROSE)})\\?["']?\s?[:=]\s?{_SCHEME})(?!<secret>){_VALUE}""",
            re.IGNORECASE,
        ),
        r"\1<secret>",
    ),
    (re.compile(r"(?i:\b(bearer)) [\w.~+/=-]{16,}+"), r"\1 <secret>"),
)


def _card(found: re.Match[str]) -> str:
    digits = [int(c) for c in found[0] if c.isdigit()]
    doubled = [d if place % 2 == 0 else d * 2 - 9 * (d > 4) for place, d in enumerate(reversed(digits))]
    return "<card>" if sum(doubled) % 10 == 0 else found[0]


def _iban(found: re.Match[str]) -> str:
    text = found[0].replace(" ", "")
    number = "".join(str(int(c, 36)) for c in text[4:] + text[:4])
    return "<iban>" if int(number) % 97 == 1 else found[0]


_PERSONAL: tuple[tuple[re.Pattern[str], _Replace], ...] = (
    (re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}+@[A-Za-z0-9-]{1,63}+(?:\.[A-Za-z0-9-]{1,63}+)++"), "<email>"),
    # The first digits that are given out: 3 (34, 37, 35), 4, 5, 2 (22 to 27) and 6; never 1, as in times.
    (re.compile(r"(?<![\w-])(?:3[457]|4\d|5[0-8]|2[2-7]|6\d)(?:[ -]?\d){11,17}+(?![\w-])"), _card),
    (re.compile(r"\b[A-Z]{2}\d\d(?: ?[0-9A-Z]{4}){2,7}+(?: ?[0-9A-Z]{1,3})?+\b"), _iban),
)
_RULES = {SECRETS: _SECRETS, PERSONAL: _PERSONAL}


def checked_classes(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The classes in their fixed order; `none` alone is none. Raises `UsageError` for an unknown one."""
    if classes == ("none",):
        return ()
    for name in classes:
        if name not in CLASSES:
            raise UsageError(
                f"redact knows no class {name!r}.", hint=f"Classes are {', '.join(CLASSES)}; or none alone."
            )
    return tuple(name for name in CLASSES if name in classes)


def redact(text: str, classes: tuple[str, ...] = CLASSES) -> str:
    """`text` with what belongs to the classes replaced by placeholders."""
    if not classes:
        return text
    return _cached(text, classes) if len(text) <= TEXT_CHARS_CACHED_MAX else _redacted(text, classes)


def redact_name(text: str, classes: tuple[str, ...] = CLASSES) -> str:
    """`redact` for what names a thing: distinct names stay distinct by a digest of what they were.

    The digest is a pseudonym: who knows a name can tell whether it is this one.
    """
    clean = redact(text, classes)
    if clean == text:
        return text
    digest = hashlib.blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=8, person=b"driftlock-redact"
    ).hexdigest()
    return f"{clean}~{digest}"


@lru_cache(maxsize=TEXTS_CACHED_MAX)
def _cached(text: str, classes: tuple[str, ...]) -> str:
    # Pure, and bounded by both limits above: the same names of series come with every request.
    return _redacted(text, classes)


def _suspicious(text: str) -> bool:
    low = text.lower()
    if any(piece in low for piece in _HINT_PIECES) or _HINT_FORMS.search(text):
        return True
    joined = low.replace("_", "").replace("-", "")
    return any(word in joined for word in _HINT_WORDS)


def _redacted(text: str, classes: tuple[str, ...]) -> str:
    text = hide(text, secrets=SECRETS in classes, personal=PERSONAL in classes, userinfo="<secret>@")
    if not _suspicious(text):
        return text
    for name in classes:
        for pattern, replacement in _RULES[name]:
            text = pattern.sub(replacement, text)
    return text
