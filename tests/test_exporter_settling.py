"""Models that torch.export refuses for the declared sizes although the exported file is right for them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

import s2deploy
from s2deploy.errors import ExportError
from s2deploy.exporter import capture
from s2deploy.exporter.integers import sizes_stay_symbolic
from s2deploy.exporter.naming import input_shapes
from s2deploy.specs import parse_inputs


class Module(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def token_shift(x: torch.Tensor) -> torch.Tensor:
    shifted = x.clone()
    shifted[:, 1:] = x[:, :-1]
    shifted[:, 0] = 0
    return x * 0.25 + shifted


def temporal_shift(x: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(x)
    out[:, :-1, :2] = x[:, 1:, :2]
    out[:, 1:, 2:4] = x[:, :-1, 2:4]
    out[:, :, 4:] = x[:, :, 4:]
    return out.reshape(-1, 5, 3).relu().reshape(x.shape)


def spatial_shift(x: torch.Tensor) -> torch.Tensor:
    x = x * 2
    x[:, 1:, :, :2] = x[:, :-1, :, :2]
    x[:, :-1, :, 2:4] = x[:, 1:, :, 2:4]
    x[:, :, 1:, 4:] = x[:, :, :-1, 4:]
    return x


def shift_by_two(x: torch.Tensor) -> torch.Tensor:
    x = x * 1
    x[:, 2:] = x[:, :-2]
    return x


def masked_behind_a_stem(x: torch.Tensor) -> torch.Tensor:
    x = nn.functional.avg_pool2d(x, 8)
    mask = torch.ones_like(x)
    mask[:, :, :, :-1] = 0
    return x * mask.cumsum(3)


def queue_of_the_last(x: torch.Tensor) -> torch.Tensor:
    queue = torch.ones(1, 5, 12) * x.mean()
    queue[:, :, : -x.shape[2]] = queue[:, :, x.shape[2] :] * 2
    queue[:, :, -x.shape[2] :] = x
    return nn.functional.avg_pool1d(queue, 5, 1)[:, :, -x.shape[2] :] + x


@pytest.mark.parametrize(
    ("function", "text", "tried"),
    [
        (masked_behind_a_stem, "x:1,2,h=16..32..40,w=16..48..64", {16, 23}),
        (queue_of_the_last, "x:1,5,t=2..4..8", {8}),
        (token_shift, "x:2,t=1..1..9,4", {2}),
        (temporal_shift, "x:2,t=1..4..6,5,3", {2}),
        (spatial_shift, "x:1,h=2..4..5,w=1..4..5,5", {2}),
        (shift_by_two, "x:2,t=1..9,4", {1, 2, 3}),
    ],
)
def test_shifts_take_the_sizes_at_the_ends(function: Any, text: str, tried: set[int], tmp_path: Path) -> None:
    result = s2deploy.export(Module(function), tmp_path / "model.onnx", inputs=[text])
    assert result.passed
    assert result.rewrites.scatters_after == 0
    (stage,) = [stage for stage in result.stages if stage.name == "ends"]
    assert all(f"={size}" in stage.detail for size in tried)
    minimum = {dim.name: dim.min for dim in result.inputs[0].dynamic}
    assert result.comparison is not None
    assert result.comparison.feeds[0].sizes == minimum


def another_result_at_one(x: torch.Tensor) -> torch.Tensor:
    return x * 3 if x.shape[1] == 1 else spatial_shift(x)


def another_result_at_two(x: torch.Tensor) -> torch.Tensor:
    return x * 3 if x.shape[1] <= 2 else spatial_shift(x)


def nothing_at_one(x: torch.Tensor) -> torch.Tensor:
    if x.shape[1] == 1:
        raise ValueError("two rows, please")
    return spatial_shift(x)


@pytest.mark.parametrize("function", [another_result_at_one, nothing_at_one])
def test_a_model_that_is_another_at_small_sizes_is_never_written(function: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError) as caught:
        s2deploy.export(Module(function), tmp_path / "model.onnx", inputs=["x:1,h=1..4..5,4,6"], validate=False)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_largest_size_that_the_model_raises_at_is_refused_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"t=2\.\.4\.\.9 \(test_exporter_settling.py:\d+\)"):
        s2deploy.export(Module(queue_of_the_last), tmp_path / "model.onnx", inputs=["x:1,5,t=2..4..9"])
    assert list(tmp_path.iterdir()) == []


def test_what_the_model_demands_is_not_tried() -> None:
    with pytest.raises(ExportError, match=r"use h=3\.\.4\.\.8"):
        capture(Module(another_result_at_two), parse_inputs(["x:1,h=2..4..8,w=5,6"]))


def windows_and_back(x: torch.Tensor) -> torch.Tensor:
    batch, height, width, channels = x.shape
    windows = x.view(batch, height // 4, 4, width // 4, 4, channels).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, channels)
    windows = windows.softmax(1)
    batch = int(windows.shape[0] / (height * width / 4 / 4))
    back = windows.view(batch, height // 4, width // 4, 4, 4, -1)
    return back.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, -1)


def halves(x: torch.Tensor) -> torch.Tensor:
    half = int(x.shape[1] * 0.5)
    return torch.cat([x[:, half:], x[:, : int(half)]], 1) * int("2") + int(x.shape[2] / 3)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (windows_and_back, "x:b=1..2..5,8,12,3"),
        (halves, "x:b=1..2..3,t=4..9,u=5..6..11"),
    ],
)
def test_sizes_that_go_through_int_stay_dynamic(function: Any, text: str, tmp_path: Path) -> None:
    result = s2deploy.export(Module(function), tmp_path / "model.onnx", inputs=[text])
    assert result.passed
    assert "int" not in globals()
    shape = onnx.load(tmp_path / "model.onnx").graph.output[0].type.tensor_type.shape
    assert shape.dim[0].dim_param == "b"


def test_what_is_taken_for_granted_must_hold_for_the_declared_sizes() -> None:
    def quarters(x: torch.Tensor) -> torch.Tensor:
        return x[:, : int((x.shape[1] // 4) / (x.shape[1] / 4) * 3)]

    assert input_shapes(capture(Module(quarters), parse_inputs(["x:2,h=8..16/4"])).program)[0][0] == 2
    with pytest.raises(ExportError, match="h"):
        capture(Module(quarters), parse_inputs(["x:2,h=8..16"]))


def test_a_module_under_two_names_is_prepared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "another_name_of_this", sys.modules[__name__])
    with sizes_stay_symbolic({__file__}):
        assert globals()["int"]("12", 8) == 10
    assert "int" not in globals()


def test_int_is_int_for_everything_else() -> None:
    with sizes_stay_symbolic({__file__}) as assumptions:
        stand_in = globals()["int"]
        assert stand_in("12", 8) == 10
        assert stand_in(2.7) == 2
        assert isinstance(3, stand_in)
        assert not isinstance(3.0, stand_in)
        assert issubclass(bool, stand_in)
        assert stand_in.from_bytes(b"\x01", "big") == 1
    assert "int" not in globals()
    assert assumptions == []
