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
from driftlock.signals.canonical import (
    CANONICAL_VERSION,
    canonicalise,
    canonicalise_with_places,
    hash_lines,
)
from driftlock.signals.magnitudes import NO_PLACE, sizes_at
from driftlock.signals.patterns import Pattern, masked, parse_patterns
from driftlock.signals.redaction import CLASSES, SECRETS, checked_classes
from driftlock.signals.second_look import hidden, may_hold
from driftlock.signals.shapes import Shapes, gathered, joined, shapes_of

Bytes = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


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

    def canonical(self, buffer: Bytes, starts: Index, ends: Index) -> Lines:
        """The canonical line of each `buffer[starts[i]:ends[i]]`, in order."""
        return self._typed(*self._masked(buffer, starts, ends))

    def canonical_by_shape(
        self, buffer: Bytes, starts: Index, ends: Index, shapes: Shapes | None = None
    ) -> tuple[Lines, Hashes]:
        """The same lines and their hashes, quicker where many differ in their digits alone.

        `shapes` are the lines', where they are known.
        """
        buffer, starts, ends = self._masked(buffer, starts, ends)
        if shapes is None or self.patterns:
            shapes = shapes_of(buffer, starts, ends)
        if not len(shapes):
            lines = self._typed(buffer, starts, ends)
            return lines, hash_lines(lines)
        of_shapes, places = canonicalise_with_places(
            shapes.buffer, shapes.starts, shapes.ends, secrets=SECRETS in self.redact
        )
        stands = shapes.standing(of_shapes) & ~may_hold(shapes.buffer, shapes.starts, shapes.ends)
        stands &= places[:, 0] >= NO_PLACE
        which = np.where(np.append(stands, False)[shapes.of_line], shapes.of_line, -1)
        numbers = sizes_at(buffer, starts, places, which)
        alone = np.flatnonzero(which < 0)
        which[alone] = len(shapes) + np.arange(len(alone))
        made = joined(of_shapes, self._typed(buffer, starts[alone], ends[alone]))
        numbers[alone] = made.numbers[which[alone]]
        return gathered(made, which, numbers), hash_lines(made)[which]

    def _masked(self, buffer: Bytes, starts: Index, ends: Index) -> tuple[Bytes, Index, Index]:
        return masked(buffer, starts, ends, self.patterns) if self.patterns else (buffer, starts, ends)

    def _typed(self, buffer: Bytes, starts: Index, ends: Index) -> Lines:
        secrets = SECRETS in self.redact
        buffer, starts, ends = hidden(buffer, starts, ends, secrets=secrets)
        return canonicalise(buffer, starts, ends, secrets=secrets)


DEFAULT_MASKING = Masking()
