"""What is known of the values of an ONNX graph: shapes as coordinates, and tilings where they are data movement.

An `Interpretation` goes through a graph once, in order. A node whose operator has a rule (`rules_movement.py`,
`rules_integers.py`) gives its outputs a tiling; any other node's outputs are sources, of which only the shape is
known, by ONNX shape inference with our coordinates as dimension names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from s2deploy.rewrite.constants import constant_tiling, scalar_of
from s2deploy.rewrite.contents import Ramp, Scalar, Shape
from s2deploy.rewrite.coordinates import (
    Coord,
    Interval,
    UndecidedError,
)
from s2deploy.rewrite.merged import Merged, Movement, View
from s2deploy.rewrite.refusals import BROKE_DOWN, NotMovementError, Refusal, label
from s2deploy.rewrite.regions import Tiling
from s2deploy.rewrite.shapes import Shapes, element_type
from s2deploy.rewrite.strides import Interleaved, StrideError
from s2deploy.rewrite.tree import Cut, Node, count_boxes

_INTEGERS = frozenset(
    {ir.DataType.INT64, ir.DataType.INT32, ir.DataType.INT16, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.BOOL}
)
_ARITHMETIC = frozenset({ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL})
_COUNT_LIMIT = 1 << 20
_MOST_CAUSES = 256

T = TypeVar("T")

Rule = Callable[["Interpretation", ir.Node], "Sequence[Movement]"]


class Interpretation(Shapes):
    """The facts about one graph.

    Args:
        graph: The graph; its nodes must be in topological order.
        ranges: Smallest and largest size of named dimensions.
        rules: The rule of each operator that may be data movement, by operator name.
        refusable: Operators whose refusal is worth a word to the user.
        fixed: Named dimensions to take at one size.
        outer: The facts about the graph around this one, where it is the body of a node.
        given: Shapes of inputs that are known from elsewhere.
    """

    def __init__(
        self,
        graph: ir.Graph,
        ranges: Mapping[str, Interval],
        rules: Mapping[str, Rule],
        refusable: frozenset[str] = frozenset(),
        fixed: Mapping[str, int] | None = None,
        outer: Interpretation | None = None,
        given: Mapping[ir.Value, Shape] | None = None,
    ) -> None:
        super().__init__(graph, ranges, fixed, outer, given)
        self._facts_around = outer
        self.moved: set[ir.Node] = set()
        self.refusals: list[Refusal] = []
        self.undecided: set[str] = set()
        self._undecided_nodes: dict[ir.Node, str] = {}
        self._kept: set[ir.Value] = set()
        self._rules = rules
        self._refusable = refusable
        self._tilings: dict[ir.Value, Tiling] = {}
        self._interleaved: dict[ir.Value, Interleaved | Merged] = {}
        self._absorbed: set[tuple[ir.Value, ir.Node]] = set()
        self._arithmetic: dict[ir.Value, bool] = {}
        self._views: dict[tuple[ir.Value, Shape], View] = {}
        self._anchors: frozenset[ir.Value] | None = frozenset()
        self._unvisited: dict[ir.Value, int] = {}
        for node in graph:
            self.visit(node)
            if not fixed:  # with fixed sizes other values may be read than those somebody will ask for
                self._forget(node)

    def visit(self, node: ir.Node) -> None:
        """Finds out what a node's outputs are; of one that is added later, what is added before it comes first."""
        rule = self._rules.get(node.op_type) if node.domain == "" else None
        if rule is None or not self._understand(node, lambda: self._shorter(node, rule), composing=True):
            self.infer(node)

    def tiling(self, value: ir.Value | None) -> Tiling:
        """Returns a value as boxes of sources; a value that no movement produced is its own source."""
        shape = self.shape(value)
        assert value is not None
        anchored = self._anchors is None or value in self._anchors
        if value in self._tilings and not (anchored and not self.is_arithmetic(value)):
            return self._tilings[value]
        if value.const_value is not None and value not in self._tilings and not value.is_graph_input():
            self._tilings[value] = constant_tiling(value, value.const_value)
            return self._tilings[value]
        if self._facts_around is not None and value.graph is not self.graph and self._facts_around.is_arithmetic(value):
            self._tilings[value] = self._facts_around.tiling(value)
            return self._tilings[value]
        return Tiling.whole(value, shape)

    def is_constant(self, value: ir.Value) -> bool:
        """Whether every element of a value is one known constant."""
        tiling = self._tilings.get(value)
        return tiling is not None and isinstance(tiling.root, (Ramp, Scalar))

    def interleaved(self, value: ir.Value | None) -> Interleaved | None:
        """Returns the split form of a value that assignments with a step gave, None for any other."""
        anchored = self._anchors is None or value in self._anchors
        split = None if value is None or anchored else self._interleaved.get(value)
        return split if isinstance(split, Interleaved) else None

    def merged(self, value: ir.Value | None) -> Merged | None:
        """Returns the form with its axes taken apart of an index tensor that a Reshape flattened, else None."""
        split = None if value is None else self._interleaved.get(value)
        return split if isinstance(split, Merged) else None

    def absorb(self, value: ir.Value | None, node: ir.Node) -> None:
        """Records that a node goes on in the split form of a value, so that it does not read the value itself."""
        if value is not None:
            self._absorbed.add((value, node))

    def through(self, node: ir.Node, apply: Callable[[Movement], T]) -> T:
        """Applies a movement to the first input of a node, in its split form where it has one that allows it."""
        split = self.merged(node.inputs[0]) or self.interleaved(node.inputs[0])
        if split is not None:
            try:
                result = apply(split)
            except StrideError:
                return apply(self.tiling(node.inputs[0]))
            self.absorb(node.inputs[0], node)
            return result
        return apply(self.tiling(node.inputs[0]))

    def understood(self, value: ir.Value) -> Movement | None:
        """Returns a value as data movement or known integers, None where it is a source."""
        return self._interleaved.get(value) or self._tilings.get(value)

    def is_read(self, value: ir.Value) -> bool:
        """Whether a value must exist: it is an output, or a node reads it that does not compose it."""
        if value in self._kept or value.is_graph_output():
            return True
        return any(self.reads(use.node, value) for use in value.uses())

    def reads(self, node: ir.Node, value: ir.Value) -> bool:
        """Whether a node needs a value to exist: it is no movement, or reads what assignments with a step gave."""
        if node not in self.moved:
            return True
        if node.op_type == "SplitToSequence":
            return self.is_read(node.outputs[0])
        if value not in self._interleaved or (value, node) in self._absorbed:
            return False
        return not all(self.is_arithmetic(output) for output in node.outputs)

    def is_arithmetic(self, value: ir.Value) -> bool:
        """Whether every element of a value is an integer known by formula."""
        if value not in self._arithmetic:
            merged = self.merged(value)
            tiling = self._tilings.get(value) if merged is None else merged.tiling
            self._arithmetic[value] = tiling is not None and _all_ramps(tiling.root)
        return self._arithmetic[value]

    def is_integer(self, value: ir.Value | None) -> bool:
        """Whether a value holds integers wide enough for sizes and indices, or booleans."""
        return value is not None and value.dtype in _ARITHMETIC

    def integers(self, value: ir.Value | None) -> tuple[Coord, ...]:
        """Returns the elements of an integer scalar or vector.

        Raises:
            NotMovementError: They are not known before run time.
        """
        tiling = self.tiling(value)
        if tiling.rank > 1:
            raise NotMovementError("an index is neither a scalar nor a vector")
        found: list[Coord] = []
        for _, shape, content in tiling.boxes():
            size = shape[0] if shape else 1
            if not isinstance(content, Ramp) or not isinstance(size, int):
                name = value.name if value is not None else "an input"
                raise NotMovementError(f"{name} is computed at run time")
            step = content.steps[0] if content.steps else 0
            found.extend(content.base + step * i for i in range(size))
        return tuple(found)

    def zero(self, value: ir.Value | None) -> Tiling:
        """Returns the scalar zero of a value's type.

        Raises:
            NotMovementError: The type is not known.
        """
        if value is None or value.dtype is None:
            raise NotMovementError("the element type is not known")
        if value.dtype in _INTEGERS:
            return Tiling.of(Ramp(0, ()), ())
        scalar = scalar_of(np.zeros(1, value.dtype.numpy()))
        assert scalar is not None
        return Tiling.of(scalar, ())

    def source_shape(self, value: object) -> Shape:
        """Returns the shape of a value that a tiling reads."""
        if isinstance(value, View):
            return value.shape
        assert isinstance(value, ir.Value)
        return self.shape(value)

    def view(self, value: ir.Value, shape: Shape) -> View:
        """Returns the source that is a value in another shape."""
        return self._views.setdefault((value, shape), View(value, shape))

    def dimensions(self) -> dict[Coord, tuple[ir.Value, int]]:
        """Returns, for every size that depends on a dimension, the first value and axis with it; inputs come first."""
        found = self.dimensions_of(self.graph.inputs)
        for node in self.graph:
            for size, place in self.dimensions_computed(node).items():
                found.setdefault(size, place)
        return found

    def dimensions_computed(self, node: ir.Node) -> dict[Coord, tuple[ir.Value, int]]:
        """Returns the sizes of what a node computes that depend on a dimension; nothing of what may be composed."""
        return {} if node in self.moved else self.dimensions_of(node.outputs)

    def local(self, node: ir.Node) -> Sequence[Movement]:
        """Returns the tilings of a node's outputs in terms of its own inputs instead of their sources."""
        self._anchors = None
        try:
            return self._rules[node.op_type](self, node)
        finally:
            self._anchors = frozenset()

    def _understand(self, node: ir.Node, tilings: Callable[[], Sequence[Movement]], *, composing: bool) -> bool:
        """Adopts what a rule makes of a node, and tells whether there was anything to adopt."""
        try:
            self._adopt(node, tilings())
            return True
        except NotMovementError as refusal:
            self._refuse(node, str(refusal), self._cause(node))
        except UndecidedError as refusal:
            self.undecided |= refusal.dimensions
            # Its inputs as they are may lie better than the boxes they were composed of.
            composed = [value for value in node.inputs if value is not None and self._is_composed(value)]
            if composing and composed:
                self._absorbed -= {(value, node) for value in composed}
                if self._understand(node, lambda: self.local(node), composing=False):
                    self._kept.update(composed)
                    return True
            else:
                # Worth a word whatever the operator: a declared range would let it be composed.
                self.refusals.append(Refusal.of(node, str(refusal)))
                self._undecided_nodes[node] = str(refusal)
        except RecursionError:
            self._refuse(node, "boxes lie within each other too deeply")
        except (IndexError, KeyError, OverflowError, TypeError, ValueError, ZeroDivisionError):
            # The node breaks its operator's specification; a runtime will say so, we only leave it alone.
            self._refuse(node, f"its inputs or attributes do not fit {node.op_type}")
        except Exception as error:  # a defect of ours costs this node alone
            self._refuse(node, f"{BROKE_DOWN} ({type(error).__name__}: {error})")
        return False

    def _is_composed(self, value: ir.Value) -> bool:
        """Whether a value is data movement that `tiling` composes at present."""
        return value in self._tilings and value.producer() is not None and not self.is_arithmetic(value)

    def _forget(self, node: ir.Node) -> None:
        """Drops the tilings that no later node composes: a long chain of them would grow with its square."""
        for value in node.inputs:
            if value is None or value not in self._tilings or value.producer() is None:
                continue
            self._unvisited[value] = self._unvisited.get(value, len(value.uses())) - 1
            if isinstance(self._tilings[value].root, Scalar):  # one box, which an assignment into it asks for again
                continue
            if self._unvisited[value] == 0 and not self.is_arithmetic(value) and not self.is_read(value):
                del self._tilings[value]

    def _refuse(self, node: ir.Node, reason: str, cause: str = "") -> None:
        if node.op_type in self._refusable:
            self.refusals.append(Refusal.of(node, f"{reason}{cause}"))

    def _cause(self, node: ir.Node) -> str:
        """Returns what a range would decide among that which the indices of a scatter are computed from."""
        if not self._undecided_nodes or node.op_type not in self._refusable:
            return ""
        seen: set[ir.Node] = set()
        waiting = [value.producer() for value in node.inputs[1:2] if value is not None]
        while waiting and len(seen) < _MOST_CAUSES:
            other = waiting.pop(0)
            if other in self._undecided_nodes:
                return f", by {other.op_type} {label(other)}: {self._undecided_nodes[other]}"
            if other is not None and other not in seen:
                seen.add(other)
                waiting += [value.producer() for value in other.inputs if value is not None]
        return ""

    def _shorter(self, node: ir.Node, rule: Rule) -> Sequence[Movement]:
        """Composes through the inputs, unless reading an input that is computed anyway takes fewer boxes."""
        composed = rule(self, node)
        anchors = frozenset(
            value
            for value in node.inputs
            if value is not None and value.producer() is not None and value in self._tilings and self.is_needed(value)
        )
        if not anchors:
            return composed
        boxes = sum(map(_boxes, composed))
        if boxes <= len(composed):
            return composed
        self._anchors = anchors
        try:
            local = rule(self, node)
        finally:
            self._anchors = frozenset()
        return local if sum(map(_boxes, local)) < boxes else composed

    def is_needed(self, value: ir.Value) -> bool:
        """Whether a value must exist: it is an output, or something other than movement or Shape reads it."""
        return value.is_graph_output() or any(
            use.node.graph is not self.graph or use.node.domain != "" or use.node.op_type not in self._rules
            for use in value.uses()
        )

    def _adopt(self, node: ir.Node, tilings: Sequence[Movement]) -> None:
        for value, tiling in zip(node.outputs, tilings, strict=False):
            if isinstance(tiling, (Interleaved, Merged)):
                self._interleaved[value] = tiling
            else:
                self._tilings[value] = tiling
            self.learn(value, tiling.shape)
            dtype = element_type(node) if value.type is None else None
            if dtype is not None:
                value.type = ir.TensorType(dtype)
        self.moved.add(node)


def _boxes(tiling: Movement) -> int:
    root = tiling.root if isinstance(tiling, Tiling) else tiling.tiling.root
    return count_boxes(root, _COUNT_LIMIT)


def _all_ramps(node: Node) -> bool:
    return all(map(_all_ramps, node.children)) if isinstance(node, Cut) else isinstance(node, Ramp)
