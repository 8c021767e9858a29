"""Counts what other exporters turn into scatters: the writes of an exported program into parts of tensors."""

from __future__ import annotations

from typing import Any

import torch

_SCATTERS = frozenset(
    f"aten::{name}"
    for name in (
        "slice_scatter",
        "select_scatter",
        "diagonal_scatter",
        "index_put",
        "index_copy",
        "scatter",
        "scatter_add",
    )
)


def count_writes(program: torch.export.ExportedProgram) -> int:
    """Returns how many nodes write into a part of a tensor, in place or functionally."""
    return sum(_writes_part(node) for node in program.graph.nodes if node.op == "call_function")


def _writes_part(node: torch.fx.Node) -> bool:
    schema: Any = getattr(node.target, "_schema", None)
    if schema is None:
        return False
    if schema.name.rstrip("_") in _SCATTERS:
        return True
    return schema.is_mutable and bool(node.args) and _is_view(node.args[0])


def _is_view(value: Any) -> bool:
    schema: Any = getattr(getattr(value, "target", None), "_schema", None)
    aliases = [] if schema is None else [result.alias_info for result in schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)
