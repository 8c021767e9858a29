"""What a graph is made of, counted: operators, products and weights, by type."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from s2deploy.precision.graph import HEAVY_OPERATORS, RECURRENT_OPERATORS

if TYPE_CHECKING:
    import onnx_ir as ir

_INTEGER_PRODUCTS = frozenset({"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv"})
_DTYPES = {"FLOAT": "float32", "DOUBLE": "float64"}


def nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Yields the nodes of graphs and functions but for Constants, which are weights under another name."""
    bodies: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for body in bodies:
        yield from (node for node in body.all_nodes() if node.op_type != "Constant")


def operators(model: ir.Model) -> dict[str, int]:
    """Returns how often each operator occurs, the most frequent first; ``domain::name`` outside of the standard."""
    return dict(Counter(map(operator, nodes(model))).most_common())


def products(model: ir.Model) -> dict[str, int]:
    """Returns how many products, convolutions and recurrent layers compute in each type, the most first."""
    heavy = (node for node in nodes(model) if node.op_type in HEAVY_OPERATORS | RECURRENT_OPERATORS | _INTEGER_PRODUCTS)
    return dict(Counter(map(_computes_in, heavy)).most_common())


def weights(model: ir.Model) -> dict[str, int]:
    """Returns the bytes of weights of each type, the most first."""
    sizes: Counter[str] = Counter()
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                sizes[dtype_name(value.const_value.dtype)] += value.const_value.nbytes
    return dict(sizes.most_common())


def operator(node: ir.Node) -> str:
    """Returns an operator's name, with its domain where that is not the standard's."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def dtype_name(dtype: ir.DataType | None) -> str:
    """Returns a type by numpy's name."""
    return "unknown" if dtype is None else _DTYPES.get(dtype.name, dtype.name.lower())


def _computes_in(node: ir.Node) -> str:
    """Returns the type of a product: that of any input the file gives one; int8 where its inputs are dequantized."""
    if node.op_type in _INTEGER_PRODUCTS:
        return "int8"
    inputs = [value for value in node.inputs[:2] if value is not None]
    makers = [value.producer() for value in inputs]
    if inputs and all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers):
        return "int8"
    return next((dtype_name(value.dtype) for value in (*inputs, *node.outputs) if value.dtype is not None), "unknown")
