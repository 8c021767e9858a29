"""Pooling with a window as large as the map."""

import pytest
import torch
from torch.nn import functional
from translating import All, compare, operators, translate

from s2deploy.errors import ExportError
from s2deploy.exporter.whole_pools import whole_pools_stay_symbolic

SPEC = ("x:batch=1..2..3,3,height=2..5..9,width=1..6..9",)


def averages(x):
    height, width = x.shape[2:]
    rows = functional.avg_pool2d(x, (height, 1), stride=1), functional.avg_pool2d(x, (1, width), (1, 2), ceil_mode=True)
    return functional.avg_pool2d(x, x.size()[2:]), *rows, functional.avg_pool3d(x[:, None], (1, height, width), 1)


def maxima(x):
    height, width = x.shape[2:]
    words = functional.max_pool1d(x.flatten(2), height * width).squeeze(2)
    return words, functional.max_pool2d(x, kernel_size=[height, width]), torch.max_pool2d(x, (height, width))


def test_pools_of_whole_axes_become_reductions() -> None:
    module = All(averages, maxima)
    model, specs = translate(module, SPEC)
    compare(module, model, specs, 1e-6)
    found = operators(model)
    assert (found["ReduceMean"], found["ReduceMax"]) == (4, 3)
    assert not {"AveragePool", "MaxPool"} & set(found)


def padded(x):
    return functional.max_pool2d(x, x.shape[2:], padding=(1, 0))


def divided(x):
    return functional.avg_pool2d(x, x.shape[2:], divisor_override=3)


def strided(x):
    return functional.avg_pool2d(x, (x.shape[2], 1), 2)


@pytest.mark.parametrize("function", [padded, divided, strided])
def test_other_windows_of_a_size_are_refused_by_their_line(function) -> None:
    with pytest.raises(ExportError, match=r"height.*test_exporter_whole_pools\.py"):
        translate(All(function), ("x:2,3,height=4..6..9,7",))


def test_pools_of_fixed_windows_stay_what_they_are() -> None:
    x = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    pools = (
        lambda: functional.avg_pool1d(x[0], 3, padding=1, count_include_pad=False),
        lambda: functional.avg_pool2d(x, 3, 2, 1, True, False, 5),
        lambda: functional.avg_pool3d(x, (3, 5, 6)),
        lambda: functional.max_pool1d(x[0], 2, dilation=2),
        lambda: functional.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True, return_indices=True)[1],
        lambda: torch.max_pool2d(x, (5, 6)),
    )
    expected = [pool() for pool in pools]
    with whole_pools_stay_symbolic():
        actual = [pool() for pool in pools]
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
