"""The cheapest order of axes for every unit of a region, by minimum cuts.

A unit costs something in each order, and so does the Transpose wherever a tensor is read in another order than it is
given. With two orders the cheapest choice is a minimum cut; with more of them, one order after the other is offered to
all units at once, and a cut says who takes it, until nobody does (alpha-expansion).
Source: Y. Boykov, O. Veksler, R. Zabih, "Fast approximate energy minimization via graph cuts", 2001.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from s2deploy.rewrite.cuts import SINK, SOURCE, Network
from s2deploy.rewrite.layout_costs import UnitCosts
from s2deploy.rewrite.layout_units import Order, Unit, Units, unit_nodes
from s2deploy.rewrite.layout_writing import Perm

_MOST_ORDERS = 6
_MOST_SWEEPS = 4

Labels = list["int | None"]
"""The number of the order that each unit takes; None for the one it has."""


@dataclass
class _Tensor:
    """A tensor and who reads it, directly or over wires.

    Attributes:
        value: The tensor.
        producer: The number of the unit that gives it; None where it is none of the region's.
        readers: The numbers of units that read it, and what they read.
        fixed: The orders in which others read it.
    """

    value: ir.Value
    producer: int | None
    readers: list[tuple[int, ir.Value]] = field(default_factory=list)
    fixed: set[Perm] = field(default_factory=set)


class Choice:
    """The choice of orders for one region.

    Args:
        units: What is known of the graph.
        costs: What its units cost.
        region: The units of the region, in topological order.

    Attributes:
        costs: What its units cost.
        orders: The orders to choose from.
        labels: The order of each unit.
        before: The cost as it is.
        after: The cost of the choice.
    """

    def __init__(self, units: Units, costs: UnitCosts, region: Sequence[Unit]) -> None:
        self._units, self.costs, self._region = units, costs, region
        self.orders = _orders(units, costs, region)
        self._tensors = self._collect()
        self._prices: list[dict[int | None, float]] = [
            {None: costs.of(unit, None)} | {number: costs.of(unit, order) for number, order in enumerate(self.orders)}
            for unit in region
        ]
        self.labels: Labels = [None] * len(region)
        self.before = self.after = self.cost(self.labels)
        self._improve()

    def _improve(self) -> None:
        for _ in range(_MOST_SWEEPS):
            before = self.after
            for number in range(len(self.orders)):
                offered = self._offer(number)
                total = self.cost(offered)
                if total < self.after - 1:
                    self.labels, self.after = offered, total
            if self.after == before:
                return

    def _order_at(self, value: ir.Value, label: int | None) -> Perm:
        """Returns the order that a tensor's reader or producer takes, in terms of the tensor wires lead from."""
        _, wire = self._units.root(value)
        perm = self._units.perm(value, None if label is None else self.orders[label])
        return wire if perm is None else tuple(wire[axis] for axis in perm)

    def cost(self, labels: Labels) -> float:
        """Returns the cost of a choice, infinity where a unit cannot take its order."""
        total = sum(prices[label] for prices, label in zip(self._prices, labels, strict=True))
        for tensor in self._tensors:
            given = self._given(tensor, labels)
            wanted = tensor.fixed | {self._order_at(value, labels[reader]) for reader, value in tensor.readers}
            total += sum(self.costs.transposition(tensor.value, given, perm) for perm in wanted)
        return total

    def _given(self, tensor: _Tensor, labels: Labels) -> Perm:
        if tensor.producer is None:
            return tuple(range(len(self._units.axes(tensor.value))))
        return self._order_at(tensor.value, labels[tensor.producer])

    def _offer(self, number: int) -> Labels:
        """Returns the labels after the units that gain by it have taken an order, all at once."""
        network = Network()
        nodes = [network.node() for _ in self._region]
        for node, prices, label in zip(nodes, self._prices, self.labels, strict=True):
            if label == number:
                network.edge(node, SINK, math.inf)
                continue
            network.edge(SOURCE, node, _whole(prices[number]))
            network.edge(node, SINK, _whole(prices[label]))
        for tensor in self._tensors:
            self._connect(network, nodes, tensor, number)
        taken = network.sink_side()
        return [number if node in taken else label for node, label in zip(nodes, self.labels, strict=True)]

    def _connect(self, network: Network, nodes: Sequence[int], tensor: _Tensor, number: int) -> None:
        """Makes it cost a Transpose that the readers of a tensor, all together, are cut from its producer."""
        offered = self._order_at(tensor.value, number)
        producer = self._side(nodes, tensor.producer, self._given(tensor, self.labels), offered)
        sides = [
            self._side(nodes, reader, self._order_at(value, self.labels[reader]), offered)
            for reader, value in tensor.readers
        ]
        sides += [SINK if perm == offered else SOURCE for perm in tensor.fixed]
        given = self._given(tensor, self.labels)
        others = [
            perm
            for perm in (given, *tensor.fixed, *(self._order_at(v, self.labels[r]) for r, v in tensor.readers))
            if perm != offered
        ]
        if not others:
            return
        price = _whole(self.costs.transposition(tensor.value, offered, others[0]))
        away, back = network.node(), network.node()
        network.edge(producer, away, price)
        network.edge(back, producer, price)
        for side in sides:
            network.edge(away, side, math.inf)
            network.edge(side, back, math.inf)

    @staticmethod
    def _side(nodes: Sequence[int], unit: int | None, perm: Perm, offered: Perm) -> int:
        """Returns the side of the cut on which a tensor is taken in the order that is offered."""
        if perm == offered:
            return SINK
        return SOURCE if unit is None else nodes[unit]

    def _collect(self) -> list[_Tensor]:
        number = {node: n for n, unit in enumerate(self._region) for node in unit_nodes(unit)}
        tensors: dict[ir.Value, _Tensor] = {}
        for unit in self._region:
            for value in unit.values:
                root, _ = self._units.root(value)
                if root not in tensors:
                    producer = root.producer()
                    tensors[root] = _Tensor(root, None if producer is None else number.get(producer))
        reading = {(n, value) for n, unit in enumerate(self._region) for value in unit.inputs}
        for tensor in tensors.values():
            waiting = [tensor.value]
            for value in waiting:
                _, perm = self._units.root(value)
                if value.is_graph_output():
                    tensor.fixed.add(perm)
                for node in dict.fromkeys(use.node for use in value.uses()):
                    if node.outputs and node.outputs[0] in self._units.wires:
                        waiting.append(node.outputs[0])
                    elif node in number and (number[node], value) in reading:
                        tensor.readers.append((number[node], value))
                    else:
                        tensor.fixed.add(perm)
        return list(tensors.values())


