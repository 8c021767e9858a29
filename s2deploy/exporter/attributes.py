"""Attributes that forward sets while it is traced: they are as before afterwards, and new buffers are not lost.

torch.export notices that forward assigns a new tensor to a buffer of the module it is given (``self.last = x[:, -1]``),
but loses it where the buffer belongs to a submodule. Copied into the buffer when forward is over, it is a change like
any other. What has read the buffer before is not concerned: the copy comes last, and outputs are copies of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from s2deploy.errors import ExportError
from s2deploy.variables import CONTAINERS, Content, Variables

if TYPE_CHECKING:
    import torch


@contextmanager
def attributes_kept(module: torch.nn.Module) -> Iterator[None]:
    """Puts every attribute of a module back afterwards, and the variables of the Python modules that its code is in.

    What torch.export leaves in new ones has no data.
    """
    variables = Variables(module.modules())
    contents = []
    for part in module.modules():
        held = [item for item in part.__dict__.values() if type(item) in CONTAINERS]
        contents += [Content(item) for item in (part.__dict__, *held)]
    try:
        yield
    finally:
        variables.restore()
        for content in contents:
            content.restore()


@contextmanager
def assigned_buffers_copied(module: torch.nn.Module) -> Iterator[None]:
    """Makes forward end with copying what it has assigned to buffers of submodules into these buffers.

    Raises:
        ExportError: From forward, where it gives a buffer another shape or dtype.
    """
    import torch
    from torch.utils import _pytree as pytree

    before: dict[str, dict[str, Any]] = {}

    def note(part: torch.nn.Module, _: Any) -> None:
        before.update({name: dict(inner._buffers) for name, inner in part.named_modules() if inner is not part})

    def finish(part: torch.nn.Module, _: Any, outputs: Any) -> Any:
        changes: list[tuple[dict[str, Any], str, torch.Tensor, torch.Tensor]] = []
        for owner, buffers in before.items():
            held = part.get_submodule(owner)._buffers
            for name, old in buffers.items():
                new = held.get(name)
                if old is None or new is None or new is old:
                    continue
                if new.shape != old.shape or new.dtype != old.dtype:
                    raise another_shape(f"{owner}.{name}")
                changes.append((held, name, old, new.clone()))
        if not changes:
            return None
        outputs = pytree.tree_map_only(torch.Tensor, torch.clone, outputs)
        for held, name, old, new in changes:
            old.copy_(new)
            held[name] = old
        return outputs

    handles = (module.register_forward_pre_hook(note), module.register_forward_hook(finish))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def another_shape(name: str, at: str = "") -> ExportError:
    """Returns the error for a buffer that does not keep its shape."""
    return ExportError(
        f"{at}forward gives {name} another shape or dtype; those of an exported program are the same in every run",
        hint="make it as large as it gets and assign to a part of it, or make it an input and an output",
    )
