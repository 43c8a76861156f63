"""A log stream's baseline: the units it was learned from, as content-addressed bytes.

Owns their encoding and what later asks of them: reference texts of a given size and the unit nearest to
another one. Everything that a stream's model holds follows from the baseline and the log range since.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from driftlock.core.coder_calls import NO_CALLERS, Callers
from driftlock.core.coder_numbers import NumberBits
from driftlock.core.packing import compress, decompress, pack, unpack
from driftlock.core.templates import IdArray

FORMAT = 5
REFERENCES = 8


@dataclass(frozen=True, slots=True)
class Baseline:
    """Units as sequences of ids into `templates` (hash and line); `kept` tells which the trimming left.

    `callers` has, where events tell them, who called each event of each unit (`coder_calls`), `numbers` the
    strangest number of each unit when it came (`coder_numbers`), and `volumes`, of blocks of time, how many
    events each unit had (`time_blocks`).
    """

    templates: Sequence[tuple[int, bytes]]
    units: Sequence[IdArray]
    kept: Sequence[bool]
    first: int
    last: int
    about: Mapping[str, Any]
    numbers: NumberBits
    callers: Sequence[Callers] = ()
    volumes: Sequence[int] = ()

    def encode(self) -> bytes:
        """Deterministic bytes: what `baseline_ref` is the SHA-256 of."""
        volumes = {"volumes": list(self.volumes)} if self.volumes else {}
        return pack(
            {
                "format": FORMAT,
                "about": dict(self.about),
                "first": self.first,
                "last": self.last,
                "templates": [[key, text] for key, text in self.templates],
                "sizes": np.array([len(unit) for unit in self.units], "<u4").tobytes(),
                "units": np.concatenate(self.units).astype("<u2").tobytes(),
                "kept": list(self.kept),
                "number_bits": self.numbers.bits.astype("<f4").tobytes(),
                "number_causes": self.numbers.causes.astype("<i4").tobytes(),
                "callers": _numbered(self.callers),
                **volumes,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Baseline:
        """The inverse of `encode`."""
        raw = unpack(data)
        ends = np.cumsum(np.frombuffer(raw["sizes"], "<u4"))
        units = np.split(np.frombuffer(raw["units"], "<u2").astype(np.int32), ends[:-1])
        templates = [(key, text) for key, text in raw["templates"]]
        names, numbers_of = raw["callers"]
        told = np.frombuffer(names, "<u4").astype(np.uint32)[np.frombuffer(numbers_of, "<u2")]
        callers = np.split(told, ends[:-1]) if len(told) else ()
        bits = np.frombuffer(raw["number_bits"], "<f4").astype(np.float32)
        numbers = NumberBits(bits, np.frombuffer(raw["number_causes"], "<i4").astype(np.int32))
        place, volumes = (raw["first"], raw["last"], raw["about"]), raw.get("volumes", ())
        return cls(templates, units, raw["kept"], *place, numbers, callers, volumes)

    def text(self, unit: int) -> bytes:
        """The canonical lines of a unit."""
        return b"\n".join([self.templates[item][1] for item in self.units[unit].tolist()])

    def references(self, length: int) -> list[bytes]:
        """Up to `REFERENCES` texts of about `length` bytes, from evenly spaced places of the kept units."""
        kept = [index for index, inside in enumerate(self.kept) if inside]
        starts = sorted({len(kept) * k // REFERENCES for k in range(REFERENCES)})
        found = [self._text_from(kept, start, length) for start in starts if kept]
        return [text for text in found if text]

    def _text_from(self, kept: Sequence[int], start: int, length: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        for step in range(len(kept)):
            if size >= length:
                break
            parts.append(self.text(kept[(start + step) % len(kept)]))
            size += len(parts[-1]) + 1
        return b"\n".join(parts)[:length]

    def nearest(self, counts: Mapping[int, int], *, units: int) -> tuple[int, Counter[int]]:
        """The first of so many kept units in a row whose template counts (by hash) together differ least from
        `counts`, and those counts. Where trimming left no such row, it may hold a unit that was taken out."""
        keys = [key for key, _ in self.templates]
        wanted = np.array([counts.get(key, 0) for key in keys], np.int64)
        sizes = [len(unit) for unit in self.units]
        table = np.zeros((1 + len(self.units), len(keys)), np.int64)
        np.add.at(table, (1 + np.repeat(np.arange(len(sizes)), sizes), np.concatenate(self.units)), 1)
        row = min(units, len(self.units))
        sums = np.cumsum(table, axis=0)
        table = sums[row:] - sums[:-row]
        kept = np.lib.stride_tricks.sliding_window_view(np.array(self.kept, np.bool_), row).all(axis=1)
        away = np.abs(table - wanted).sum(axis=1)  # templates that no baseline unit knows add the same to all
        if kept.any():
            away[~kept] = np.iinfo(np.int64).max
        best = int(np.argmin(away))
        return best, Counter({keys[item]: int(table[best, item]) for item in np.flatnonzero(table[best])})

    def line_counts(self) -> Counter[str]:
        """How often each canonical line occurs in the kept units."""
        counts: Counter[int] = Counter()
        for unit, inside in zip(self.units, self.kept, strict=True):
            if inside:
                counts.update(unit.tolist())
        texts = [text.decode("utf-8", "replace") for _, text in self.templates]
        lines: Counter[str] = Counter()
        for item, count in counts.items():
            lines[texts[item]] += count
        return lines

    def lines(self) -> dict[int, bytes]:
        """Canonical line by template hash."""
        return dict(self.templates)


def _numbered(callers: Sequence[Callers]) -> list[bytes]:
    """The callers that there are, and each event's by its number: hashes themselves do not compress."""
    names, numbers = np.unique(np.concatenate(callers or [NO_CALLERS]), return_inverse=True)
    return [names.astype("<u4").tobytes(), numbers.astype("<u2").tobytes()]


@dataclass(frozen=True, slots=True)
class StoredBaseline:
    """A baseline at rest: compressed bytes and the hash of the uncompressed ones."""

    compressed: bytes
    ref: str

    @classmethod
    def of(cls, baseline: Baseline) -> StoredBaseline:
        """Encodes and hashes."""
        data = baseline.encode()
        return cls(compress(data), hashlib.sha256(data).hexdigest())

    @property
    def data(self) -> bytes:
        """The encoded baseline."""
        return decompress(self.compressed)

    def load(self) -> Baseline:
        """The baseline itself."""
        return Baseline.decode(self.data)


def total_events(units: Iterable[IdArray]) -> int:
    """Events in all units."""
    return sum(len(unit) for unit in units)