def _whole(cost: float) -> float:
    return cost if math.isinf(cost) else float(round(cost * 16))


def _orders(units: Units, costs: UnitCosts, region: Sequence[Unit]) -> list[Order]:
    """Returns the orders that tensors of a region have, each completed to one of all its axes."""
    weights: Counter[tuple[int, ...]] = Counter()
    for unit in region:
        for value in unit.values:
            root, _ = units.root(value)
            for seen in {value, root}:
                weights[tuple(atom for axis in units.atoms(seen) for atom in axis)] += math.prod(costs.numbers(seen))
    found: list[tuple[int, ...]] = []
    ranked = [atoms for atoms, _ in sorted(weights.items(), key=lambda item: (-len(item[0]), -item[1]))]
    for atoms in ranked:
        if len(atoms) > 1 and not any(_is_within(atoms, order) for order in found):
            found.append(_completed(atoms, ranked))
    found = sorted(found, key=lambda order: -sum(w for atoms, w in weights.items() if _is_within(atoms, order)))
    return [{atom: place for place, atom in enumerate(order)} for order in found[:_MOST_ORDERS]]


def _is_within(atoms: tuple[int, ...], order: tuple[int, ...]) -> bool:
    places = {atom: place for place, atom in enumerate(order)}
    if not all(atom in places for atom in atoms):
        return False
    found = [places[atom] for atom in atoms]
    return found == sorted(found)


def _completed(order: tuple[int, ...], others: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Returns an order with the axes that it lacks where other tensors have them."""
    whole = list(order)
    fitting = sorted(others, key=lambda other: not _is_within(tuple(a for a in other if a in order), order))
    for other in fitting:
        for place, atom in enumerate(other):
            if atom not in whole:
                before = next((whole.index(a) + 1 for a in reversed(other[:place]) if a in whole), 0)
                whole.insert(before, atom)
    return tuple(whole)
