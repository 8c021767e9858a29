"""Buffers that forward writes: outputs of the file, proven against the module, or a refusal that says why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import s2deploy
from s2deploy.errors import ExportError
from s2deploy.exporter import capture, check_state
from s2deploy.metadata import read_metadata
from s2deploy.overlap import reference_with_state
from s2deploy.specs import parse_inputs


class Cache(nn.Module):
    """Shifts its cache by one, assigns the input to the first row, and counts; the weight keeps its value."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.arange(12.0).reshape(4, 3), persistent=False)
        self.register_buffer("mean", torch.zeros(3))
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows[1:] = self.rows[:-1]
        self.rows[0] = x.mean(0) * self.weight
        self.mean = self.rows.mean(0)
        return self.rows[1:3] + x.mean()


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("calls_out", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.calls += 1
        return {"y": x * self.calls + self.calls_out}


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cache, self.counter = Cache(), Counter()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return self.cache(x), self.counter(x)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, s2deploy.ExportResult]:
    module = Both().eval()
    path = tmp_path_factory.mktemp("state") / "model.onnx"
    return module, s2deploy.export(module, path, inputs=["x:n=2..3..6,3"])


def run(result: s2deploy.ExportResult, x: np.ndarray[Any, Any]) -> dict[str, Any]:
    assert result.output is not None
    with s2deploy.load(result.output) as session:
        return dict(session(x=x))


def test_new_values_follow_the_outputs_of_forward(exported: tuple[nn.Module, s2deploy.ExportResult]) -> None:
    module, result = exported
    assert result.passed
    x = np.ones((2, 3), np.float32)
    outputs = run(result, x)
    assert set(list(outputs)[2:]) == {"cache_rows_out", "cache_mean_out", "counter_calls_out"}
    names = ["cache.rows", "cache.mean", "counter.calls"]
    expected, state = reference_with_state(module, [torch.from_numpy(x)], names)
    for name, value in zip(names, state, strict=True):
        np.testing.assert_allclose(outputs[f"{name.replace('.', '_')}_out"], value.numpy(), rtol=1e-6)
    np.testing.assert_allclose(outputs["cache_rows_out"], [[1, 1, 1], [0, 1, 2], [3, 4, 5], [6, 7, 8]])
    np.testing.assert_allclose(next(iter(outputs.values())), expected[0].numpy(), rtol=1e-6)


def test_the_report_names_buffer_line_and_output(exported: tuple[nn.Module, s2deploy.ExportResult]) -> None:
    remarks = {remark.partition(" changes ")[2].partition(";")[0]: remark for remark in exported[1].remarks}
    rows, mean = remarks["cache.rows"], remarks["cache.mean"]
    assert set(remarks) == {"cache.rows", "cache.mean", "counter.calls"}
    line = Cache.forward.__code__.co_firstlineno
    assert f"test_exporter_state.py:{line + 2}: forward changes cache.rows" in rows
    assert "output cache_rows_out" in rows
    assert "starts from the stored one" in rows
    assert f"test_exporter_state.py:{line + 3}: forward changes cache.mean" in mean


def test_the_proof_covers_state_and_can_be_repeated(exported: tuple[nn.Module, s2deploy.ExportResult]) -> None:
    module, result = exported
    assert result.output is not None
    assert result.comparison is not None
    assert len(result.comparison.feeds[0].outputs) == 5
    assert set(read_metadata(result.output).state.values()) == {"cache.rows", "cache.mean", "counter.calls"}
    assert s2deploy.validate(module, result.output).passed
    with torch.no_grad():
        module.get_buffer("cache.rows").add_(1)
    assert not s2deploy.validate(module, result.output).passed
    with torch.no_grad():
        module.get_buffer("cache.rows").sub_(1)


def test_every_run_starts_from_the_stored_value(exported: tuple[nn.Module, s2deploy.ExportResult]) -> None:
    x = np.ones((3, 3), np.float32)
    first, second = run(exported[1], x), run(exported[1], x)
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_the_model_keeps_its_state(exported: tuple[nn.Module, s2deploy.ExportResult]) -> None:
    cache = exported[0].get_submodule("cache")
    assert torch.equal(cache.get_buffer("rows"), torch.arange(12.0).reshape(4, 3))
    assert torch.equal(cache.get_buffer("mean"), torch.zeros(3))


