"""The canonical form, said again with regular expressions: slow, and meant to be obvious.

Possessive quantifiers (`++`, `?+`) stand where the compiled scanner does not look back.
"""

from __future__ import annotations

import re
from decimal import Decimal

LINE_BYTES_MAX = 4096

WORD = rb"0-9A-Za-z_\x80-\xff"
END = rb"(?![" + WORD + rb"])"
PATH = WORD + rb".\-+%~@$"
DELIMITERS = b" \n\"'`()[]{}<>,;=|"


def rx(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


# ---- timestamps

FRACTION = rb"(?:[.,:][0-9]{1,9}(?![0-9]))?+"
ZONE = rb"(?:Z| (?:UTC|GMT)| ?[+-](?:[0-9]{4}(?![0-9])|[0-9]{2}:[0-9]{2}(?![0-9])))?+"
HOUR = rb"[0-9]{1,2}(?![0-9])"
TWO = rb"[0-9]{2}(?![0-9])"
ONE_OR_TWO = rb"[0-9]{1,2}(?![0-9])"
TIME = HOUR + rb":" + TWO + rb":" + TWO + FRACTION + ZONE + END
SHORT_TIME = HOUR + rb":" + TWO + rb"(?::" + TWO + FRACTION + rb")?+" + ZONE + END
LOOSE_TIME = HOUR + rb":" + ONE_OR_TWO + rb":" + ONE_OR_TWO + FRACTION + ZONE + END
MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
WEEKDAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
YEAR = rb"(?: (?:19|20)[0-9]{2}" + END + rb")?+"
MONTH_FIRST = MONTH + rb"  ?+" + ONE_OR_TWO + rb" " + TIME + YEAR
DAY_FIRST = rb"(?P<m>[/ -])" + MONTH + rb"(?P=m)[0-9]{4}(?![0-9])(?:[: ]" + TIME + rb"|" + END + rb")"
DIGIT_TIMES = [
    rx(rb"[0-9]{4}([-/.])" + TWO + rb"\1" + TWO + rb"(?:[T _-]" + SHORT_TIME + rb"|" + END + rb")"),
    rx(rb"[0-9]{2}/" + TWO + rb"/(?:[0-9]{4}|[0-9]{2})(?![0-9]) " + TIME),
    rx(rb"[0-9]{2}/" + TWO + rb"/[0-9]{4}" + END),
    rx(rb"[0-9]{1,2}" + DAY_FIRST),
    rx(rb"[0-9]{8}[-T_ ]" + LOOSE_TIME),
    rx(TIME),
]
LETTER_TIMES = [
    rx(MONTH_FIRST),
    rx(WEEKDAY + rb",?+ " + MONTH_FIRST),
    rx(WEEKDAY + rb",?+ [0-9]{1,2} (?=" + MONTH + rb")"),
]

# ---- the rest

URL = rx(rb"[A-Za-z\x80-\xff][" + WORD + rb"]{0,19}://[^ \n\"'`<>()\[\]{}|]*")
JWT = rx(rb"eyJ[0-9A-Za-z_-]*\.[0-9A-Za-z_-]*\.[0-9A-Za-z_-]*+(?!\.)")
BASE64 = rx(rb"[0-9A-Za-z+/_-]{32,}+")
HOST = rx(rb"[0-9A-Za-z.-]++")
PORT = rx(rb":[0-9]{1,5}(?![0-9])" + END)
IP4 = rx(rb"[0-9]{1,3}(?:\.[0-9]{1,3}(?![0-9])){3}" + END + rb"(?!\.[0-9])")
UUID = rx(rb"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}" + END)
MAC = rx(rb"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}" + END + rb"(?!\1)")
IP6 = rx(rb"[0-9A-Fa-f:]++")
AWS = rx(rb"A[KS]IA[0-9A-Z]{16}")
KEYS = (
    b"ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- xoxa- xoxb- xoxe- xoxp- xoxr- xoxs- AIza sk_live_ sk_test_ "
    b"rk_live_ rk_test_ pk_live_ pk_test_ shpat_ dop_v1_ sk- hf_ npm_ pypi- whsec_"
).split()
KNOWN_KEY = rx(rb"(?=(?:" + b"|".join(KEYS) + rb"))(?=[0-9A-Za-z_-]*[0-9])[0-9A-Za-z_-]{20,}+")
LABEL = rb"[A-Z0-9 ]{0,64}+"
PEM = rx(
    rb"-----BEGIN (?=[A-Z0-9 ]{0,61}KEY)" + LABEL + rb"-----"
    rb"(?:(?:(?!-----END ).)*+-----END " + LABEL + rb"-{0,5}+|.*)"
)
NAMES = (
    b"password",
    b"passwd",
    b"pwd",
    b"passphrase",
    b"passcode",
    b"secret",
    b"apikey",
    b"accesskey",
    b"accountkey",
    b"secretkey",
    b"privatekey",
    b"authkey",
)
PROSE_NAMES = (b"token", b"authorization", b"cookie", b"credential", b"credentials")


def joints(names: tuple[bytes, ...]) -> re.Pattern[bytes]:
    letters = [b"[_-]?+".join(re.escape(bytes([c])) for c in name) for name in names]
    return re.compile(b"(?:" + b"|".join(letters) + b")$", re.IGNORECASE)


# A joint may stand before each letter but the first one of the name.
ALWAYS, UNLESS_PROSE = joints(NAMES), joints(PROSE_NAMES)
COOKIE = joints((b"cookie",))
COOKIES = rx(rb"(?:; ?+[" + WORD + rb".-]++=(?:\"(?s:[^\"]*+)(?:\"|\Z)|[^ \n,;&\"'`)\]}<>|\\]*+))*+")
ENDS_CHUNK = rx(rb"[\x00-\x20\x7f" + re.escape(DELIMITERS) + rb"]")
BEARER = re.compile(rb"(?<![" + WORD + rb"])bearer$", re.IGNORECASE)
SEPARATOR = rx(rb"\\?+[\"']?+(?P<before> ?+)(?P<mark>[:=])(?P<after> ?+)")
SCHEME = re.compile(
    rb"(?:basic|bearer|digest|token|apikey|negotiate) (?=[^ \n,;&\"'`)\]}<>|\\])", re.IGNORECASE
)
VALUE = rx(rb"[^ \n,;&\"'`)\]}<>|\\]+")
TOKEN = rx(rb"[0-9A-Za-z._~+/=-]{16,}+")
RESULT = re.compile(
    rb"(?:(?<![A-Za-z\x80-\xff])|(?-i:(?=[A-Z])))"
    rb"(?:statuscode|status|code|errno|exit|signal|response)[ :=\"'(\\]{1,4}$",
    re.IGNORECASE,
)
METHOD = rx(rb"(?<![" + WORD + rb"])(?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) $")
HTTP_VERSION = rx(rb"HTTP/[0-9.]{1,3} $")


def canonical(raw: bytes, *, secrets: bool = True) -> bytes:
    return scanned(raw, secrets=secrets)[0]


def scanned(raw: bytes, *, secrets: bool = True) -> tuple[bytes, list[int]]:
    """The canonical line, and the buckets of the sizes of its numbers."""
    cut = len(raw) > LINE_BYTES_MAX
    if cut:
        # without the last chunk, unless it ends just there
        end = LINE_BYTES_MAX
        while end and not ENDS_CHUNK.search(raw[end - 1 : end + 1]):
            end -= 1
        raw = raw[:end]
    scanner = Scanner(clean(raw), secrets)
    return scanner.run() + (b"<cut>" if cut else b""), scanner.sizes


def bucket(number: bytes) -> int:
    """Where a number lies among the powers of ten from .001 to 10⁹: 2 below all, 15 above all, 1 for zero."""
    parts = re.match(r"([0-9]+(?:\.[0-9]+)?)[.0-9]*(?:e([+-]?[0-9]+))?$", number.decode().lower())
    assert parts
    mantissa, exponent = Decimal(parts[1]), max(min(int(parts[2] or 0), 9_999), -9_999)
    if not mantissa:
        return 1
    return 2 + sum(mantissa.scaleb(exponent) >= Decimal(10) ** power for power in range(-3, 10))


def clean(raw: bytes) -> bytes:
    text = bytearray()
    position = 0
    while position < len(raw):
        for size in (1, 2, 3, 4):
            piece = raw[position : position + size]
            try:
                piece.decode()
            except UnicodeDecodeError:
                continue
            break
        else:
            size, piece = 1, b"?"
        text += piece
        position += size

    def gap(found: re.Match[bytes]) -> bytes:
        return b"\n" if b"\n" in found[0] or b"\r" in found[0] else b" "

    return re.sub(rb"[\x00-\x20\x7f]+", gap, bytes(text).strip(bytes([*range(0x21), 0x7F])))


class Scanner:
    """One clean line; `p` is the position, `chunk` and `end` are the bounds of the chunk around it."""

    def __init__(self, text: bytes, secrets: bool) -> None:
        self.text = text
        self.secrets = secrets
        self.sizes: list[int] = []
        self.out = bytearray()
        self.p = 0

    def run(self) -> bytes:
        while self.p < len(self.text):
            if self.text[self.p] in DELIMITERS:
                if self.text[self.p : self.p + 1] == b"\n":
                    self.put("⏎".encode(), self.p + 1)
                else:
                    self.keep(1)
                continue
            if self.secrets and (pem := PEM.match(self.text, self.p)):
                self.put(b"<secret>", pem.end())
                continue
            self.chunk = self.end = self.p
            while self.end < len(self.text) and self.text[self.end] not in DELIMITERS:
                self.end += 1
            self.slashes = 0
            mail = self.next_email()
            while self.p < self.end:
                if mail and self.p >= mail[0]:
                    if self.p == mail[0]:
                        self.slashes = 0
                        self.put(b"<email>", mail[1])
                    mail = self.next_email()
                else:
                    self.step()
        return bytes(self.out)

    def keep(self, size: int) -> None:
        self.out += self.text[self.p : self.p + size]
        self.p += size

    def put(self, mark: bytes, end: int) -> None:
        self.out += mark
        self.p = end

    def before(self) -> bytes:
        return self.text[self.p - 1 : self.p] if self.p > self.chunk else b" "

    def step(self) -> None:
        c = self.text[self.p : self.p + 1]
        if is_word(c):
            self.word(signed=False)
        elif c == b"/":
            self.slash()
        elif (
            c == b"?"
            and self.slashes
            and self.p + 1 < self.end
            and is_word(self.text[self.p + 1 : self.p + 2])
        ):
            self.put(b"?<query>", self.url_end(self.p + 1))
        else:
            self.other(c)

    def other(self, c: bytes) -> None:
        before = self.before()
        after = self.text[self.p + 1 : min(self.p + 2, self.end)]
        marked = before == b":" or self.text[max(self.p - 2, self.chunk) : self.p] == b"\\n"
        if self.secrets and marked and self.p > self.chunk and (pem := PEM.match(self.text, self.p)):
            self.put(b"<secret>", pem.end())
            return
        if not re.match(rb"[" + PATH + rb"]", c):
            self.slashes = 0
        if c == b":" and after == b":" and not is_word(before) and (end := self.ip6()):
            self.put(b"<ip>", end)
            return
        self.keep(1)
        if c in b"-+" and after.isdigit() and not re.match(rb"[0-9A-Za-z\x80-\xff]", before):
            self.word(signed=True)

    # ---- what may begin with a word

    def word(self, *, signed: bool) -> None:
        start = self.p
        end = start
        while end < self.end and is_word(self.text[end : end + 1]):
            end += 1
        mark, found = self.typed(end)
        if found:
            self.put(mark, found)
            return
        while self.p < end:
            part = re.match(rb"_|[^_]+", self.text[self.p : end])
            assert part
            if part[0] == b"_":
                self.keep(1)
            else:
                self.part(self.p + len(part[0]), end, signed)
            signed = False
        if self.p == end:
            self.secret(end)

    def typed(self, end: int) -> tuple[bytes, int]:
        t, p, size, before = self.text, self.p, end - self.p, self.before()
        if p == self.chunk and size == 3:
            for form in LETTER_TIMES[:2]:
                if found := form.match(t, p):
                    return b"<ts>", found.end()
            if (found := LETTER_TIMES[2].match(t, p)) and (date := rx(DAY_FIRST).match(t, found.end() - 1)):
                return b"<ts>", date.end()
        if self.secrets and not re.match(rb"[0-9A-Za-z+_-]", before) and (found := KNOWN_KEY.match(t, p)):
            return b"<secret>", found.end()
        if not re.match(rb"[0-9A-Za-z+/_-]", before):
            if before != b"." and (found := JWT.match(t, p)) and len(found[0]) >= 24:
                return b"<jwt>", found.end()
            if (found := BASE64.match(t, p)) and (last := self.base64_end(found)):
                return b"<b64>", last
        if not re.match(rb"[0-9A-Za-z.-]", before) and (last := self.host_end()):
            return b"<host>", self.port(last)
        if self.secrets and size == 20 and AWS.fullmatch(t, p, end):
            return b"<secret>", end
        for form in DIGIT_TIMES:
            if found := form.match(t, p):
                return b"<ts>", found.end()
        if found := IP4.match(t, p):
            return b"<ip>", self.port(found.end())
        if found := URL.match(t, p):
            return b"<url>", self.url_end(p)
        if found := UUID.match(t, p):
            return b"<uuid>", found.end()
        if found := MAC.match(t, p):
            return b"<mac>", found.end()
        if size <= 4 and t[end : end + 1] == b":" and (last := self.ip6()):
            return b"<ip>", last
        return b"", 0

    def part(self, end: int, word_end: int, signed: bool) -> None:
        text = self.text[self.p : end]
        last = end == word_end
        number = rx(rb"[0-9]++").match(self.text, self.p)
        if last and (found := rx(rb"[0-9]++[eE][+-]?+[0-9]++" + END).match(self.text, self.p)):
            self.number(found.end(), signed)
        elif number and number.end() >= end:
            decimals = rx(rb"(?:\.[0-9]++)*+").match(self.text, end)
            assert decimals
            stop = decimals.end() if last else end
            if last and stop == end and len(text) <= 4 and self.names_result(end, signed):
                self.keep(len(text))
                return
            exponent = rx(rb"[eE][+-]?+[0-9]++" + END).match(self.text, stop) if stop > end else None
            self.number(exponent.end() if exponent else stop, signed)
        else:
            self.put(self.mixed(text), end)

    def number(self, end: int, signed: bool) -> None:
        if signed:
            self.out.pop()
        self.sizes.append(bucket(self.text[self.p : end]))
        self.put(b"<num>", end)

    def mixed(self, text: bytes) -> bytes:
        kinds = re.findall(rb"[0-9]++|[^0-9]++", text)
        if not re.search(rb"[0-9]", text):
            return text
        if re.fullmatch(rb"[0-9A-Fa-f]{8,}|0[xX][0-9A-Fa-f]+", text):
            return b"<hex>"
        cases = re.search(rb"[a-z]", text) and re.search(rb"[A-Z]", text)
        if len(kinds) > 3 or (len(text) >= 20 and cases):
            return b"<id>"
        self.sizes += map(bucket, re.findall(rb"[0-9]+", text))
        return re.sub(rb"[0-9]+", b"<num>", text)

    def names_result(self, end: int, signed: bool) -> bool:
        start = self.p - signed
        prefix = self.text[:start]
        if start < 2:
            return False
        if end - start == 3 and self.text[end : end + 1] in (b"", b" ", b"\n"):
            if prefix.endswith(b'" ') and self.text[start : start + 1] in b"12345":
                return True
            if HTTP_VERSION.search(prefix):
                return True
        return RESULT.search(prefix) is not None

    # ---- runs

    def url_end(self, start: int) -> int:
        found = rx(rb"[^ \n\"'`<>()\[\]{}|]*").match(self.text, start)
        assert found
        return start + len(found[0].rstrip(b".:!?,;"))

    def base64_end(self, found: re.Match[bytes]) -> int:
        text = found[0]
        kinds = re.findall(rb"[a-z]++|[A-Z]++|[0-9]++|[^a-zA-Z0-9]++", text)
        three = all(re.search(one, text) for one in (rb"[a-z]", rb"[A-Z]", rb"[0-9]"))
        if not three or len(kinds) * 5 < len(text) * 2:
            return 0
        padded = rx(rb"={0,2}+" + END).match(self.text, found.end())
        return padded.end() if padded else 0

    def host_end(self) -> int:
        found = HOST.match(self.text, self.p, self.end)
        if not found or re.search(rb"[A-Z]", found[0]):
            return 0
        name = found[0].rstrip(b".-")
        end = self.p + len(name)
        labels = name.split(b".")
        if (
            len(labels) < 2
            or is_word(self.text[end : end + 1])
            or labels[0] in (b"", b"com", b"org", b"net", b"io", b"java")
        ):
            return 0
        files = b"py js go rs so gz sh rb ts md cc db id ms".split()
        if re.fullmatch(rb"[a-z]{2}", labels[-1]) and len(labels) > 2 and labels[-1] not in files:
            return end
        return end if labels[-1] in b"com net org edu gov local internal".split() else 0

    def port(self, end: int) -> int:
        found = PORT.match(self.text, end)
        return found.end() if found else end

    def ip6(self) -> int:
        found = IP6.match(self.text, self.p)
        if not found or not 2 <= len(found[0]) <= 46:
            return 0
        text = found[0]
        if re.search(rb"[^:]:$", text):
            text = text[:-1]
        end = self.p + len(text)
        if is_word(self.text[end : end + 1]) or re.match(rb":(?!:)", text):
            return 0
        groups = [group for group in text.split(b":") if group]
        pairs = len(re.findall(rb"(?<=:):", text))
        if len(groups) == 9 and not pairs and all(len(g) <= 4 for g in groups[:8]):
            return end if len(groups[8]) <= 5 and groups[8].isdigit() else 0
        if any(len(group) > 4 for group in groups):
            return 0
        if len(groups) == 8 and not pairs:
            return end
        return end if pairs == 1 and 1 <= len(groups) <= 7 and re.search(rb"[0-9]", text) else 0

    def next_email(self) -> tuple[int, int] | None:
        """The first e-mail address between here and the end of the chunk."""
        floor = self.p
        for at in (m.start() for m in re.finditer(b"@", self.text[: self.end])):
            if at < self.p:
                continue
            local = rx(rb"[0-9A-Za-z._%+\-\x80-\xff]*$").search(self.text[floor:at])
            domain = rx(rb"[0-9A-Za-z.-]*+").match(self.text, at + 1, self.end)
            assert local
            assert domain
            floor = at + 1
            dots = [m.start() for m in re.finditer(rb"\.(?=[0-9A-Za-z-])", domain[0])]
            name = domain[0].rstrip(b".-")
            if local[0] and dots and dots[-1] >= 1 and re.fullmatch(rb"[A-Za-z]{2,}", name[dots[-1] + 1 :]):
                return at - len(local[0]), at + 1 + len(name)
        return None

    # ---- paths and secrets

    def slash(self) -> None:
        self.slashes += 1
        self.keep(1)
        if self.slashes <= (4 if METHOD.search(self.text[: self.chunk]) else 2):
            return
        found = rx(rb"[" + PATH + rb"][" + PATH + rb"/]*").match(self.text, self.p, self.end)
        if found and (name := found[0].rstrip(b".")):
            self.put(b"<path>", self.p + len(name))

    def secret(self, end: int) -> None:
        span = self.secret_span(end) if self.secrets else None
        if span:
            self.keep(span[0] - end)
            self.put(b"<secret>", span[1])

    def secret_span(self, end: int) -> tuple[int, int] | None:
        t, prefix = self.text, self.text[self.chunk : end]
        if BEARER.search(prefix) and t[end : end + 1] == b" " and (found := TOKEN.match(t, end + 1)):
            return found.span()
        always = ALWAYS.search(prefix) is not None
        if not always and not UNLESS_PROSE.search(prefix):
            return None
        spaced = False
        if found := SEPARATOR.match(t, end):
            start, prose = found.end(), found["mark"] == b":" and found["after"]
            if found["after"] and found["mark"] == b"=" and not found["before"]:
                start -= 1
            spaced = bool(prose)
        elif t[end : end + 1] == b" " and len(prefix) > 2 and prefix.startswith(b"--"):
            start = end + 1
        else:
            return None
        if scheme := SCHEME.match(t, start):
            start = scheme.end()
        span = self.value(start, spaced and not always)
        if span and COOKIE.search(prefix):
            more = COOKIES.match(t, span[1])
            assert more
            return span[0], more.end()
        return span

    def value(self, start: int, prose_stays: bool) -> tuple[int, int] | None:
        quoted = rx(rb"\\?+[\"']").match(self.text, start)
        if quoted:
            inside = quoted.end()
            if PEM.match(self.text, inside):
                return None
            if quoted[0][:1] == b"\\":
                stop = rx(rb"[^\\]*").match(self.text, inside)
            else:
                stop = rx(rb"(?:(?!(?<!\\)" + quoted[0] + rb").)*").match(self.text, inside)
            assert stop
            return stop.span() if stop[0] else None
        if self.text[start : start + 1] in (b"", b"{", b"[", b"(", b"\\"):
            return None
        if PEM.match(self.text, start):
            return None
        found = VALUE.match(self.text, start)
        if not found or (prose_stays and len(found[0]) < 20 and re.fullmatch(rb"[a-z.:!]+", found[0])):
            return None
        return found.span()


def is_word(c: bytes) -> bool:
    return re.match(rb"[" + WORD + rb"]", c) is not None
