"""Detection, pose and language-model heads."""

from __future__ import annotations

import torch

from forms.form import form

GRID = "x:n=1..2..3,3,h=1..4..6,w=1..5..6,7"


@form(GRID, empty=True)
def yolo_v5(x):
    """y[..., 0:2] = (y[..., 0:2] * 2 - 0.5 + grid) * stride; y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * anchors"""
    h, w = x.shape[2:4]
    yv, xv = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    grid = torch.stack((xv, yv), 2).view(1, 1, h, w, 2).float()
    y = x.sigmoid()
    y[..., 0:2] = (y[..., 0:2] * 2 - 0.5 + grid) * 8.0
    y[..., 2:4] = (y[..., 2:4] * 2) ** 2 * torch.tensor([10.0, 13.0])
    return y.view(x.shape[0], -1, 7)


@form("x:n=1..2..3,a=1..6..9,85", empty=True)
def yolo_x(x):
    """outputs[..., :2] = (outputs[..., :2] + grids) * strides; outputs[..., 2:4] = exp(...) * strides"""
    outputs = x.clone()
    outputs[..., :2] = (outputs[..., :2] + 0.5) * 8
    outputs[..., 2:4] = torch.exp(outputs[..., 2:4]) * 8
    return outputs


@form("x:n=1..2..3,a=1..6..9,15")
def yolo_v8_keypoints(x):
    """y[:, 2::3] = y[:, 2::3].sigmoid(); y[:, 0::3] = (y[:, 0::3] * 2 + anchors) * strides"""
    y = x.transpose(1, 2).clone()
    y[:, 2::3] = y[:, 2::3].sigmoid()
    y[:, 0::3] = (y[:, 0::3] * 2.0 + 0.5) * 8
    y[:, 1::3] = (y[:, 1::3] * 2.0 + 0.25) * 8
    return y


@form("x:n=1..2..3,a=1..6..9,4", empty=True)
def xywh_to_xyxy(x):
    """y[..., 0] = x[..., 0] - x[..., 2] / 2; ... into empty_like(x)"""
    y = torch.empty_like(x)
    y[..., 0] = x[..., 0] - x[..., 2] / 2
    y[..., 1] = x[..., 1] - x[..., 3] / 2
    y[..., 2] = x[..., 0] + x[..., 2] / 2
    y[..., 3] = x[..., 1] + x[..., 3] / 2
    return y


@form("x:n=1..2..3,a=1..6..9,4", empty=True)
def clip_boxes(x):
    """boxes[..., [0, 2]] = boxes[..., [0, 2]].clamp(0, w); boxes[..., 1].clamp_(0, h)"""
    boxes = x.clone()
    boxes[..., [0, 2]] = boxes[..., [0, 2]].clamp(0, 1)
    boxes[..., 1].clamp_(0.0, 0.4)
    boxes[..., 3].clamp_(0.0, 0.4)
    return boxes


@form("x:n=1..2..3,a=1..6..9,4", empty=True)
def scale_boxes(x):
    """coords[:, [0, 2]] -= pad; coords[:, :4] /= gain; clip"""
    coords = x.clone()
    coords[..., [0, 2]] -= 0.25
    coords[..., [1, 3]] -= 0.125
    coords[..., :4] /= 0.5
    return coords


@form("x:n=1..2..3,5,h=3..4..6,w=3..5..6", empty=True)
def flipped_heat_maps(x):
    """flipped = x.flip(3); flipped[..., 1:] = flipped.clone()[..., :-1]; pairs exchanged (pose)"""
    flipped = x.flip(3)
    output = flipped.clone()
    for left, right in ((1, 2), (3, 4)):
        output[:, left] = flipped[:, right]
        output[:, right] = flipped[:, left]
    output[:, :, :, 1:] = output.clone()[:, :, :, :-1]
    return (x + output) * 0.5


@form("x:n=1..2..3,17,a=1..4..6,3", empty=True)
def heat_map_offsets(x):
    """preds[:, :, :, 0] = preds % w; preds[:, :, :, 1] = floor(preds / w) (pose)"""
    index = x[..., :1].abs() * 10
    preds = index.repeat(1, 1, 1, 2)
    preds[:, :, :, 0] = preds[:, :, :, 0] - torch.floor(preds[:, :, :, 0] / 4) * 4
    preds[:, :, :, 1] = torch.floor(preds[:, :, :, 1] / 4)
    return preds


@form("x:n=1..2..3,2,t=1..5..9,8", empty=True)
def rotary_halves(x):
    """out[..., :half] = a * cos - b * sin; out[..., half:] = b * cos + a * sin"""
    angle = torch.arange(x.shape[2])[:, None] * torch.tensor([1.0, 0.1, 0.01, 0.001])
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :4], x[..., 4:]
    out = torch.empty_like(x)
    out[..., :4] = a * cos - b * sin
    out[..., 4:] = b * cos + a * sin
    return out


@form("x:n=1..2..3,t=1..5..9,8", empty=True)
def rotary_part_in_place(x):
    """q[..., :rot] = q[..., :rot] * cos + rotate_half(q[..., :rot]) * sin (partial rotary)"""
    q = x.clone()
    part = q[..., :4]
    rotated = torch.cat((-part[..., 2:], part[..., :2]), -1)
    q[..., :4] = part * 0.8 + rotated * 0.6
    return q


@form("x:n=1..2..3,2,t=1..3..5,4", "cache:n,2,12,4", empty=True)
def key_value_slices(x, cache):
    """cache = cache.clone(); cache[:, :, 4 : 4 + t] = x (a prompt into a static cache)"""
    cache = cache.clone()
    cache[:, :, 4 : 4 + x.shape[2]] = x
    return cache


@form("x:n=1..2..3,2,1,4", "cache:n,2,t=3..6..9,4", empty=True)
def rolling_cache(x, cache):
    """cache[:, :, :-1] = cache[:, :, 1:].clone(); cache[:, :, -1:] = x"""
    cache = cache.clone()
    cache[:, :, :-1] = cache[:, :, 1:].clone()
    cache[:, :, -1:] = x
    return cache


@form("x:n=1..2..3,t=1..5..9,12", empty=True)
def suppressed_logits(x):
    """scores[..., [1, 2, 7]] = -inf; scores[:, -1, 0] = 0 (generation)"""
    scores = x.clone()
    scores[..., [1, 2, 7]] = float("-inf")
    scores[:, -1, 0] = 0
    return scores
