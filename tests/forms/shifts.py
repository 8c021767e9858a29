"""Shifts of feature maps and tokens, with and without assignments."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from forms.form import form

NCHW = "x:n=1..2..4,8,h=3..5..9,w=3..6..9"
NHWC = "x:n=1..2..4,h=3..5..9,w=3..6..9,8"


@form(NHWC, dtypes=("float16",), empty=True)
def spatial_shift(x):
    """x[:, 1:, :, : c // 4] = x[:, : h - 1, :, : c // 4]; ... (S2-MLP)"""
    x = x * 1.0
    _, w, h, c = x.size()
    x[:, 1:, :, : c // 4] = x[:, : w - 1, :, : c // 4]
    x[:, : w - 1, :, c // 4 : c // 2] = x[:, 1:, :, c // 4 : c // 2]
    x[:, :, 1:, c // 2 : c * 3 // 4] = x[:, :, : h - 1, c // 2 : c * 3 // 4]
    x[:, :, : h - 1, 3 * c // 4 :] = x[:, :, 1:, 3 * c // 4 :]
    return x


@form("x:n=1..2..4,16,h=3..5..9,w=3..6..9", empty=True)
def shift_vit(x):
    """out[:, g * 0 : g * 1, :, :-1] = x[:, g * 0 : g * 1, :, 1:]; ... (ShiftViT)"""
    g = 3
    out = torch.zeros_like(x)
    out[:, g * 0 : g * 1, :, :-1] = x[:, g * 0 : g * 1, :, 1:]
    out[:, g * 1 : g * 2, :, 1:] = x[:, g * 1 : g * 2, :, :-1]
    out[:, g * 2 : g * 3, :-1, :] = x[:, g * 2 : g * 3, 1:, :]
    out[:, g * 3 : g * 4, 1:, :] = x[:, g * 3 : g * 4, :-1, :]
    out[:, g * 4 :, :, :] = x[:, g * 4 :, :, :]
    return out


@form("x:v=1..2..3,8,h=1..3..5,w=1..4..5")
def temporal_shift(x):
    """x.view(n, t, c, h, w); out[:, :-1, :fold] = x[:, 1:, :fold]; ... (TSM)"""
    nt, c, h, w = x.size()
    x = x.view(nt // 1, 1, c, h, w).expand(nt, 4, c, h, w)
    fold = c // 8 * 2
    out = torch.zeros_like(x)
    out[:, :-1, :fold] = x[:, 1:, :fold]
    out[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
    out[:, :, 2 * fold :] = x[:, :, 2 * fold :]
    return out.reshape(nt * 4, c, h, w)


@form("x:n=1..2..4,t=3..4..8,8,6", empty=True)
def temporal_shift_in_place(x):
    """buffer[:, :-1] = x[:, 1:, :fold]; x[:, :, :fold] = buffer; ... (TSM, in place)"""
    x = x * 1.0
    buffer = x.new_zeros(x.shape[0], x.shape[1], 2, 6)
    buffer[:, :-1] = x[:, 1:, :2]
    x[:, :, :2] = buffer
    buffer = torch.zeros_like(buffer)
    buffer[:, 1:] = x[:, :-1, 2:4]
    x[:, :, 2:4] = buffer
    return x


@form(NCHW, empty=True)
def axial_shift(x):
    """F.pad, chunk, torch.roll of each chunk, narrow (AS-MLP)"""
    h, w = x.shape[2:]
    xs = torch.chunk(F.pad(x, (1, 1, 1, 1)), 4, 1)
    shifted = torch.cat([torch.roll(c, s, 2) for c, s in zip(xs, (-1, 0, 1, 0), strict=True)], 1)
    return torch.narrow(torch.narrow(shifted, 2, 1, h), 3, 1, w)


@form(NCHW, empty=True)
def rolled_window(x):
    """torch.roll(x, (-1, -1), (2, 3)), and back after the block (Swin)"""
    return torch.roll(torch.roll(x, (-1, -1), (2, 3)) * 2, (1, 1), (2, 3))


@form("x:n=1..2..4,t=3..6..9,8", empty=True)
def token_shift_by_pad(x):
    """xx = nn.ZeroPad2d((0, 0, 1, -1))(x); x * k + xx * (1 - k) (RWKV-4)"""
    xx = F.pad(x, (0, 0, 1, -1))
    return x * 0.3 + xx * 0.7


@form("x:n=1..2..4,t=3..6..9,8", "state:n,8", empty=True)
def token_shift_with_state(x, state):
    """sx = cat((state.unsqueeze(1), x[:, :-1]), 1); new state x[:, -1] (RWKV-5, -6, -7)"""
    sx = torch.cat((state.unsqueeze(1), x[:, :-1]), 1)
    return sx - x, x[:, -1]


@form("x:n=1..2..4,h=3..4..6,w=3..5..6,8", empty=True)
def quad_shift(x):
    """output[:, 0:g, :, s:w] = x[:, 0:g, :, 0:w-s]; ... on b (h w) c (Vision-RWKV)"""
    h, w = x.shape[1:3]
    y = x.permute(0, 3, 1, 2)
    output = torch.zeros_like(y)
    output[:, 0:2, :, 1:w] = y[:, 0:2, :, 0 : w - 1]
    output[:, 2:4, :, 0 : w - 1] = y[:, 2:4, :, 1:w]
    output[:, 4:6, 1:h, :] = y[:, 4:6, 0 : h - 1, :]
    output[:, 6:8, 0 : h - 1, :] = y[:, 6:8, 1:h, :]
    return output.flatten(2).transpose(1, 2)


@form(NCHW, empty=True)
def pad_and_slice(x):
    """F.pad(x, (0, 0, 1, 0, 0, 1))[:, 1:, :-1]"""
    return F.pad(x, (0, 0, 1, 0, 0, 1))[:, 1:, :-1]


@form(NCHW, empty=True)
def replicated_border(x):
    """cat([x[:, :, :1], x[:, :, :-1]], 2), and as a pad of mode replicate"""
    return torch.cat([x[:, :, :1], x[:, :, :-1]], 2) - F.pad(x, (0, 0, 1, 0), mode="replicate")[:, :, :-1]


@form(NCHW, empty=True)
class PartialConv(torch.nn.Module):
    """x[:, :dim] = self.conv(x[:, :dim]) on a clone (FasterNet)"""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        x = x.clone()
        x[:, :2, :, :] = self.conv(x[:, :2, :, :])
        return x


@form("x:n=1..2..4,8,h=3..5..9,w=3..6..9", empty=True)
def finite_differences(x):
    """dx = zeros_like(x); dx[..., :-1] = x[..., 1:] - x[..., :-1]; dy likewise"""
    dx, dy = torch.zeros_like(x), torch.zeros_like(x)
    dx[..., :-1] = x[..., 1:] - x[..., :-1]
    dy[..., :-1, :] = x[..., 1:, :] - x[..., :-1, :]
    return dx.abs() + dy.abs()
