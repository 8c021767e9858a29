"""The order of axes in which each part of a graph computes, chosen for a runtime.

Before: ``Transpose(NCHW -> NHWC), MatMul, Add, ..., Transpose back``, with anything in between that does not mean its
axes by position. After: the same operators with their axes renumbered, and Transposes where they cost the least:
often none, the products being Conv of size 1 or ``MatMul(W, x)``.
Requires: known ranks, constant axes, constant matrices. Refuses Transposes whose axes are exchanged with each other.
Preserves names, types and shapes of inputs and outputs, and values up to the rounding of another kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from s2deploy.rewrite.coordinates import Interval
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.layout_choice import Choice
from s2deploy.rewrite.layout_costs import UnitCosts
from s2deploy.rewrite.layout_linear import write_linear
from s2deploy.rewrite.layout_renumber import write
from s2deploy.rewrite.layout_units import Unit, Units
from s2deploy.rewrite.layout_writing import Perm, Writer
from s2deploy.rewrite.outputs import substitute
from s2deploy.rewrite.refusals import Refusal
from s2deploy.rewrite.rules import MOVEMENT, RULES
from s2deploy.rewrite.runtime_costs import WORSE, RuntimeCosts

_SMALLEST_GAIN = 0.02


@dataclass(frozen=True)
class Layout:
    """A region that computes in another order of axes.

    Attributes:
        name: The first tensor that it computes.
        count: How many tensors it computes in another order.
        order: The axes of the first of them, in the new order.
        saved: Which part of the region's estimated cost is saved, 0 to 1.
    """

    name: str
    count: int
    order: tuple[int, ...]
    saved: float

    def __str__(self) -> str:
        axes = ", ".join(map(str, self.order))
        more = f" and {self.count - 1} more" if self.count > 1 else ""
        return f"{self.name}{more}: axes in the order {axes}, {self.saved:.0%} of the estimated cost saved"


@dataclass(frozen=True)
class LayoutResult:
    """What the pass did and did not do."""

    layouts: Sequence[Layout]
    refusals: Sequence[Refusal]


def choose_layouts(
    graph: ir.Graph,
    ranges: Mapping[str, Interval],
    sizes: Mapping[str, int],
    costs: Sequence[RuntimeCosts],
    allow: Callable[[str], bool] = lambda name: True,
) -> LayoutResult:
    """Puts the axes of a graph in the cheapest order in place; what nothing reads any more is left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        sizes: Typical size of named dimensions.
        costs: What the runtime is judged by; see `COSTS`.
        allow: Asked with the name of a region's first tensor right before it is changed.
    """
    if not any(node.op_type == "Transpose" for node in graph):
        return LayoutResult((), ())
    facts = Interpretation(graph, ranges, RULES)
    units = Units(facts)
    prices = [UnitCosts(units, own, sizes) for own in costs]
    writer = Writer(facts)
    done: list[Layout] = []
    for region in units.regions():
        choice = _best([Choice(units, own, region) for own in prices])
        name = region[0].outputs[0].name or ""
        if choice.before - choice.after <= _SMALLEST_GAIN * choice.before or _is_movement(region, choice):
            continue
        if allow(name):
            orders = _rewrite(units, writer, region, choice)
            first, order = next(iter(orders.items()))
            done.append(Layout(first.name or "", len(orders), order, 1 - choice.after / choice.before))
    return LayoutResult(done, units.refusals)


def _is_movement(region: Sequence[Unit], choice: Choice) -> bool:
    """Whether nothing changes its order but data movement, which `movement.py` has composed as it thinks best."""
    changed = [unit.node for unit, label in zip(region, choice.labels, strict=True) if label is not None]
    return all(node.op_type in MOVEMENT for node in changed)


def _best(choices: Sequence[Choice]) -> Choice:
    """Returns the first choice, or the best of another that finds the first too dear."""
    for other in choices[1:]:
        if other.cost(choices[0].labels) > WORSE * other.after:
            return other
    return choices[0]


def _rewrite(units: Units, writer: Writer, region: Sequence[Unit], choice: Choice) -> dict[ir.Value, Perm]:
    """Writes the units of a region in the orders chosen and returns the tensors that changed, with their order."""
    replaced: dict[ir.Value, ir.Node] = {}
    orders: dict[ir.Value, Perm] = {}
    for unit, label in zip(region, choice.labels, strict=True):
        if label is None:
            continue
        order = choice.orders[label]
        perms: dict[ir.Value, Perm] = {value: units.perm(value, order) or () for value in unit.values}
        linear = unit.linear
        form = "" if linear is None else choice.costs.cheapest_form(linear, perms[linear.data])[1]
        if all(perm == tuple(range(len(perm))) for perm in perms.values()) and (linear is None or form == linear.form):
            continue
        before = unit.node if linear is None or linear.add is None else linear.add
        versions = {}
        for value in unit.inputs:
            root, wire = units.root(value)
            if root not in replaced:
                writer.keep(root, tuple(range(len(wire))), root)
            versions[value] = writer.version(root, tuple(wire[axis] for axis in perms[value]))
        if linear is None:
            new = write(writer, unit.node, versions, perms.__getitem__)
        else:
            new = [write_linear(writer, linear, form, versions[linear.data], perms[linear.data])]
        for old, value in zip(unit.outputs, new, strict=True):
            writer.keep(old, perms[old], value)
            replaced[old], orders[old] = before, perms[old]
    for old, before in replaced.items():
        _reconnect(units, writer, old, before)
    return orders


def _reconnect(units: Units, writer: Writer, old: ir.Value, before: ir.Node) -> None:
    """Gives what still reads a tensor, directly or over wires, the tensor in the order it wants."""
    waiting = [old]
    for value in waiting:
        waiting += [use.node.outputs[0] for use in value.uses() if use.node.outputs[0] in units.wires]
    for value in reversed(waiting):
        if any(use.node.outputs[0] not in units.wires for use in value.uses()) or value.is_graph_output():
            _, perm = units.root(value)
            substitute(writer.facts.graph, value, writer.version(old, perm), before)
