"""ONNX models of small modules against clone semantics, at the corners of their ranges and an odd size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from translating import All, compare, operators, translate

from s2deploy.errors import ExportError
from s2deploy.exporter import capture
from s2deploy.exporter.naming import derived_output_names
from s2deploy.exporter.provenance import SOURCE
from s2deploy.specs import parse_inputs

DYNAMIC = ("x:batch=2..3..5,8,height=6..9..20",)
STATIC = ("x:2,8,9",)


class Shifted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        y = x.clone()
        y[:, 1:] = x[:, :-1]
        y[:, :, :2] = 0
        return y


def shift(x):
    x[:, :, 1:] = x[:, :, :-1]
    x[:, :, :-1] = x[:, :, 1:]
    return x


def views_of_views(x):
    inner = x[:, 2:][..., 1:]
    inner[:, 1:3] = inner[:, :2]
    inner[:, -1] = 0
    return x


def permuted_destination(x):
    turned = x.permute(2, 0, 1)
    turned[1:] = turned[:-1]
    return x


def broadcast_sources(x):
    x[:, 2:4] = x[:, :1]
    x[..., 0] = 3
    x[0] = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8])[:, None]
    return x


def integers_and_booleans(x):
    whole = (x * 10).int()
    whole[:, 1:] = whole[:, :-1]
    positive = x > 0
    positive[:, :, 1:] = positive[:, :, :-1]
    positive[:, 0] = True
    return whole, positive


def cast_to_destination(x):
    whole = (x * 10).long()
    whole[:, 1:3] = x[:, 1:3]
    return whole


def selected_rows(x):
    x[:, 3] = x[:, 2]
    x[:, -1, 2:] = x[:, 0, :-2]
    return x


def empty_slices(x):
    x[:, 5:5] = x[:, 0:0]
    x[:, 8:] = 1
    x[:, 6:2] = 3
    return x


def negative_and_outside(x):
    x[:, :, -3:-1] = x[:, :, -4:-2]
    x[:, -100:2] = 0
    x[:, 5:100] = x[:, :3]
    x[:, :, 1:-1] = x[:, :, 2:]
    return x


def steps(x):
    x[:, 0::3] = x[:, 1:4] * 2
    x[:, ::2, 1:] = x[:, 1::2, :-1]
    return x


def along_negative_axes(x):
    inner = torch.slice_scatter(x, x[..., 1::2] * 2, -1, 1, None, 2), torch.slice_scatter(x, x[:, :4], -2, 0, None, 2)
    return *inner, torch.select_scatter(x, x[..., 2], -1, 4), torch.slice_scatter(x, x[..., :3] + 1, -1, -4, -1)


def indexed(x):
    x[:, [0, 2]] = x[:, [3, 4]]
    x[:, torch.tensor([5, 6])] += 1
    x[x < 0] = 0
    return x


def other_in_place_operators(x):
    x[..., 4:].mul_(x[..., 4:5])
    x[:, 1:].add_(x[:, :-1])
    x[:, 0].fill_(2)
    x[:, 3:5].clamp_(0, 1)
    x[:, 5].masked_fill_(x[:, 6] > 0, 9)
    return x


def fresh_targets(x):
    empty = x.new_empty(x.shape)
    empty[:, :4], empty[:, 4:] = x[:, 4:], x[:, :4]
    zeros = torch.zeros_like(x)
    zeros[:, :, :-1] = x[:, :, 1:]
    return empty, zeros


def reads_what_it_writes(x):
    x[:, 2:4] = x[:, 0:2].flip(1)
    return x


def autograd_function(x):
    return Shifted.apply(x)


def six_dimensions(x):
    y = x.reshape(x.shape[0], 2, 2, 2, x.shape[2], 1) * 1
    y[:, 0, 1:, :, 1:] = y[:, 1, :1, :, :-1]
    return y


def symbolic_ends(x):
    height = x.shape[2]
    x[:, :, 1 : height - 2] = x[:, :, 2 : height - 1]
    x[:, :, height // 2 :] = x[:, :, : height - height // 2]
    return x


def rolls(x):
    symbolic = x.roll(x.shape[2] // 2, 2), x.roll(-x.shape[2] // 2, 2)
    return x.roll(1, 1), x.roll((2, -1), (1, 2)), x.roll(3), x.roll(50, 2), *symbolic


def other_movement(x):
    padded = nn.functional.pad(x, (1, 2, 0, 1)), nn.functional.pad(x, (-1, 1))
    return x.flip(2), *padded, torch.stack(x.unbind(1), 1), torch.cat(x.chunk(3, 1)[::-1], 1), x.expand(2, *x.shape)


def splits(x):
    halves = x.split([x.shape[2] // 2, x.shape[2] - x.shape[2] // 2], 2)
    return (*x.split(3, 1), *x.split([3, 5], 1), *x.chunk(2, 1), *x.chunk(2, 2), *halves)


def one_index(x):
    return x[:, torch.tensor([1, -1, 3])], x[torch.tensor([1]), :, 2]


SLICED = (
    shift, views_of_views, permuted_destination, broadcast_sources, integers_and_booleans, cast_to_destination,
    selected_rows, empty_slices, negative_and_outside, other_in_place_operators, fresh_targets, reads_what_it_writes,
    autograd_function, six_dimensions, symbolic_ends, rolls, splits, one_index, other_movement,
)  # fmt: skip


@pytest.mark.parametrize("texts", [STATIC, DYNAMIC])
def test_partial_writes_become_slices(texts: tuple[str, ...]) -> None:
    module = All(*SLICED)
    model, specs = translate(module, texts)
    compare(module, model, specs)
    found = operators(model)
    unwanted = {"ScatterND", "ScatterElements", "Range", "NonZero", "GatherND", "SplitToSequence", "SequenceAt"}
    assert not unwanted & found.keys()


@pytest.mark.parametrize("texts", [STATIC, DYNAMIC])
def test_other_writes_stay_right(texts: tuple[str, ...]) -> None:
    module = All(steps, along_negative_axes, indexed)
    model, specs = translate(module, texts)
    compare(module, model, specs)


def test_a_dynamic_shift_needs_no_shape_arithmetic() -> None:
    class Shift(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x * 2
            height = x.shape[2]
            x[:, :, 1:] = x[:, :, : height - 1]
            return x

    model, specs = translate(Shift(), DYNAMIC)
    assert operators(model).keys() <= {"Mul", "Cast", "Slice", "Concat", "Constant", "Identity"}
    compare(Shift(), model, specs)


def test_writing_the_input_keeps_the_outputs_forward_returns() -> None:
    class OnInput(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x[:, 1:] = x[:, :-1]
            return x, x + 1

    model, specs = translate(OnInput(), DYNAMIC)
    assert len(model.graph.outputs) == 2
    compare(OnInput(), model, specs)


def test_names_are_the_users() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(9, 9)
            self.weight = nn.Parameter(torch.ones(9))

        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            y = self.layer(x)
            return {"a": y, "b": [y * 2, None, x.shape[0]], "same": y, "input": x, "parameter": self.weight}

    module = Named()
    model, specs = translate(module, ["weight:batch=1..3..5,4,9"])
    assert [value.name for value in model.graph.inputs] == ["weight"]
    assert [str(dim) for dim in model.graph.inputs[0].shape] == ["batch", "4", "9"]
    assert [value.name for value in model.graph.outputs] == ["a", "b_0", "same", "input", "parameter"]
    assert {"layer.weight", "layer.bias", "weight_1"} <= model.graph.initializers.keys()
    compare(module, model, specs, tolerance=1e-6)


def test_multiples_are_named_in_inner_shapes() -> None:
    class Patches(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.avg_pool2d(x, 7)

    model, specs = translate(Patches(), ["x:batch=1..4,3,height=14..56/14,21"])
    assert str(model.graph.inputs[0].shape[2]) == "height"
    assert str(model.graph.outputs[0].shape[2]) == "2*(height//14)"
    compare(Patches(), model, specs, tolerance=1e-6)


def test_outputs_can_be_named() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x + 1, x + 2

    model, _ = translate(Two(), STATIC, output_names=["first", "second"])
    assert [value.name for value in model.graph.outputs] == ["first", "second"]
    assert derived_output_names(capture(Two(), parse_inputs(STATIC)).program, 2) == ("output_0", "output_1")


def test_every_node_of_a_line_knows_it() -> None:
    model, _ = translate(All(shift), STATIC)
    lines = {node.metadata_props.get(SOURCE) for node in model.graph if node.op_type == "Concat"}
    first = shift.__code__.co_firstlineno + 1
    assert lines == {f"{Path(__file__).name}:{first}", f"{Path(__file__).name}:{first + 1}"}
    assert all(node.metadata_props.keys() <= {SOURCE} for node in model.graph)


def test_code_of_torch_alone_has_no_line() -> None:
    model, _ = translate(nn.Sequential(nn.Linear(9, 9)), STATIC)
    assert not any(node.metadata_props for node in model.graph)


@pytest.mark.parametrize("opset", [18, 20, 23])
def test_the_opset_is_the_one_asked_for(opset: int) -> None:
    module = nn.Sequential(nn.Linear(9, 9), nn.GELU())
    model, specs = translate(module, STATIC, opset=opset)
    assert model.opset_imports == {"": opset}
    assert operators(model)["Gelu"] == (1 if opset >= 20 else 0)
    compare(module, model, specs, tolerance=1e-6)


@pytest.mark.parametrize("opset", [13, 24])
def test_other_opsets_are_refused_with_the_range(opset: int) -> None:
    with pytest.raises(ExportError, match="use --opset 18 to 23"):
        translate(nn.ReLU(), STATIC, opset=opset)


def test_an_operator_without_translation_is_named_with_its_line() -> None:
    def eigenvalues(x):
        return torch.linalg.eigh(x)[0]

    with pytest.raises(ExportError) as caught:
        translate(All(eigenvalues), ["x:4,4"])
    line = eigenvalues.__code__.co_firstlineno + 1
    assert caught.value.message == (
        f"{Path(__file__).name}:{line}: the operator aten._linalg_eigh.default has no ONNX translation"
    )


def from_the_end_to_a_number(x):
    x[:, :, -3:5] = 1
    return x


def from_the_end_to_a_part(x):
    half = x.shape[2] // 2
    return torch.slice_scatter(x, x[..., -6 : half + 1] * 2, -1, -6, half + 1)


@pytest.mark.parametrize(
    ("write", "heights"), [(from_the_end_to_a_number, "5..6..7"), (from_the_end_to_a_part, "7..8..9")]
)
def test_bounds_of_both_signs_are_compared_at_run_time(write: Callable[..., Any], heights: str) -> None:
    module = All(write)
    model, specs = translate(module, (f"x:2,8,height={heights}",))
    compare(module, model, specs)
