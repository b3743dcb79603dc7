"""Processors that code is cut for; all of it runs here, since LLVM makes do without registers."""

from __future__ import annotations

from types import ModuleType

import pytest

from concerto.encoder.kernels.processor import Processor

PROCESSORS = {
    "AVX-512": Processor.of("x86_64-unknown-linux-gnu", "+avx2,+avx,+avx512f"),
    "AVX": Processor.of("x86_64-unknown-linux-gnu", "+avx2,+avx,-avx512f"),
    "SSE": Processor.of("x86_64-unknown-linux-gnu", "-avx,+sse2"),
    "NEON": Processor.of("arm64-apple-darwin", "+neon"),
}
every_processor = pytest.mark.parametrize("processor", PROCESSORS.values(), ids=PROCESSORS)


def cut_for(processor: Processor, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a module's code made for another processor, and not kept."""
    monkeypatch.setattr(module, "this_processor", lambda: processor)
    monkeypatch.setattr(module, "_compiled", module._compiled.__wrapped__)
