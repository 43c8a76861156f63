"""How the compiled functions of this package are compiled.

Owns: the decorators. `entry` is for what Python calls: compiled once and kept in Numba's file cache.
`inner` is for what only kernels call: no Python wrapper, which halves the time to compile; `once` is an
inner function with one caller, into which it is built. All release the interpreter lock.

Numba's file cache of an entry does not see a change in an inner function of another module. An entry that
closes over `sources(...)` of the modules it calls is compiled anew when one of them changes; for another one,
remove `__pycache__` after such an edit.
"""

from __future__ import annotations

import hashlib
import inspect
from types import ModuleType
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import intrinsic

entry: Any = njit(cache=True, nogil=True, error_model="numpy")
# Numba's stubs do not know the last two arguments.
_compile: Any = njit
inner: Any = _compile(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
once: Any = _compile(
    nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True
)

ArrayT = TypeVar("ArrayT", bound=npt.NDArray[Any])


def readonly(array: ArrayT) -> ArrayT:
    """A contiguous read-only view, so that an entry is compiled for one type of array and not for each."""
    view: Any = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return cast(ArrayT, view)


def sources(*modules: ModuleType) -> int:
    """63 bits of a hash of the modules' sources, or of their names: for an entry to close over."""
    digest = hashlib.blake2b(digest_size=8)
    for module in modules:
        try:
            digest.update(inspect.getsource(module).encode())
        except OSError:
            digest.update(module.__name__.encode())
    return int.from_bytes(digest.digest(), "little") >> 1


def _pointer(_typing, array):  # type: ignore[no-untyped-def]
    """Where the elements of a contiguous array begin, for inner functions.

    An array argument is seven words, with a reference count and negative indices; a pointer is one. That
    halves the time of kernels made of many small functions. Bounds are the caller's to keep.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        structure = context.make_array(signature.args[0])(context, builder, args[0])
        return structure.data

    return types.CPointer(array.dtype)(array), generate  # type: ignore[no-untyped-call]


pointer: Any = intrinsic(_pointer)
