"""The parts of a graph whose axes can be put in another order together.

A *unit* is a node, or the nodes of a linear map; it takes all its tensors in one order. A Transpose is no unit but a
wire: its output is its input in another order. Units whose axes are the same (`axes.py`) make a *region*.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from s2deploy.rewrite.axes import Axes, AxisConflictError
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.layout_linear import Linear, linear_of
from s2deploy.rewrite.layout_nodes import RigidError, first_input, is_constant, moving, relation
from s2deploy.rewrite.layout_writing import Perm
from s2deploy.rewrite.refusals import NotMovementError, Refusal
from s2deploy.rewrite.rules_movement import ints_attribute

Order = Mapping[int, int]
"""The place of every atom in an order."""


@dataclass(eq=False)
class Unit:
    """A node that can take its tensors in any of several orders.

    Attributes:
        node: The node; the product, where it is a linear map.
        linear: The linear map it is.
        inputs: The tensors it reads that have axes to put in order.
        last: Values whose last axes, this many, must stay the last.
    """

    node: ir.Node
    linear: Linear | None
    inputs: Sequence[ir.Value]
    last: Mapping[ir.Value, int] = field(default_factory=dict)

    @property
    def outputs(self) -> Sequence[ir.Value]:
        """The tensors it gives."""
        return self.node.outputs if self.linear is None else (self.linear.output,)

    @property
    def values(self) -> Sequence[ir.Value]:
        """The tensors it reads and gives."""
        return (*self.inputs, *self.outputs)


class Units:
    """The units of a graph.

    Args:
        facts: The facts about the graph.

    Attributes:
        facts: The facts about the graph.
        wires: The Transpose nodes that are wires.
        refusals: Transpose nodes that are none, with reasons.
    """

    def __init__(self, facts: Interpretation) -> None:
        self.facts = facts
        self.wires: dict[ir.Value, ir.Node] = {}
        self.refusals: list[Refusal] = []
        self._axes = Axes()
        self._of: dict[ir.Value, tuple[int, ...]] = {}
        self._atoms: dict[ir.Value, list[tuple[int, ...]]] = {}
        self._roots: dict[ir.Value, tuple[ir.Value, Perm]] = {}
        self._units: list[Unit] = []
        self._collect()

    def axes(self, value: ir.Value) -> tuple[int, ...]:
        """Returns the axis variables of a value.

        Raises:
            NotMovementError: Its rank is not known.
        """
        if value not in self._of:
            self._of[value] = tuple(self._axes.new() for _ in self.facts.shape(value))
        return self._of[value]

    def atoms(self, value: ir.Value) -> list[tuple[int, ...]]:
        """Returns what each axis of a value is made of."""
        if value not in self._atoms:
            self._atoms[value] = [self._axes.atoms(axis) for axis in self.axes(value)]
        return self._atoms[value]

    def root(self, value: ir.Value) -> tuple[ir.Value, Perm]:
        """Returns the value that wires lead from, and for each axis here the axis there."""
        if value not in self._roots:
            root, perm = value, tuple(range(len(self.axes(value))))
            while root in self.wires:
                node = self.wires[root]
                step = transposed(node, len(perm))
                perm = tuple(step[axis] for axis in perm)
                root = first_input(node)
            self._roots[value] = root, perm
        return self._roots[value]

    def perm(self, value: ir.Value, order: Order | None) -> Perm | None:
        """Returns an order of a value's axes; None where axes that are merged lie apart in it."""
        atoms = self.atoms(value)
        if order is None:
            return tuple(range(len(atoms)))
        perm = sorted(range(len(atoms)), key=lambda axis: order[atoms[axis][0]])
        places = [order[atom] for axis in perm for atom in atoms[axis]]
        return tuple(perm) if places == sorted(places) else None

    def _collect(self) -> None:
        taken: set[ir.Node] = set()
        late: list[ir.Node] = []
        for node in self.facts.graph:
            if node in taken:
                continue
            if node.op_type in ("Transpose", "Reshape") and node.domain == "":
                late.append(node)
                continue
            try:
                linear = linear_of(self.facts, node)
                if linear is not None:
                    self._axes.relate(list(zip(self.axes(linear.data), self.axes(linear.output), strict=True)))
                    self._units.append(Unit(node, linear, (linear.data,)))
                    taken.update(unit_nodes(self._units[-1]))
                else:
                    self._relate(node)
            except (RigidError, NotMovementError, AxisConflictError):
                continue
        for node in sorted(late, key=lambda node: node.op_type != "Transpose"):
            data = node.inputs[0]
            try:
                if node.op_type == "Reshape":
                    self._relate(node)
                elif data is not None and not is_constant(data):
                    perm, axes = transposed(node, len(self.axes(data))), self.axes(data)
                    self._axes.relate(list(zip(self.axes(node.outputs[0]), [axes[t] for t in perm], strict=True)))
                    self.wires[node.outputs[0]] = node
            except (RigidError, NotMovementError, AxisConflictError) as reason:
                if node.op_type == "Transpose":
                    self.refusals.append(Refusal.of(node, str(reason)))
        position = {node: place for place, node in enumerate(self.facts.graph)}
        self._units.sort(key=lambda unit: position[unit.node])

    def _relate(self, node: ir.Node) -> None:
        found = relation(self.facts, node, self.axes)
        self._axes.relate(found.same, found.merged)
        self._units.append(Unit(node, None, tuple(dict.fromkeys(moving(node))), found.last))

    def regions(self) -> list[list[Unit]]:
        """Returns the units by what axes they have in common, leaving out those without a Transpose among them."""
        group: dict[int, int] = {}

        def find(atom: int) -> int:
            while group.setdefault(atom, atom) != atom:
                group[atom] = group[group[atom]]
                atom = group[atom]
            return atom

        values = [value for unit in self._units for value in unit.values]
        contradictory: set[int] = set()
        for value in (*values, *self.wires):
            atoms = [atom for axis in self.atoms(value) for atom in axis]
            for atom in atoms[1:]:
                group[find(atom)] = find(atoms[0])
            if len(set(atoms)) < len(atoms):
                contradictory.add(atoms[0])
        refused = {find(atom) for atom in contradictory}
        turned = {find(self.atoms(value)[0][0]): node for value, node in self.wires.items() if self.axes(value)}
        self.refusals += [
            Refusal.of(node, "its axes are exchanged with each other")
            for atom, node in turned.items()
            if atom in refused
        ]
        found: dict[int, list[Unit]] = defaultdict(list)
        for unit in self._units:
            first = next((axis[0] for value in unit.values for axis in self.atoms(value)), None)
            if first is not None and find(first) in turned and find(first) not in refused:
                found[find(first)].append(unit)
        return list(found.values())


def transposed(node: ir.Node, rank: int) -> Perm:
    """Returns the order that a Transpose gives.

    Raises:
        NotMovementError: It is no order of that many axes.
    """
    perm = ints_attribute(node, "perm") or tuple(reversed(range(rank)))
    if sorted(perm) != list(range(rank)):
        raise NotMovementError("a Transpose of other axes than the tensor has")
    return tuple(perm)


def unit_nodes(unit: Unit) -> list[ir.Node]:
    """Returns the nodes of a unit."""
    return [unit.node] if unit.linear is None or unit.linear.add is None else [unit.node, unit.linear.add]
