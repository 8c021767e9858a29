"""Convolutions of as many groups as a dynamic size says: a matrix product, where the groups are dynamic."""

import pytest
import torch
from torch.nn import functional
from translating import All, compare, operators, translate

from s2deploy.errors import ExportError


def correlated(x):
    n, c, h, w = x.shape
    kernels = x[:, :, 1:4, 2:4].reshape(n * c, 1, 3, 2)
    found = functional.conv2d(x.reshape(1, n * c, h, w), kernels, groups=n * c)
    return found.view(n, c, found.shape[2], found.shape[3])


def modulated(x):
    n, c, h, w = x.shape
    kernels = x.mean((2, 3)).view(n, 1, c, 1, 1) * torch.arange(3 * c * 9).view(1, 3, c, 3, 3).cos()
    bias = x[:, :3, 0, 0].reshape(-1)
    result = functional.conv2d(x.reshape(1, n * c, h, w), kernels.view(n * 3, c, 3, 3), bias, padding=1, groups=n)
    return result.view(n, 3, h, w)


def with_steps_and_gaps(x):
    n, c, h, w = x.shape
    kernels = x[:, :, :2, :3].reshape(n * c, 1, 2, 3)
    image = x.reshape(1, n * c, h, w)
    return functional.conv2d(image, kernels, None, (2, 1), (1, 2), (1, 2), n * c).view(n, c, -1)


def along_one_axis(x):
    n, c, h, w = x.shape
    kernels = x[:, :, 0, :3].softmax(-1).reshape(n * c, 1, 3)
    result = functional.conv1d(x.reshape(1, n * c, h * w), kernels, padding=1, stride=2, groups=n * c)
    return result.view(n, c, -1)


@pytest.mark.parametrize("texts", [("x:n=1..2..4,5,h=4..6..9,w=4..7..9",), ("x:n=1..3,1,5,6",)])
@pytest.mark.parametrize("model", [correlated, modulated, with_steps_and_gaps, along_one_axis])
def test_dynamic_groups_become_a_product(model, texts: tuple[str, ...]) -> None:
    if model is modulated and texts[0].startswith("x:n=1..3,1"):
        texts = ("x:n=1..3,3,5,6",)
    module = All(model)
    exported, specs = translate(module, texts)
    assert "Conv" not in operators(exported)
    compare(module, exported, specs, tolerance=1e-4)


def test_known_groups_stay_a_convolution() -> None:
    module = All(correlated, modulated)
    model, specs = translate(module, ("x:2,5,h=4..6..9,w=4..7..9",))
    assert operators(model)["Conv"] == 2
    compare(module, model, specs, tolerance=1e-4)


def test_kernels_of_a_dynamic_size_are_refused_by_line() -> None:
    def model(x):
        n, c, h, w = x.shape
        return functional.conv2d(x.reshape(1, n * c, h, w), x[:, :, 1:].reshape(n * c, 1, h - 1, w), groups=n * c)

    with pytest.raises(ExportError, match=r"test_exporter_convolutions.py:\d+: "):
        translate(All(model), ("x:n=1..2..4,5,h=4..6..9,7",))