def test_names_give_way_to_weights_inputs_and_outputs(tmp_path: Path) -> None:
    result = s2deploy.export(Counter().eval(), tmp_path / "model.onnx", inputs=["x:2"])
    assert list(run(result, np.ones(2, np.float32))) == ["y", "calls_out_2"]


def test_an_exported_program_returns_its_state(tmp_path: Path) -> None:
    program = torch.export.export(Cache().eval(), (torch.ones(2, 3),), strict=False)
    torch.export.save(program, tmp_path / "model.pt2")
    result = s2deploy.export(tmp_path / "model.pt2", tmp_path / "model.onnx")
    assert result.passed
    assert {*list(run(result, np.ones((2, 3), np.float32)))[1:]} == {"rows_out", "mean_out"}


def test_a_parameter_that_forward_changes_is_returned_as_well(tmp_path: Path) -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                self.weight.mul_(2)
            return x * self.weight

    result = s2deploy.export(Scale(), tmp_path / "model.onnx", inputs=["x:2"])
    assert list(run(result, np.ones(2, np.float32))["weight_out"]) == [2, 2]


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows = torch.zeros(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows[1:3] = x
        return self.rows * 2


class Growing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows = torch.cat([self.rows, x])
        return self.rows * 2


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(4, 3))
        self.register_buffer("tied", self.rows)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows[1:3] = x
        return self.tied * 2


@pytest.mark.parametrize(
    ("kind", "said", "hint"),
    [
        (Plain, "changes rows, which is no buffer", "register_buffer"),
        (Growing, "gives rows another shape or dtype", "an input and an output"),
        (Tied, "the same tensor as", "one place"),
    ],
)
def test_what_cannot_be_returned_is_refused_with_its_line(kind: type[nn.Module], said: str, hint: str) -> None:
    with pytest.raises(ExportError, match=said) as caught:
        capture(kind().eval(), parse_inputs(["x:2,3"]))
    assert f"test_exporter_state.py:{kind.forward.__code__.co_firstlineno + 1}: " in caught.value.message
    assert hint in str(caught.value.hint)


def test_constants_made_in_forward_are_no_state() -> None:
    class Constants(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scale = torch.tensor([1.0, 2.0, 3.0])
            scale[0] = 5
            rows = torch.zeros(2, 3)
            rows[0] = scale
            return x + rows

    check_state(capture(Constants(), parse_inputs(["x:2,3"])).program)


def test_attributes_that_forward_sets_are_as_before() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.grids: list[Any] = [None]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.grid = torch.arange(x.shape[1])
            self.grids[0] = self.grid
            return x + self.grid

    module = Lazy()
    capture(module, parse_inputs(["x:2,n=3..5"]))
    assert not hasattr(module, "grid")
    assert module.grids == [None]


class Swapping(nn.Module):
    """Returns its last input and remembers this one; its two buffers change places."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(2, 3))
        self.register_buffer("first", torch.ones(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        last = self.last
        self.last, self.first = self.first, last
        self.first = self.first + x
        return last


def test_a_buffer_assigned_in_a_submodule_keeps_what_was_read_before(tmp_path: Path) -> None:
    result = s2deploy.export(nn.Sequential(Swapping()), tmp_path / "model.onnx", inputs=["x:2,3"])
    assert result.passed
    outputs = run(result, np.full((2, 3), 5, np.float32))
    assert {name: float(value[0, 0]) for name, value in outputs.items()} == {
        "output": 0,
        "0_last_out": 1,
        "0_first_out": 5,
    }


def test_a_submodule_may_not_change_the_shape_of_its_buffer() -> None:
    with pytest.raises(ExportError, match=r"gives 0\.rows another shape or dtype"):
        capture(nn.Sequential(Growing()).eval(), parse_inputs(["x:2,3"]))
