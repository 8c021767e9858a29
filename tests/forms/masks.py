"""Masks, indices and anchors that are built by assignment and depend on nothing."""

from __future__ import annotations

import torch

from forms.form import form


@form("x:n=1..2..3,4,16,16", empty=True)
def swin_mask(x):
    """img_mask[:, h, w, :] = cnt over nine regions; windows; masked_fill(-100) (Swin)"""
    img_mask = torch.zeros(1, 8, 8, 1)
    cnt = 0
    for h in (slice(0, -4), slice(-4, -2), slice(-2, None)):
        for w in (slice(0, -4), slice(-4, -2), slice(-2, None)):
            img_mask[:, h, w, :] = cnt
            cnt += 1
    windows = img_mask.view(1, 2, 4, 2, 4, 1).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16)
    mask = windows.unsqueeze(1) - windows.unsqueeze(2)
    mask = mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
    return x + mask


@form("x:n=1..2..3,h=8..8..24/4,w=8..12..24/4,2", empty=True)
def swin_mask_of_the_input(x):
    """the same for a map whose size is the input's (Swin detectors)"""
    _, height, width, _ = x.shape
    img_mask = torch.zeros((1, height, width, 1))
    cnt = 0
    for h in (slice(0, -4), slice(-4, -2), slice(-2, None)):
        for w in (slice(0, -4), slice(-4, -2), slice(-2, None)):
            img_mask[:, h, w, :] = cnt
            cnt += 1
    windows = img_mask.view(1, height // 4, 4, width // 4, 4, 1).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16)
    mask = windows.unsqueeze(1) - windows.unsqueeze(2)
    mask = mask.masked_fill(mask != 0, -100.0).masked_fill(mask == 0, 0.0)
    return x.sum() + mask


@form("x:n=1..2..3,3,h=4..6..9,w=4..5..9", empty=True)
def bool_mask_of_the_input(x):
    """m = zeros(h, w, dtype=bool); m[1:3, 2:] = True; x.masked_fill(m, 0)"""
    m = torch.zeros(x.shape[2], x.shape[3], dtype=torch.bool)
    m[1:3, 2:] = True
    return x.masked_fill(m, 0)


@form("x:n=1..2..3,8,8", empty=True)
def causal_mask_row_by_row(x):
    """for i in range(8): mask[i, i + 1 :] = -inf"""
    mask = torch.zeros(8, 8)
    for i in range(8):
        mask[i, i + 1 :] = float("-inf")
    return (x + mask).softmax(-1)


@form("x:n=1..2..3,6,4", empty=True)
def shifted_window_mask(x):
    """mask[-2:, :-2] = -inf; mask[:-2, -2:] = -inf (Swin v1 of the labs)"""
    mask = torch.zeros(6, 6)
    mask[-2:, :-2] = -9.0
    mask[:-2, -2:] = -9.0
    return x @ x.transpose(1, 2) + mask


@form("x:n=1..2..3,6,h=1..5..7,w=1..4..7", empty=True)
def coordinate_channels(x):
    """y[:, :c] = x; y[:, c] = arange(w); y[:, c + 1] = arange(h)[:, None] (CoordConv, SOLO)"""
    n, c, h, w = x.shape
    y = x.new_empty(n, c + 2, h, w)
    y[:, :c] = x
    y[:, c] = torch.arange(w, dtype=x.dtype)
    y[:, c + 1] = torch.arange(h, dtype=x.dtype)[:, None]
    return y


@form("x:n=1..2..3,9,4", empty=True)
def ssd_priors(x):
    """priors[i, 0] = cx; priors[i, 1] = cy; priors[:, 2:] = size; priors.clamp_(0, 1) (SSD)"""
    priors = torch.zeros(9, 4)
    for i in range(3):
        for j in range(3):
            priors[3 * i + j, 0] = (j + 0.5) / 3
            priors[3 * i + j, 1] = (i + 0.5) / 3
    priors[:, 2:] = 0.4
    priors.clamp_(0, 1)
    return torch.cat([priors[:, :2] + x[..., :2] * 0.1 * priors[:, 2:], priors[:, 2:] * (x[..., 2:] * 0.2).exp()], -1)


@form("x:n=1..2..3,2,9,9", empty=True)
def relative_position_index(x):
    """coords[:, :, 0] += w - 1; coords[:, :, 0] *= 2 * w - 1 (Swin, BEiT)"""
    grid = torch.stack(torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")).flatten(1)
    coords = (grid[:, :, None] - grid[:, None, :]).permute(1, 2, 0).contiguous()
    coords[:, :, 0] += 2
    coords[:, :, 1] += 2
    coords[:, :, 0] *= 5
    table = torch.arange(50.0).view(25, 2)
    return x + table[coords.sum(-1).view(-1)].view(9, 9, 2).permute(2, 0, 1)


@form("x:n=1..2..3,3,h=3..6..9,w=3..5..9", empty=True)
def border_weights(x):
    """weight = ones(h, w); weight[0] = weight[-1] = 0.5; weight[:, 0] *= 0.5; ..."""
    weight = torch.ones(x.shape[2], x.shape[3])
    weight[0] = 0.5
    weight[-1] = 0.5
    weight[:, 0] = 0.25
    weight[:, -1] = 0.25
    return x * weight


@form("x:n=1..2..3,5,6,7", empty=True)
def fixed_filter_bank(x):
    """k = zeros(5, 1, 3, 3); k[0, 0, 1, 2] = 1; k[1, 0, 1, 0] = 1; ...; F.conv2d(x, k, groups=5)"""
    k = torch.zeros(5, 1, 3, 3)
    for i, (row, column) in enumerate(((1, 2), (1, 0), (2, 1), (0, 1), (1, 1))):
        k[i, 0, row, column] = 1
    return torch.nn.functional.conv2d(x, k, padding=1, groups=5)
