"""What stands right of the assignment, and how many axes there are: scalars, broadcasts, types, ranks, empty slices."""

from __future__ import annotations

import torch

from forms.form import form


@form("x:n=1..2..4,5,h=4..6..9,8", empty=True)
def scalars_and_broadcasts(x):
    """y[:, 1:, 2] = 5; y[:, :, 3] = x[:, :1, 3]; y[:, 0] = x[:, 0, 0].unsqueeze(1)"""
    y = x.clone()
    y[:, 1:, 2] = 5
    y[:, :, 3] = x[:, :1, 3]
    y[:, 0] = x[:, 0, 0].unsqueeze(1)
    return y


@form("x:n=1..2..4,t=3..6..9,4", "w:4", empty=True)
def vector_into_rows(x, w):
    """y[:, 1:] = w, a vector for every row"""
    y = x.clone()
    y[:, 1:] = w
    return y


@form("x:n=1..2..4,t=3..6..9:int64", values=("x=0..99",), empty=True)
def shift_tokens_right(x):
    """shifted[:, 1:] = ids[:, :-1].clone(); shifted[:, 0] = start (BART, T5)"""
    shifted = x.new_zeros(x.shape)
    shifted[:, 1:] = x[:, :-1].clone()
    shifted[:, 0] = 2
    return shifted


@form("x:n=1..2..4,t=3..6..9:bool", empty=True)
def bool_tensor(x):
    """keep = ones_like(x); keep[:, 1:] = x[:, :-1]; keep[:, 0] = False"""
    keep = torch.ones_like(x)
    keep[:, 1:] = x[:, :-1]
    keep[:, 0] = False
    return keep


@form("x:n=1..2..4,h=3..6..9,w=4..6..9", empty=True)
def bool_flags_of_floats(x):
    """peak = zeros_like(x, dtype=bool); peak[:, :, 1:-1] = x[:, :, 1:-1] > x[:, :, :-2]"""
    peak = torch.zeros_like(x, dtype=torch.bool)
    peak[:, :, 1:-1] = x[:, :, 1:-1] > x[:, :, :-2]
    return peak


@form("x:n=1..2..4,t=1..6..9,4:int32", values=("x=-9..9",), empty=True)
def integers_into_floats(x):
    """y = zeros(n, t, 8); y[..., 2:6] = x, an int32"""
    y = torch.zeros(x.shape[0], x.shape[1], 8)
    y[..., 2:6] = x
    return y


@form("x:n=1..2..4,5,h=1..6..9,8", empty=True)
def empty_slices(x):
    """y[:, 5:] = x[:, 5:]; y[:, 2:2] = x[:, 2:2]; y[..., :0] = 1"""
    y = x * 2
    y[:, 5:] = x[:, 5:]
    y[:, 2:2] = x[:, 2:2]
    y[..., :0] = 1
    return y


@form("x:n=1..2..4,6,h=1..4..9,w=1..5..9", empty=True)
def shift_by_zero(x):
    """for k in range(3): y[:, k, :, k:] = x[:, k, :, : w - k], with k = 0 the whole"""
    y = torch.zeros(x.shape[0], 6, x.shape[2], x.shape[3] + 2)
    for k in range(3):
        y[:, k, :, k : x.shape[3] + k] = x[:, k]
    return y


@form("x:t=3..9..12", dtypes=("int64",))
def one_axis(x):
    """y[1:] = x[:-1]; y[0] = 0"""
    y = x.clone()
    y[1:] = x[:-1]
    y[0] = 0
    return y


@form("x:h=3..5..9,w=3..7..9")
def two_axes(x):
    """y[1:, :-1] = x[:-1, 1:]"""
    y = torch.zeros_like(x)
    y[1:, :-1] = x[:-1, 1:]
    return y


@form("x:n=1..2..4,t=3..4..6,6,h=1..5..7,w=1..3..5", empty=True)
def five_axes(x):
    """y[:, :-1, :2] = x[:, 1:, :2]; y[:, 1:, 2:4] = x[:, :-1, 2:4]; y[:, :, 4:] = x[:, :, 4:]"""
    y = torch.zeros_like(x)
    y[:, :-1, :2] = x[:, 1:, :2]
    y[:, 1:, 2:4] = x[:, :-1, 2:4]
    y[:, :, 4:] = x[:, :, 4:]
    return y


@form("x:n=1..2..3,2,h=3..3..4,2,4,w=3..5..6", empty=True)
def six_axes(x):
    """y[:, 1, 1:, :, 2:, 1:] = x[:, 0, :-1, :, :2, :-1]"""
    y = x.clone()
    y[:, 1, 1:, :, 2:, 1:] = x[:, 0, :-1, :, :2, :-1]
    return y


@form("x:n=1..2..3,2,h=3..3..4,2,4,2,w=3..5..6", empty=True)
def seven_axes(x):
    """y[:, :, 1:, :, :2, :, 1:] = x[:, :, :-1, :, 2:, :, :-1]"""
    y = x.clone()
    y[:, :, 1:, :, :2, :, 1:] = x[:, :, :-1, :, 2:, :, :-1]
    return y
