"""The same operators in Triton, straightforward: one kernel, one read per branch, one write."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from gpu.peers import Solver
from gpu.problem import Problem
from s2deploy.ops import SHIFT_SUM, SHIFT_SUM_POOL

BLOCK = 1024
CHANNELS = 64


@triton.jit
def weighted(
    x,
    w,
    y,
    dys,
    dxs,
    total,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    K: tl.constexpr,
    LAST: tl.constexpr,
    WEIGHTED: tl.constexpr,
    B: tl.constexpr,
):
    """Writes B output elements: the sum over K branches of the weighted, shifted input."""
    at = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    inside = at < total
    if LAST:
        c, j, i, n = at % C, at // C % W, at // C // W % H, at // C // W // H
    else:
        j, i, c, n = at % W, at // W % H, at // W // H % C, at // W // H // C
    result = tl.zeros([B], dtype=tl.float32)
    for k in tl.static_range(K):
        channel = k * C + c
        row = i + tl.load(dys + channel, mask=inside, other=0)
        column = j + tl.load(dxs + channel, mask=inside, other=0)
        row = tl.minimum(tl.maximum(row, 0), H - 1)
        column = tl.minimum(tl.maximum(column, 0), W - 1)
        if LAST:
            source = ((n * H + row) * W + column) * (K * C) + channel
        else:
            source = ((n * (K * C) + channel) * H + row) * W + column
        value = tl.load(x + source, mask=inside, other=0.0).to(tl.float32)
        if WEIGHTED:
            value = value * tl.load(w + n * (K * C) + channel, mask=inside, other=0.0).to(tl.float32)
        result += value
    tl.store(y + at, result.to(y.dtype.element_ty), mask=inside)


@triton.jit
def pooled(
    x,
    s,
    dys,
    dxs,
    C: tl.constexpr,
    H: tl.constexpr,
    W: tl.constexpr,
    K: tl.constexpr,
    LAST: tl.constexpr,
    TILE: tl.constexpr,
    B: tl.constexpr,
):
    """Writes TILE sums of one sample: the input at every position, times how often a shift reads it."""
    n = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * TILE + tl.arange(0, TILE)
    result = tl.zeros([TILE], dtype=tl.float32)
    for k in tl.static_range(K):
        channel = (k * C + c)[:, None]
        dy = tl.load(dys + channel, mask=(c < C)[:, None], other=0)
        dx = tl.load(dxs + channel, mask=(c < C)[:, None], other=0)
        for begin in range(0, H * W, B):
            p = begin + tl.arange(0, B)[None, :]
            inside = (p < H * W) & (c < C)[:, None]
            i, j = p // W, p % W
            source = (n * H * W + p) * (K * C) + channel if LAST else (n * (K * C) + channel) * (H * W) + p
            value = tl.load(x + source, mask=inside, other=0.0).to(tl.float32)
            down, right = tl.where(dy < 0, H - 1 - i, i), tl.where(dx < 0, W - 1 - j, j)
            far, wide = tl.abs(dy), tl.abs(dx)
            rows = tl.where(down == H - 1, tl.minimum(far + 1, H), (down >= far).to(tl.int32))
            columns = tl.where(right == W - 1, tl.minimum(wide + 1, W), (right >= wide).to(tl.int32))
            result += tl.sum(tl.where(rows * columns == 0, 0.0, value * (rows * columns).to(tl.float32)), 1)
    tl.store(s + n * C + c, result, mask=c < C)


def triton_solver(problem: Problem, device: str) -> Solver:
    """Returns the operator as a call to one of the kernels above."""
    n, c, h, w = problem.shape
    k, last = problem.branches, problem.channels_last
    dy = torch.zeros(k * c, dtype=torch.int32)
    dx = torch.zeros(k * c, dtype=torch.int32)
    for shift in problem.configuration.shifts:
        dy[shift.begin : shift.end], dx[shift.begin : shift.end] = shift.dy, shift.dx
    dy, dx = dy.to(device), dx.to(device)
    shape = problem.op.output_shape(problem.configuration, problem.input_shape, *weights_shape(problem))
    is_pool = problem.op is SHIFT_SUM_POOL
    out = torch.empty(shape, device=device, dtype=torch.float32 if is_pool else getattr(torch, problem.dtype))
    tile, block = (CHANNELS, 32) if last else (1, BLOCK)

    def solve(x: Tensor, *weights: Tensor) -> Tensor:
        kernel: Any = pooled if is_pool else weighted
        if is_pool:
            kernel[(n, triton.cdiv(c, tile))](x, out, dy, dx, C=c, H=h, W=w, K=k, LAST=last, TILE=tile, B=block)
        else:
            w_or_x = weights[0] if weights else x
            grid = (triton.cdiv(out.numel(), BLOCK),)
            kernel[grid](
                x, w_or_x, out, dy, dx, out.numel(), C=c, H=h, W=w, K=k, LAST=last, WEIGHTED=bool(weights), B=BLOCK
            )
        return out

    return solve


def weights_shape(problem: Problem) -> list[tuple[int, ...]]:
    """The shape of the weights, in a list that is empty where the operator has none."""
    n, c = problem.shape[:2]
    return [(n, problem.branches, c)] if problem.op is SHIFT_SUM else []
