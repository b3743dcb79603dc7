"""Submanifold convolution in LLVM's terms: gather, product and sum at once.

A task is some columns of the results, a panel, in one block of voxels. For each offset of the
kernel the panel's weights are turned round, so that they lie in vectors; then some pairs of voxels
at a time are multiplied with them, summed up in registers, and added to the results. Nothing else
is written, and threads never meet in a result. A result's terms are added in one order, however
blocks are cut.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, ClassVar

from llvmlite import ir

from concerto.encoder.kernels.processor import Processor
from concerto.encoder.kernels.task_code import TaskCode
from concerto.encoder.kernels.threads import FLOATS, INTEGERS, Job
from concerto.encoder.kernels.vector_code import I32, whole

KERNEL, CENTER, OFFSETS = 27, 13, 13
# Share of the registers that sums take.
SUMS = 3 / 4


class ConvolutionJob(Job):
    """See `convolution.add_neighbors`. A task is one panel of one block, panels first."""

    _fields_: ClassVar[Sequence[tuple[str, Any]]] = (
        ("panels", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("x", FLOATS),
        ("weight", FLOATS),
        ("total", FLOATS),
        ("behind", INTEGERS),
        ("ahead", INTEGERS),
        ("blocks", INTEGERS),
    )


def panel_width(outputs: int, processor: Processor) -> int:
    """Columns of a panel: as many vectors as divide all columns, of 3, 2 or 1."""
    vectors = next(v for v in (3, 2, 1) if outputs % (v * processor.lanes) == 0)
    return vectors * processor.lanes


def convolution_code(panel: int, processor: Processor) -> ir.Function:
    """For panels so wide."""
    code = _ConvolutionCode(panel, processor)
    return code.tasks(code.convolve)


class _ConvolutionCode(TaskCode):
    def __init__(self, panel: int, processor: Processor) -> None:
        super().__init__(ConvolutionJob, processor.lanes)
        self.panel = panel
        self.vectors = range(0, panel, processor.lanes)
        self.pairs = int(processor.registers * SUMS) // len(self.vectors)

    def convolve(self, task: ir.Value) -> None:
        """One panel of one block."""
        at, job = self.at, self.job
        block, panel = at.sdiv(task, job["panels"]), at.srem(task, job["panels"])
        column = at.mul(panel, whole(self.panel))
        bounds = self.offset(job["blocks"], (block, OFFSETS * 4))

        def one(offset: ir.Value) -> None:
            here = self.offset(bounds, (offset, 4))
            step = at.add(offset, whole(1))
            after, before = at.add(whole(CENTER), step), at.sub(whole(CENTER), step)
            self.one_way(here, column, after, job["ahead"], job["behind"])
            self.one_way(at.gep(here, [whole(2)]), column, before, job["behind"], job["ahead"])

        self.each(whole(OFFSETS), 1, one)

    def one_way(
        self,
        bounds: ir.Value,
        column: ir.Value,
        place: ir.Value,
        sources: ir.Value,
        targets: ir.Value,
    ) -> None:
        """total[targets] += x[sources] · W[:, place], for pairs within the bounds."""
        at = self.at
        begin, end = at.load(bounds), at.load(at.gep(bounds, [whole(1)]))
        count = at.sub(end, begin)
        together = at.sub(count, at.srem(count, whole(self.pairs)))

        def several(i: ir.Value) -> None:
            self.add_products(self.pairs, at.add(begin, i), column, sources, targets)

        def single(i: ir.Value) -> None:
            first = at.add(at.add(begin, together), i)
            self.add_products(1, first, column, sources, targets)

        def all_pairs() -> None:
            self.turn_round(column, place)
            self.each_if_any(together, self.pairs, several)
            self.each_if_any(at.sub(count, together), 1, single)

        self.only_if(at.icmp_signed("<", begin, end), all_pairs)

    def turn_round(self, column: ir.Value, place: ir.Value) -> None:
        """Write the panel's weights to this thread's memory: (C_in, panel)."""
        at, inputs = self.at, self.job["inputs"]
        row = at.mul(inputs, whole(KERNEL))
        weight = self.offset(self.job["weight"], (column, row), (place, inputs))

        def one(i: ir.Value) -> None:
            out = self.offset(self.scratch, (i, self.panel))
            for first in self.vectors:
                values: ir.Value = ir.Constant(self.vector, ir.Undefined)
                for lane in range(self.lanes):
                    start = self.offset(at.gep(weight, [i]), (whole(first + lane), row))
                    values = at.insert_element(values, at.load(start), ir.Constant(I32, lane))
                self.store(values, out, first)

        self.each(inputs, 1, one)

    def add_products(
        self,
        count: int,
        first: ir.Value,
        column: ir.Value,
        sources: ir.Value,
        targets: ir.Value,
    ) -> None:
        """The panel's columns of total[targets] += x[sources] · W, for so many pairs."""
        at, job = self.at, self.job
        places = [at.add(first, whole(i)) for i in range(count)]
        rows = [
            self.offset(job["x"], (at.load(at.gep(sources, [p])), job["inputs"])) for p in places
        ]

        def body(i: ir.Value, sums: list[ir.Value]) -> Sequence[ir.Value]:
            weights = self.offset(self.scratch, (i, self.panel))
            factors = [self.load(weights, column) for column in self.vectors]
            added, old = [], iter(sums)
            for row in rows:  # one at a time, or registers do not suffice
                value = self.spread(at.load(at.gep(row, [i])), self.lanes)
                added += [self.multiply_add(value, factor, next(old)) for factor in factors]
            return added

        none = [self.constant(0.0)] * (count * len(self.vectors))
        sums = iter(self.loop(job["inputs"], 1, none, body))
        for place in places:
            row = self.offset(job["total"], (at.load(at.gep(targets, [place])), job["outputs"]))
            out = at.gep(row, [column])
            for first_column in self.vectors:
                before = self.load(out, first_column)
                self.store(at.fadd(before, next(sums)), out, first_column)
