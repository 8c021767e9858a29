"""The same operators in PyTorch, as people write them and as a compiler likes them. Each call returns the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gpu.problem import Problem
from s2deploy.ops import SHIFT_SUM, SPATIAL_SHIFT

Solver = Callable[..., Tensor]


def assigned(problem: Problem) -> Solver:
    """Slice assignments to a copy, then sums: what a model does, without the aliasing that has no defined result."""
    configuration, branches = problem.configuration, problem.branches
    axis = 3 if problem.channels_last else 1
    rows, columns = (1, 2) if problem.channels_last else (2, 3)

    def shifted(x: Tensor) -> Tensor:
        y = x.clone()
        for shift in configuration.shifts:
            target, source = [slice(None)] * 4, [slice(None)] * 4
            target[axis] = source[axis] = slice(shift.begin, shift.end)
            for along, offset in ((rows, shift.dy), (columns, shift.dx)):
                if offset:
                    ahead, behind = slice(abs(offset), None), slice(None, -abs(offset))
                    source[along], target[along] = (ahead, behind) if offset > 0 else (behind, ahead)
            y[tuple(target)] = x[tuple(source)]
        return y

    def solve(x: Tensor, *weights: Tensor) -> Tensor:
        y = shifted(x)
        if problem.op is SPATIAL_SHIFT:
            return y
        parts = y.chunk(branches, axis)
        if problem.op is not SHIFT_SUM:
            whole = parts[0].to(torch.promote_types(x.dtype, torch.float32))
            for part in parts[1:]:
                whole = whole + part
            return whole.sum((rows, columns))
        factors = weights[0][:, :, None, None, :] if problem.channels_last else weights[0][..., None, None]
        total = factors[:, 0] * parts[0]
        for k in range(1, branches):
            total = total + factors[:, k] * parts[k]
        return total

    return solve


def indexed(problem: Problem, device: str) -> Solver:
    """One read per output element at a computed index, in float32: what a compiler can turn into one kernel."""
    configuration = problem.configuration
    n, c, h, w = problem.shape
    branches, last = problem.branches, problem.channels_last
    dy = torch.zeros(branches * c, dtype=torch.long, device=device)
    dx = torch.zeros_like(dy)
    for shift in configuration.shifts:
        dy[shift.begin : shift.end], dx[shift.begin : shift.end] = shift.dy, shift.dx
    view = (1, 1, c) if last else (c, 1, 1)
    at_row, at_column = ((-1, 1, 1), (1, -1, 1)) if last else ((1, -1, 1), (1, 1, -1))

    def solve(x: Tensor, *weights: Tensor) -> Tensor:
        sample = torch.arange(n, device=x.device)[:, None, None, None]
        parts = []
        for k in range(branches):
            here = slice(k * c, (k + 1) * c)
            rows = (torch.arange(h, device=x.device).view(at_row) + dy[here].view(view)).clamp(0, h - 1)
            columns = torch.arange(w, device=x.device).view(at_column) + dx[here].view(view)
            channel = torch.arange(k * c, (k + 1) * c, device=x.device).view(view)
            columns = columns.clamp(0, w - 1)
            parts.append(x[sample, rows, columns, channel] if last else x[sample, channel, rows, columns])
        if problem.op is SPATIAL_SHIFT:
            return parts[0]
        if problem.op is not SHIFT_SUM:
            return sum(part.float() for part in parts).sum((1, 2) if last else (2, 3))  # type: ignore[union-attr]
        factors = weights[0].float()
        spread = factors[:, :, None, None, :] if last else factors[..., None, None]
        return sum(spread[:, k] * parts[k].float() for k in range(branches)).to(x.dtype)  # type: ignore[union-attr]

    return solve


def compiled(solver: Solver) -> Solver:
    """Compiles with the search for the fastest kernels; CUDA graphs are left to the clock, which captures them all."""
    result: Any = torch.compile(solver, mode="max-autotune-no-cudagraphs", fullgraph=True, dynamic=False)
    return result  # type: ignore[no-any-return]
