"""Evaluation mode for a while, in several threads at once too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from torch import nn

# Models that infer: how many threads do so, and their modules that were in training mode.
_inferring: dict[nn.Module, tuple[int, list[nn.Module]]] = {}
_guard = Lock()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """All of the model in evaluation mode; the last thread to leave puts back what was."""
    with _guard:
        if model not in _inferring:
            _inferring[model] = 0, [module for module in model.modules() if module.training]
            model.eval()
        threads, training = _inferring[model]
        _inferring[model] = threads + 1, training
    try:
        yield
    finally:
        with _guard:
            threads, training = _inferring.pop(model)
            if threads > 1:
                _inferring[model] = threads - 1, training
            else:
                for module in training:
                    module.training = True
