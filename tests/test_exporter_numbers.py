"""Arithmetic with numbers: remainders by sizes, and numbers that float32 does not hold."""

import torch
from translating import All, compare, translate


def remainders(x):
    counts = (x * 9).to(torch.int64)
    return counts % x.shape[1], counts % -3, x % 0.25, (x * 9) % 4


def test_remainders_by_numbers_and_sizes() -> None:
    module = All(remainders)
    model, specs = translate(module, ("x:2,height=4..9..20",))
    compare(module, model, specs, 1e-6)


def numbers_of_double_precision(x):
    x = x.double() * 1000
    filled = torch.full_like(x, 0.1), torch.full((x.shape[2], 2), 0.7, dtype=x.dtype), torch.where(x > 0, x, 0.1)
    typed = torch.full((), 0.1), torch.full((2,), 3), torch.full((x.shape[2],), True), torch.full_like(x, x.shape[2])
    return x + 0.1, x * 0.1, 0.7 - x, x / 0.3, x.clamp(0.1, 0.7), x % 0.1, x % -0.7, *filled, *typed


def test_numbers_are_exact_in_double_precision() -> None:
    module = All(numbers_of_double_precision)
    model, specs = translate(module, ("x:batch=2..3..5,8,height=6..9..20",))
    compare(module, model, specs, 1e-11)


def bounds_of_sizes(x):
    height, width = x.shape[2:]
    x = x * 9
    both = x.clamp(min=0, max=width - 1), x.clamp(-height, 2.5), x.clamp(width, 1), x.clamp(0.5, height / 2)
    single = torch.clamp(x, height), torch.clamp(x, max=height), x.double().clamp(1, width)
    tanh = torch.nn.functional.hardtanh(x, 0, width), torch.nn.functional.hardtanh(x, max_val=height / 3)
    written = x.clone()
    written[..., 0::2].clamp_(min=0, max=width - 1)
    return *both, *single, *tanh, written, torch.arange(width).clamp(1, height)


def test_values_are_clamped_to_sizes() -> None:
    module = All(bounds_of_sizes)
    model, specs = translate(module, ("x:2,3,height=2..5..9,width=1..6..9",))
    compare(module, model, specs, 1e-6)
