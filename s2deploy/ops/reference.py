"""What the operators compute, in numpy: the definition that every implementation is tested against.

Sums are formed in float64 and rounded once; an implementation sums in float32 and is held to a tolerance.
Source of the weighted sum: split attention in Yu et al., "S2-MLPv2", arXiv 2108.01072.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s2deploy.ops.configuration import Border, Configuration

Array = NDArray[Any]


def spatial_shift(configuration: Configuration, x: Array) -> Array:
    """Reads every group of channels at its offset.

    Args:
        configuration: The shifts; `Border` says what is read outside.
        x: ``N x C x H x W``, or ``N x H x W x C`` where channels are last; any dtype.

    Returns:
        An array of the same shape and dtype; exact.
    """
    source = _channels_first(configuration, x)
    target = source.copy()
    height, width = source.shape[2:]
    for shift in configuration.shifts:
        group = source[:, shift.begin : shift.end]
        rows = np.arange(height) + shift.dy
        columns = np.arange(width) + shift.dx
        read = group[:, :, np.clip(rows, 0, height - 1)][:, :, :, np.clip(columns, 0, width - 1)]
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
        if configuration.border is Border.ZERO:
            read = np.where(inside, read, np.zeros((), x.dtype))
        elif configuration.border is Border.KEEP:
            read = np.where(inside, read, group)
        target[:, shift.begin : shift.end] = read
    return np.ascontiguousarray(np.moveaxis(target, 1, 3)) if configuration.channels_last else target


def shift_sum(configuration: Configuration, x: Array, w: Array) -> Array:
    """Weighs the shifted branches channel by channel and sums them.

    ``y[n, c, p] = sum_k w[n, k, c] * x[n, k C + c, clamp(p + d(k C + c))]`` with ``d`` the offset of the channel.

    Args:
        configuration: The shifts of the ``K C`` channels of `x`, and ``K`` as `branches`.
        x: ``N x K C x H x W``, or ``N x H x W x K C`` where channels are last.
        w: ``N x K x C``, of the same dtype.

    Returns:
        ``N x C x H x W`` or ``N x H x W x C``, of the same dtype.
    """
    branches = _branches(configuration, x)
    summed = (branches * w.astype(np.float64)[..., None, None]).sum(axis=1)
    y = np.moveaxis(summed, 1, 3) if configuration.channels_last else summed
    return np.ascontiguousarray(y).astype(x.dtype)


def shift_sum_pool(configuration: Configuration, x: Array) -> Array:
    """Sums the shifted branches over branches and positions, without weights.

    A shift changes a sum over positions only at the border, so an implementation reads `x` once and unshifted.

    Args:
        configuration: As for `shift_sum`.
        x: ``N x K C x H x W``, or ``N x H x W x K C`` where channels are last.

    Returns:
        ``N x C`` in float32, whatever the dtype of `x`: a sum over thousands of float16 values overflows float16.
    """
    summed: Array = _branches(configuration, x).sum(axis=(1, 3, 4))
    return summed.astype(np.float32)


def _branches(configuration: Configuration, x: Array) -> Array:
    """Shifts and returns the branches as ``N x K x C x H x W`` in float64."""
    shifted = _channels_first(configuration, spatial_shift(configuration, x))
    n, channels, height, width = shifted.shape
    k = configuration.branches
    return shifted.reshape(n, k, channels // k, height, width).astype(np.float64)


def _channels_first(configuration: Configuration, x: Array) -> Array:
    return np.moveaxis(x, 3, 1) if configuration.channels_last else x
