"""Lines of a log file, whatever it is packed in.

Owns: opening plain, gzip and zstd files and standard input, cutting them into lines, and refusing what has no
lines in UTF-8. Told by the first bytes, not by the name. Must not know what a line means.
"""

from __future__ import annotations

import gzip
import io
import os
import select
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import zstandard

from driftlock.errors import InputError, UsageError

PIECE_BYTES = 256 * 1024
# Of zstd, unpacked at one go: small, for four bytes can grow to 128 KiB, and so a piece to 32 MiB.
PACKED_BYTES = 1024
# The rest of a longer line is left out: no log line is read by a person beyond this.
LINE_BYTES_MAX = 256 * 1024
# Without a line end in so much, what is read is no text: a device, or a disk image.
LINE_BYTES_READ_MAX = 1024 * 1024 * 1024
# So many carriage returns and at most one line end are lines that end otherwise; fewer, a bar of progress.
RETURNS_MIN = 8
# What reading raises when the medium or the packed data is at fault.
UNREADABLE = (EOFError, zlib.error, zstandard.ZstdError, OSError)
_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# Byte order marks; that of UTF-32 begins as that of UTF-16 does.
_WIDE = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def refuse_options(*names: str) -> None:
    """Raise UsageError for the name of a file that looks like an option, unless there is such a file."""
    for name in names:
        if name.startswith("-") and name != "-" and not Path(name).exists():
            raise UsageError(f"Unknown option: {name}.", hint="Add --help to see what there is.")


class LogFile:
    """One file, `-` for standard input; use it as a context. `position` and `size` count packed bytes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._raw, self.size = _open(name)
        self._open_bytes = 0  # since the last line end
        self._line_ends = 0  # counted no further than 2
        self._returns = 0
        try:
            self.unpacked = self._unpack()
            self._refuse_wide()
        except UNREADABLE as error:
            self.__exit__()
            raise InputError(f"{name} cannot be read: {_reason(error)}") from error
        except InputError:
            self.__exit__()
            raise

    def __enter__(self) -> LogFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self.name != "-":
            self._raw.close()

    @property
    def position(self) -> int:
        return self._raw.tell() if self.size is not None else 0

    def status(self) -> os.stat_result:
        """Of the open file, whatever its name stands for now."""
        return os.fstat(self._raw.fileno())

    def before(self, count: int) -> bytes:
        """The last `count` packed bytes before `position`, as they are now; fewer in a shorter file."""
        begin = max(self.position - count, 0)
        return os.pread(self._raw.fileno(), self.position - begin, begin)

    def lines(self, *, pause_s: float | None = None) -> Iterator[bytes | None]:
        """Every line without its end. With `pause_s`: None when nothing came for so long, from a pipe."""
        rest = b""
        try:
            for piece in self.pieces(pause_s):
                if piece is None:
                    yield None
                    continue
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    yield line.rstrip(b"\r")[:LINE_BYTES_MAX]
                if len(rest) > LINE_BYTES_MAX:
                    rest = rest[:LINE_BYTES_MAX]
            self._refuse_returns()
        except UNREADABLE as error:
            raise InputError(f"{self.name} cannot be read: {error}") from error
        if rest:
            yield rest.rstrip(b"\r")

    def begin(self, count: int) -> bytes:
        """So many unpacked bytes of the beginning, before anything is read; perhaps fewer, of a pipe."""
        return self.unpacked.peek(count)[:count]

    def read(self, size: int) -> bytes:
        """So many unpacked bytes, fewer at the end, none behind it."""
        piece = self.unpacked.read(size)
        self._watch(piece)
        if not piece:
            self._refuse_returns()
        return piece

    def pieces(self, pause_s: float | None = None) -> Iterator[bytes | None]:
        """What is unpacked, up to the present end. With `pause_s` as in `lines`."""
        watch = pause_s is not None and self.size is None and self.unpacked is self._raw
        # What peeking took is in the buffer, where select does not see it; every later read leaves it empty.
        piece = self.unpacked.read1(PIECE_BYTES)
        while piece:
            self._watch(piece)
            yield piece
            while watch and not select.select([self._raw], [], [], pause_s)[0]:
                yield None
            piece = self.unpacked.read1(PIECE_BYTES)

    def _unpack(self) -> io.BufferedReader:
        begin = self._raw.peek(4)[:4]
        if begin.startswith(_GZIP):
            return cast(io.BufferedReader, gzip.GzipFile(fileobj=self._raw))
        if begin == _ZSTD:
            return io.BufferedReader(_Unzstd(self._raw), PIECE_BYTES)
        return self._raw

    def _refuse_wide(self) -> None:
        begin = self.unpacked.peek(4)
        form = next((form for mark, form in _WIDE.items() if begin.startswith(mark)), None)
        if form is not None:
            raise InputError(
                f"{self.name} is in {form}; Driftlock reads UTF-8.",
                hint=f"Convert it first: iconv -f {form} -t UTF-8",
            )

    def _watch(self, piece: bytes) -> None:
        """Looks for line ends; refuses what goes on and on without."""
        if self._line_ends < 2:
            self._line_ends += piece.count(b"\n")
            self._returns += piece.count(b"\r")
        last = piece.rfind(b"\n")
        if last >= 0:
            self._open_bytes = len(piece) - last - 1
            return
        self._open_bytes += len(piece)
        if self._open_bytes > LINE_BYTES_READ_MAX:
            size = f"{LINE_BYTES_READ_MAX // 1024**2:,} MiB"
            raise InputError(f"{self.name} has no line end in {size}, so it is no text.")
        if self._open_bytes > LINE_BYTES_MAX:
            self._refuse_returns()

    def _refuse_returns(self) -> None:
        """A file with carriage returns in the place of line ends would be one line, or two."""
        if self._line_ends < 2 and self._returns >= RETURNS_MIN:
            raise InputError(
                f"{self.name} ends its lines by carriage returns alone (CR); Driftlock reads LF and CR LF.",
                hint="Convert it first: tr '\\r' '\\n'",
            )


class _Unzstd(io.RawIOBase):
    """Frames of zstd, one after another. Unlike zstandard's own reader, it tells when the end is missing."""

    def __init__(self, packed: io.BufferedReader) -> None:
        self._packed = packed
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            if not self._more():
                return 0
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _more(self) -> bool:
        """Unpacks a further piece; False at the end."""
        ended = self._frame.eof
        piece = (self._frame.unused_data if ended else b"") or self._packed.read1(PACKED_BYTES)
        if not piece:
            if self._begun and not ended:
                raise EOFError("Compressed file ended before the end of its last frame")
            return False
        if ended:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = True
        self._ready = memoryview(self._frame.decompress(piece))
        return True


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _open(name: str) -> tuple[io.BufferedReader, int | None]:
    if name == "-":
        # Unlike sys.stdin, empty between reads.
        return io.BufferedReader(io.FileIO(sys.stdin.fileno(), closefd=False)), None
    path = Path(name)
    try:
        opened: BinaryIO = path.open("rb")
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise InputError(f"{name} cannot be opened: {error.strerror}") from error
    return cast(io.BufferedReader, opened), size
