"""Complex tensors: written in part, multiplied and chosen by their parts, between Fourier transforms."""

import pytest
import torch
from torch import nn
from translating import All, compare, operators, translate

from s2deploy.errors import ExportError

DYNAMIC = ("x:n=1..2..3,4,h=4..6..9,w=4..7..10",)
STATIC = ("x:2,4,6,7",)


class SpectralConvolution(nn.Module):
    """Products of the lowest frequencies alone; the others are zero."""

    def __init__(self) -> None:
        super().__init__()
        low, high = torch.randn(2, 4, 5, 2, 2, dtype=torch.cfloat, generator=torch.Generator().manual_seed(1))
        self.low, self.high = nn.Parameter(low), nn.Parameter(high)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, _, height, width = x.shape
        modes = torch.fft.rfft2(x)
        kept = torch.zeros(n, 5, height, width // 2 + 1, dtype=self.low.dtype)
        kept[:, :, :2, :2] = torch.einsum("bixy,ioxy->boxy", modes[:, :, :2, :2], self.low)
        kept[:, :, -2:, :2] = torch.einsum("bixy,ioxy->boxy", modes[:, :, -2:, :2], self.high)
        return torch.fft.irfft2(kept, s=(height, width))


class ByComplexWeights(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4, dtype=torch.cfloat, generator=torch.Generator().manual_seed(2)))
        self.register_buffer("bias", torch.tensor([1 + 2j, 0.5j, -1]))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        z = torch.complex(x, x.flip(1)).permute(0, 2, 3, 1)
        across = nn.functional.linear(z, self.weight, self.bias)
        matrices = z @ z.transpose(-1, -2).conj(), z[0, 0] @ self.weight.T
        sums = torch.einsum("nhwc,oc,oc->nhwo", z, self.weight, self.weight)
        return tuple(map(torch.view_as_real, (across, *matrices, sums)))


def modes_set_to_zero(x):
    z = torch.fft.rfft2(x, norm="ortho")
    z[..., :2, :2] = 0
    z[:, 1:3, -1:] *= 1 - 2j
    return torch.fft.irfft2(z, s=x.shape[-2:], norm="ortho")


def spectra_joined(x):
    z = torch.fft.fft(x, dim=1)
    y = torch.zeros_like(z)
    y[:, 1:] = z[:, :-1].conj()
    y[:, 0] = 1j
    y[:, 2:, 1:] += z[:, :2, 1:] * z[:, 2:, :-1] / (1 + 0.5j)
    first, second = y.chunk(2, dim=1)
    joined = torch.cat([second, x.to(torch.cfloat), first.roll(1, 2)], 1)
    stacked = torch.stack([*joined.unbind(1)][::-1], 1)
    return torch.view_as_real(stacked), torch.fft.ifft(stacked, dim=1).real


def masks(x):
    z = torch.fft.fft(x, dim=1)
    chosen = torch.where(x > 0, z, x)
    z[x < -0.5] = 0
    return torch.view_as_real(chosen), torch.view_as_real(z.masked_fill(x > 0.5, 1 - 1j))


def numbers_and_real_tensors(x):
    z = torch.fft.fft(x, dim=1)
    row = x.mean((0, 3), keepdim=True) + 5
    sums = z + 1j, 1 - z, z - row, row - z, torch.add(z, row, alpha=3), torch.sub(row, z, alpha=2), -z, z.sum((1, 2))
    products = z * row, row * 1j, z * (2 - 1j), z.mean(1, keepdim=True) + x, z * 0, torch.complex(x, z.conj().imag)
    quotients = z / row, row / (z + 9), 1 / (z + 9), z / 2j
    return [torch.view_as_real(value) for value in (*sums, *products, *quotients)]


def lengths_and_angles(x):
    z = torch.fft.fft(x, dim=1)
    turned = torch.exp(1j * x) * torch.polar(x.abs() + 1, x) + torch.exp(torch.complex(x, x) / 3)
    return z.abs(), (z + 30).angle(), turned.real, turned.imag, torch.view_as_real(z.conj() * turned)


def rotary(x):
    pairs = torch.view_as_complex(x.permute(0, 2, 3, 1).reshape(x.shape[0], x.shape[2], -1, 2, 2).contiguous())
    positions = torch.outer(torch.arange(x.shape[2]).float(), torch.tensor([1.0, 0.1]))
    turns = torch.polar(torch.ones_like(positions), positions)[None, :, None]
    return torch.view_as_real(pairs * turns).flatten(3)


def created(x):
    size = x.shape
    y = torch.full(size, 2 - 1j) + torch.ones(size, dtype=torch.cfloat) + torch.full_like(x, 1j, dtype=torch.cfloat)
    y = y + x.new_zeros(size, dtype=torch.cfloat) + torch.ones_like(y) + y.new_ones(size) * torch.tensor(1j)
    return torch.view_as_real(nn.functional.pad(y, (1, 2), value=3.0)), torch.view_as_real(y.expand(2, *size))


FUNCTIONS = (modes_set_to_zero, spectra_joined, masks, numbers_and_real_tensors, lengths_and_angles, rotary, created)


@pytest.mark.parametrize("texts", [STATIC, DYNAMIC], ids=["static", "dynamic"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_operators_are_computed_by_parts(function, texts: tuple[str, ...]) -> None:
    module = All(function)
    model, specs = translate(module, texts)
    assert not any(operator.startswith("Scatter") for operator in operators(model))
    compare(module, model, specs, tolerance=1e-5)


@pytest.mark.parametrize("texts", [STATIC, DYNAMIC], ids=["static", "dynamic"])
@pytest.mark.parametrize("module", [SpectralConvolution(), ByComplexWeights()], ids=["spectral", "weights"])
def test_parameters_are_complex(module: nn.Module, texts: tuple[str, ...]) -> None:
    model, specs = translate(module, texts)
    assert not any(operator.startswith("Scatter") for operator in operators(model))
    compare(module, model, specs, tolerance=1e-5)


def test_real_models_are_left_alone() -> None:
    model, _ = translate(All(lambda x: (torch.exp(x), x * 2, torch.einsum("nchw,ncvw->nhv", x, x))), STATIC)
    assert operators(model)["Einsum"] == 1
    assert not {"Split", "Gather", "Cos"} & set(operators(model))


def test_products_by_real_tensors_compute_no_zeros() -> None:
    model, _ = translate(All(lambda x: torch.view_as_real(torch.complex(x, x + 1) * x)), STATIC)
    assert operators(model)["Mul"] == 2 + 1  # the first is of `All`


def test_operators_without_parts_are_named_with_their_line() -> None:
    def hyperbolic(x):
        return torch.tanh(torch.fft.fft(x)).real

    with pytest.raises(ExportError, match=r"test_exporter_complex.py:\d+: the operator aten.tanh"):
        translate(All(hyperbolic), STATIC)
