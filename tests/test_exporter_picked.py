"""Values that a mask picks: when they are computed everywhere instead, when the index stays, and their values."""

import pytest
import torch
from translating import All, compare, operators, translate


def copied(x):
    y = torch.zeros_like(x)
    y[x > 0] = x[x > 0]
    return y


def scaled_in_place(x):
    x[x < 0] *= 0.5
    x[..., 1:][x[..., :-1] > 1] -= 2
    return x


def computed_twice(x):
    inside = (x > -1) & (x < 1)
    y = x * 3
    y[~inside] = x[~inside].tanh() + x[~inside].abs().clamp(0, 2)
    y[inside] = torch.where(x[inside] > 0, x[inside], y[inside] / 4)
    return y


def whole_rows(x):
    chosen = x[..., 0] > 0
    x[chosen] = x[chosen].sigmoid() * x[0, 0] + x[chosen].to(torch.float64).sqrt().nan_to_num(1).float()
    return x


def behind_an_axis(x):
    chosen = x[0, :, 0] > 0
    x[:, chosen] = x.flip(2)[:, chosen] + 1
    return x


def less_their_mean(x):
    x[x > 0] = x[x > 0] - x[x > 0].mean()
    return x


@pytest.mark.parametrize("texts", [("x:2,8,9",), ("x:2,2,3",), ("x:2,count=2..8..11,width=2..9..13",)])
def test_elementwise_values_need_no_scatter(texts: tuple[str, ...]) -> None:
    module = All(copied, scaled_in_place, computed_twice, whole_rows, behind_an_axis)
    model, specs = translate(module, texts)
    assert not {"ScatterND", "ScatterElements", "NonZero", "GatherND"} & operators(model).keys()
    compare(module, model, specs, tolerance=1e-6)


def test_what_is_the_same_for_all_of_them_may_be_any_value() -> None:
    module = All(less_their_mean)
    model, specs = translate(module, ("x:2,8,9",))
    assert "ScatterND" not in operators(model)
    compare(module, model, specs, tolerance=1e-6)


def at_its_positions(x):
    rows = (x.sum(-1) > 0).nonzero(as_tuple=True)
    x[rows] = -x[rows]
    x[torch.where(x > 1)] = 1
    columns = (x[0, :, 0] > 0).nonzero().squeeze(1)
    x[:, columns] = x[:, columns] * 3
    x[(x[:, 0, 0] > 0.5).nonzero()] = 4
    positions = (x[..., 1] > 1).nonzero()
    x[positions[:, -2], positions.unbind(-1)[1]] = 2
    return x


@pytest.mark.parametrize("texts", [("x:2,8,9",), ("x:n=2..2..3,count=2..8..11,9",)])
def test_positions_of_a_mask_are_the_mask(texts: tuple[str, ...]) -> None:
    module = All(at_its_positions)
    model, specs = translate(module, texts)
    assert not {"ScatterND", "ScatterElements", "NonZero", "GatherND"} & operators(model).keys()
    compare(module, model, specs)


def at_some_positions(x):
    first = (x[0, 0] > 0).nonzero()[:1, 0]
    x[:, :, first] = 5
    last, middle = torch.where(x[0] > 0)
    x[:, middle.clamp(max=7), last] = 2
    x[(x[0, 0, :2] > 9).nonzero(as_tuple=True)] = 4
    return x


def along_the_only_axis(x):
    first = (x[0, 0] > 0).nonzero()[:, 0].narrow(-1, 0, 2)
    x[:, :, first] = 5
    return x


def with_an_axis_of_their_own(x):
    columns = (x[0, :, 0] > 0).nonzero()
    x[:, columns] = x[:, columns] * 3
    return x


def of_all_pairs(x):
    positions = (x[..., 0] > 0.5).nonzero()
    x[positions[:, :1], positions[:, 1]] = 2
    return x


def by_another_mask(x):
    y = x.clone()
    y[x > 0] = x[x.flip(1).flip(1) > 0] * 2
    return y


def in_another_order(x):
    x[x > 0] = x[x > 0].flip(0)
    return x


def running_sums(x):
    x[x[..., 0] > 0] = x[x[..., 0] > 0].cumsum(0)
    return x


def with_values_of_their_own(x):
    chosen = torch.tensor([True, False, True, True])
    x[chosen] = x[chosen] + torch.arange(3).reshape(3, 1, 1)
    return x


def of_fewer_axes(x):
    chosen = x[:, 0, 0] < 9
    x[chosen] = x[:, :1, :1][chosen] * 2
    return x


@pytest.mark.parametrize(
    "assign",
    [
        by_another_mask,
        in_another_order,
        running_sums,
        with_values_of_their_own,
        of_fewer_axes,
        at_some_positions,
        along_the_only_axis,
        with_an_axis_of_their_own,
        of_all_pairs,
    ],
)
def test_what_is_not_elementwise_stays_right(assign) -> None:
    module = All(assign)
    model, specs = translate(module, ("x:4,8,9",))
    assert ("ScatterND" in operators(model)) is (assign is not of_fewer_axes)
    compare(module, model, specs, tolerance=1e-6)
