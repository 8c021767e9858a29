"""Adaptive pooling of dynamic sizes.

Before: adaptive_avg_pool2d(x, (None, 3)), whose windows torch counts at the example's sizes, and sets no guard
After:  one mean over the axes of one bin, nothing for an axis that keeps its size, and for each other axis a product
    with a matrix of the windows, which has 1 / (end - start) from start = floor(i n / bins) to
    end = ceil((i + 1) n / bins) of n elements; maxima are those of what lies inside, with -inf outside

Requires: a dynamic size among the pooled ones, or a pooling that torch.onnx does not translate, of maxima or of three
    axes; at most 16 bins along each axis that changes, floating point
Refuses (leaves the pooling): more bins, a dynamic number of them, and indices
Preserves: shape and dtype; a mean is rounded once for each axis, and what is not finite spoils the other means of its
    row too. Maxima are exact
Source: the definition in torch.nn.AdaptiveAvgPool2d; windows are rectangles of which each row has as many elements, so
    that means of means are means
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from s2deploy.exporter.replacing import functions_replaced

_MOST_BINS = 16


def adaptive_pools_stay_symbolic() -> AbstractContextManager[Any]:
    """Returns a context in which adaptive pooling of symbolic sizes is made of products and reductions."""
    from torch.nn import functional

    averages = (functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d)
    maxima = (functional.adaptive_max_pool1d, functional.adaptive_max_pool2d, functional.adaptive_max_pool3d)
    written: dict[Any, Callable[..., Any]] = {}
    for count, (average, maximum) in enumerate(zip(averages, maxima, strict=True), start=1):
        written[average] = functools.partial(_pooled, average, "mean", count)
        written[maximum] = functools.partial(_pooled, maximum, "amax", count)
    return functions_replaced(written)


def _pooled(
    pool: Callable[..., Any], reduction: str, count: int, input: Any, output_size: Any, return_indices: bool = False
) -> Any:
    import torch

    wanted = _bins(output_size, input.shape[-count:])
    has_translation = reduction == "mean" and count < 3
    is_dynamic = any(isinstance(size, torch.SymInt) for size in input.shape[-count:])
    is_left = (has_translation and not is_dynamic) or not input.is_floating_point()
    if return_indices or wanted is None or is_left:
        return pool(input, output_size, return_indices) if return_indices else pool(input, output_size)
    whole = [axis for axis, bins in zip(range(-count, 0), wanted, strict=True) if bins == 1]
    result = getattr(input, reduction)(whole, keepdim=True) if whole else input
    for axis, bins in zip(range(-count, 0), wanted, strict=True):
        if bins is not None and bins > 1:
            result = _in_windows(result.transpose(axis, -1), bins, reduction).transpose(axis, -1)
    return result


def _in_windows(input: Any, bins: int, reduction: str) -> Any:
    """Returns the mean or the maximum of each window along the last axis."""
    import torch

    size, index = input.shape[-1], torch.arange(bins, device=input.device).unsqueeze(1)
    start, end = index * size // bins, ((index + 1) * size + bins - 1) // bins
    place = torch.arange(size, device=input.device)
    inside = (place >= start) & (place < end)
    if reduction == "mean":
        return input @ (inside.to(input.dtype) / (end - start)).transpose(0, 1)
    return input.unsqueeze(-2).where(inside, float("-inf")).amax(-1)


def _bins(output_size: Any, sizes: Sequence[Any]) -> list[int | None] | None:
    """Returns how many bins each axis gets, None where it keeps its size; or None where that takes the pooling."""
    import torch
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    given = tuple(output_size) if isinstance(output_size, (tuple, list)) else (output_size,) * len(sizes)
    if len(given) != len(sizes):
        return None
    found: list[int | None] = []
    for bins, size in zip(given, sizes, strict=True):
        if bins is None or statically_known_true(bins == size):
            found.append(None)
        elif isinstance(bins, torch.SymInt) or not 1 <= bins <= _MOST_BINS:
            return None
        else:
            found.append(bins)
    return found
