"""Names users chose, in the model they get: inputs, outputs and dynamic dimensions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from s2deploy.specs import TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch


def name_inputs(model: ir.Model, names: Sequence[str]) -> None:
    """Renames the inputs in order; any other value of that name gives way."""
    _give_way(model, set(names), keep=model.graph.inputs)
    for value, name in zip(model.graph.inputs, names, strict=True):
        value.name = name


def separate_outputs(model: ir.Model) -> None:
    """Gives every output a value of its own.

    A forward may return its input, a parameter, or one tensor twice; ONNX wants distinct values computed by nodes.
    """
    import onnx_ir as ir

    outputs = model.graph.outputs
    seen: set[ir.Value] = set()
    for index, value in enumerate(outputs):
        if value in seen or value.producer() is None:
            node = ir.node("Identity", [value])
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            model.graph.append(node)
            outputs[index] = node.outputs[0]
        seen.add(outputs[index])


def name_outputs(model: ir.Model, names: Sequence[str]) -> None:
    """Renames the outputs in order; any other value of that name gives way."""
    outputs = model.graph.outputs
    _give_way(model, set(names), keep=outputs)
    for value, name in zip(outputs, names, strict=True):
        value.name = name


def derived_output_names(program: torch.export.ExportedProgram, count: int) -> tuple[str, ...]:
    """Returns names for the tensors a program returns.

    One tensor is ``output``; members of a tuple are ``output_0``, ``output_1``, ...; members of a dict or dataclass
    take their keys; nested ones are joined by underscores. Numbers and None in the result are not ONNX outputs.
    """
    import torch
    from torch.utils import _pytree as pytree

    spec = program.call_spec.out_spec
    if spec is None:
        return _numbered(count)
    structure = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    paths = [path for path, _ in pytree.tree_flatten_with_path(structure)[0]]
    kinds = [
        output
        for output in program.graph_signature.output_specs
        if output.kind is torch.export.graph_signature.OutputKind.USER_OUTPUT
    ]
    kept = [
        path
        for path, output in zip(paths, kinds, strict=True)
        if isinstance(output.arg, torch.export.graph_signature.TensorArgument)
    ]
    names = [_path_name(path) for path in kept]
    if count == 1 and names[0].startswith("output_"):
        return ("output",)
    return tuple(names) if len(names) == count == len(set(names)) else _numbered(count)


def name_dimensions(model: ir.Model, program: torch.export.ExportedProgram, specs: Sequence[TensorSpec]) -> None:
    """Replaces torch's symbols in every shape by the names of the specification.

    With ``height=28..448/28`` torch's symbol is the number of multiples, so ``56*s0`` reads ``56*(height//28)``.
    """
    import onnx_ir as ir

    symbols: dict[str, str] = {}
    whole: dict[str, str] = {}
    for spec, shape in zip(specs, input_shapes(program), strict=True):
        for dim, size in zip(spec.dims, shape, strict=True):
            if dim.name is None or isinstance(size, int):
                continue
            expression = str(size)
            whole[expression] = dim.name
            factor, _, symbol = expression.rpartition("*")
            symbols[symbol] = f"({dim.name}//{factor})" if factor else dim.name
    if not symbols:
        return
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, symbols)) + r")\b")
    for value in _values(model):
        if value.shape is None or value.shape.is_static():
            continue
        value.shape = ir.Shape([_rename(dim, whole, symbols, pattern) for dim in value.shape])


def input_shapes(program: torch.export.ExportedProgram) -> list[tuple[Any, ...]]:
    """Returns the shapes of a program's tensor inputs in order; dynamic sizes are `torch.SymInt`."""
    import torch

    names = set(program.graph_signature.user_inputs)
    return [
        tuple(_known(size) for size in node.meta["val"].shape)
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names and isinstance(node.meta.get("val"), torch.Tensor)
    ]


def _known(size: Any) -> Any:
    """Returns a size as an integer where torch has fixed it, even if it still is a symbol by type."""
    if isinstance(size, int):
        return size
    value = size.node.maybe_as_int()
    return size if value is None else value


def _rename(dim: Any, whole: Mapping[str, str], symbols: Mapping[str, str], pattern: re.Pattern[str]) -> Any:
    if isinstance(dim, int) or dim.value is None:
        return dim
    text = str(dim.value)
    return whole.get(text) or pattern.sub(lambda match: symbols[match[0]], text)


def _numbered(count: int) -> tuple[str, ...]:
    return ("output",) if count == 1 else tuple(f"output_{index}" for index in range(count))


def _path_name(path: Sequence[Any]) -> str:
    parts = [str(getattr(key, "key", getattr(key, "idx", getattr(key, "name", key)))) for key in path]
    name = re.sub(r"\W", "_", "_".join(parts))
    return name if name and not name[0].isdigit() else f"output_{name}" if name else "output"


def _give_way(model: ir.Model, names: set[str], keep: Sequence[ir.Value]) -> None:
    """Renames values that hold one of the names and are not to be kept."""
    kept = set(keep)
    taken = {value.name for value in _values(model)} | names
    for value in list(_values(model)):
        if value.name not in names or value in kept:
            continue
        number = 1
        while f"{value.name}_{number}" in taken:
            number += 1
        fresh = f"{value.name}_{number}"
        taken.add(fresh)
        if value.is_initializer():
            del model.graph.initializers[value.name]
            value.name = fresh
            model.graph.initializers.add(value)
        else:
            value.name = fresh


def _values(model: ir.Model) -> Iterator[ir.Value]:
    import onnx_ir as ir

    yield from model.graph.inputs
    yield from model.graph.initializers.values()
    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        for node in ir.traversal.RecursiveGraphIterator(graph):
            yield from node.outputs
