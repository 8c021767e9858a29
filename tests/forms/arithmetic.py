"""Arithmetic in place on views."""

from __future__ import annotations

import torch

from forms.form import form

ROWS = "x:n=1..2..4,t=3..5..9,8"


@form(ROWS, empty=True)
def add_previous(x):
    """y[:, 1:].add_(x[:, :-1])"""
    y = x.clone()
    y[:, 1:].add_(x[:, :-1])
    return y


@form(ROWS, empty=True)
def add_previous_of_itself(x):
    """y[:, 1:] += y[:, :-1], source and destination overlapping"""
    y = x.clone()
    y[:, 1:] += y[:, :-1]
    return y


@form(ROWS, empty=True)
def scaled_slices(x):
    """y[:, 1:] *= 2; y[:, :2] -= 1; y[..., 4:] /= 4"""
    y = x.clone()
    y[:, 1:] *= 2
    y[:, :2] -= 1
    y[..., 4:] /= 4
    return y


@form(ROWS, empty=True)
def sub_and_mul(x):
    """y[..., :4].sub_(x[..., 4:]); y[..., 4:].mul_(y[..., 4:5])"""
    y = x.clone()
    y[..., :4].sub_(x[..., 4:])
    y[..., 4:].mul_(y[..., 4:5])
    return y


@form(ROWS, empty=True)
def clamp_and_relu(x):
    """y[..., :3].clamp_(0, 1); y[..., 5:].relu_()"""
    y = x.clone()
    y[..., :3].clamp_(0, 1)
    y[..., 5:].relu_()
    return y


@form(ROWS, empty=True)
def activations_on_slices(x):
    """y[..., :2].sigmoid_(); y[..., 2:4].exp_(); y[..., 4:6].tanh_(); y[..., 6:].sqrt_()"""
    y = x.abs()
    y[..., :2].sigmoid_()
    y[..., 2:4].exp_()
    y[..., 4:6].tanh_()
    y[..., 6:].sqrt_()
    return y


@form(ROWS, dtypes=("int64",), empty=True)
def fill_and_zero(x):
    """y[:, 0].fill_(3); y[..., 1].zero_()"""
    y = x.clone()
    y[:, 0].fill_(3)
    y[..., 1].zero_()
    return y


@form("x:n=1..2..4,5,h=1..6..9,8", empty=True)
def masked_fill_slice(x):
    """y[:, 1:3].masked_fill_(x[:, 1:3] > 0, 0.0)"""
    y = x.clone()
    y[:, 1:3].masked_fill_(x[:, 1:3] > 0, 0.0)
    return y


@form("x:n=1..2..4,8,h=1..5..9,w=1..4..9", empty=True)
def add_bias_to_channels(x):
    """y[:, 2:6] += torch.arange(4).view(1, 4, 1, 1)"""
    y = x.clone()
    y[:, 2:6] += torch.arange(4.0).view(1, 4, 1, 1)
    return y


@form("x:n=1..2..4,3,h=1..5..9,w=1..4..9", empty=True)
def normalised_channel_by_channel(x):
    """for c in range(3): y[:, c].sub_(mean[c]).div_(std[c])"""
    y = x.clone()
    for c, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        y[:, c].sub_(mean).div_(std)
    return y


@form("x:n=1..2..4,3,h=1..5..9,w=1..4..9", empty=True)
def channels_swapped_and_scaled(x):
    """rgb to bgr in place: y[:, [2, 1, 0]] = x * 255"""
    y = torch.empty_like(x)
    y[:, [2, 1, 0]] = x * 255
    return y


@form(ROWS, empty=True)
def lerp_and_addcmul(x):
    """y[:, 1:].lerp_(x[:, :-1], 0.3); y[..., :4].addcmul_(x[..., 4:], x[..., :4])"""
    y = x.clone()
    y[:, 1:].lerp_(x[:, :-1], 0.3)
    y[..., :4].addcmul_(x[..., 4:], x[..., :4])
    return y


@form("x:n=1..2..4,5,h=1..6..9,8")
def index_add(x):
    """x.index_add(1, torch.tensor([0, 2]), x[:, :2])"""
    return x.index_add(1, torch.tensor([0, 2]), x[:, :2])
