"""Data movement composed: what chains of movement amount to is computed once, from where they started.

Before: any mixture of Slice, Concat, Split, Pad, Transpose, Expand, Gather, ScatterND, ScatterElements, Where on
known masks, and the arithmetic on shapes and indices that feeds them. After: the cheapest graph found for the
tensors that something else reads. A group of connected movements is replaced if that removes a scatter, or if
the new nodes cost less than the old ones.
Requires: ranks, and sizes or ranges that decide how the boxes lie. Refuses node by node, with the reason.
Preserves: every value bit by bit; names and types of inputs and outputs. A second run changes nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import onnx_ir as ir

from s2deploy.rewrite.bodies import bodies, inline_decided, understood_body
from s2deploy.rewrite.cases import Cases, Original
from s2deploy.rewrite.cells import gathered
from s2deploy.rewrite.cones import cone_of
from s2deploy.rewrite.constants import constant_array
from s2deploy.rewrite.contents import Read
from s2deploy.rewrite.coordinates import Coord, Interval, UndecidedError
from s2deploy.rewrite.cost import expression_cost, node_cost
from s2deploy.rewrite.expressions import Expression, Source, operator_of, walk
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.lower import CannotLowerError, Lowering
from s2deploy.rewrite.pads import writable
from s2deploy.rewrite.refusals import NotMovementError, Refusal, label
from s2deploy.rewrite.regions import Tiling
from s2deploy.rewrite.rules import RULES, SCATTERS
from s2deploy.rewrite.strides import Interleaved
from s2deploy.rewrite.understanding import understand, value_of, written_form
from s2deploy.rewrite.unrolling import unroll_scattering

_WITHDRAWN = "its rewrite gave other outputs and was withdrawn"
_MANY_OPERATORS = 32
_TOO_DEEP = "its assignments lie within each other too deeply"


@dataclass(frozen=True)
class Rewrite:
    """One tensor that is now computed by other nodes.

    Attributes:
        name: The tensor.
        before: Operators it took, with their numbers.
        after: Operators it takes now, with their numbers.
        source: ``file.py:line`` of the model, where the exporter recorded it.
    """

    name: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    source: str | None = None


@dataclass
class MovementResult:
    """What one run of the pass did.

    Attributes:
        rewrites: Tensors that are now computed by other nodes.
        refusals: Scatters that were left alone.
        guards: Comparisons of sizes that were decided by the declared ranges.
        unfinished: Whether something became a constant through which another run sees further.
    """

    rewrites: list[Rewrite] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    guards: tuple[str, ...] = ()
    unfinished: bool = False


def compose_movement(
    graph: ir.Graph,
    ranges: Mapping[str, Interval],
    sizes: Mapping[str, int],
    allow: Callable[[str], bool] = lambda name: True,
) -> MovementResult:
    """Composes the data movement of a graph in place; nodes that nothing reads any more are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        sizes: Typical size of named dimensions, for the cost of what moves.
        allow: Asked with a tensor's name right before it is replaced.
    """
    plain = Interpretation(graph, ranges, RULES, SCATTERS)
    facts, cases = understand(graph, ranges, plain)
    result = _Composition(graph, facts, cases, sizes, facts.dimensions(), allow).run()
    result.unfinished |= allow("decided branches") and inline_decided(graph, plain)
    _compose_bodies(plain, sizes, result, {}, allow)
    # What a body scatters may be gone after another run.
    if not result.rewrites and not result.unfinished:
        result.unfinished = allow("short loops") and unroll_scattering(graph, plain)
    return result


def _compose_bodies(
    facts: Interpretation,
    sizes: Mapping[str, int],
    result: MovementResult,
    around: Mapping[Coord, tuple[ir.Value, int]],
    allow: Callable[[str], bool],
) -> None:
    """Composes the movement in the bodies of If, Loop and Scan nodes, in terms of what is known outside of them."""
    own = facts.dimensions_of(facts.graph.inputs)
    for node in list(facts.graph):
        for body in bodies(node):
            inner = understood_body(node, body, facts, RULES, SCATTERS)
            known = {**around, **own}
            found = _Composition(body, inner, None, sizes, {**inner.dimensions(), **known}, allow).run()
            _compose_bodies(inner, sizes, found, known, allow)
            result.rewrites += found.rewrites
            result.refusals += found.refusals
            result.guards = tuple(dict.fromkeys((*result.guards, *found.guards)))
            result.unfinished |= found.unfinished
        for size, place in facts.dimensions_computed(node).items():
            own.setdefault(size, place)


class _Composition:
    def __init__(
        self,
        graph: ir.Graph,
        facts: Interpretation,
        cases: Cases | None,
        sizes: Mapping[str, int],
        dimensions: Mapping[Coord, tuple[ir.Value, int]],
        allow: Callable[[str], bool],
    ) -> None:
        self._graph, self._sizes, self._allow = graph, sizes, allow
        self._facts, self._cases = facts, cases
        self._lowering = Lowering(graph, facts.bounds, dimensions, facts.opset)
        self._lowered: set[Expression] = set()
        self._result = MovementResult(refusals=list(self._facts.refusals))

    def run(self) -> MovementResult:
        moved = [node for node in self._graph if node in self._facts.moved]
        arithmetic = [node for node in moved if all(map(self._facts.is_arithmetic, node.outputs))]
        index_only = {node for node in arithmetic if node.op_type not in SCATTERS}
        for node in moved:
            if node not in index_only:
                for value in node.outputs:
                    if self._facts.understood(value) is not None and self._facts.is_read(value):
                        self._reconsider(node, value)
        self._gather_cells()
        self._lowering.forget()
        live = self._live_nodes()
        for node in arithmetic:
            self._fold(node, live)
        bounds = self._facts.bounds
        self._result.guards = bounds.guards if self._cases is None else bounds.guards_within(self._cases.ranges)
        return self._result

    def _reconsider(self, node: ir.Node, value: ir.Value) -> None:
        """Replaces a needed value if its way here holds a scatter or a cheaper way is found."""
        cone = cone_of(self._facts, node)
        scatters = [other for other in cone if other.op_type in SCATTERS]
        if self._fold_value(node, value):
            return
        if not scatters and len(cone) == 1 and not self._is_copy(node, value):
            return
        # What leads to a Split stays for its other outputs.
        old = self._cost_of_nodes(cone) / sum(map(self._facts.is_read, node.outputs))
        try:
            found = self._expression(value)
            new = self._cost_of(found)
        except UndecidedError as refusal:
            self._refuse(scatters, str(refusal))
            return
        except RecursionError:
            # Boxes within boxes, hundreds deep: one by one the assignments are shallow.
            if not self._replace_locally(scatters, old, math.inf):
                self._refuse(scatters, _TOO_DEEP)
            return
        if not scatters and (new > old or (new == old and self._is_written_so(found, cone))):
            return
        if scatters and new > old and self._replace_locally(scatters, old, new):
            return
        self._replace(node, value, found, cone, scatters)

    def _is_copy(self, node: ir.Node, value: ir.Value) -> bool:
        """Whether a node gives a tensor that is there already, such as a Pad by nothing."""
        tensor = self._facts.understood(value)
        if node.op_type == "Identity" or not isinstance(tensor, Tiling) or not isinstance(tensor.root, Read):
            return False
        try:
            return isinstance(written_form(self._facts, tensor), Source)
        except (UndecidedError, NotMovementError):
            return False

    def _is_written_so(self, found: Expression, cone: list[ir.Node]) -> bool:
        """Whether an expression takes the operators that are there: otherwise equal movements become equal graphs."""
        parts = (part for part in walk(found, set()) if part not in self._lowered)
        return Counter(filter(None, map(operator_of, parts))) == Counter(node.op_type for node in cone)

    def _replace_locally(self, scatters: list[ir.Node], old: float, new: float) -> bool:
        """Replaces each scatter by itself where composing all movement would cost more than that."""
        found: dict[ir.Node, Expression] = {}
        for node in scatters:
            options: list[Expression] = []
            with suppress(NotMovementError, UndecidedError):
                options.append(self._emitted(_local(node), node.outputs[0].dtype))
            # A Gather moves element by element what a few slices move as blocks.
            if self._cases is None and (not options or len(list(walk(options[0], set()))) > _MANY_OPERATORS):
                with suppress(NotMovementError, UndecidedError):
                    options.append(gathered(self._facts, node))
            if not options:
                return False
            found[node] = min(options, key=self._cost_of)
        cost = old - self._cost_of_nodes(scatters) + sum(self._cost_of(expression) for expression in found.values())
        if cost >= new:
            return False
        self._lowering.forget()
        for node, expression in sorted(found.items(), key=lambda item: self._lowering.position(item[0])):
            self._replace(node, node.outputs[0], expression, [node], [node])
        return True

    def _gather_cells(self) -> None:
        """Replaces assignments to known cells that slices cannot do: without a pattern, or along a diagonal."""
        for node in self._graph:
            index = node.inputs[1] if node.op_type in SCATTERS and len(node.inputs) > 1 else None
            if index is not None and node not in self._facts.moved:
                with suppress(NotMovementError, UndecidedError):
                    found = gathered(self._facts, node)
                    self._lowering.forget()
                    self._result.refusals = [r for r in self._result.refusals if r.node != label(node)]
                    self._replace(node, node.outputs[0], found, [node], [node])

    def _replace(
        self, node: ir.Node, value: ir.Value, found: Expression, cone: list[ir.Node], scatters: list[ir.Node]
    ) -> None:
        if value.dtype is None:
            self._refuse(scatters, f"the element type of {value.name} is not known")
            return
        if not self._allow(value.name or ""):
            self._refuse(scatters, _WITHDRAWN)
            return
        count = len(self._lowering.added)
        try:
            new = self._lowering.lower(found, value.dtype, node)
        except (CannotLowerError, RecursionError) as error:
            self._refuse(scatters, str(error) if isinstance(error, CannotLowerError) else _TOO_DEEP)
            return
        added = Counter(other.op_type for other in self._lowering.added[count:])
        before = Counter(other.op_type for other in cone)
        source = node.metadata_props.get("s2deploy.source")
        self._result.rewrites.append(Rewrite(value.name or "", dict(before), dict(added), source))
        self._lowered.update(walk(found, set()))
        self._lowering.substitute(value, new, node)

    def _fold(self, node: ir.Node, live: set[ir.Node]) -> None:
        """Replaces index and shape arithmetic that something still reads by constants."""
        for value in node.outputs:
            readers = [use.node for use in value.uses()]
            # A constant condition makes a runtime infer types through one branch alone, which not every file survives.
            steers = any(reader.op_type in ("If", "Loop") for reader in readers)
            read = any(reader in live or reader.graph is not self._graph for reader in readers)
            if steers or not (read or value.is_graph_output()) or not self._is_read(value):
                continue
            if not self._fold_value(node, value):
                self._unscatter(node, value)

    def _unscatter(self, node: ir.Node, value: ir.Value) -> None:
        """Replaces numbers that depend on a size, such as a mask, if it took a scatter to write them."""
        cone = cone_of(self._facts, node, through_arithmetic=True)
        scatters = [other for other in cone if other.op_type in SCATTERS]
        if scatters:
            try:
                self._replace(node, value, self._expression(value), cone, scatters)
            except UndecidedError as refusal:
                self._refuse(scatters, str(refusal))

    def _fold_value(self, node: ir.Node, value: ir.Value) -> bool:
        """Replaces a value that depends on nothing by a constant, unless it is large, and tells whether it did."""
        tensor = self._facts.understood(value)
        if tensor is None or value.dtype is None:
            return False
        if node.op_type == "Identity" and node.inputs[0] is not None and node.inputs[0].is_initializer():
            return False
        constant = constant_array(tensor, value.dtype)
        if constant is not None and self._cases is not None:
            expression = written_form(self._facts, tensor)
            if not self._cases.hold(expression, value_of(value)):
                return False
        if constant is None or not self._allow(value.name or ""):
            return False
        self._lowering.substitute(value, self._lowering.constant(constant), node)
        self._result.unfinished |= isinstance(tensor, Interleaved)
        return True

    def _live_nodes(self) -> set[ir.Node]:
        """Returns the nodes of this graph that an output still depends on, through subgraphs as well."""
        live: set[ir.Node] = set()
        waiting = [value.producer() for value in self._graph.outputs]
        while waiting:
            node = waiting.pop()
            if node is None or node in live or node.graph is not self._graph:
                continue
            live.add(node)
            waiting.extend(value.producer() for value in node.inputs if value is not None)
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH:
                    inner = attribute.as_graph().all_nodes()
                    waiting.extend(value.producer() for n in inner for value in n.inputs if value is not None)
        return live

    def _is_read(self, value: ir.Value) -> bool:
        """Whether a value is an output or feeds something that is not arithmetic itself."""
        if value.is_graph_output():
            return True
        return any(
            use.node not in self._facts.moved or not all(self._facts.is_arithmetic(v) for v in use.node.outputs)
            for use in value.uses()
        )

    def _expression(self, value: ir.Value) -> Expression:
        return self._emitted(value_of(value), value.dtype)

    def _emitted(self, original: Original, dtype: ir.DataType | None) -> Expression:
        """Returns the expression of a tensor of a type, which must hold for sizes of 1 as well."""
        tensor = original(self._facts)
        assert tensor is not None
        found = written_form(self._facts, tensor)
        if self._cases is not None and not self._cases.hold(found, original):
            raise UndecidedError("it is not the same where a size is 1; declare ranges of 2 or more")
        return writable(found, dtype, self._facts.opset)

    def _cost_of_nodes(self, nodes: list[ir.Node]) -> float:
        known = {v: self._facts.known_shape(v) for node in nodes for v in node.outputs}
        shapes = {v: shape for v, shape in known.items() if shape is not None}
        return sum(node_cost(node, shapes, self._sizes) for node in nodes)

    def _cost_of(self, expression: Expression) -> float:
        parts = (part for part in walk(expression, set()) if part not in self._lowered)
        return sum(expression_cost(part, self._sizes) for part in parts)

    def _refuse(self, scatters: list[ir.Node], reason: str) -> None:
        self._result.refusals.extend(Refusal.of(node, reason) for node in scatters)


def _local(node: ir.Node) -> Original:
    return lambda facts: facts.local(node)[0]
