"""Softmax attention as machine code for the processor at hand, written in LLVM's terms.

A tile of queries lies across the lanes of vectors, so that no sum ever runs across a vector.
Scores of a block of keys stay in the first-level cache: they are found, turned into powers of
two and multiplied with the values there, and a running maximum keeps powers of any score exact
(arXiv 2205.14135). Compared with products of matrices, each of which reads and writes all scores,
this takes no memory worth mention and half of the time or less.

The code is what a C compiler would be given as intrinsics; LLVM takes vectors of any length, and
serves processors without such registers too.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from llvmlite import binding, ir

from concerto.encoder.vector_code import FLOAT, I32, I64, Body, VectorCode, whole

TYPES = {ctypes.c_int64: I64, ctypes.c_float: FLOAT, ctypes.c_void_p: FLOAT.as_pointer()}
# Keys whose scores are in the cache at a time.
BLOCK = 128


class Job(ctypes.Structure):
    """What to compute, and how far it has come. Strides and sizes are counted in floats.

    A task is one head of one patch; whoever runs the kernel takes the next task, until none is
    left. Row i of head h of patch p of the queries is `query[p · query_patch + i · query_row +
    h · D]`, D floats; likewise keys and values (which share strides) and results. scratch: for
    each runner `kernel.scratch(keys)` floats.
    """

    _fields_ = (
        ("next_task", ctypes.c_int64),
        ("next_runner", ctypes.c_int64),
        ("tasks", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("queries", ctypes.c_int64),
        ("keys", ctypes.c_int64),
        ("query_patch", ctypes.c_int64),
        ("query_row", ctypes.c_int64),
        ("key_patch", ctypes.c_int64),
        ("key_row", ctypes.c_int64),
        ("out_patch", ctypes.c_int64),
        ("out_row", ctypes.c_int64),
        ("scratch_size", ctypes.c_int64),
        ("scale", ctypes.c_float),
        ("query", ctypes.c_void_p),
        ("key", ctypes.c_void_p),
        ("value", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("scratch", ctypes.c_void_p),
    )


@dataclass(frozen=True)
class Shape:
    """How the kernel is cut for a processor.

    lanes: floats in a vector. vectors: of queries in a tile. keys: whose scores are summed up at a
    time. channels: of values that are.
    """

    lanes: int
    vectors: int
    keys: int
    channels: int

    @property
    def tile(self) -> int:
        """Queries at a time."""
        return self.lanes * self.vectors

    @staticmethod
    def of(triple: str, features: str) -> Shape:
        """What fits the registers of a processor, as LLVM names it and what it has."""
        if "+avx512f" in features.split(","):
            return Shape(lanes=16, vectors=2, keys=8, channels=8)
        if "+avx" in features.split(","):
            return Shape(lanes=8, vectors=2, keys=4, channels=4)
        if triple.startswith(("aarch64", "arm64")):
            return Shape(lanes=4, vectors=4, keys=4, channels=4)
        return Shape(lanes=4, vectors=2, keys=4, channels=4)


@dataclass(frozen=True)
class Kernel:
    """Compiled attention for heads of one width.

    run: address of `void run(Job *)`, for as many threads as wish to take part in a job.
    engine: owns the code.
    """

    run: int
    width: int
    shape: Shape
    engine: binding.ExecutionEngine

    def scratch(self, keys: int) -> int:
        """Floats that a runner needs for so many keys."""
        packed = 2 * (keys + self.shape.keys) * self.width
        return packed + (2 * self.width + BLOCK) * self.shape.tile


@lru_cache
def compile_kernel(width: int) -> Kernel:
    """The kernel for heads `width` wide, for this processor: a quarter of a second, once."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    shape = Shape.of(binding.get_default_triple(), features)
    module = binding.parse_assembly(source(width, shape))
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=3
    )
    passes = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(2))
    passes.getModulePassManager().run(module, passes)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return Kernel(engine.get_function_address("run"), width, shape, engine)


def source(width: int, shape: Shape) -> str:
    """The kernel in LLVM's language."""
    module = ir.Module("attention")
    job = ir.LiteralStructType([TYPES[kind] for _, kind in Job._fields_])
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [job.as_pointer()]), "run")
    _Attention(function, width, shape).emit()
    return str(module)


