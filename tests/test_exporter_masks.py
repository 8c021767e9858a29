"""Assignments under masks: the cases that become where, those that do not, and their values."""

import pytest
import torch
from translating import All, compare, operators, translate

from s2deploy.errors import ExportError


def one_value(x):
    x[x < 0] = 3
    x[:, 2:4][x[:, :2] > 1] = -1
    return x


def leading_axes(x):
    x[torch.tensor([True, False])] = 3
    x[x[..., 0] > 0] = 2
    return x


def behind_an_axis(x):
    x[:, x[0, :, 0] > 0] = 5
    return x


def several_values(x):
    x[torch.tensor([True, True])] = x.flip(0)
    return x


def several_behind_an_axis(x):
    y = x.clone()
    y[:, torch.arange(8) % 3 == 1] = x[:, 2:5] * 2
    x[:, x[0, :, 0] > 0] = x[:1, :1]
    return x, y


def rows_under_a_mask(x):
    x[x[:, 0, 0] > 0] = x[0]
    return x


@pytest.mark.parametrize("texts", [("x:2,8,9",), ("x:2,8,height=6..9..20",)])
def test_one_value_under_one_mask_needs_no_index(texts: tuple[str, ...]) -> None:
    module = All(one_value, leading_axes, behind_an_axis, several_behind_an_axis, rows_under_a_mask)
    model, specs = translate(module, texts)
    assert not {"ScatterND", "NonZero"} & operators(model).keys()
    compare(module, model, specs)


def test_other_masks_keep_their_index_and_stay_right() -> None:
    module = All(several_values)
    model, specs = translate(module, ("x:2,8,9",))
    assert operators(model)["ScatterND"] == 1
    compare(module, model, specs)


@pytest.mark.parametrize(
    ("assign", "said"),
    [
        (lambda x: x.index_put_((x[:, 0, 0] > 0, x[0, :, 0] > 0), torch.tensor(4.0)), "two masks at once"),
        (lambda x: x.index_put_((None, x[0] > 0), x[:, :3, 0]), "mask of several axes behind"),
        (lambda x: x.unfold(0, 2, 2).fill_(3), "writes into what unfold returns"),
        (lambda x: x.diagonal(0, 1, 2)[:, 1:].zero_(), "writes into what diagonal returns"),
    ],
)
def test_what_cannot_be_assigned_is_refused_with_its_line(assign, said: str) -> None:
    def model(x):
        x = x * 1
        assign(x)
        return x

    with pytest.raises(ExportError, match=rf"test_exporter_masks.py:\d+: .*{said}"):
        translate(All(model), ("x:2,8,9",))


def whole_numbers(x):
    counts = (x * 4).to(torch.int64)
    counts[:, 1:].relu_()
    return counts


def test_integers_are_cut_off_at_zero() -> None:
    module = All(whole_numbers)
    model, specs = translate(module, ("x:2,8,9",))
    compare(module, model, specs)


def booleans(x):
    positive = x > 0
    positive[x > 1] = False
    positive[:, 1:].masked_fill_(x[:, 1:] < -1, True)
    return positive, torch.where(x > 2, positive, x < -1), positive.masked_fill(x > 0, torch.tensor(False))


def numbers(x):
    counts = (x * 4).to(torch.int32)
    x[..., 1:].masked_fill_(x[..., :1] > 0, float("-inf"))
    return x, counts.masked_fill(x > 1, -7), x.masked_fill(x < 0, torch.tensor(2)), counts.masked_fill(x > 0, True)


def filled_in_double_precision(x):
    x = x.double()
    least = torch.finfo(x.dtype).min
    return x.masked_fill(x < 0, 0.1), x.masked_fill(x < 0, least).softmax(-1)


def test_numbers_are_exact_in_the_type_of_the_tensor() -> None:
    module = All(filled_in_double_precision)
    model, specs = translate(module, ("x:2,8,9",))
    compare(module, model, specs, tolerance=1e-14)


def test_numbers_are_filled_in_the_type_of_the_tensor() -> None:
    module = All(numbers)
    model, specs = translate(module, ("x:2,8,9",))
    compare(module, model, specs)


def test_booleans_are_chosen_by_logic() -> None:
    module = All(booleans)
    model, specs = translate(module, ("x:2,8,9",))
    assert "Where" not in operators(model)
    compare(module, model, specs)


def clamped(x):
    x[..., 1:3] = x[..., 1:3].clamp(0, 0.6)
    x[..., 3:].clamp_(min=-1, max=1)
    return x, (x * 5).int().clamp(-1, 2)


def test_bounds_of_both_kinds_of_numbers() -> None:
    module = All(clamped)
    model, specs = translate(module, ("x:2,8,9",))
    compare(module, model, specs)
