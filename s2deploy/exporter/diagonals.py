"""`fill_diagonal_` as a mask, while a model is traced.

Before: x.fill_diagonal_(value), which torch writes through a view by strides that it cannot trace back to x
After:  x.masked_fill_(arange(n)[:, None] == arange(m), value)

Requires: two axes, and no wrapping around
Preserves: values; x may be a view of another tensor
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any


def diagonals_are_masks() -> AbstractContextManager[Any]:
    """Returns a context in which diagonals of matrices are filled under a mask."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Masked(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            if function is torch.Tensor.fill_diagonal_:
                function = _fill_diagonal
            return function(*args, **(kwargs or {}))

    return Masked()


def _fill_diagonal(matrix: Any, fill_value: Any, wrap: bool = False) -> Any:
    import torch

    if matrix.dim() != 2 or wrap:
        return torch.Tensor.fill_diagonal_(matrix, fill_value, wrap)
    rows, columns = (torch.arange(size, device=matrix.device) for size in matrix.shape)
    return matrix.masked_fill_(rows[:, None] == columns, fill_value)