class _Attention(VectorCode):
    """`run`."""

    def __init__(self, function: ir.Function, width: int, shape: Shape) -> None:
        super().__init__(function, shape.lanes)
        self.width = width
        self.shape = shape
        self.vectors = range(shape.vectors)
        fields = [name for name, _ in Job._fields_]
        self.places = {
            name: self.at.gep(function.args[0], [ir.Constant(I32, 0), ir.Constant(I32, i)])
            for i, name in enumerate(fields)
        }
        counters = ("next_task", "next_runner")
        self.job = {n: self.at.load(self.places[n]) for n in fields if n not in counters}

    def emit(self) -> None:
        job, at = self.job, self.at
        scratch = self.offset(job["scratch"], (self.take("next_runner"), job["scratch_size"]))
        tile = self.width * self.shape.tile
        self.query, self.sums, self.scores = (at.gep(scratch, [whole(i * tile)]) for i in range(3))
        self.keys = at.gep(self.scores, [whole(BLOCK * self.shape.tile)])
        padded = at.add(job["keys"], whole(self.shape.keys))
        self.values = self.offset(self.keys, (padded, self.width))

        look, work, done = (self.function.append_basic_block() for _ in range(3))
        at.branch(look)
        at.position_at_end(look)
        task = self.take("next_task")
        at.cbranch(at.icmp_signed("<", task, job["tasks"]), work, done)
        at.position_at_end(work)
        self.attend(at.sdiv(task, job["heads"]), at.srem(task, job["heads"]))
        at.branch(look)
        at.position_at_end(done)
        at.ret_void()

    def take(self, counter: str) -> ir.Value:
        """The counter's value, which no other thread gets."""
        return self.at.atomic_rmw("add", self.places[counter], whole(1), "monotonic")

    def attend(self, patch: ir.Value, head: ir.Value) -> None:
        """One task."""
        job, width = self.job, self.width
        key, value = (
            self.offset(job[name], (patch, job["key_patch"]), (head, width))
            for name in ("key", "value")
        )
        # The last key again at the end, so that steps of several meet no other.
        last = self.at.sub(job["keys"], whole(1))
        self.pack(key, self.keys, self.at.add(last, whole(self.shape.keys)), last)
        self.pack(value, self.values, job["keys"], last)
        query = self.offset(job["query"], (patch, job["query_patch"]), (head, width))
        out = self.offset(job["out"], (patch, job["out_patch"]), (head, width))

        def one(first: ir.Value) -> None:
            self.read_queries(query, first)
            self.normalize(self.loop(job["keys"], BLOCK, self.nothing_yet(), self.block))
            self.write(out, first)

        self.each(job["queries"], self.shape.tile, one)

    def pack(self, rows: ir.Value, packed: ir.Value, count: ir.Value, last: ir.Value) -> None:
        """Copy one head of so many rows next to each other, the last as often as it takes."""

        def one(i: ir.Value) -> None:
            row = self.offset(rows, (self.least(i, last), self.job["key_row"]))
            self.store(self.load(row, 0, self.width), self.offset(packed, (i, self.width)), 0)

        self.each(count, 1, one)

    def read_queries(self, query: ir.Value, first: ir.Value) -> None:
        """A tile of queries, scaled, into lanes: (D, tile). Past the end stands the last one."""
        job, width = self.job, self.width
        last = self.at.sub(job["queries"], whole(1))
        scale = self.spread(job["scale"], width)

        def one(lane: ir.Value) -> None:
            row = self.least(self.at.add(first, lane), last)
            values = self.load(self.offset(query, (row, job["query_row"])), 0, width)
            values = self.at.fmul(values, scale)
            lane_of = self.at.gep(self.query, [lane])
            for i in range(width):
                value = self.at.extract_element(values, ir.Constant(I32, i))
                self.at.store(value, self.at.gep(lane_of, [whole(i * self.shape.tile)]))

        self.each(whole(self.shape.tile), 1, one)

    def nothing_yet(self) -> list[ir.Value]:
        """Maximum and sum of powers of each query before the first key; no values summed up."""
        for i in range(self.width * self.shape.vectors):
            self.store(self.constant(0.0), self.sums, i * self.lanes)
        none = self.shape.vectors
        return [self.constant(-3e38)] * none + [self.constant(0.0)] * none

    def block(self, first: ir.Value, so_far: list[ir.Value]) -> Sequence[ir.Value]:
        """Take in a block of keys: maxima and sums of powers → the same with those of the block."""
        before, sums = so_far[: self.shape.vectors], so_far[self.shape.vectors :]
        count = self.least(self.at.sub(self.job["keys"], first), whole(BLOCK))
        keys, values = (self.offset(x, (first, self.width)) for x in (self.keys, self.values))
        maxima = self.loop(count, self.shape.keys, before, self.scores_of(keys))
        shrunk = [self.exp2(self.at.fsub(*pair)) for pair in zip(before, maxima, strict=True)]
        sums = [self.at.fmul(*pair) for pair in zip(sums, shrunk, strict=True)]
        sums = [*self.loop(count, 1, sums, self.powers_of(maxima))]
        step = self.shape.channels
        for channel in range(0, self.width, step):
            self.add_values(values, range(channel, min(channel + step, self.width)), count, shrunk)
        return [*maxima, *sums]

    def scores_of(self, keys: ir.Value) -> Body:
        """Write scores of some keys, and keep their maximum."""
        steps, tile = range(self.shape.keys), self.shape.tile

        def body(first: ir.Value, maxima: list[ir.Value]) -> Sequence[ir.Value]:
            row = self.offset(keys, (first, self.width))
            out = self.offset(self.scores, (first, tile))
            scores: dict[tuple[int, int], ir.Value] = {}
            for i in range(self.width):
                queries = [self.load(self.query, i * tile + v * self.lanes) for v in self.vectors]
                for k in steps:
                    key = self.everywhere(row, k * self.width + i)
                    for v in self.vectors:
                        scores[k, v] = self.multiply_add(key, queries[v], scores.get((k, v)))
            for (k, v), score in scores.items():
                self.store(score, out, k * tile + v * self.lanes)
                maxima[v] = self.larger(score, maxima[v])
            return maxima

        return body

    def powers_of(self, maxima: Sequence[ir.Value]) -> Body:
        """Turn a key's scores into powers, and sum them up."""

        def body(key: ir.Value, sums: list[ir.Value]) -> Sequence[ir.Value]:
            place = self.offset(self.scores, (key, self.shape.tile))
            for v in self.vectors:
                score = self.load(place, v * self.lanes)
                power = self.exp2(self.at.fsub(score, maxima[v]))
                self.store(power, place, v * self.lanes)
                sums[v] = self.at.fadd(sums[v], power)
            return sums

        return body

    def add_values(
        self, values: ir.Value, channels: range, count: ir.Value, shrunk: Sequence[ir.Value]
    ) -> None:
        """Multiply powers with some channels of the values, and add that to what is there."""
        places = [c * self.shape.tile + v * self.lanes for c in channels for v in self.vectors]

        def body(key: ir.Value, totals: list[ir.Value]) -> Sequence[ir.Value]:
            powers = self.offset(self.scores, (key, self.shape.tile))
            row = self.offset(values, (key, self.width))
            factors = [self.load(powers, v * self.lanes) for v in self.vectors]
            spread = [self.everywhere(row, c) for c in channels]
            pairs = [(value, factor) for value in spread for factor in factors]
            return [self.multiply_add(*p, t) for p, t in zip(pairs, totals, strict=True)]

        totals = [
            self.at.fmul(self.load(self.sums, place), shrunk[i % len(shrunk)])
            for i, place in enumerate(places)
        ]
        for place, total in zip(places, self.loop(count, 1, totals, body), strict=True):
            self.store(total, self.sums, place)

    def normalize(self, known: Sequence[ir.Value]) -> None:
        """Divide sums of values by sums of powers."""
        for v, powers in enumerate(known[self.shape.vectors :]):
            share = self.at.fdiv(self.constant(1.0), powers)
            for i in range(self.width):
                place = i * self.shape.tile + v * self.lanes
                self.store(self.at.fmul(self.load(self.sums, place), share), self.sums, place)

    def write(self, out: ir.Value, first: ir.Value) -> None:
        """The tile's results as rows."""
        job = self.job
        count = self.least(self.at.sub(job["queries"], first), whole(self.shape.tile))

        def one(lane: ir.Value) -> None:
            lane_of = self.at.gep(self.sums, [lane])
            row: ir.Value = ir.Constant(ir.VectorType(FLOAT, self.width), ir.Undefined)
            for i in range(self.width):
                value = self.at.load(self.at.gep(lane_of, [whole(i * self.shape.tile)]))
                row = self.at.insert_element(row, value, ir.Constant(I32, i))
            place = self.at.add(first, lane)
            self.store(row, self.offset(out, (place, job["out_row"])), 0)

        self.each(count, 1, one)
