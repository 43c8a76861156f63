"""Byte coders by name: how many bits a compressor needs for text, with and without a dictionary.

Owns the interface and the coders beside zstd: lz4, zlib and, where installed, OpenZL. All give code lengths
of raw frames (no header, checksum or size, which bias small inputs), are deterministic for one version of
their library, and tell that version. They measure; no verdict depends on them.

| name | conditional on a dictionary by | window |
| --- | --- | --- |
| zstd | its raw-content dictionary | 64 KiB of dictionary |
| lz4 | its dictionary, raw blocks | 64 KiB |
| zlib | a preset dictionary, raw deflate | 32 KiB |
| openzl | C(dictionary + text) − C(dictionary), as its binding has no dictionaries | as zstd |
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Protocol, get_args

import lz4.block

from driftlock.core.coder_zstd import DICTIONARY_BYTES_MAX, ZstdCoder

ByteCoderName = Literal["zstd", "lz4", "zlib", "openzl"]
NAMES: tuple[ByteCoderName, ...] = get_args(ByteCoderName)

ZLIB_WINDOW_BYTES = 32 * 1024
_OPENZL_LEVEL = 9


class ByteCoder(Protocol):
    """Says how much bytes cost given a dictionary. Deterministic; inputs are never written to."""

    name: ClassVar[str]
    version: ClassVar[str]

    def size(self, data: bytes) -> int:
        """Bytes of the raw frame."""

    def code_length_bits(self, data: bytes) -> float:
        """Bits of the raw frame: eight times its size."""


class Lz4Coder:
    """LZ4 raw blocks: matches only, no entropy coding, so that its lengths are coarse."""

    name: ClassVar[str] = "lz4"
    version: ClassVar[str] = lz4.library_version_string()

    def __init__(self, dictionary: bytes = b"") -> None:
        self._dictionary = dictionary[-DICTIONARY_BYTES_MAX:]

    def size(self, data: bytes) -> int:
        """Bytes of the raw block."""
        # the mode for high compression ignores dictionaries
        return len(lz4.block.compress(data, mode="default", store_size=False, dict=self._dictionary))

    def code_length_bits(self, data: bytes) -> float:
        """Bits of the raw block."""
        return 8.0 * self.size(data)


class ZlibCoder:
    """Raw deflate, without zlib's header and checksum."""

    name: ClassVar[str] = "zlib"
    version: ClassVar[str] = zlib.ZLIB_RUNTIME_VERSION

    def __init__(self, dictionary: bytes = b"") -> None:
        self._dictionary = dictionary[-ZLIB_WINDOW_BYTES:]

    def size(self, data: bytes) -> int:
        """Bytes of the raw stream."""
        shape = (9, zlib.DEFLATED, -zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY)
        coder = zlib.compressobj(*shape, self._dictionary) if self._dictionary else zlib.compressobj(*shape)
        return len(coder.compress(data)) + len(coder.flush())

    def code_length_bits(self, data: bytes) -> float:
        """Bits of the raw stream."""
        return 8.0 * self.size(data)


def byte_coder(name: ByteCoderName) -> Callable[[bytes], ByteCoder]:
    """What makes coders of that name: call it with a dictionary, empty for none. Raises ValueError where an
    extra is missing, with what to install."""
    if name == "openzl":
        return openzl_coder()
    return {"zstd": ZstdCoder, "lz4": Lz4Coder, "zlib": ZlibCoder}[name]


def openzl_coder() -> Callable[[bytes], ByteCoder]:
    """The OpenZL coder, if its package is installed (the extra `openzl`)."""
    try:
        zl: Any = importlib.import_module("openzl.ext")
    except ImportError as error:
        raise ValueError("The coder openzl needs an extra: pip install 'driftlock[openzl]'.") from error

    class OpenZlCoder:
        """OpenZL frames by its zstd graph, less the frame of no data."""

        name: ClassVar[str] = "openzl"
        version: ClassVar[str] = (
            f"{zl.LIBRARY_VERSION_MAJOR}.{zl.LIBRARY_VERSION_MINOR}.{zl.LIBRARY_VERSION_PATCH}"
        )

        def __init__(self, dictionary: bytes = b"") -> None:
            self._dictionary = dictionary[-DICTIONARY_BYTES_MAX:]
            self._compressor = zl.Compressor()
            graph = zl.graphs.Zstd(compression_level=_OPENZL_LEVEL)
            self._compressor.select_starting_graph(graph(self._compressor))
            self._given = self._frame(self._dictionary)

        def size(self, data: bytes) -> int:
            """Bytes that the data adds to the dictionary's frame."""
            return max(self._frame(self._dictionary + data) - self._given, 0)

        def code_length_bits(self, data: bytes) -> float:
            """Bits that the data adds to the dictionary's frame."""
            return 8.0 * self.size(data)

        def _frame(self, data: bytes) -> int:
            context = zl.CCtx()
            context.ref_compressor(self._compressor)
            context.set_parameter(zl.CParam.FormatVersion, zl.MAX_FORMAT_VERSION)
            context.set_parameter(zl.CParam.ContentChecksum, 2)  # 2 turns it off, 0 means the default: on
            context.set_parameter(zl.CParam.CompressedChecksum, 2)
            return len(context.compress([zl.Input(zl.Type.Serial, data)]))

    return OpenZlCoder
