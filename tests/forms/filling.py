"""A new tensor, or a copy, filled slice by slice."""

from __future__ import annotations

import torch

from forms.form import form

SEQUENCE = "x:n=1..2..4,t=3..6..9,8"
IMAGE = "x:n=1..2..4,6,h=3..5..9,w=3..8..9"
MOVED = ("float16", "float64", "int64", "bool")


@form(SEQUENCE, dtypes=MOVED, empty=True)
def zeros_like_shifted(x):
    """y = zeros_like(x); y[:, 1:] = x[:, :-1]"""
    y = torch.zeros_like(x)
    y[:, 1:] = x[:, :-1]
    return y


@form("x:n=1..2..4,4,h=1..5..9,8", dtypes=MOVED, empty=True)
def empty_like_halves(x):
    """y = empty_like(x); both halves are written"""
    y = torch.empty_like(x)
    y[..., :4] = x[..., 4:]
    y[..., 4:] = x[..., :4]
    return y


@form("x:n=1..2..4,3,h=1..5..9,w=1..7..9", dtypes=("int32",), empty=True)
def new_zeros_border(x):
    """y = x.new_zeros(n, c, h + 2, w + 2); y[:, :, 1:-1, 1:-1] = x"""
    n, c, h, w = x.shape
    y = x.new_zeros(n, c, h + 2, w + 2)
    y[:, :, 1:-1, 1:-1] = x
    return y


@form("x:n=1..2..4,h=1..5..9,4", empty=True)
def new_full_letterbox(x):
    """y = x.new_full((n, 12, 4), 114.0); y[:, :h] = x"""
    y = x.new_full((x.shape[0], 12, 4), 114.0)
    y[:, : x.shape[1]] = x
    return y


@form("x:n=1..2..4,t=1..6..9,8", empty=True)
def new_empty_class_token(x):
    """y = x.new_empty(n, t + 1, c); y[:, 0] = 0.5; y[:, 1:] = x"""
    y = x.new_empty(x.shape[0], x.shape[1] + 1, x.shape[2])
    y[:, 0] = 0.5
    y[:, 1:] = x
    return y


@form("x:n=1..2..4,5,h=1..6..9,8", dtypes=MOVED, empty=True)
def clone_swapped(x):
    """y = x.clone(); y[:, 0] = x[:, 1]; y[:, 1] = x[:, 0]"""
    y = x.clone()
    y[:, 0] = x[:, 1]
    y[:, 1] = x[:, 0]
    return y


@form("x:n=1..2..4,5,h=1..6..9,8", empty=True)
def list_of_slices(x):
    """parts = [x[:, i] for i ...]; parts[2] = parts[1] * 2; stack(parts, 1)"""
    parts = [x[:, i] for i in range(x.shape[1])]
    parts[2] = parts[1] * 2
    parts[0] = parts[4]
    return torch.stack(parts, 1)


@form("x:n=1..2..4,6,h=3..5..9,8", dtypes=("int64",), empty=True)
def overlapping_down_and_up(x):
    """y = x.clone(); y[:, :, 1:] = y[:, :, :-1]; y[:, :, :-1] = y[:, :, 1:]"""
    y = x.clone()
    y[:, :3, 1:] = y[:, :3, :-1]
    y[:, 3:, :-1] = y[:, 3:, 1:]
    return y


@form("x:n=1..2..4,6,h=4..5..9,8", empty=True)
def later_over_earlier(x):
    """the second assignment covers a part of the first, the third all of both"""
    y = torch.zeros_like(x)
    y[:, :, 1:] = x[:, :, :-1]
    y[:, :, 2:4] = x[:, :, :2] * 3
    y[:, :2] = x[:, 4:]
    return y


@form("x:n=1..2..4,t=4..6..9,8", empty=True)
def partly_filled(x):
    """y = zeros_like(x); only a window in the middle is written"""
    y = torch.zeros_like(x)
    y[:, 1:-1, 2:6] = x[:, 2:, :4]
    return y


@form("x:n=1..2..4,5,6,8")
def pinwheel(x):
    """four windows around a centre, so that no straight cut separates them"""
    y = torch.zeros_like(x)
    y[:, :, 0:2, 0:5] = x[:, :, 4:6, 2:7]
    y[:, :, 0:4, 5:8] = x[:, :, 2:6, 0:3]
    y[:, :, 4:6, 3:8] = x[:, :, 0:2, 1:6]
    y[:, :, 2:6, 0:3] = x[:, :, 0:4, 4:7]
    return y


@form("x:n=1..2..4,t=3..6..9,8", empty=True)
def filled_in_another_type(x):
    """y = zeros(x.shape, dtype=float64); y[:, 1:] = x[:, :-1]; y.float()"""
    y = torch.zeros(x.shape, dtype=torch.float64)
    y[:, 1:] = x[:, :-1]
    return y.float()


@form("x:n=1..2..4,t=1..6..9,8", "z:n,t,8", empty=True)
def two_sources(x, z):
    """y = cat-like: y[..., :8] = x; y[..., 8:] = z"""
    y = torch.empty(x.shape[0], x.shape[1], 16)
    y[..., :8] = x
    y[..., 8:] = z
    return y
