"""Whether two tensors share memory, decided exactly from addresses, shapes and strides; no data is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

_MAX_WORK = 100_000
"""Steps numpy may spend on one pair; real views need a handful, and giving up counts as sharing."""


_shares_memory: Any = np.shares_memory  # numpy types max_work as two literals only
_MAX_ELEMENTS = 1 << 20


class _Span:
    """The addresses of a tensor, as numpy's array interface."""

    def __init__(self, tensor: torch.Tensor) -> None:
        width = tensor.element_size()
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "typestr": f"|V{width}",
            "data": (tensor.data_ptr(), False),
            "shape": tuple(tensor.shape),
            "strides": tuple(stride * width for stride in tensor.stride()),
        }


def share_memory(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Returns whether some byte belongs to an element of both tensors.

    Args:
        a: Any tensor; those without strided memory of their own (sparse, meta) share nothing.
        b: Another.
    """
    if not (_has_memory(a) and _has_memory(b)) or a.device != b.device:
        return False
    first, second = np.asarray(_Span(a)), np.asarray(_Span(b))
    if not np.may_share_memory(first, second):
        return False
    try:
        return bool(_shares_memory(first, second, max_work=_MAX_WORK))
    except _too_hard():
        return True


def same_mapping(source: torch.Tensor, destination: torch.Tensor) -> bool:
    """Returns whether the source, broadcast to the destination's shape, is the destination element by element."""
    if source.dtype != destination.dtype or source.data_ptr() != destination.data_ptr():
        return False
    if source.dim() > destination.dim():
        return False
    try:
        strides = source.expand(destination.shape).stride()
    except RuntimeError:
        return False
    pairs = zip(destination.shape, strides, destination.stride(), strict=True)
    return all(size <= 1 or mine == theirs for size, mine, theirs in pairs)


def keeps_shared_elements(source: torch.Tensor, destination: torch.Tensor) -> bool:
    """Returns whether copying the source to the destination changes no element of the source on the way.

    ``x[:, :] = x[:, :1]`` is such a copy: what it reads it overwrites with itself, so that order does not matter.
    The two must share memory.

    Args:
        source: Broadcastable to the destination.
        destination: Where elements are written; beyond a million of them the answer is False, unexamined.
    """
    if destination.numel() > _MAX_ELEMENTS or source.dtype != destination.dtype or source.dim() > destination.dim():
        return False
    expanded = source.expand(destination.shape)
    pairs = zip(destination.shape, expanded.stride(), destination.stride(), strict=True)
    if all(size <= 1 or mine == theirs for size, mine, theirs in pairs):
        return source.data_ptr() == destination.data_ptr()  # at another offset every element is another's
    read = _addresses(expanded)
    written = _addresses(destination)
    shared = np.isin(written, read)
    return bool((written[shared] == read[shared]).all())


def _addresses(tensor: torch.Tensor) -> np.ndarray[Any, np.dtype[np.int64]]:
    width = tensor.element_size()
    addresses = np.full((), tensor.data_ptr(), dtype=np.int64)
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        addresses = addresses[..., None] + np.arange(size, dtype=np.int64) * (stride * width)
    return addresses


def _has_memory(tensor: torch.Tensor) -> bool:
    import torch

    return tensor.layout == torch.strided and tensor.device.type != "meta" and tensor.numel() > 0


def _too_hard() -> type[Exception]:
    exceptions: Any = getattr(np, "exceptions", np)  # numpy 1.25 moved it
    return exceptions.TooHardError  # type: ignore[no-any-return]
