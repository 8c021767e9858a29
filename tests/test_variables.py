"""Variables of the modules that a model's code is in: what a run or a trace leaves there is gone afterwards."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import s2deploy
from s2deploy.overlap import reference
from s2deploy.variables import Variables

CODE = """
import functools
import torch
from {name}_grids import remembered, by_size

grid = None
calls = [0]

class Model(torch.nn.Module):
    def forward(self, x):
        global grid, latest
        calls[0] += 1
        if grid is None or grid.shape != x.shape:
            grid = torch.arange(x.shape[1]).expand(x.shape[0], -1) * 0.5
        latest = x
        key = str(x.shape)
        if key not in by_size:
            by_size[key] = torch.ones(x.shape[1])
        return x * grid + by_size[key] + remembered(4)[:, None]
"""

GRIDS = """
import functools
import torch

by_size = {}

@functools.lru_cache
def remembered(count):
    return torch.arange(count).sum() * torch.ones(1)
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    name = f"kept_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(CODE.format(name=name))
    (tmp_path / f"{name}_grids.py").write_text(GRIDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    module: torch.nn.Module = __import__(name).Model().eval()
    return module


def code_of(model: torch.nn.Module) -> dict[str, object]:
    return vars(sys.modules[type(model).__module__])


def test_a_run_leaves_nothing(model: torch.nn.Module) -> None:
    code = code_of(model)
    first = reference(model, [torch.ones(2, 3)])
    assert code["grid"] is None
    assert "latest" not in code
    assert code["by_size"] == {}
    assert code["calls"] == [0]
    assert code["remembered"].cache_info().currsize == 0  # type: ignore[attr-defined]
    assert torch.equal(reference(model, [torch.ones(2, 3)]), first)


def test_what_was_there_before_stays(model: torch.nn.Module) -> None:
    code = code_of(model)
    code["grid"] = kept = torch.zeros(1, 1)
    before = {name: value for name, value in code.items() if not name.startswith("__")}
    reference(model, [torch.ones(2, 3)])
    assert code["grid"] is kept
    assert {name: value for name, value in code.items() if not name.startswith("__")} == before


def test_installed_packages_are_left_alone() -> None:
    assert Variables([torch.nn.Linear(1, 1), np.zeros(1)])._scopes == []


def test_sizes_stay_dynamic_whatever_is_kept(model: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "kept.onnx"
    assert s2deploy.export(model, path, inputs=["x:n=1..2..4,m=2..3..6"]).passed
    with s2deploy.load(path) as session:
        for shape in ((1, 6), (4, 2)):
            x = torch.rand(shape)
            assert torch.allclose(torch.as_tensor(session(x=x)["output"]), reference(model, [x]))
