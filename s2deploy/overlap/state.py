"""Running a module without a trace: its buffers, its attributes and the variables of its code are as before."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

from s2deploy.variables import CONTAINERS, Content, Variables


class Snapshot:
    """What a run may change in a module; memory is copied only where a write is about to happen.

    Args:
        module: Its parameters, buffers and plain attributes, and tensors in lists and dicts among these, are
            protected.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._contents: list[Content] = []
        self._protected: dict[int, torch.UntypedStorage] = {}
        self._saved: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        self._variables = Variables(module.modules())
        for part in module.modules():
            self._note(part.__dict__, depth=1)

    def before_write(self, tensor: torch.Tensor) -> None:
        """Saves the memory of a tensor that is part of the module, once."""
        if tensor.layout == torch.strided:
            self._save(tensor.untyped_storage().data_ptr())

    def save_like(self, other: Snapshot) -> None:
        """Saves everything that another run of the same module wrote."""
        for pointer in other._saved:
            self._save(pointer)

    def restore(self) -> None:
        """Puts every attribute and variable and all saved memory back."""
        self._variables.restore()
        for content in self._contents:
            content.restore()
        for storage, copy in self._saved.values():
            storage.copy_(copy)

    def detached(self, outputs: Any) -> Any:
        """Returns the outputs, copied where they live in memory that `restore` overwrites."""

        def detach(tensor: torch.Tensor) -> torch.Tensor:
            inside = tensor.layout == torch.strided and tensor.untyped_storage().data_ptr() in self._saved
            return tensor.clone() if inside else tensor

        return pytree.tree_map_only(torch.Tensor, detach, outputs)

    def _note(self, container: Any, depth: int) -> None:
        self._contents.append(Content(container))
        for value in container.values() if isinstance(container, dict) else container:
            if isinstance(value, torch.Tensor) and value.layout == torch.strided:
                storage = value.untyped_storage()
                self._protected[storage.data_ptr()] = storage
            elif depth and type(value) in CONTAINERS:
                self._note(value, depth - 1)

    def _save(self, pointer: int) -> None:
        storage = self._protected.get(pointer)
        if storage is not None and pointer not in self._saved:
            self._saved[pointer] = (storage, storage.clone())  # type: ignore[no-untyped-call]
