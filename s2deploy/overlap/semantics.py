"""Clone semantics: every in-place operator reads all of its operands before anything is written.

Eager PyTorch leaves ``x[:, 1:] = x[:, :-1]`` undefined, because source and destination are the same memory; what
comes out depends on the kernel, the device and the number of threads. torch.export, functionalization and both
ONNX exporters compute what the line means: the right-hand side is read first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from s2deploy.overlap.memory import keeps_shared_elements, same_mapping, share_memory

_REBINDS = frozenset({"set_", "set_data", "_resize_output_", "resize_", "resize_as_"})
"""In-place operators that change what a tensor refers to: nothing is written, and a clone would change that."""

_ELEMENTWISE = frozenset({"copy_", "fill_", "masked_fill_", "_foreach_copy_", "_foreach_add_", "_foreach_mul_"})
"""Element-by-element operators that torch does not tag ``pointwise``."""


class CloneSemantics(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Clones each operand that shares memory with what an in-place or ``out=`` operator writes.

    Args:
        on_write: Called with every tensor about to be written.
        on_overlap: Called with the operator whenever an operand overlaps what it writes and is not the same
            elements in the same order, so that eager's result would depend on the order of execution.
    """

    def __init__(
        self,
        on_write: Callable[[torch.Tensor], None] | None = None,
        on_overlap: Callable[[torch._ops.OpOverload], None] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._on_write = on_write
        self._on_overlap = on_overlap

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Runs one operator with its overlapping operands cloned."""
        kwargs = kwargs or {}
        writes = _written_arguments(func)
        if writes:
            operands: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
            written = [tensor for key in writes if key in operands for tensor in _tensors(operands[key])]
            args, kwargs = self._read_first(func, operands, writes, written, len(args))
            if self._on_write is not None:
                for tensor in written:
                    self._on_write(tensor)
        return func(*args, **kwargs)

    def _read_first(
        self,
        func: torch._ops.OpOverload,
        operands: dict[Any, Any],
        writes: frozenset[int | str],
        written: list[torch.Tensor],
        positional: int,
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hazard = False

        def read(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal hazard
            shared = [target for target in written if share_memory(tensor, target)]
            if not shared:
                return tensor
            if self._on_overlap is not None and not hazard:
                hazard = not all(_order_is_irrelevant(func, tensor, target) for target in shared)
            return tensor.clone()

        new = {key: value if key in writes else _map_tensors(read, value) for key, value in operands.items()}
        if hazard and self._on_overlap is not None:
            self._on_overlap(func)
        return tuple(new[i] for i in range(positional)), {k: v for k, v in new.items() if isinstance(k, str)}


@cache
def _written_arguments(func: torch._ops.OpOverload) -> frozenset[int | str]:
    """Returns position and name of every argument the operator's schema says it writes."""
    schema = getattr(func, "_schema", None)
    if schema is None or not schema.is_mutable or schema.name.partition("::")[2] in _REBINDS:
        return frozenset()
    names = [(i, a.name) for i, a in enumerate(schema.arguments) if a.alias_info is not None and a.alias_info.is_write]
    return frozenset(key for pair in names for key in pair)


def _order_is_irrelevant(func: torch._ops.OpOverload, source: torch.Tensor, destination: torch.Tensor) -> bool:
    if func is torch.ops.aten.copy_.default and keeps_shared_elements(source, destination):
        return True
    return _is_elementwise(func) and same_mapping(source, destination)


@cache
def _is_elementwise(func: torch._ops.OpOverload) -> bool:
    return torch.Tag.pointwise in func.tags or func._schema.name.partition("::")[2] in _ELEMENTWISE


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _map_tensors(function: Callable[[torch.Tensor], torch.Tensor], value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_map_tensors(function, item) for item in value)
    return value
