"""The inputs of an exported program as specs, for when none are given: it knows its own sizes and ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from s2deploy.errors import InputSpecError
from s2deploy.specs import Dim, TensorSpec

if TYPE_CHECKING:
    import torch

_LARGEST = 1 << 20  # torch.export writes 2**63 - 2 or infinity where there is no upper bound


def specs_of_program(program: torch.export.ExportedProgram) -> tuple[TensorSpec, ...]:
    """Returns one spec per tensor input, in the program's order.

    Raises:
        InputSpecError: A dynamic size has no upper bound, or is no plain dimension.
    """
    import torch

    names = set(program.graph_signature.user_inputs)
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    return tuple(
        TensorSpec(
            node.name,
            tuple(_dim(program, node.name, size) for size in node.meta["val"].shape),
            str(node.meta["val"].dtype).removeprefix("torch."),
        )
        for node in placeholders
        if isinstance(node.meta.get("val"), torch.Tensor)
    )


def _dim(program: torch.export.ExportedProgram, name: str, size: int | torch.SymInt) -> Dim:
    if isinstance(size, int):
        return Dim.fixed(size)
    interval = program.range_constraints.get(size.node.expr)
    if interval is None or not interval.upper <= _LARGEST:
        raise InputSpecError(
            f"the program does not bound the size {size} of input {name!r}",
            hint=f'declare all inputs with the ranges you need, e.g. --input "{name}:batch=1..8..64,..."',
        )
    low, high = max(1, int(interval.lower)), int(interval.upper)
    return Dim(str(size.node.expr), low, high, high)
