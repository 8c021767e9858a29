"""Tensors that are made of sizes."""

import torch
from translating import All, compare, translate

from s2deploy.exporter.size_tensors import tensors_of_sizes_stay_symbolic


def new_tensors(x):
    height, width = x.shape[2:]
    typed = x.new_tensor([height, 3], dtype=torch.int32), x.new_tensor((width / 3, height), dtype=torch.float64)
    return (
        x / x.new_tensor([width, height]).sum(),
        x.new_tensor(width),
        x.new_tensor([[width, 0], [0.5, height]]),
        *typed,
    )


def as_tensors(x):
    half = torch.as_tensor([x.shape[2] / 2, 1])
    return torch.as_tensor(x.shape[2:]), torch.as_tensor(x.shape[3], dtype=x.dtype), torch.as_tensor(x), half


def test_tensors_of_sizes_do_not_fix_them() -> None:
    module = All(new_tensors, as_tensors)
    for batch in ("2", "batch=1..2..3"):
        model, specs = translate(module, (f"x:{batch},3,height=1..5..9,width=2..6..9",))
        compare(module, model, specs, 1e-6)


def test_other_tensors_are_left_to_torch() -> None:
    x = torch.ones(2, dtype=torch.float64)
    with tensors_of_sizes_stay_symbolic():
        assert torch.as_tensor(x) is x
        assert torch.as_tensor([True, False]).dtype == torch.bool
        made = x.new_tensor([1, 2], requires_grad=True)
    assert made.dtype == torch.float64
    assert made.requires_grad
