"""What LLVM is told, at the level of vectors, loops and powers of two.

LLVM takes vectors of any length, and makes do where a processor has no such registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

I32, I64, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()
# What a loop does with its index and the values that it carries on.
Body = Callable[[ir.Value, list[ir.Value]], Sequence[ir.Value]]

# 2^f for |f| <= 1/2, lowest power first: least-squares fit with weights that even out the relative
# error, 7.5e-8 before the coefficients are rounded to float32.
POWERS = (1.00000012, 0.693146944, 0.240221202, 0.0555071346, 0.00967554096, 0.00132764608)
# Added to a float32, it leaves the nearest integer in the lowest bits: 1.5 · 2^23.
TO_INTEGER = 12582912.0
MANTISSA_BITS = 23
# The least exponent of a normal float32.
LEAST_EXPONENT = -126.0


def whole(value: int) -> ir.Constant:
    """An index."""
    return ir.Constant(I64, value)


class VectorCode:
    """Writes a function's instructions, one after another.

    at: where the next one goes.
    """

    def __init__(self, function: ir.Function, lanes: int) -> None:
        self.function = function
        self.lanes = lanes
        self.vector = ir.VectorType(FLOAT, lanes)
        self.at = ir.IRBuilder(function.append_basic_block())
        self.fma = ir.Function(
            function.module,
            ir.FunctionType(self.vector, [self.vector] * 3),
            f"llvm.fmuladd.v{lanes}f32",
        )

    def loop(
        self,
        count: ir.Value,
        step: int,
        carried: Sequence[ir.Value],
        body: Callable[[ir.Value, list[ir.Value]], Sequence[ir.Value]],
    ) -> Sequence[ir.Value]:
        """body(i, values) → new values, for i from 0 in steps to count, which is at least 1."""
        before = self.at.block
        inside, after = (self.function.append_basic_block() for _ in range(2))
        self.at.branch(inside)
        self.at.position_at_end(inside)
        index = self.at.phi(I64)
        index.add_incoming(whole(0), before)
        values = []
        for value in carried:
            values.append(self.at.phi(value.type))
            values[-1].add_incoming(value, before)
        results = body(index, [*values])
        following = self.at.add(index, whole(step))
        index.add_incoming(following, self.at.block)
        for value, result in zip(values, results, strict=True):
            value.add_incoming(result, self.at.block)
        self.at.cbranch(self.at.icmp_signed("<", following, count), inside, after)
        self.at.position_at_end(after)
        return results

    def each(self, count: ir.Value, step: int, body: Callable[[ir.Value], None]) -> None:
        """The same without values."""

        def alone(index: ir.Value, _: list[ir.Value]) -> Sequence[ir.Value]:
            body(index)
            return ()

        self.loop(count, step, (), alone)

    def each_if_any(self, count: ir.Value, step: int, body: Callable[[ir.Value], None]) -> None:
        """The same, for a count that may be 0."""
        some = self.at.icmp_signed(">", count, whole(0))
        self.only_if(some, lambda: self.each(count, step, body))

    def only_if(self, condition: ir.Value, body: Callable[[], None]) -> None:
        inside, after = (self.function.append_basic_block() for _ in range(2))
        self.at.cbranch(condition, inside, after)
        self.at.position_at_end(inside)
        body()
        self.at.branch(after)
        self.at.position_at_end(after)

    def offset(self, pointer: ir.Value, *terms: tuple[ir.Value, ir.Value | int]) -> ir.Value:
        """pointer + sum of index · stride."""
        for index, stride in terms:
            stride = whole(stride) if isinstance(stride, int) else stride
            pointer = self.at.gep(pointer, [self.at.mul(index, stride)])
        return pointer

    def load(self, pointer: ir.Value, place: int, count: int | None = None) -> ir.Value:
        """So many floats at pointer + place, by default as many as there are lanes."""
        return self.at.load(self._as_vector(pointer, place, count or self.lanes), align=4)

    def store(self, value: ir.Value, pointer: ir.Value, place: int) -> None:
        self.at.store(value, self._as_vector(pointer, place, value.type.count), align=4)

    def everywhere(self, pointer: ir.Value, place: int) -> ir.Value:
        """The float at pointer + place in all lanes."""
        return self.spread(self.at.load(self.at.gep(pointer, [whole(place)])), self.lanes)

    def spread(self, value: ir.Value, lanes: int) -> ir.Value:
        """A float in all of so many lanes."""
        nothing = ir.Constant(ir.VectorType(FLOAT, lanes), ir.Undefined)
        first = self.at.insert_element(nothing, value, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
        return self.at.shuffle_vector(first, nothing, zeros)

    def constant(self, value: float) -> ir.Constant:
        return ir.Constant(self.vector, [value] * self.lanes)

    def integers(self, value: ir.Value) -> ir.Value:
        """The bits of floats."""
        return self.at.bitcast(value, ir.VectorType(I32, self.lanes))

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value | None) -> ir.Value:
        """a · b + c."""
        return self.at.fmul(a, b) if c is None else self.at.call(self.fma, [a, b, c])

    def larger(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """In each lane; b where a is no number."""
        return self.at.select(self.at.fcmp_ordered(">", a, b), a, b)

    def least(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Of two integers."""
        return self.at.select(self.at.icmp_signed("<", a, b), a, b)

    def exp2(self, x: ir.Value) -> ir.Value:
        """2^x of x <= 0, to 2.5e-7 of itself; what is no number stays none."""
        bound, shift = self.constant(LEAST_EXPONENT), self.constant(TO_INTEGER)
        x = self.at.select(self.at.fcmp_ordered("<", x, bound), bound, x)
        shifted = self.at.fadd(x, shift)
        rest = self.at.fsub(x, self.at.fsub(shifted, shift))
        power: ir.Value = self.constant(POWERS[-1])
        for factor in POWERS[-2::-1]:
            power = self.multiply_add(power, rest, self.constant(factor))
        bits = ir.Constant(ir.VectorType(I32, self.lanes), [MANTISSA_BITS] * self.lanes)
        exponent = self.at.shl(self.integers(shifted), bits)
        return self.at.bitcast(self.at.add(self.integers(power), exponent), self.vector)

    def _as_vector(self, pointer: ir.Value, place: int, count: int) -> ir.Value:
        vector = ir.VectorType(FLOAT, count).as_pointer()
        return self.at.bitcast(self.at.gep(pointer, [whole(place)]), vector)
