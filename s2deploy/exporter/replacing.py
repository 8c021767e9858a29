"""Functions of torch that are called as others, while a model is traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any


def functions_replaced(replacements: Mapping[Any, Callable[..., Any]]) -> AbstractContextManager[Any]:
    """Returns a context in which some functions are replaced, also where a model holds them under names of its own.

    Args:
        replacements: By function, as torch's function modes are given it, what takes the same arguments. What a
            replacement calls is not replaced.
    """
    from torch.overrides import TorchFunctionMode

    class Replaced(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            return replacements.get(function, function)(*args, **(kwargs or {}))

    return Replaced()
