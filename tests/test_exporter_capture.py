"""What capture says about models that fix, restrict or refuse sizes, and what it reports about the rest."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from s2deploy.errors import ExportError, InputSpecError, S2DeployError, UsageError
from s2deploy.exporter import capture, check_program
from s2deploy.exporter.causes import how_values_decide
from s2deploy.exporter.naming import input_shapes
from s2deploy.specs import parse_inputs

Function = Callable[..., Any]


class Module(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x)


class UNet(nn.Module):
    """Halves the resolution three times, restores it, and adds the input."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(*(nn.Conv2d(3, 3, 3, 2, 1) for _ in range(3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(self.down(x), scale_factor=8) + x


class Cache(nn.Module):
    """Holds two batches of nine rows."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("rows", torch.zeros(2, 9, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows[: x.shape[0], 1 : x.shape[1] + 1] = x  # type: ignore[index, operator]
        return self.rows[: x.shape[0], : x.shape[1] + 1].sum(1)  # type: ignore[index, operator, no-any-return]


def fixed_by_math(x: torch.Tensor) -> torch.Tensor:
    return x * math.sqrt(x.shape[1])


def fixed_by_loop(x: torch.Tensor) -> torch.Tensor:
    return sum(x[:, i] for i in range(x.shape[1]))  # type: ignore[return-value]


def fixed_by_float(x: torch.Tensor) -> torch.Tensor:
    return x / float(x.shape[1])


def fixed_by_operator(x: torch.Tensor) -> torch.Tensor:
    return x @ torch.ones(7, 3)


def fixed_by_comparison(x: torch.Tensor) -> torch.Tensor:
    if x.shape[0] == 3:
        return x * 2
    return x


def restricted(x: torch.Tensor) -> torch.Tensor:
    if x.shape[1] > 5:
        return x * 2
    return x


def shift(x: torch.Tensor) -> torch.Tensor:
    y = x * 1
    y[:, 1:] = y[:, :-1]
    return y


def in_groups_of_seven(x: torch.Tensor) -> torch.Tensor:
    return x.reshape(x.shape[0], x.shape[1] // 7, 7)


def one_longer(x: torch.Tensor) -> torch.Tensor:
    return x[:, :, 1:] + x.mT[:, :-1]


def by_value(x: torch.Tensor) -> torch.Tensor:
    if x.sum() > 0:
        return x * 2
    return x


def line_of(function: Function, offset: int) -> str:
    return f"test_exporter_capture.py:{function.__code__.co_firstlineno + offset}"


def failure(module: nn.Module | Function, *texts: str) -> S2DeployError:
    with pytest.raises(S2DeployError) as caught:
        capture(module if isinstance(module, nn.Module) else Module(module), parse_inputs(texts))
    return caught.value


@pytest.mark.parametrize(
    ("function", "text", "advice"),
    [
        (restricted, "x:batch=1..5,height=2..16..64", "use height=6..16..64"),
        (in_groups_of_seven, "x:batch=1..5,height=14..56", "use height=14..56/7"),
        (lambda x: x[:, ::2] + x[:, 1::2], "x:batch=1..4,height=4..8", "use height=4..8/2"),
        (lambda x: x + x.mT, "x:3,height=2..8,width=2..8", "give both the same name"),
        (lambda x: x + x.mT, "x:3,height=2..7..8,width=2..8", "height and width must be equal"),
        (one_longer, "x:3,height=2..7..8,width=2..8", "width must be height + 1"),
        (lambda x: x @ torch.ones(7, 3), "x:4,3,width=2..7..64", "write 7 instead of width=2..7..64"),
        (lambda x: x * math.sqrt(x.shape[1]), "x:batch=1..4,height=4..8", "write 8 instead of height=4..8"),
        (lambda x: sum(x[:, i] for i in range(x.shape[1])), "x:batch=1..4,height=4..8", "fixes height to 8"),
    ],
)
def test_demands_become_advice_in_the_grammar(function: Function, text: str, advice: str) -> None:
    error = failure(function, text)
    assert isinstance(error, ExportError)
    assert advice in str(error)


def test_advice_on_multiples_is_right_and_can_be_followed() -> None:
    error = failure(UNet().eval(), "x:batch=1..2,3,height=16..64,width=16..64")
    assert error.hint == "use height=16..64/8; use width=16..64/8"
    capture(UNet().eval(), parse_inputs(["x:batch=1..2,3,height=16..64/8,width=16..64/8"]))


@pytest.mark.parametrize(
    ("function", "advice"),
    [(fixed_by_math, "write size ** 0.5"), (fixed_by_loop, "do without the loop"), (fixed_by_float, "// instead of /")],
)
def test_a_baked_size_is_reported_with_its_line_and_cause(function: Function, advice: str) -> None:
    error = failure(function, "x:batch=1..4,height=4..8")
    assert f"fixes height to 8 ({line_of(function, 1)})" in error.message
    assert advice in str(error.hint)


@pytest.mark.parametrize(
    ("module", "text", "line", "advice"),
    [
        (Cache(), "x:batch=1..2,height=3..5..8,3", line_of(Cache.forward, 1), "write 2 instead of batch=1..2, or give"),
        (fixed_by_operator, "x:4,5,width=2..7..64", line_of(fixed_by_operator, 1), "or make this line right"),
    ],
)
def test_a_size_that_an_operator_fixes_is_reported_with_its_line(
    module: nn.Module | Function, text: str, line: str, advice: str
) -> None:
    error = failure(module, text)
    assert f"({line})" in error.message
    assert advice in str(error.hint)


def test_a_range_that_an_operator_narrows_is_reported_with_its_line() -> None:
    error = failure(in_groups_of_seven, "x:batch=1..5,height=14..56")
    assert f"height=14..56 ({line_of(in_groups_of_seven, 1)})" in error.message


def test_a_comparison_that_the_example_meets_is_reported_with_its_line() -> None:
    error = failure(fixed_by_comparison, "x:batch=1..3..4,height=4..8")
    assert f"fixes batch to 3 ({line_of(fixed_by_comparison, 1)})" in error.message


def test_a_comparison_that_the_example_misses_is_reported_with_its_line() -> None:
    error = failure(fixed_by_comparison, "x:batch=1..4,height=4..8")
    assert line_of(fixed_by_comparison, 1) in error.message


def test_data_dependent_control_flow_names_the_line_and_the_way_out() -> None:
    error = failure(by_value, "x:4,8")
    assert isinstance(error, ExportError)
    assert line_of(by_value, 1) in error.message
    assert "::" not in error.message
    assert "torch.where" in (error.hint or "")


@pytest.mark.parametrize(
    ("line", "does", "advice"),
    [
        ("self.kv[:, pos] = k", "assigns at a position", "index_copy_"),
        ("cache[pos:pos + 1] += k", "assigns at a position", "torch.arange(size) == position"),
        ("n = int(lengths.max())", "takes a number out of a tensor", "keep it a tensor"),
        ("x = x[:, :n.item()]", "takes a number out of a tensor", "index_select"),
        ("boxes = boxes[mask]", "size is computed from data", "torch.where(mask, x, fill)"),
        ("if mask[0] == 1:", "decides by the values", "torch.cond"),
        ("y = x + weird(x)", "decides by the values", "torch.cond"),
    ],
)
def test_what_asks_for_values_is_told_by_its_line(line: str, does: str, advice: str) -> None:
    said, hint = how_values_decide(line)
    assert does in said
    assert advice in hint


def test_a_position_from_data_is_named_with_what_works() -> None:
    class Cache(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("rows", torch.zeros(4, 3))

        def forward(self, x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
            self.rows[position] = x  # type: ignore[index, operator]
            return x + 1

    error = failure(Cache(), "x:3", "position::int64")
    assert f"{line_of(Cache.forward, 1)}: self.rows[position] = x" in error.message
    assert "index_copy_(dim, position, value)" in str(error.hint)


def test_a_forward_that_raises_is_quoted_with_its_line() -> None:
    def refuse(x: torch.Tensor) -> torch.Tensor:
        raise ValueError("three channels, please")

    error = failure(refuse, "x:4,8")
    assert isinstance(error, ExportError)
    assert "ValueError: three channels, please" in error.message
    assert line_of(refuse, 1) in error.message


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.Conv2d(3, 4, 3), "x:4,4"),
        (nn.Conv2d(3, 4, 3), "x:1,4,9,9"),
        (nn.Embedding(3, 4), "x:1,4"),
        (Module(lambda x: [b for b, _, _ in [x.shape]]), "x:4,4"),
        (Module(lambda x: x @ torch.ones(7, 3)), "x:4,width=2..64"),
    ],
)
def test_wrong_ranks_sizes_and_dtypes_are_wrong_usage(module: nn.Module, text: str) -> None:
    error = failure(module, text)
    assert isinstance(error, InputSpecError)
    assert "tried with" in (error.hint or "")


def test_the_wrong_number_of_inputs_shows_what_forward_takes() -> None:
    for module, texts in ((nn.Bilinear(3, 4, 5), ["a:1,3"]), (nn.Linear(3, 4), ["a:1,3", "b:1,3"])):
        error = failure(module, *texts)
        assert isinstance(error, UsageError)
        assert "forward takes (input" in error.message


def test_a_range_of_one_size_is_a_fixed_size() -> None:
    captured = capture(Module(shift), parse_inputs(["x:batch=1..1,height=28..28/28,4"]))
    assert input_shapes(captured.program) == [(1, 28, 4)]


def test_keyword_only_arguments_come_last() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None, *, scale: torch.Tensor) -> torch.Tensor:
            return x * scale if mask is None else x * scale * mask

    specs = parse_inputs(["x:batch=1..4,3", "m:batch,3", "s:3"])
    captured = capture(Scaled(), specs)
    assert [len(shape) for shape in input_shapes(captured.program)] == [2, 2, 1]
    assert "missing: scale" in str(failure(Scaled(), "x:2,3"))


def test_guards_that_hold_for_every_declared_size_are_no_obstacle() -> None:
    def half(x: torch.Tensor) -> torch.Tensor:
        y = x * 1
        y[:, x.shape[1] // 2 :] = y[:, : x.shape[1] - x.shape[1] // 2]
        return y

    captured = capture(Module(half), parse_inputs(["x:batch=1..5,height=6..9..20"]))
    assert not any(isinstance(size, int) for size in input_shapes(captured.program)[0])


def test_a_write_to_an_input_is_remarked() -> None:
    def write(x: torch.Tensor) -> torch.Tensor:
        x[:, 1:] = x[:, :-1]
        return x + 1

    (remark,) = capture(Module(write), parse_inputs(["x:2,4"])).remarks
    assert f"{line_of(write, 1)}: forward writes into its input x" in remark


def test_what_the_model_prints_stays_off_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def chatty(x: torch.Tensor) -> torch.Tensor:
        print("hello")
        return by_value(x)

    failure(chatty, "x:4,8")
    assert capsys.readouterr() == ("", "")


def test_check_program_compares_with_the_specification() -> None:
    height = torch.export.Dim("height", min=4, max=8)
    program = torch.export.export(Module(shift), (torch.zeros(2, 6),), dynamic_shapes=({1: height},))
    check_program(program, parse_inputs(["x:2,h=4..8"]))
    check_program(program, parse_inputs(["x:2,5"]))
    for text, said in (
        ("x:2,h=4..9", "works for sizes 4..8"),
        ("x:b=1..2,6", "fixes the size to 2"),
        ("x:2,6,1", "takes rank 2"),
        ("x:2,6:int64", "takes float32"),
    ):
        with pytest.raises(InputSpecError, match=said):
            check_program(program, parse_inputs([text]))
    with pytest.raises(UsageError, match="takes 1 tensors"):
        check_program(program, parse_inputs(["x:2,6", "y:2"]))
