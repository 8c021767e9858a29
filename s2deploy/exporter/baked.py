"""What a program has fixed that the specification says is dynamic, and what it does besides returning outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from s2deploy.errors import InputSpecError, UsageError
from s2deploy.exporter.naming import input_shapes
from s2deploy.exporter.provenance import beginning
from s2deploy.specs import TensorSpec

if TYPE_CHECKING:
    import torch
    from torch.fx import Node


def check_program(program: torch.export.ExportedProgram, specs: Sequence[TensorSpec]) -> None:
    """Checks that a program takes every input the specification describes, at every size.

    Raises:
        UsageError: The number of inputs, a rank or a dtype differs, a size is fixed in the program but dynamic in the
            specification, or the specification's range is wider than the program's.
    """
    import torch

    shapes = input_shapes(program)
    if len(shapes) != len(specs):
        raise UsageError(
            f"the program takes {len(shapes)} tensors, but {len(specs)} inputs are given",
            hint="give one --input per tensor, in the program's order",
        )
    for spec, shape, value in zip(specs, shapes, _input_values(program), strict=True):
        if len(shape) != len(spec.dims):
            raise InputSpecError(
                f"input {spec.name!r} has rank {len(spec.dims)}, but the program takes rank {len(shape)}",
                hint=f"the program takes the shape {list(map(str, shape))}",
            )
        dtype = getattr(torch, spec.dtype or "float32")
        if value.dtype != dtype:
            taken = str(value.dtype).removeprefix("torch.")
            raise InputSpecError(
                f"input {spec.name!r} is {spec.dtype or 'float32'}, but the program takes {taken}",
                hint=f"write {spec.name}:...:{taken}",
            )
        for dim, size in zip(spec.dims, shape, strict=True):
            if isinstance(size, int):
                if list(dim.sizes()) == [size]:
                    continue
                raise InputSpecError(
                    f"input {spec.name!r}: the program fixes the size to {size} where {dim} is given",
                    hint=f"write {size}, or export the module anew with a dynamic size",
                )
            interval = program.range_constraints.get(size.node.expr)
            if interval is None:
                continue
            # torch writes 2 for "not specialised to 0 or 1": such a program is meant for 1 as well
            lower = 1 if interval.lower == 2 else interval.lower
            low, high = (dim.opt, dim.opt) if dim.is_fixed else (dim.min, dim.max)
            if not (lower <= low and high <= interval.upper):
                raise InputSpecError(
                    f"input {spec.name!r}: the program works for sizes {lower}..{interval.upper}, but {dim} is given",
                    hint="narrow the range, or export the module anew with a wider one",
                )


def remarks_on(program: torch.export.ExportedProgram) -> tuple[str, ...]:
    """Returns what running the program does to its inputs; ONNX does none of it."""
    inputs = set(program.graph_signature.user_inputs)
    remarks: dict[str, str] = {}
    for node in program.graph.nodes:
        written = written_tensor(node)
        root = None if written is None else memory_of(written)
        if root is None or root.name in remarks or root.name not in inputs:
            continue
        remarks[root.name] = (
            f"{beginning(node)}forward writes into its input {root.name}; the ONNX model computes with the "
            "written values and leaves the caller's array as it is"
        )
    return tuple(remarks.values())


def written_tensor(node: Node) -> Node | None:
    """Returns the tensor that a node writes in place."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return None
    for argument, value in zip(schema.arguments, node.args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write:
            return value if isinstance(value, type(node)) else None
    return None


def memory_of(tensor: Node) -> Node | None:
    """Returns the program's input whose memory a tensor is; None where it has memory of its own."""
    node = tensor
    while node.op != "placeholder":
        source = viewed_tensor(node)
        if source is None:
            return None
        node = source
    return node


def viewed_tensor(node: Node) -> Node | None:
    """Returns the tensor whose memory a view, or what an in-place operator returns, is a part of."""
    schema = getattr(node.target, "_schema", None)
    aliased = [a.alias_info is not None for a in schema.arguments] if schema is not None else []
    source = node.args[aliased.index(True)] if True in aliased else None
    return source if isinstance(source, type(node)) else None


def _input_values(program: torch.export.ExportedProgram) -> list[torch.Tensor]:
    import torch

    names = set(program.graph_signature.user_inputs)
    return [
        node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names and isinstance(node.meta.get("val"), torch.Tensor)
    ]
