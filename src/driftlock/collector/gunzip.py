"""Bounded gzip decompression, piece by piece.

A small body can expand a thousandfold; so the output is asked for in bounded steps, each one counted before
the next.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from driftlock.errors import MalformedTelemetryError, TooLargeError

GZIP_MAGIC = b"\x1f\x8b"
_GZIP_ONLY = zlib.MAX_WBITS | 16
STEP_BYTES = 1024 * 1024


class Gunzip:
    """Feed compressed pieces, then `finish`. `hold` is called with each growth and may refuse by raising."""

    def __init__(self, *, bytes_max: int, hold: Callable[[int], None]) -> None:
        self._bytes_max = bytes_max
        self._hold = hold
        self._stream = zlib.decompressobj(_GZIP_ONLY)
        self._pieces: list[bytes] = []
        self._size = 0
        self._fed = False

    def feed(self, data: bytes) -> None:
        """Raises MalformedTelemetryError, TooLargeError, or what `hold` raises."""
        while data:
            if self._stream.eof:
                # gzip allows several members in a row
                self._stream = zlib.decompressobj(_GZIP_ONLY)
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
