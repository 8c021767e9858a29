"""Loops over an axis: cost volumes, correlations, collates, one-hot vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from forms.form import form


@form("x:n=1..2..3,4,h=1..3..5,w=6..8..12", "z:n,4,h,w", empty=True)
def concat_volume(x, z):
    """cost[:, :c, i, :, i:] = x[..., i:]; cost[:, c:, i, :, i:] = z[..., :-i] (PSMNet)"""
    n, c, h, w = x.shape
    cost = x.new_zeros(n, 2 * c, 4, h, w)
    for i in range(4):
        if i > 0:
            cost[:, :c, i, :, i:] = x[..., i:]
            cost[:, c:, i, :, i:] = z[..., :-i]
        else:
            cost[:, :c, i] = x
            cost[:, c:, i] = z
    return cost.contiguous()


@form("x:n=1..2..3,8,h=1..3..5,w=6..8..12", "z:n,8,h,w")
def groupwise_volume(x, z):
    """volume[:, :, i, :, i:] = groupwise_correlation(x[..., i:], z[..., :-i]) (GwcNet)"""

    def correlation(a, b):
        n, c, h, w = a.shape
        return (a * b).view(n, 2, c // 2, h, w).mean(2)

    n, _, h, w = x.shape
    volume = x.new_zeros(n, 2, 3, h, w)
    for i in range(3):
        if i > 0:
            volume[:, :, i, :, i:] = correlation(x[..., i:], z[..., :-i])
        else:
            volume[:, :, i] = correlation(x, z)
    return volume.contiguous()


@form("x:n=1..2..3,6,h=1..3..5,w=6..8..12", "z:n,6,h,w", empty=True)
def difference_volume(x, z):
    """cost[:, :, i, :, i:] = x[..., i:] - z[..., : w - i] (StereoNet)"""
    n, c, h, w = x.shape
    cost = torch.zeros(n, c, 4, h, w)
    cost[:, :, 0] = x - z
    for i in range(1, 4):
        cost[:, :, i, :, i:] = x[..., i:] - z[..., : w - i]
    return cost


@form("x:n=1..2..3,4,h=1..5..7,w=1..6..7", empty=True)
def correlation_window(x):
    """padded = F.pad(x); stack([padded[..., i:i + h, j:j + w] ...]) (PWC-Net, unfold)"""
    h, w = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1))
    return torch.stack([padded[:, :, i : i + h, j : j + w] for i in range(3) for j in range(3)], 2)


@form("a:t=1..3..5,4", "b:u=1..5..6,4", "c:v=1..2..4,4")
def padding_collate(a, b, c):
    """batch = zeros(3, 8, 4); for i, s in enumerate(sequences): batch[i, : len(s)] = s"""
    batch = a.new_zeros(3, 8, 4)
    for i, sequence in enumerate((a, b, c)):
        batch[i, : sequence.shape[0]] = sequence
    return batch


@form("x:n=1..2..4,t=1..6..9,3", empty=True)
def one_hot_by_assignment(x):
    """onehot = zeros(n, t, 5); onehot[..., 3] = 1.0; onehot[..., :3] = x"""
    onehot = torch.zeros(x.shape[0], x.shape[1], 5)
    onehot[..., 3] = 1.0
    onehot[..., :3] = x
    return onehot


@form("x:n=1..2..4,4,h=1..3..5,w=1..5..7", empty=True)
def accumulated_over_an_axis(x):
    """for c in range(1, 4): y[:, c] += y[:, c - 1] (a cumulative sum written out)"""
    y = x.clone()
    for c in range(1, 4):
        y[:, c] += y[:, c - 1]
    return y


@form("x:n=1..2..4,6,12", empty=True)
def sliding_windows(x):
    """frames[:, i] = x[..., 3 * i : 3 * i + 6] (overlapping audio frames)"""
    frames = x.new_zeros(x.shape[0], 3, 6, 6)
    for i in range(3):
        frames[:, i] = x[..., 3 * i : 3 * i + 6]
    return frames


@form("x:n=1..2..4,6,5", empty=True)
def overlap_add(x):
    """out[:, 2 * i : 2 * i + 5] += frames[:, i] (vocoders)"""
    out = x.new_zeros(x.shape[0], 15)
    for i in range(6):
        out[:, 2 * i : 2 * i + 5] += x[:, i]
    return out


@form("x:n=1..2..3,4,h=1..3..5,w=1..4..6", empty=True)
def window_by_window(x):
    """tiles of 2 x 2 channels written to their places of a larger map"""
    n, _, h, w = x.shape
    y = x.new_zeros(n, 2 * h, 2 * w)
    for i in range(2):
        for j in range(2):
            y[:, i * h : (i + 1) * h, j * w : (j + 1) * w] = x[:, 2 * i + j]
    return y
