"""`torch.linspace` with a size for its number of steps, without fixing the size.

Before: linspace(a, b, n), which fixes n to the example's when torch.export traces it
After:  where(i < (n + 1) // 2, a + i * d, b - (n - 1 - i) * d) for i = arange(n) and d = (b - a) / (n - 1)

Requires: a floating-point result, a and b numbers or sizes; a single step gives a
Preserves: values as torch computes them, from both ends
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from s2deploy.exporter.replacing import functions_replaced


def linspaces_stay_symbolic() -> AbstractContextManager[Any]:
    """Returns a context in which every linspace of a symbolic size is written by operators that keep it."""
    import torch

    return functions_replaced({torch.linspace: _linspace})


def _linspace(start: Any, end: Any, steps: Any, *, dtype: Any = None, **options: Any) -> Any:
    import torch

    kind = dtype or torch.get_default_dtype()
    ends = (start, end)
    if not isinstance(steps, torch.SymInt) or not kind.is_floating_point or any(map(torch.is_tensor, ends)):
        return torch.linspace(start, end, steps, dtype=dtype, **options)
    number: Any = steps  # torch's stubs know of no symbolic sizes
    index = torch.arange(number, dtype=kind, device=options.get("device"))
    step = (end - start) / torch.sym_max(number - 1, 1)  # type: ignore[no-untyped-call]
    return torch.where(index < (number + 1) // 2, start + index * step, end - (number - 1 - index) * step)
