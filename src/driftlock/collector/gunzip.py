"""Bounded gzip decompression, piece by piece.

A small body can expand a thousandfold; so the output is asked for in bounded steps, each one counted before
the next. And it can be a row of very many empty members: zlib copies what follows a member or a step, so the
input is fed in bounded slices, and members are counted.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from driftlock.errors import MalformedTelemetryError, TooLargeError

GZIP_MAGIC = b"\x1f\x8b"
_GZIP_ONLY = zlib.MAX_WBITS | 16
STEP_BYTES = 1024 * 1024
SLICE_BYTES = 64 * 1024
# Writers that flush by member, such as bgzip, make one for each 64 KiB.
MEMBERS_MAX = 10_000


class Gunzip:
    """Feed compressed pieces, then `finish`. `hold` is called with each growth and may refuse by raising."""

    def __init__(self, *, bytes_max: int, hold: Callable[[int], None]) -> None:
        self._bytes_max = bytes_max
        self._hold = hold
        self._stream = zlib.decompressobj(_GZIP_ONLY)
        self._pieces: list[bytes] = []
        self._size = 0
        self._fed = False
        self._members = 1

    def feed(self, data: bytes) -> None:
        """Raises MalformedTelemetryError, TooLargeError, or what `hold` raises."""
        for start in range(0, len(data), SLICE_BYTES):
            self._feed_slice(data[start : start + SLICE_BYTES])

    def _feed_slice(self, data: bytes) -> None:
        while data:
            if self._stream.eof:
                self._next_member()
            self._fed = True
            try:
                piece = self._stream.decompress(data, STEP_BYTES)
            except zlib.error as error:
                raise MalformedTelemetryError(f"the gzip body is broken: {error}") from error
            self._keep(piece)
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail

    def finish(self) -> bytes:
        """The whole. Raises MalformedTelemetryError when the end is missing."""
        if self._fed and not self._stream.eof:
            raise MalformedTelemetryError("the gzip body ends too early")
        return b"".join(self._pieces)

    def _next_member(self) -> None:
        # gzip allows several members in a row
        self._members += 1
        if self._members > MEMBERS_MAX:
            raise MalformedTelemetryError(f"the gzip body has more than {MEMBERS_MAX} members")
        self._stream = zlib.decompressobj(_GZIP_ONLY)

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._bytes_max:
            raise TooLargeError(f"the request is larger than {self._bytes_max} bytes after decompression")
        self._hold(len(piece))
        self._pieces.append(piece)


def gunzip(data: bytes, *, bytes_max: int, hold: Callable[[int], None]) -> bytes:
    """All at once, under the same bounds."""
    stream = Gunzip(bytes_max=bytes_max, hold=hold)
    stream.feed(data)
    return stream.finish()
