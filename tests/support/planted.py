"""Secrets and personal data to plant into telemetry, and to look for wherever they must not be.

None is anybody's: they are made up in the forms that real ones have, and put together here so that no scanner
of source code takes them for real.
"""

from __future__ import annotations

from dataclasses import dataclass

FRAGMENT_CHARS = 12
"""Less of a secret than so many characters in a row is not called a find."""

_KEY_LINES = ("MIIEowIBAAKCAQEAqZ7LmX3VbK9tR5wYhQ2nDf8GsJ", "c4VtNq0XoBzK8sLpWmRy6JdUe1TgFaHi3b5C7k9")


@dataclass(frozen=True, slots=True)
class Planted:
    """What is sent as `text`; nothing of `secret` may be found again."""

    name: str
    text: str
    secret: str

    def fragments(self) -> set[str]:
        """Every piece of the secret that is long enough to count, casefolded."""
        secret = self.secret.casefold()
        last = max(len(secret) - FRAGMENT_CHARS, 0)
        return {secret[at : at + FRAGMENT_CHARS] for at in range(last + 1)}


def _bare(name: str, *parts: str) -> Planted:
    return Planted(name, "".join(parts), "".join(parts))


def _told(name: str, text: str, secret: str) -> Planted:
    return Planted(name, text.format(secret), secret)


def _block(separator: str) -> str:
    kind = "RSA PRIVATE KEY"
    return separator.join((f"-----BEGIN {kind}-----", *_KEY_LINES, f"-----END {kind}-----"))


PLANTED = (
    _bare("aws key id", "AKIA", "Q3EGRT5MPLK7ZXWV"),
    _told("aws secret", "aws_secret_access_key={}", "wJkrXUtnFEMI/K7MDTNG/bPxRfiCYQ3EGRT5MPLK"),
    _bare("github", "ghp_", "Ab3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA3bC5"),
    _bare("github fine-grained", "github_pat_", "11QZXLKA0Yk3WmRt7VbN_e5JdUq8TgFaHi3b5C7k9Xo2BzKs"),
    _bare("gitlab", "glpat-", "x7TqW2mLr9KbZ4vN8sYd"),
    _bare("slack", "xoxb-", "284719375026-918273645546-QwErTyUiOpAsDfGhJkLzXcVb"),
    _bare("google", "AIza", "SyD4fGh6Jk8Lm0Nq2Rs4Tu6Vw8Xy0Za2Bc4"),
    _bare("stripe", "sk_live_", "9fKq3LxV7bNm2WzR5tYc8GhJ"),
    _bare("model provider", "sk-", "proj-T3kQx9LmZ7vBn2WcR5yHa8JdFg4Ks6Pu"),
    _bare("jwt", "eyJhbGciOiJIUzI1NiJ9", ".eyJzdWIiOiI5MTgyNzMifQ", ".q8ZtLr3VnXw5KjYb2MfHc7TsPd9GaRe4"),
    Planted("pem on one line", _block(" "), _KEY_LINES[0]),
    Planted("pem on many lines", _block("\n"), _KEY_LINES[0]),
    Planted("pem with escaped breaks", _block("\\n"), _KEY_LINES[0]),
    Planted("pem, its second line", _block("\n"), _KEY_LINES[1]),
    _told("password in a url", "postgres://reporter:{}@db-7.internal:5432/sales", "Tr0ubadour-plum"),
    _told("password", "password={}", "correct-horse-staple"),
    _told("password in quotes", 'passwd: "{}"', "purple monkey dishwasher"),
    _told("basic", "Authorization: Basic {}", "cmVwb3J0ZXI6VHIwdWI0ZG9y"),
    _told("bearer", "Authorization: Bearer {}", "mFvxBkkQbwZpvRstYhnLaaQQ"),
    _told("bearer alone", "sent Bearer {}", "pLkqWbwZxvRrtYhhLaavnMMs"),
    _told("cookie", "Cookie: theme=dark; sid={}", "hKqXwZtVxbLmBrnWqkds"),
    _told("set-cookie", "Set-Cookie: sid={}; Path=/; HttpOnly", "zzKqXpZtVxbQmBrnWqkd"),
    _told("name with more parts", "db_password_prod={}", "winterfellPlumOrchard"),
    _told("camel case", "loginUserPass={}", "PlumWinterOrchardfell"),
    _told("web session", "JSESSIONID={}", "OrchardPlumfellWinter"),
    _told("xml element", "<password>{}</password>", "FellWinterPlumorchard"),
    _told("ruby hash", '"password"=>"{}"', "WinterOrchardPlumfell"),
    _told("any scheme", "Authorization: Custom {} for all", "PlumfellOrchardWinter"),
    _told("escaped url", "https:\\/\\/reporter:{}@db\\/sales", "OrchardfellPlumWinter"),
    _told("command line", "curl -u reporter:{} x", "WinterPlumOrchardFell"),
    _told("sql", "ALTER USER reporter IDENTIFIED BY '{}'", "FellOrchardWinterPlum"),
    _told("function of sql", "SET PASSWORD FOR reporter = PASSWORD('{}')", "WinterOrchardFellPlum"),
    _told("name beside value", '<add key="password" value="{}"/>', "PlumFellWinterOrchard"),
    _told("option", "migrate --password {} now", "OrchardWinterPlumFell"),
    _told("sshpass", "sshpass -p {} ssh db", "FellPlumWinterOrchard"),
    _bare("github without digits", "ghp_", "AbcdefGhijklmNopqrstUvwxyzAbcdefGhij"),
    _told("e-mail in another script", "mail {}@müller-beispiel.de", "jörgHobbsWinterfell"),
    _bare("card", "4539148803436467"),
    _told("card with spaces", "{}", "4539 1488 0343 6467"),
    _bare("e-mail", "clara.hobbs", "@mailbox-example.org"),
    _told("iban", "{}", "DE89370400440532013000"),
)


def found_in(text: str) -> list[str]:
    """Which secrets a text holds a piece of, each with the text around the first one."""
    folded = text.casefold()
    told = []
    for planted in PLANTED:
        places = [at for at in map(folded.find, planted.fragments()) if at >= 0]
        if places:
            at = min(places)
            told.append(f"{planted.name}: {text[max(at - 80, 0) : at + 60]!r}")
    return told
