"""Softmax attention in LLVM's terms.

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
from typing import Any, ClassVar

from llvmlite import ir

from concerto.encoder.kernels.processor import Processor
from concerto.encoder.kernels.task_code import TaskCode
from concerto.encoder.kernels.threads import FLOATS, Job
from concerto.encoder.kernels.vector_code import FLOAT, I32, Body, whole

# Keys whose scores are in the cache at a time.
BLOCK = 128
# Vectors of queries in a tile.
VECTORS = 2


class AttentionJob(Job):
    """Attention of `heads` heads. A task is one head of one patch.

    Row i of head h of patch p of the queries is `query[p · query_patch + i · query_row + h · D]`,
    D floats; likewise keys and values, which share strides, and results.
    """

    _fields_: ClassVar[Sequence[tuple[str, Any]]] = (
        ("heads", ctypes.c_int64),
        ("queries", ctypes.c_int64),
        ("keys", ctypes.c_int64),
        ("query_patch", ctypes.c_int64),
        ("query_row", ctypes.c_int64),
        ("key_patch", ctypes.c_int64),
        ("key_row", ctypes.c_int64),
        ("out_patch", ctypes.c_int64),
        ("out_row", ctypes.c_int64),
        ("scale", ctypes.c_float),
        ("query", FLOATS),
        ("key", FLOATS),
        ("value", FLOATS),
        ("out", FLOATS),
    )


def scratch_size(keys: int, width: int, processor: Processor) -> int:
    """Floats that a thread needs for so many keys."""
    tile = VECTORS * processor.lanes
    packed = 2 * (keys + _keys_at_a_time(processor)) * width
    return packed + (2 * width + BLOCK) * tile


def attention_code(width: int, processor: Processor) -> ir.Function:
    """For heads so wide."""
    code = _AttentionCode(width, processor)
    return code.tasks(code.attend)


def _keys_at_a_time(processor: Processor) -> int:
    """Whose scores are summed up in half of the registers."""
    return processor.registers // 2 // VECTORS


class _AttentionCode(TaskCode):
    def __init__(self, width: int, processor: Processor) -> None:
        super().__init__(AttentionJob, processor.lanes)
        self.width = width
        self.tile = VECTORS * processor.lanes
        self.step = _keys_at_a_time(processor)
        at = self.at
        self.query, self.sums, self.scores = (
            at.gep(self.scratch, [whole(i * width * self.tile)]) for i in range(3)
        )
        self.keys = at.gep(self.scores, [whole(BLOCK * self.tile)])
        padded = at.add(self.job["keys"], whole(self.step))
        self.values = self.offset(self.keys, (padded, width))

    def attend(self, task: ir.Value) -> None:
        """One head of one patch."""
        job, width = self.job, self.width
        patch, head = self.at.sdiv(task, job["heads"]), self.at.srem(task, job["heads"])
        key, value = (
            self.offset(job[name], (patch, job["key_patch"]), (head, width))
            for name in ("key", "value")
        )
        # The last key again at the end, so that steps of several meet no other.
        last = self.at.sub(job["keys"], whole(1))
        self.pack(key, self.keys, self.at.add(last, whole(self.step)), last)
        self.pack(value, self.values, job["keys"], last)
        query = self.offset(job["query"], (patch, job["query_patch"]), (head, width))
        out = self.offset(job["out"], (patch, job["out_patch"]), (head, width))

        def one(first: ir.Value) -> None:
            self.read_queries(query, first)
            self.normalize(self.loop(job["keys"], BLOCK, self.nothing_yet(), self.block))
            self.write(out, first)

        self.each(job["queries"], self.tile, one)

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
                self.at.store(value, self.at.gep(lane_of, [whole(i * self.tile)]))

        self.each(whole(self.tile), 1, one)

    def nothing_yet(self) -> list[ir.Value]:
        """Maximum and sum of powers of each query before the first key; no values summed up."""
        for i in range(self.width * VECTORS):
            self.store(self.constant(0.0), self.sums, i * self.lanes)
        return [self.constant(-3e38)] * VECTORS + [self.constant(0.0)] * VECTORS

    def block(self, first: ir.Value, so_far: list[ir.Value]) -> Sequence[ir.Value]:
        """Take in a block of keys: maxima and sums of powers → the same with those of the block."""
        before, sums = so_far[:VECTORS], so_far[VECTORS:]
        count = self.least(self.at.sub(self.job["keys"], first), whole(BLOCK))
        keys, values = (self.offset(x, (first, self.width)) for x in (self.keys, self.values))
        maxima = self.loop(count, self.step, before, self.scores_of(keys))
        shrunk = [self.exp2(self.at.fsub(*pair)) for pair in zip(before, maxima, strict=True)]
        sums = [self.at.fmul(*pair) for pair in zip(sums, shrunk, strict=True)]
        sums = [*self.loop(count, 1, sums, self.powers_of(maxima))]
        for channel in range(0, self.width, self.step):
            channels = range(channel, min(channel + self.step, self.width))
            self.add_values(values, channels, count, shrunk)
        return [*maxima, *sums]

    def scores_of(self, keys: ir.Value) -> Body:
        """Write scores of some keys, and keep their maximum."""
        tile = self.tile

        def body(first: ir.Value, maxima: list[ir.Value]) -> Sequence[ir.Value]:
            row = self.offset(keys, (first, self.width))
            out = self.offset(self.scores, (first, tile))
            scores: dict[tuple[int, int], ir.Value] = {}
            for i in range(self.width):
                queries = [self.load(self.query, i * tile + v * self.lanes) for v in range(VECTORS)]
                for k in range(self.step):
                    key = self.everywhere(row, k * self.width + i)
                    for v in range(VECTORS):
                        scores[k, v] = self.multiply_add(key, queries[v], scores.get((k, v)))
            for (k, v), score in scores.items():
                self.store(score, out, k * tile + v * self.lanes)
                maxima[v] = self.larger(score, maxima[v])
            return maxima

        return body

    def powers_of(self, maxima: Sequence[ir.Value]) -> Body:
        """Turn a key's scores into powers, and sum them up."""

        def body(key: ir.Value, sums: list[ir.Value]) -> Sequence[ir.Value]:
            place = self.offset(self.scores, (key, self.tile))
            for v in range(VECTORS):
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
        places = [c * self.tile + v * self.lanes for c in channels for v in range(VECTORS)]

        def body(key: ir.Value, totals: list[ir.Value]) -> Sequence[ir.Value]:
            powers = self.offset(self.scores, (key, self.tile))
            row = self.offset(values, (key, self.width))
            factors = [self.load(powers, v * self.lanes) for v in range(VECTORS)]
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
        for v, powers in enumerate(known[VECTORS:]):
            share = self.at.fdiv(self.constant(1.0), powers)
            for i in range(self.width):
                place = i * self.tile + v * self.lanes
                self.store(self.at.fmul(self.load(self.sums, place), share), self.sums, place)

    def write(self, out: ir.Value, first: ir.Value) -> None:
        """The tile's results as rows."""
        job = self.job
        count = self.least(self.at.sub(job["queries"], first), whole(self.tile))

        def one(lane: ir.Value) -> None:
            lane_of = self.at.gep(self.sums, [lane])
            row: ir.Value = ir.Constant(ir.VectorType(FLOAT, self.width), ir.Undefined)
            for i in range(self.width):
                value = self.at.load(self.at.gep(lane_of, [whole(i * self.tile)]))
                row = self.at.insert_element(row, value, ir.Constant(I32, i))
            place = self.at.add(first, lane)
            self.store(row, self.offset(out, (place, job["out_row"])), 0)

        self.each(count, 1, one)
