"""What becomes of lines before they are learned: users' patterns, redaction, then the canonical form.

Owns: these choices as one value, and its name. Templates made under different choices must not mix, so the
name (`version`) is part of what a stream's state and its baselines say about themselves.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from driftlock.signals.batch import Lines
from driftlock.signals.canonical import CANONICAL_VERSION, canonicalise
from driftlock.signals.patterns import Pattern, masked, parse_patterns
from driftlock.signals.redaction import CLASSES, SECRETS, checked_classes
from driftlock.signals.second_look import hidden


@dataclass(frozen=True, slots=True)
class Masking:
    """Patterns to mask, in order, and the classes of `redaction` that are on."""

    patterns: tuple[Pattern, ...] = ()
    redact: tuple[str, ...] = CLASSES

    @classmethod
    def of(cls, *, mask: tuple[str, ...] = (), redact: tuple[str, ...] = CLASSES) -> Masking:
        """From what a user gives, `NAME=REGEX` each. Raises `UsageError`."""
        return cls(parse_patterns(mask), checked_classes(redact))

    @property
    def version(self) -> str:
        """What made a canonical line: the version of the form, and a digest of choices beside the default."""
        secrets = SECRETS in self.redact
        if not self.patterns and secrets:
            return str(CANONICAL_VERSION)
        digest = hashlib.blake2b(digest_size=8, person=b"driftlock-masks")
        for part in ("secrets" if secrets else "", *(t for p in self.patterns for t in (p.name, p.regex))):
            raw = part.encode("utf-8", "surrogatepass")
            digest.update(len(raw).to_bytes(8, "little") + raw)
        return f"{CANONICAL_VERSION}-{digest.hexdigest()}"

    def canonical(
        self, buffer: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> Lines:
        """The canonical line of each `buffer[starts[i]:ends[i]]`, in order."""
        if self.patterns:
            buffer, starts, ends = masked(buffer, starts, ends, self.patterns)
        secrets = SECRETS in self.redact
        buffer, starts, ends = hidden(buffer, starts, ends, secrets=secrets)
        return canonicalise(buffer, starts, ends, secrets=secrets)


DEFAULT_MASKING = Masking()
