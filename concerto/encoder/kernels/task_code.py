"""Functions that several threads run at once, each taking the next task until none is left."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from llvmlite import ir

from concerto.encoder.kernels.threads import FLOATS, INTEGERS, Job
from concerto.encoder.kernels.vector_code import FLOAT, I32, I64, VectorCode, whole

TYPES = {
    ctypes.c_int64: I64,
    ctypes.c_float: FLOAT,
    FLOATS: FLOAT.as_pointer(),
    INTEGERS: I64.as_pointer(),
}


class TaskCode(VectorCode):
    """`void run(Job *)`: all tasks of a job, some by each thread that runs it.

    job: the values of the job's fields, but those that threads change. scratch: this thread's.
    """

    def __init__(self, kind: type[Job], lanes: int) -> None:
        fields = [*Job._fields_, *kind._fields_]
        job = ir.LiteralStructType([TYPES[field[1]] for field in fields])
        module = ir.Module(kind.__name__)
        super().__init__(
            ir.Function(module, ir.FunctionType(ir.VoidType(), [job.as_pointer()]), "run"), lanes
        )
        places = {
            field[0]: self.at.gep(self.function.args[0], [ir.Constant(I32, 0), ir.Constant(I32, i)])
            for i, field in enumerate(fields)
        }
        self._counters = {name: places.pop(name) for name in ("next_task", "next_thread")}
        self.job = {name: self.at.load(place) for name, place in places.items()}
        thread = self._take("next_thread")
        self.scratch = self.offset(self.job["scratch"], (thread, self.job["scratch_size"]))

    def tasks(self, body: Callable[[ir.Value], None]) -> ir.Function:
        """body(task) for each, and the function is complete."""
        look, work, done = (self.function.append_basic_block() for _ in range(3))
        self.at.branch(look)
        self.at.position_at_end(look)
        task = self._take("next_task")
        self.at.cbranch(self.at.icmp_signed("<", task, self.job["tasks"]), work, done)
        self.at.position_at_end(work)
        body(task)
        self.at.branch(look)
        self.at.position_at_end(done)
        self.at.ret_void()
        return self.function

    def _take(self, counter: str) -> ir.Value:
        """The counter's value, which no other thread gets."""
        return self.at.atomic_rmw("add", self._counters[counter], whole(1), "monotonic")
