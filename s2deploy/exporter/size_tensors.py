"""Tensors that are made of sizes, without fixing the sizes.

Before: x.new_tensor([w, h]) and torch.as_tensor([w, h]), which fix both sizes to the example's when torch.export
    traces them, as it does not where torch.tensor is called
After:  stack([full((), w), full((), h)])

Requires: a size among the numbers, and nothing but numbers
Preserves: values, type and device
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from s2deploy.exporter.replacing import functions_replaced


def tensors_of_sizes_stay_symbolic() -> AbstractContextManager[Any]:
    """Returns a context in which these functions take symbolic sizes."""
    import torch

    return functions_replaced({torch.as_tensor: _as_tensor, torch.Tensor.new_tensor: _new_tensor})


def _as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
    import torch

    numbers = _numbers(data)
    if numbers is None:
        return torch.as_tensor(data, dtype=dtype, device=device)
    whole = all(isinstance(number, (int, torch.SymInt)) for number in numbers)
    return _stacked(data, dtype or (torch.int64 if whole else torch.get_default_dtype()), device)


def _new_tensor(self: Any, data: Any, *, dtype: Any = None, device: Any = None, **options: Any) -> Any:
    if _numbers(data) is None or any(options.values()):
        return self.new_tensor(data, dtype=dtype, device=device, **options)
    return _stacked(data, dtype or self.dtype, device or self.device)


def _numbers(data: Any) -> list[Any] | None:
    """Returns the numbers in a nest of lists, one of them symbolic; None for everything else."""
    import torch

    symbolic = (torch.SymInt, torch.SymFloat)
    leaves = torch.utils._pytree.tree_leaves(data)
    numbers = all(isinstance(leaf, (int, float, *symbolic)) for leaf in leaves)
    return leaves if numbers and any(isinstance(leaf, symbolic) for leaf in leaves) else None


def _stacked(data: Any, dtype: Any, device: Any) -> Any:
    import torch

    if isinstance(data, (list, tuple)):
        return torch.stack([_stacked(each, dtype, device) for each in data])
    return torch.full((), data, dtype=dtype, device=device)
