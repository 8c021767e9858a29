"""The nodes of domain ``s2deploy`` that a graph gets, and the local functions that say what they compute.

A node is backed by a function of its own domain and name, so that a file runs on any runtime that knows functions, such
as onnxruntime; a runtime that has a plugin of the operator's name takes it where the function is left out. A body is
written for one configuration and number of channels: attributes of a function cannot say how many Slices it has.
Further ones in a file have a number behind their name. The function repeats the attributes with their values, so that
each is described by itself.

Requires: opset 13, in which axes are inputs; IR version 8, the first with functions.
Source: the ONNX specification of functions; ``ops`` defines what the bodies compute. Functions of one name that differ
by overload are not used: onnxruntime 1.23 computes one of them for all, without a word. It also takes a Constant with
``value_ints`` in a function for a scalar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from s2deploy.ops import (
    DOMAIN,
    SHIFT_SUM,
    SHIFT_SUM_POOL,
    SPATIAL_SHIFT,
    VERSION,
    Border,
    Configuration,
    op_named,
)
from s2deploy.ops.schema import TYPES, Op

OLDEST_OPSET = 13
FUNCTION_IR_VERSION = 8
DTYPES = tuple(ir.DataType[name.upper().replace("FLOAT32", "FLOAT")] for name in TYPES)
"""The element types the operators take."""

_END = 2**63 - 1
_CHANNELS = "s2deploy.channels"


def is_operator(node: ir.Node) -> bool:
    """Whether a node is one of the operators of `ops`."""
    return op_named(node.domain, node.op_type) is not None


def is_function_of_operator(function: ir.Function) -> bool:
    """Whether a local function is the body of one of the operators of `ops`."""
    return op_named(function.domain, function.name) is not None


def operator_node(
    model: ir.Model, op: Op, configuration: Configuration, channels: int, inputs: Sequence[ir.Value]
) -> ir.Node:
    """Returns a node of an operator, whose function is part of the model afterwards.

    Args:
        model: The model.
        op: The operator.
        configuration: What its attributes say.
        channels: The number of channels of its output.
        inputs: Its inputs.
    """
    attributes = op.encode(configuration)
    name = _known(model, op, attributes, channels)
    if name is None:
        taken = {function.name for function in model.functions.values() if function.domain == DOMAIN}
        names = (op.name if number == 1 else f"{op.name}_{number}" for number in range(1, len(taken) + 2))
        name = next(one for one in names if one not in taken)
        function = _function(op, configuration, channels, name, model.graph.opset_imports[""])
        model.functions[function.identifier()] = function
    model.graph.opset_imports.setdefault(DOMAIN, VERSION)
    model.ir_version = max(model.ir_version, FUNCTION_IR_VERSION)
    return ir.node(name, inputs, attributes, domain=DOMAIN)


def _known(model: ir.Model, op: Op, attributes: Mapping[str, int | list[int]], channels: int) -> str | None:
    """Returns the name of a function that the model has already."""
    for function in model.functions.values():
        if op_named(function.domain, function.name) is op and _CHANNELS in function.metadata_props:
            stated = {name: attribute.value for name, attribute in function.attributes.items()}
            same = {name: list(value) if isinstance(value, Sequence) else value for name, value in stated.items()}
            if same == attributes and function.metadata_props[_CHANNELS] == str(channels):
                return str(function.name)
    return None


def _function(op: Op, configuration: Configuration, channels: int, name: str, opset: int) -> ir.Function:
    inputs = [ir.Value(name=tensor.name) for tensor in op.inputs]
    body = _Body()
    shifted = body.shifted(inputs[0], configuration, channels * configuration.branches)
    axis = _channel_axis(configuration)
    spatial = [2, 1] if configuration.channels_last else [3, 2]
    k = configuration.branches
    if op is SPATIAL_SHIFT:
        output = shifted
    elif op is SHIFT_SUM_POOL:
        wide = body.add("Cast", [shifted], {"to": int(ir.DataType.FLOAT)})
        rows = body.add("ReduceSum", [wide, body.ints(sorted(spatial))], {"keepdims": 0})
        output = body.summed(body.split(rows, 1, k, channels))
    else:
        assert op is SHIFT_SUM
        weights = [body.add("Squeeze", [one, body.ints([1])]) for one in body.split(inputs[1], 1, k, 1)]
        places = [1, 2] if configuration.channels_last else [2, 3]
        fitting = [body.add("Unsqueeze", [one, body.ints(places)]) for one in weights]
        branches = body.split(shifted, axis, k, channels)
        output = body.summed([body.add("Mul", list(pair)) for pair in zip(branches, fitting, strict=True)])
    output.name = op.output.name
    graph = ir.Graph(inputs, [output], nodes=body.nodes, opset_imports={"": opset}, name=name)
    attributes = [ir.convenience.convert_attribute(name, value) for name, value in op.encode(configuration).items()]
    function = ir.Function(DOMAIN, name, "", graph=graph, attributes=attributes)
    function.metadata_props[_CHANNELS] = str(channels)
    return function


def _channel_axis(configuration: Configuration) -> int:
    return 3 if configuration.channels_last else 1


class _Body:
    """The nodes of a function, in order."""

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []

    def add(
        self, op_type: str, inputs: Sequence[ir.Value | None], attributes: Mapping[str, int | str] | None = None
    ) -> ir.Value:
        node = ir.node(op_type, inputs, dict(attributes or {}))
        self.nodes.append(node)
        node.name = f"{op_type}_{len(self.nodes)}"
        node.outputs[0].name = f"{op_type.lower()}_{len(self.nodes)}"
        return node.outputs[0]

    def ints(self, values: Sequence[int]) -> ir.Value:
        node = ir.node("Constant", [], {"value": ir.tensor(list(values), dtype=ir.DataType.INT64)})
        self.nodes.append(node)
        node.name = f"Constant_{len(self.nodes)}"
        node.outputs[0].name = f"constant_{len(self.nodes)}"
        return node.outputs[0]

    def sliced(self, value: ir.Value, axis: int, begin: int, end: int = _END) -> ir.Value:
        return self.add("Slice", [value, *map(self.ints, ([begin], [end], [axis]))])

    def split(self, value: ir.Value, axis: int, count: int, size: int) -> list[ir.Value]:
        if count == 1:
            return [value]
        return [self.sliced(value, axis, part * size, (part + 1) * size) for part in range(count)]

    def summed(self, values: Sequence[ir.Value]) -> ir.Value:
        return self.add("Sum", values)

    def shifted(self, x: ir.Value, configuration: Configuration, channels: int) -> ir.Value:
        """Returns the groups of channels, shifted one by one and joined with those that stay."""
        axis = _channel_axis(configuration)
        parts: list[ir.Value] = []
        covered = 0
        for shift in configuration.shifts:
            if shift.begin > covered:
                parts.append(self.sliced(x, axis, covered, shift.begin))
            group = self.sliced(x, axis, shift.begin, shift.end)
            rows = 1 if configuration.channels_last else 2
            parts.append(self.moved(group, {rows: shift.dy, rows + 1: shift.dx}, configuration.border))
            covered = shift.end
        if covered < channels:
            parts.append(self.sliced(x, axis, covered))
        return self.add("Concat", parts, {"axis": axis})

    def moved(self, group: ir.Value, offsets: Mapping[int, int], border: Border) -> ir.Value:
        if border is not Border.KEEP:
            # padded first: a map may have fewer rows than it is shifted by
            for axis, distance in offsets.items():
                if distance:
                    group = self.padded(group, axis, distance, "edge" if border is Border.REPLICATE else "constant")
            return group
        return self.kept(group, group, [pair for pair in offsets.items() if pair[1]])

    def padded(self, value: ir.Value, axis: int, distance: int, mode: str) -> ir.Value:
        pads = [0] * 8
        pads[axis if distance < 0 else axis + 4] = abs(distance)
        wide = self.add("Pad", [value, self.ints(pads)], {"mode": mode})
        return self.sliced(wide, axis, distance) if distance > 0 else self.sliced(wide, axis, 0, distance)

    def kept(self, moved: ir.Value, still: ir.Value, offsets: Sequence[tuple[int, int]]) -> ir.Value:
        """Returns positions of `moved` where they are inside, of `still` elsewhere; both begin at one position."""
        if not offsets:
            return moved
        (axis, distance), *others = offsets
        if distance > 0:
            inside = self.sliced(still, axis, 0, -distance)
            shifted = self.kept(self.sliced(moved, axis, distance), inside, others)
            parts = [shifted, self.sliced(still, axis, -distance)]
        else:
            inside = self.sliced(still, axis, -distance)
            shifted = self.kept(self.sliced(moved, axis, 0, distance), inside, others)
            parts = [self.sliced(still, axis, 0, -distance), shifted]
        return self.add("Concat", parts, {"axis": axis})
