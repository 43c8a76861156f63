"""A hint to the processor from compiled loops: load now what the next rows need.

Owns one intrinsic. It changes no value. Ten thousand series are 55 MB, more than caches hold, and which
record comes next is known only from the row: without the hint each step waits for memory.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LINE_BYTES = 64
"""Of a cache line, on all processors that we know of; where it differs, hints are fewer or doubled."""

_FOR_WRITING, _KEEP, _DATA = 1, 3, 1


def _prefetch(typing: Any, array: Any, row: Any, offset: Any) -> Any:
    """Asks for the cache line that is `offset` bytes into `array[row]`; the row must exist.

    LLVM's `llvm.prefetch` (LLVM Language Reference Manual).
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        array_type, (array_value, row_value, offset_value) = signature.args[0], values
        held = context.make_array(array_type)(context, builder, array_value)
        first = builder.bitcast(held.data, ir.IntType(8).as_pointer())
        at = builder.add(builder.mul(row_value, held.itemsize), offset_value)
        place = builder.gep(first, [at])
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, word, word, word])
        hint = builder.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        builder.call(hint, [place, word(_FOR_WRITING), word(_KEEP), word(_DATA)])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), generate


prefetch: Any = intrinsic(_prefetch)
