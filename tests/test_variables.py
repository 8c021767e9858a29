"""Variables of the modules that a model's code is in: what a run or a trace leaves there is gone afterwards."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import s2deploy
from s2deploy.exporter import capture
from s2deploy.overlap import reference
from s2deploy.specs import parse_inputs
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


LAZY = """
import functools
import torch

ready = False
known = set()
grid = width = None

def prepare():
    global ready
    if not ready:
        torch.library.define("{name}::first", "(Tensor x) -> Tensor")
        ready = True

def prepare_by_name(kind):
    if kind not in known:
        torch.library.define(f"{name}::{kind}", "(Tensor x) -> Tensor")
        known.add(kind)

@functools.cache
def prepare_once():
    torch.library.define("{name}::third", "(Tensor x) -> Tensor")

def build(size):
    global grid
    grid = torch.arange(size) * 0.5

class Model(torch.nn.Module):
    def forward(self, x):
        global width
        prepare()
        prepare_by_name("second")
        prepare_once()
        if width != x.shape[1]:
            build(x.shape[1])
            width = x.shape[1]
        return x * grid
"""

OWNED = """
import collections
import torch

def grid_of(x):
    return torch.arange(x.shape[1]) * 0.5

class Grids:
    def __init__(self):
        self.grid, self.width = None, 0

    def get(self, x):
        if self.width != x.shape[1]:
            self.grid, self.width = grid_of(x), x.shape[1]
        return self.grid

def by_attribute(x):
    if by_attribute.width != x.shape[1]:
        by_attribute.grid, by_attribute.width = grid_of(x), x.shape[1]
    return by_attribute.grid

by_attribute.width = 0

def by_default(x, kept={}):
    return kept.setdefault(str(x.shape), grid_of(x))

def remembered(function):
    kept = {}
    def call(x):
        return kept.setdefault(str(x.shape), function(x))
    return call

by_closure = remembered(grid_of)
shared = Grids()

class Base(torch.nn.Module):
    grid, width = None, 0
    nested = {"cpu": {}}

class Model(Base):
    def __init__(self):
        super().__init__()
        self.own = Grids()
        self.recent = collections.deque(maxlen=2)

    def forward(self, x):
        if Base.width != x.shape[1]:
            Base.grid, Base.width = grid_of(x), x.shape[1]
        self.recent.append(x)
        type(self).latest = x
        near = self.nested["cpu"].setdefault(str(x.shape), grid_of(x))
        return x * Base.grid + near + by_attribute(x) + by_default(x) + by_closure(x) + shared.get(x) + self.own.get(x)
"""


def loaded(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    name = f"kept_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(code.replace("{name}", name))
    (tmp_path / f"{name}_grids.py").write_text(GRIDS)
    monkeypatch.syspath_prepend(str(tmp_path))
    module: torch.nn.Module = __import__(name).Model().eval()
    return module


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    return loaded(CODE, tmp_path, monkeypatch)


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
    assert Variables([torch.nn.Linear(1, 1), np.zeros(1)])._kept == []


def test_sizes_stay_dynamic_whatever_is_kept(model: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "kept.onnx"
    assert s2deploy.export(model, path, inputs=["x:n=1..2..4,m=2..3..6"]).passed
    with s2deploy.load(path) as session:
        for shape in ((1, 6), (4, 2)):
            x = torch.rand(shape)
            assert torch.allclose(torch.as_tensor(session(x=x)["output"]), reference(model, [x]))


def test_what_registers_once_does_so_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(LAZY, tmp_path, monkeypatch)
    code = code_of(model)
    for size in (3, 5):
        assert torch.equal(reference(model, [torch.ones(2, size)])[0], torch.arange(size) * 0.5)
        assert code["ready"] is True
        assert code["known"] == {"second"}
        assert (code["grid"], code["width"]) == (None, None)
    capture(model, parse_inputs(["x:2,n=3..5"]))
    assert (code["grid"], code["width"]) == (None, None)


def test_whatever_holds_a_tensor_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(OWNED, tmp_path, monkeypatch)
    code: dict[str, Any] = code_of(model)
    for _ in range(2):
        capture(model, parse_inputs(["x:2,n=3..5"]))
        for size in (3, 5):
            assert torch.equal(reference(model, [torch.ones(2, size)])[0], torch.arange(size) * 3.5)
        assert (model.grid, model.width, model.nested) == (None, 0, {"cpu": {}})
        assert not hasattr(type(model), "latest")
        assert vars(code["by_attribute"]) == {"width": 0}
        assert code["by_default"].__defaults__ == ({},)
        assert (vars(code["shared"]), vars(model.own)) == ({"grid": None, "width": 0},) * 2
        assert not model.recent
