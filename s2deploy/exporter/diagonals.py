"""`fill_diagonal_` as a mask, while a model is traced.

Before: x.fill_diagonal_(value), which torch writes through a view by strides that it cannot trace back to x
After:  x.masked_fill_(arange(n)[:, None] == arange(m), value)

Requires: two axes, and no wrapping around
Preserves: values; x may be a view of another tensor
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from s2deploy.exporter.replacing import functions_replaced


def diagonals_are_masks() -> AbstractContextManager[Any]:
    """Returns a context in which diagonals of matrices are filled under a mask."""
    import torch

    return functions_replaced({torch.Tensor.fill_diagonal_: _fill_diagonal})


def _fill_diagonal(matrix: Any, fill_value: Any, wrap: bool = False) -> Any:
    import torch

    if matrix.dim() != 2 or wrap:
        return torch.Tensor.fill_diagonal_(matrix, fill_value, wrap)
    rows, columns = (torch.arange(size, device=matrix.device) for size in matrix.shape)
    return matrix.masked_fill_(rows[:, None] == columns, fill_value)
