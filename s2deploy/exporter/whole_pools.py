"""Pooling with a window as large as the map, without fixing the size.

Before: avg_pool2d(x, x.shape[2:]), which fixes both sizes to the example's when torch.export traces it
After:  mean(x, (2, 3), keepdim=True); max_pool becomes amax

Requires: a size of the input in the window, and every axis taken whole without padding, or left alone by a window and
    a stride of 1
Refuses (leaves the pooling, and with it the fixed size): other windows, padding, dilation, a divisor of its own, and
    indices
Preserves: shape and dtype; means are rounded as sums of all elements are
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from s2deploy.exporter.replacing import functions_replaced


def whole_pools_stay_symbolic() -> AbstractContextManager[Any]:
    """Returns a context in which pooling over whole axes of symbolic sizes is a reduction."""
    import torch
    from torch.nn import functional

    averages = (torch.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)
    maxima = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
    plain_maxima = (torch.max_pool1d, torch.max_pool2d, torch.max_pool3d)
    written: dict[Any, Callable[..., Any]] = {}
    for count, pools in enumerate(zip(averages, maxima, plain_maxima, strict=True), start=1):
        written[pools[0]] = functools.partial(_averaged, pools[0], count)
        written.update({pool: functools.partial(_maximized, pool, count) for pool in pools[1:]})
    return functions_replaced(written)


def _averaged(
    pool: Callable[..., Any],
    count: int,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    axes = None if divisor_override is not None else _whole_axes(input, count, kernel_size, stride, padding)
    if axes is not None:
        return input.mean(axes, keepdim=True)
    own = {} if divisor_override is None else {"divisor_override": divisor_override}  # avg_pool1d has none
    return pool(input, kernel_size, stride, padding, ceil_mode, count_include_pad, **own)


def _maximized(
    pool: Callable[..., Any],
    count: int,
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    plain = not return_indices and all(each == 1 for each in _each(dilation, count))
    axes = _whole_axes(input, count, kernel_size, stride, padding) if plain else None
    if axes is not None:
        return input.amax(axes, keepdim=True)
    own = {"return_indices": True} if return_indices else {}  # torch's functions have none
    return pool(input, kernel_size, stride, padding, dilation, ceil_mode, **own)


def _whole_axes(input: Any, count: int, kernel_size: Any, stride: Any, padding: Any) -> list[int] | None:
    """Returns the axes that one window takes; None where a size is in no window, or one does something else."""
    import torch
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    windows = _each(kernel_size, count)
    steps = _each(stride, count) if stride or isinstance(stride, torch.SymInt) else windows
    if not any(isinstance(window, torch.SymInt) for window in windows) or any(_each(padding, count)):
        return None
    axes = []
    for axis, window, step in zip(range(-count, 0), windows, steps, strict=True):
        if statically_known_true(window == input.shape[axis]):
            axes.append(axis)
        elif not (statically_known_true(window == 1) and statically_known_true(step == 1)):
            return None
    return axes


def _each(number: Any, count: int) -> Sequence[Any]:
    """Returns what is said for all axes at once for each."""
    given = tuple(number) if isinstance(number, (tuple, list)) else (number,)
    return given if len(given) == count else given * count
