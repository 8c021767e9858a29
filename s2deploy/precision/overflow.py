"""Which nodes left the range of their 16-bit type, and which to keep in float32 so that none does.

An overflow is a value that is infinite or not a number in the typed graph and finite in float32, where that begins;
behind such a node, values count that leave the range in float32 as well, since they overflow once the first is
repaired. To repair one, the node that computes it and all that read it must be float32.
Values within branches and loops are not looked at; the If or Loop that gives them out is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2deploy.feeds import Feed
from s2deploy.precision.probes import Summary, summaries

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True)
class Overflow:
    """A node whose result left the range of its type.

    Attributes:
        node: The node's name; the input's where the model's input itself does not fit.
        op_type: Its operator; ``input`` for an input.
        largest: The largest magnitude of the result in float32.
    """

    node: str
    op_type: str
    largest: float


class Lineage:
    """Which value of a float32 model every 16-bit value of the model typed from it stands for.

    Args:
        reference: The float32 model.
        typed: The typed model, with the same names of nodes.
    """

    def __init__(self, reference: ir.Model, typed: ir.Model) -> None:
        import onnx_ir as ir

        self._reference = reference
        self._given = {str(node.name): node for node in reference.graph}
        self._inputs = {str(value.name): value for value in reference.graph.inputs}
        self._origins: dict[ir.Value, ir.Value] = {}
        for value in (*typed.graph.inputs, *(value for node in typed.graph for value in node.outputs if value.name)):
            origin = self._origin(value)
            sixteen = value.type in (ir.TensorType(ir.DataType.FLOAT16), ir.TensorType(ir.DataType.BFLOAT16))
            if sixteen and origin is not None and origin.type == ir.TensorType(ir.DataType.FLOAT):
                self._origins[value] = origin

    @property
    def names(self) -> list[str]:
        """The names of the 16-bit values."""
        return [str(value.name) for value in self._origins]

    def overflows(
        self, rounded: Mapping[str, Summary], feeds: Iterable[Feed]
    ) -> tuple[tuple[Overflow, ...], tuple[str, ...]]:
        """Returns the nodes that overflowed, in the graph's order, and the names of nodes to keep in float32.

        Args:
            rounded: What the values of `names` were in the typed graph.
            feeds: What it was run on.

        Raises:
            ValidationError: onnxruntime cannot run the float32 model.
        """
        if all(summary.finite for summary in rounded.values()):
            return (), ()
        exact = summaries(self._reference, sorted({str(origin.name) for origin in self._origins.values()}), feeds)
        gone: set[ir.Value] = set()
        found: dict[str, Overflow] = {}
        repair: set[str] = set()
        for value, origin in self._origins.items():
            before = exact[str(origin.name)]
            if rounded[str(value.name)].finite or not before.finite:
                continue
            producer = value.producer()
            begins = producer is None or not any(read in gone for read in producer.inputs)
            gone.add(value)
            if begins or before.largest > _largest(value):
                node = origin.producer()
                name, kind = (str(origin.name), "input") if node is None else (str(node.name), node.op_type)
                found.setdefault(name, Overflow(name, kind, before.largest))
                repair.update(self._around(value))
        return tuple(found.values()), tuple(name for name in self._given if name in repair)

    def _around(self, value: ir.Value) -> Iterator[str]:
        """Yields the names of the nodes that compute a 16-bit value and read it as such."""
        nodes = [value.producer(), *(use.node for use in value.uses())]
        return (str(node.name) for node in nodes if node is not None and str(node.name) in self._given)

    def _origin(self, value: ir.Value) -> ir.Value | None:
        node = value.producer()
        if node is None:
            return self._inputs.get(str(value.name))
        if str(node.name) in self._given:
            return self._given[str(node.name)].outputs[value.index() or 0]
        if node.op_type == "Cast" and node.inputs[0] is not None:
            return self._origin(node.inputs[0])
        return None


def _largest(value: ir.Value) -> float:
    import onnx_ir as ir

    return 65504.0 if value.dtype == ir.DataType.FLOAT16 else 3.39e38
