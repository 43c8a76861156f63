"""A number that changes when any of some modules' source changes.

Numba keys a cached kernel by its own file alone, so a constant or a leaf that changed in another file would
leave the old machine code in use, and results would depend on what the cache holds. A kernel that closes over
this number is compiled anew instead; its leaves must then not be cached themselves.
"""

from __future__ import annotations

import hashlib
import inspect
from types import ModuleType


def fingerprint(*modules: ModuleType) -> int:
    """63 bits of a hash of the modules' sources; of their names alone where no source is installed."""
    digest = hashlib.blake2b(digest_size=8)
    for module in modules:
        try:
            source = inspect.getsource(module)
        except OSError:
            source = module.__name__
        digest.update(source.encode())
    return int.from_bytes(digest.digest(), "little") >> 1
