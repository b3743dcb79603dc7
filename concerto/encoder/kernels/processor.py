"""The processor at hand, and machine code for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from llvmlite import binding, ir


@dataclass(frozen=True)
class Processor:
    """What code is cut for.

    lanes: floats in a vector. registers: vectors that it holds.
    """

    lanes: int
    registers: int

    @staticmethod
    def of(triple: str, features: str) -> Processor:
        """As LLVM names a processor and what it has."""
        if "+avx512f" in features.split(","):
            return Processor(lanes=16, registers=32)
        if "+avx" in features.split(","):
            return Processor(lanes=8, registers=16)
        return Processor(lanes=4, registers=32 if triple.startswith(("aarch64", "arm64")) else 16)


@dataclass(frozen=True)
class Code:
    """A compiled function. engine: owns it."""

    address: int
    engine: binding.ExecutionEngine


@lru_cache(maxsize=1)
def this_processor() -> Processor:
    """Raises RuntimeError where LLVM does not know it, or makes no code for it."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.Target.from_default_triple()
    return Processor.of(binding.get_default_triple(), _features())


def compile_function(function: ir.Function) -> Code:
    """Its machine code, in a tenth of a second: passes over the module would gain nothing."""
    this_processor()  # or LLVM is not ready
    module = binding.parse_assembly(str(function.module))
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=_features(), opt=3
    )
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return Code(engine.get_function_address(function.name), engine)


def _features() -> str:
    return binding.get_host_cpu_features().flatten()  # type: ignore[no-any-return]
