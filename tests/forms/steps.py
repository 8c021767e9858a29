"""Steps other than 1: interleaving, scattering onto a grid, and their inverses."""

from __future__ import annotations

import torch

from forms.form import form


@form("x:n=1..2..3,3,h=1..4..6,w=1..5..6", empty=True)
def every_third(x):
    """z = x.new_zeros(n, c, 3 * h, 3 * w); z[..., 0::3, 0::3] = x"""
    z = x.new_zeros(x.shape[0], x.shape[1], x.shape[2] * 3, x.shape[3] * 3)
    z[..., 0::3, 0::3] = x
    return z


@form("x:n=1..2..4,t=1..4..6,8", dtypes=("int64",))
def interleaved_rows(x):
    """z[:, 0::2] = x; z[:, 1::2] = x * 2"""
    z = x.new_empty(x.shape[0], x.shape[1] * 2, x.shape[2])
    z[:, 0::2] = x
    z[:, 1::2] = x * 2
    return z


@form("x:n=1..2..4,4,h=2..6..10/2,8")
def even_and_odd_exchanged(x):
    """y[:, :, 0::2] = x[:, :, 1::2]; y[:, :, 1::2] = x[:, :, 0::2]"""
    y = torch.zeros_like(x)
    y[:, :, 0::2] = x[:, :, 1::2]
    y[:, :, 1::2] = x[:, :, 0::2]
    return y


@form("x:n=1..2..3,4,h=1..3..5,w=1..4..5", empty=True)
def inverse_haar(x):
    """h[:, :, 0::2, 0::2] = a - b - c + d; ... (wavelet upsampling of MWCNN)"""
    n, _, height, width = x.shape
    a, b, p, q = (x[:, i : i + 1] / 2 for i in range(4))
    h = torch.zeros(n, 1, height * 2, width * 2)
    h[:, :, 0::2, 0::2] = a - b - p + q
    h[:, :, 1::2, 0::2] = a - b + p - q
    h[:, :, 0::2, 1::2] = a + b - p - q
    h[:, :, 1::2, 1::2] = a + b + p + q
    return h


@form("x:n=1..2..3,12,h=1..3..5,w=1..4..5", empty=True)
def pixel_shuffle_by_assignment(x):
    """for i, j: y[:, :, i::2, j::2] = x[:, 2 * i + j :: 4]"""
    n, c, h, w = x.shape
    y = x.new_zeros(n, c // 4, h * 2, w * 2)
    for i in range(2):
        for j in range(2):
            y[:, :, i::2, j::2] = x[:, 2 * i + j :: 4]
    return y


@form("x:n=1..2..3,3,h=2..4..8/2,w=2..6..8/2")
def pixel_unshuffle_by_assignment(x):
    """for i, j: y[:, 2 * i + j :: 4] = x[:, :, i::2, j::2]"""
    n, c, h, w = x.shape
    y = x.new_zeros(n, c * 4, h // 2, w // 2)
    for i in range(2):
        for j in range(2):
            y[:, 2 * i + j :: 4] = x[:, :, i::2, j::2]
    return y


@form("x:n=1..2..3,3,h=2..4..8/2,w=2..6..8/2", empty=True)
def focus(x):
    """cat([x[..., ::2, ::2], x[..., 1::2, ::2], ...], 1) (YOLOv5 Focus, Swin patch merging)"""
    return torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)


@form("x:n=1..2..3,t=1..5..9,8", empty=True)
def rotary_pairs(x):
    """out[..., 0::2] = a * cos - b * sin; out[..., 1::2] = a * sin + b * cos"""
    angle = torch.arange(x.shape[1])[:, None] * torch.tensor([1.0, 0.1, 0.01, 0.001])
    a, b = x[..., 0::2], x[..., 1::2]
    out = torch.empty_like(x)
    out[..., 0::2] = a * angle.cos() - b * angle.sin()
    out[..., 1::2] = a * angle.sin() + b * angle.cos()
    return out


@form("x:n=1..2..3,t=1..5..9,8", empty=True)
def sinusoidal_positions(x):
    """pe[:, 0::2] = sin(position * div); pe[:, 1::2] = cos(position * div); x + pe"""
    position = torch.arange(x.shape[1]).float()[:, None]
    div = torch.exp(torch.arange(0, 8, 2) * -0.5)
    pe = torch.zeros(x.shape[1], 8)
    pe[:, 0::2] = torch.sin(position * div)
    pe[:, 1::2] = torch.cos(position * div)
    return x + pe


@form("x:n=1..2..3,4,9,11", empty=True)
def strided_rest(x):
    """y[:, :, 1::2, 2::3] = x[:, :, :-1:2, :-2:3], steps that do not divide the size"""
    y = x.clone()
    y[:, :, 1::2, 2::3] = x[:, :, :-1:2, :-2:3]
    return y


@form("x:n=1..2..3,1,h=2..4..8/2,w=2..6..8/2", empty=True)
def bayer_mosaic(x):
    """raw to four planes and back: y[:, 0:1, 0::2, 0::2] = x[:, :, 0::2, 0::2]; ..."""
    y = torch.zeros(x.shape[0], 3, x.shape[2], x.shape[3])
    y[:, 0:1, 0::2, 0::2] = x[:, :, 0::2, 0::2]
    y[:, 1:2, 0::2, 1::2] = x[:, :, 0::2, 1::2]
    y[:, 1:2, 1::2, 0::2] = x[:, :, 1::2, 0::2]
    y[:, 2:3, 1::2, 1::2] = x[:, :, 1::2, 1::2]
    return y
