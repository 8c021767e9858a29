"""How much memory a graph's activations take at given sizes: the peak of what is alive at the same time.

An estimate from the graph alone. A builder fuses operators, so that tensors between them never exist, and adds
workspace and copies in other layouts; what it does is not known before it has done it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2deploy.engine.sizing import sized

if TYPE_CHECKING:
    import onnx_ir as ir

# what they give is what they were given under another shape
_VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})


@dataclass(frozen=True)
class Peak:
    """The most memory that activations take at the same time, inputs and outputs included.

    Attributes:
        peak_bytes: The memory.
        node: The node that runs then, or what it makes; empty where there is no node.
        unknown: How many tensors have a size that the graph does not tell; they are not counted.
    """

    peak_bytes: int
    node: str
    unknown: int


def activation_peak(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> Peak:
    """Returns the peak at the given shapes of the inputs.

    Args:
        model: A model, with the types of its values; it stays as it is.
        shapes: The shapes of its dynamic inputs.
    """
    walk = _Walk()
    peak, node = walk.peak(sized(model, shapes).graph)
    return Peak(peak, node, len(walk.unknown))


class _Walk:
    """One pass over a graph and its bodies in the order they run in."""

    def __init__(self) -> None:
        self.unknown: set[ir.Value] = set()

    def peak(self, graph: ir.Graph) -> tuple[int, str]:
        nodes = list(graph)
        owners = _owners(graph, nodes)
        last_use: dict[ir.Value, int] = {}
        for index, node in enumerate(nodes):
            for value in _reads(node):
                if value in owners:
                    last_use[owners[value]] = index
        last_use |= {owners[value]: len(nodes) for value in graph.outputs if value in owners}
        alive = {value: self._bytes(value) for value in graph.inputs if value in owners}
        current = peak = sum(alive.values())
        busiest = ""
        for index, node in enumerate(nodes):
            for value in node.outputs:
                if owners.get(value) is value:
                    alive[value] = self._bytes(value)
                    current += alive[value]
            inner = max((self.peak(body)[0] for body in _bodies(node)), default=0)
            if current + inner > peak:
                peak, busiest = current + inner, node.name or str(node.outputs[0].name)
            for value in [value for value in alive if last_use.get(value, index) <= index]:
                current -= alive.pop(value)
        return peak, busiest

    def _bytes(self, value: ir.Value) -> int:
        dtype, shape = value.dtype, value.shape
        is_text = dtype is not None and dtype.name == "STRING"
        if dtype is None or is_text or shape is None or not all(isinstance(size, int) for size in shape):
            self.unknown.add(value)
            return 0
        return math.ceil(math.prod(int(str(size)) for size in shape) * dtype.bitwidth / 8)


def _owners(graph: ir.Graph, nodes: Sequence[ir.Node]) -> dict[ir.Value, ir.Value]:
    """Returns, for every activation of a graph itself, the one whose memory it is."""
    owners = {value: value for value in graph.inputs if not value.is_initializer()}
    for node in nodes:
        source = node.inputs[0] if node.op_type in _VIEWS and node.inputs else None
        for value in node.outputs:
            if value.const_value is None:
                owners[value] = value if source is None else owners.get(source, value)
    return owners


def _reads(node: ir.Node) -> Iterator[ir.Value]:
    """Yields what a node reads, and what its bodies read of the graph around them."""
    yield from (value for value in node.inputs if value is not None)
    for body in _bodies(node):
        for inner in body.all_nodes():
            yield from (value for value in inner.inputs if value is not None)
        yield from body.outputs


def _bodies(node: ir.Node) -> Iterator[ir.Graph]:
    import onnx_ir as ir

    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()
