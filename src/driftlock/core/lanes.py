"""Searches among 32 numbers as one vector instruction each does them, for compiled loops.

Owns intrinsics that LLVM's own vectoriser does not find: it unrolls loops of a known length into scalar code.
Every lane does what the scalar loop would, in the same order, so the results are the same bits on any CPU;
where registers are narrower LLVM splits the vectors. Knows nothing of what the numbers are.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

LANES = 32

_FLOAT, _INT, _WORD = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_FLOATS, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)


def _data(context: Any, builder: Any, array_type: Any, value: Any) -> Any:
    return context.make_array(array_type)(context, builder, value).data


def _load(builder: Any, data: Any, row: int, kind: Any) -> Any:
    """Row `row` of `LANES` numbers; they are aligned as single numbers only."""
    at = builder.gep(data, [_WORD(row * LANES)])
    return builder.load(builder.bitcast(at, kind.as_pointer()), align=4)


def _spread(builder: Any, number: Any, kind: Any) -> Any:
    """The number in all lanes."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, _INT(0))
    order = ir.Constant(_INTS, [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), order)


def _least(builder: Any, values: Any, less: Any) -> Any:
    """The least lane: halves against each other, five times."""
    width = LANES
    while width > 1:
        width //= 2
        none = ir.Constant(values.type, ir.Undefined)
        low = builder.shuffle_vector(
            values, none, ir.Constant(ir.VectorType(_INT, width), list(range(width)))
        )
        upper = ir.Constant(ir.VectorType(_INT, width), list(range(width, 2 * width)))
        high = builder.shuffle_vector(values, none, upper)
        values = builder.select(less("<", low, high), low, high)
    return builder.extract_element(values, _INT(0))


def _first(builder: Any, equal: Any) -> Any:
    """The first lane that is set; one must be."""
    bits = builder.bitcast(equal, ir.IntType(LANES))
    return builder.zext(builder.cttz(bits, ir.Constant(ir.IntType(1), 1)), _WORD)


def _found(context: Any, builder: Any, result: Any, distances: Any) -> Any:
    """The place and the value of the least distance, as a tuple of type `result`."""
    least = _least(builder, distances, builder.fcmp_ordered)
    same = builder.fcmp_ordered("==", distances, _spread(builder, least, _FLOATS))
    return context.make_tuple(builder, result, [_first(builder, same), least])


_Tuple: Any = types.Tuple  # numba is not typed
_FOUND = _Tuple((types.int64, types.float32))


def _nearest_value(typing: Any, entries: Any, value: Any) -> Any:
    """Place and distance of the entry nearest to `value`, float32, among `entries` (32,), float32."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        held = _load(builder, _data(context, builder, signature.args[0], values[0]), 0, _FLOATS)
        error = builder.fsub(held, _spread(builder, values[1], _FLOATS))
        size = builder.and_(builder.bitcast(error, _INTS), ir.Constant(_INTS, [0x7FFFFFFF] * LANES))
        return _found(context, builder, signature.return_type, builder.bitcast(size, _FLOATS))

    return _FOUND(entries, types.float32), generate


def _nearest_shape_of(blocks: int) -> Any:
    def nearest_shape(typing: Any, entries: Any, shape: Any) -> Any:
        """Place and squared distance of the entry nearest to `shape` (blocks,) among `entries` (blocks, 32).

        All float32; squares are added in order of the blocks.
        """

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            held = _data(context, builder, signature.args[0], values[0])
            wanted = _data(context, builder, signature.args[1], values[1])
            total = ir.Constant(_FLOATS, [0.0] * LANES)
            for block in range(blocks):
                number = builder.load(builder.gep(wanted, [_WORD(block)]))
                entry = _load(builder, held, block, _FLOATS)
                error = builder.fsub(entry, _spread(builder, number, _FLOATS))
                total = builder.fadd(total, builder.fmul(error, error))
            return _found(context, builder, signature.return_type, total)

        return _FOUND(entries, shape), generate

    return nearest_shape


def _least_place(typing: Any, numbers: Any) -> Any:
    """The first place of the least among 32 numbers of type uint32."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        held = _load(builder, _data(context, builder, signature.args[0], values[0]), 0, _INTS)
        least = _least(builder, held, builder.icmp_unsigned)
        return _first(builder, builder.icmp_unsigned("==", held, _spread(builder, least, _INTS)))

    return types.int64(numbers), generate


nearest_value: Any = intrinsic(_nearest_value)
nearest_short: Any = intrinsic(_nearest_shape_of(6))
nearest_long: Any = intrinsic(_nearest_shape_of(12))
least_place: Any = intrinsic(_least_place)
