"""Writes into views that torch's decomposition mistreats: repaired, or refused."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from torch import nn
from translating import All, compare, operators, translate

from s2deploy.errors import ExportError
from s2deploy.exporter import capture
from s2deploy.exporter.views import check_dynamic_sizes, select_what_unbind_returns
from s2deploy.specs import parse_inputs

DYNAMIC = ("x:4,width=6..8..12",)


class Filled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.unbind(0)[1].fill_(3)
        return x


def written_parts(x):
    first, *_, last = x.unbind()
    first += last
    last[1:] = first[:-1]
    for row in x:
        row[:2].mul_(2)
    return x, first


def read_parts(x):
    return torch.stack(x.unbind(0)[::-1]), x.squeeze(0), x.squeeze((0, 1))


def from_the_start_to_the_middle(x):
    x[:, : x.shape[1] // 2] = x[:, :1]
    x[1:, 1 : x.shape[1] // 2] = 0
    return x


def filled_rows_of_a_part(x):
    x[1::2, ::3].index_fill_(0, torch.tensor([1]), 2)
    return x


@pytest.mark.parametrize("texts", [("x:4,9",), DYNAMIC])
def test_writes_into_views_are_right_at_every_size(texts: tuple[str, ...]) -> None:
    module = All(written_parts, read_parts, from_the_start_to_the_middle)
    model, specs = translate(module, texts)
    compare(module, model, specs)
    assert not operators(model).keys() & {"ScatterND", "ScatterElements", "SplitToSequence"}


def test_writes_into_parts_with_steps_are_right() -> None:
    module = All(filled_rows_of_a_part)
    compare(module, *translate(module, ("x:4,9",)))


def test_the_program_given_is_not_changed() -> None:
    program = capture(Filled().eval(), parse_inputs(DYNAMIC)).program
    before = str(program.graph)
    changed = select_what_unbind_returns(program.graph_module)
    assert "unbind" not in str(changed.graph)
    assert str(program.graph) == before
    assert select_what_unbind_returns(changed) is changed


def test_a_size_that_decomposition_fixes_is_refused() -> None:
    program = capture(Filled().eval(), parse_inputs(DYNAMIC)).program
    fixed = capture(Filled().eval(), parse_inputs(["x:4,8"])).program
    with pytest.raises(ExportError, match=r"fixes a dynamic size \(axis 1\) to 8"):
        check_dynamic_sizes(program, fixed)
    check_dynamic_sizes(program, program)


def test_what_is_read_and_written_through_the_data_attribute_is_captured() -> None:
    class InPlaceShift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x * self.weight.data
            buffer = x.data.new(x.size(0), x.size(1), 2).zero_()
            buffer[:, :-1] = x.data[:, 1:, :2]
            x.data[:, :, :2] = buffer
            return x

    module, attribute = InPlaceShift().eval(), torch.Tensor.data
    program = capture(module, parse_inputs(["x:n=1..2..4,t=3..5..9,6"])).program.module()
    assert torch.Tensor.data is attribute
    for shape in (1, 3, 6), (4, 9, 6):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        expected = x.clone()
        expected[:, :, :2] = torch.cat([x[:, 1:, :2], torch.zeros(shape[0], 1, 2)], 1)
        torch.testing.assert_close(program(x), expected, rtol=0, atol=0)


def squeezed(x):
    return x[:, :1, :1].squeeze().argmax(-1), x.squeeze(), x[:, :, :1].squeeze((0, 2)), x[..., 0].squeeze(0)


def test_squeeze_leaves_dynamic_axes_where_they_are() -> None:
    module = All(lambda x: squeezed(x)[0])
    model, _ = translate(module, ("x:n=1..3..5,4,5,6",))
    proto = ir.to_proto(model)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for count in (1, 2, 5):
        (result,) = session.run(None, {"x": np.ones((count, 4, 5, 6), np.float32)})
        assert result.shape == (count,)


def test_squeeze_takes_what_is_of_size_one() -> None:
    module = All(lambda x: squeezed(x)[1], lambda x: squeezed(x)[2], lambda x: squeezed(x)[3])
    for texts in (("x:1,n=2..3..5,6",), ("x:1,1,1",), ("x:3,4,5",)):
        model, specs = translate(module, texts)
        compare(module, model, specs)
