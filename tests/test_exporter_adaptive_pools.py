"""Adaptive pooling of dynamic sizes."""

import pytest
from torch import nn
from torch.nn import functional
from translating import All, compare, operators, translate

SPEC = ("x:batch=1..2..3,3,height=1..5..9,width=3..6..13",)


def averages(x):
    strips = functional.adaptive_avg_pool2d(x, (None, 1)), functional.adaptive_avg_pool2d(x, (1, x.shape[3]))
    clips = x[:, None]
    times = functional.adaptive_avg_pool3d(clips, (clips.shape[2], 1, 1)), functional.adaptive_avg_pool3d(clips, 2)
    return *strips, *times, functional.adaptive_avg_pool1d(x.flatten(2), 4), nn.AdaptiveAvgPool2d((3, 2))(x)


def maxima(x):
    strips = functional.adaptive_max_pool2d(x, (None, 1)), functional.adaptive_max_pool2d(x, (2, None))
    return *strips, functional.adaptive_max_pool1d(x.flatten(2), 3), nn.AdaptiveMaxPool3d(2)(x[:, None])


def pyramid(x):
    return [nn.AdaptiveAvgPool2d(bins)(x) for bins in (1, 2, 3, 6)]


@pytest.mark.parametrize("function", [averages, maxima, pyramid])
def test_bins_are_counted_at_run_time(function) -> None:
    model, specs = translate(All(function), SPEC)
    compare(All(function), model, specs, 1e-6)
    assert not {"AveragePool", "MaxPool", "GatherND"} & set(operators(model))


def test_one_bin_is_one_reduction() -> None:
    model, specs = translate(All(lambda x: functional.adaptive_avg_pool2d(x, 1)), SPEC)
    compare(All(lambda x: functional.adaptive_avg_pool2d(x, 1)), model, specs, 1e-6)
    assert operators(model)["ReduceMean"] == 1
    assert "Slice" not in operators(model)


def test_averages_of_known_sizes_are_one_operator() -> None:
    def known(x):
        return functional.adaptive_avg_pool2d(x, (4, 3)), functional.adaptive_max_pool2d(x, 3)

    model, specs = translate(All(known), ("x:2,3,8,9",))
    compare(All(known), model, specs, 1e-6)
    assert operators(model)["AveragePool"] == 1
