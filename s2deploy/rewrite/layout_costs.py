"""What the units of a graph cost in each order of axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from s2deploy.rewrite.expressions import at
from s2deploy.rewrite.layout_linear import Linear, forms, is_writable
from s2deploy.rewrite.layout_nodes import BROADCASTING, REDUCING, UNARY, first_input, moving, named_axes, touched_axes
from s2deploy.rewrite.layout_units import Order, Unit, Units
from s2deploy.rewrite.layout_writing import Perm, full_target
from s2deploy.rewrite.runtime_costs import RuntimeCosts

Perms = Mapping[ir.Value, Perm]


class UnitCosts:
    """Costs on one runtime, at typical sizes.

    Args:
        units: What is known of the graph.
        costs: The runtime.
        sizes: Typical sizes of named dimensions.
    """

    def __init__(self, units: Units, costs: RuntimeCosts, sizes: Mapping[str, int]) -> None:
        self._units, self._facts, self._costs, self._sizes = units, units.facts, costs, sizes

    def of(self, unit: Unit, order: Order | None) -> float:
        """Returns what a unit costs in an order, infinity where it cannot take it; None is the order it has."""
        perms: dict[ir.Value, Perm] = {}
        for value in unit.values:
            perm = self._units.perm(value, order)
            if perm is None or not _ends_alike(perm, unit.last.get(value, 0)):
                return math.inf
            perms[value] = perm
        if unit.linear is None:
            return self._node(unit.node, perms)
        if order is None:
            return self._linear(unit.linear, unit.linear.form)
        return self.cheapest_form(unit.linear, perms[unit.linear.data])[0]

    def cheapest_form(self, linear: Linear, perm: Perm) -> tuple[float, str]:
        """Returns what a linear map costs in an order, infinity where it cannot take it, and its cheapest form."""
        found = [
            form for form in forms(len(perm), perm.index(linear.axis)) if is_writable(self._facts, linear, form, perm)
        ]
        return min(((self._linear(linear, form), form) for form in found), default=(math.inf, ""))

    def transposition(self, value: ir.Value, given: Perm, wanted: Perm) -> float:
        """Returns what it costs to turn a value from one order to another."""
        if given == wanted:
            return 0.0
        return self._costs.transposition(self.numbers(value, given), [given.index(axis) for axis in wanted])

    def numbers(self, value: ir.Value, perm: Perm | None = None) -> list[int]:
        """Returns the typical sizes of a value in an order."""
        shape = self._facts.shape(value)
        return [at(shape[axis], self._sizes) for axis in (perm or range(len(shape)))]

    def _linear(self, linear: Linear, form: str) -> float:
        inputs, outputs = linear.channels
        positions = math.prod(self.numbers(linear.data)) // max(inputs, 1)
        return self._costs.linear(form, positions, inputs, outputs, bias=linear.bias is not None)

    def _node(self, node: ir.Node, perms: Perms) -> float:
        op_type, out, costs = node.op_type, node.outputs[0], self._costs
        sizes = self.numbers(out, perms[out])
        count = math.prod(sizes)
        if op_type in ("Identity", "Squeeze", "Unsqueeze"):
            return costs.view_ns
        if op_type in UNARY:
            return costs.arithmetic(count, count)
        if op_type in BROADCASTING:
            return costs.arithmetic(count, self._run(node, perms[out]))
        first = moving(node)[0]
        before = self.numbers(first, perms[first])
        if op_type == "Reshape":
            return self._reshape(node, perms)
        if op_type == "LayerNormalization":
            return costs.normalization(math.prod(before))
        if op_type in REDUCING:
            axes = named_axes(self._facts, node) or range(len(before))
            gone = [perms[first].index(axis % len(before)) for axis in axes]
            left = [t for t, size in enumerate(before) if t not in gone and size != 1]
            within = not left or max(left) < min((t for t in gone if before[t] != 1), default=len(before))
            return costs.reduction(math.prod(before), within=within)
        places = [perms[first].index(axis) for axis in touched_axes(self._facts, node)]
        if op_type in ("LogSoftmax", "Softmax"):
            return costs.softmax(count, within=places == [len(before) - 1])
        if op_type == "Pad":
            return costs.pad(count, sizes[-1])
        if op_type == "Split":
            return costs.node_ns + sum(self._split(value, perms, places[0]) for value in node.outputs)
        run = math.prod(sizes[max(places) :]) if places and len(sizes) == len(before) else count
        if op_type == "Concat":
            return costs.movement(count, run // len(node.inputs))
        return costs.movement(count, run)

    def _split(self, value: ir.Value, perms: Perms, place: int) -> float:
        """Returns what it costs to copy one of the tensors that a Split gives."""
        sizes = self.numbers(value, perms[value])
        return self._costs.movement(math.prod(sizes), math.prod(sizes[place:])) - self._costs.node_ns

    def _reshape(self, node: ir.Node, perms: Perms) -> float:
        """Returns what a Reshape costs: infinity in another order if its target would have to be computed."""
        tensors = (first_input(node), node.outputs[0])
        if all(perms[value] == tuple(sorted(perms[value])) for value in tensors):
            return self._costs.view_ns
        before, after = ([self._facts.shape(value)[axis] for axis in perms[value]] for value in tensors)
        return math.inf if full_target(self._facts, before, after) is None else self._costs.view_ns

    def _run(self, node: ir.Node, perm: Perm) -> int:
        """Returns over how many elements all operands of arithmetic are contiguous or repeat."""
        whole = self.numbers(node.outputs[0], perm)
        run = math.prod(whole)
        for value in node.inputs:
            shape = None if value is None else self._facts.known_shape(value)
            if shape:
                sizes = [1] * (len(whole) - len(shape)) + [at(size, self._sizes) for size in shape]
                run = min(run, _run_of([sizes[axis] for axis in perm], whole))
        return run


def _run_of(sizes: Sequence[int], whole: Sequence[int]) -> int:
    """Returns over how many elements of the whole an operand of certain sizes is contiguous or repeats."""
    run = 1
    repeats: bool | None = None
    for size, full in zip(reversed(sizes), reversed(whole), strict=True):
        if full != 1:
            if repeats is not None and (size == 1) != repeats:
                break
            repeats = size == 1
        run *= full
    return run


def _ends_alike(perm: Perm, count: int) -> bool:
    """Whether the last axes of a tensor, so many, are its last in an order too."""
    last = range(len(perm) - count, len(perm))
    return perm[len(perm) - count :] == tuple(last)
