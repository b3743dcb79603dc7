"""The notebook in examples/ runs from its first cell to its last."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from conftest import ROOT


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tenth of the points, and without Jupyter."""
    shown: list[object] = []
    display: Any = SimpleNamespace(Image=shown.append, Markdown=shown.append)
    jupyter: Any = ModuleType("IPython")
    # matplotlib asks for it.
    jupyter.version_info = (9, 0)
    monkeypatch.setitem(sys.modules, "IPython", jupyter)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    notebook = json.loads((ROOT / "examples" / "ten_scans.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    code = "\n".join(cells)
    assert "20_000" in code
    names: dict[str, Any] = {}
    exec(code.replace("20_000", "2_000"), names)
    table, picture = shown
    assert "| floor |" in str(table)
    assert Path(str(picture)).stat().st_size > 1000
    assert names["classes"].shape == (2000,)
