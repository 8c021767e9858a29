"""Shapes of the values that are not data movement, by ONNX's own inference with coordinates as dimension names.

ONNX infers a node's outputs from its inputs' dimension names; a coordinate goes in as the text of its polynomial
and comes out the same, so elementwise operators, products and normalisations keep what is known of their sizes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

import numpy as np
import onnx
import onnx_ir as ir

from s2deploy.rewrite.bounds import UNKNOWN, Bounds
from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.contributed import standard_node
from s2deploy.rewrite.coordinates import Coord, Interval, dimension, parse, substituted
from s2deploy.rewrite.refusals import NotMovementError
from s2deploy.rewrite.windows import shape_left

_LARGEST_DATA = 1024
_GIVE_BOOLEANS = frozenset({"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or"})
_GIVE_SIZES = frozenset({"NonZero", "Shape", "Size"})
_MAY_BE_EMPTY = frozenset(
    {"NonZero", "Unique", "NonMaxSuppression", "Compress", "If", "Loop", "Scan", "Slice", "Range"}
)
_LIKE_THE_SECOND = frozenset({"CastLike", "Where"})


class Shapes:
    """The shapes of a graph's values.

    Args:
        graph: The graph.
        ranges: Smallest and largest size of named dimensions.
        fixed: Named dimensions to take at one size.
        outer: The shapes of the graph around this one, where it is the body of a node.
        given: Shapes of inputs that are known from elsewhere.
    """

    def __init__(
        self,
        graph: ir.Graph,
        ranges: Mapping[str, Interval],
        fixed: Mapping[str, int] | None = None,
        outer: Shapes | None = None,
        given: Mapping[ir.Value, Shape] | None = None,
    ) -> None:
        self.graph = graph
        self.bounds: Bounds = Bounds(ranges) if outer is None else outer.bounds
        self._fixed = dict(fixed or {})
        self._outer = outer
        self._shapes: dict[ir.Value, Shape | None] = dict(given or {})
        self._stated: set[ir.Value] = set()
        self._unknown = 0
        self._windows: dict[Coord, Coord] = {}

    @property
    def opset(self) -> int:
        """The version of the default operator set."""
        return self.graph.opset_imports.get("", 1) if self._outer is None else self._outer.opset

    def shape(self, value: ir.Value | None) -> Shape:
        """Returns the shape of a value.

        Raises:
            NotMovementError: Not even its rank is known.
        """
        if value is None:
            raise NotMovementError("an input is missing")
        if value not in self._shapes:
            around = self._outer is not None and value.graph is not self.graph
            self._shapes[value] = self._outer.known_shape(value) if self._outer and around else self._annotated(value)
        known = self._shapes[value]
        if known is None:
            raise NotMovementError(f"the rank of {value.name} is not known")
        return known

    def known_shape(self, value: ir.Value) -> Shape | None:
        """Returns the shape of a value, None where not even its rank is known."""
        try:
            return self.shape(value)
        except NotMovementError:
            return None

    def dimensions_of(self, values: Iterable[ir.Value]) -> dict[Coord, tuple[ir.Value, int]]:
        """Returns, for every size of some values that depends on a dimension, the first value and axis with it."""
        found: dict[Coord, tuple[ir.Value, int]] = {}
        for value in values:
            shape = None if value.is_initializer() else self.known_shape(value)
            for axis, size in enumerate(shape or ()):
                if not isinstance(size, int):
                    found.setdefault(size, (value, axis))
        return found

    def set_shape(self, node: ir.Node, value: ir.Value, inferred: Shape | None) -> None:
        """Records the shape of a source; sizes that are not known get names of their own."""
        annotated = self._annotated(value)
        smallest = 0 if node.op_type in _MAY_BE_EMPTY or node.domain != "" else 1
        if inferred is None:
            self._shapes[value] = annotated
            return
        known: list[Coord] = []
        for axis, size in enumerate(inferred):
            if isinstance(size, int) and size < 0:
                other = annotated[axis] if annotated is not None and len(annotated) == len(inferred) else -1
                if other == -1 or _is_generated(other):
                    other = self._window(node, value, axis) or self.unknown_dimension(smallest)
                size = other
            known.append(size)
        self.learn(value, tuple(known))

    def _window(self, node: ir.Node, value: ir.Value, axis: int) -> Coord | None:
        """Returns the size of an output that a window leaves, a name for it where it might be none by the ranges."""
        data = self.known_shape(node.inputs[0]) if node.inputs and node.inputs[0] is not None else None
        sizes = None if data is None or value is not node.outputs[0] else shape_left(node, data)
        if sizes is None:
            return None
        size = sizes[axis]
        if self.bounds.at_most(1, size):
            return size
        if size not in self._windows:  # the operator gives no empty tensors
            self._windows[size] = self.unknown_dimension(1)
        return self._windows[size]

    def learn(self, value: ir.Value, shape: Shape) -> None:
        """Records the shape a value has, and takes back what the file says of it where that is something else."""
        self._shapes[value] = shape
        if value.shape is None or self._fixed or self._outer is not None:
            return
        stated = self._annotated(value) or ()
        if len(stated) != len(shape) or any(
            isinstance(old, int) and old != new for old, new in zip(stated, shape, strict=True)
        ):
            value.shape = ir.Shape([size if isinstance(size, int) else None for size in shape])

    def state_shape(self, value: ir.Value, shape: Shape) -> None:
        """Records the shape of a source that is known better than inference would know it."""
        self._shapes[value] = shape
        self._stated.add(value)

    def unknown_dimension(self, smallest: int) -> Coord:
        """Returns a new name for a size nothing is known of but that it is at least `smallest`."""
        if self._outer is not None:
            return self._outer.unknown_dimension(smallest)
        self._unknown += 1
        name = f"{UNKNOWN}{self._unknown}"
        self.bounds.declare(name, (smallest, None))
        return dimension(name)

    def infer(self, node: ir.Node) -> None:
        """Records the shapes of a node's outputs, as far as they can be known.

        What the file says of them counts only where inference knows nothing: whoever edits the sizes of a model's
        inputs tends to leave the sizes of all other values as they were.
        """
        inferred = self._inferred(node)
        for value in node.outputs:
            dtype, shape = inferred.get(value.name or "", (None, None))
            if value.type is None and dtype is not None:
                value.type = ir.TensorType(dtype)
            if value not in self._stated:
                self.set_shape(node, value, shape)

    def _inferred(self, node: ir.Node) -> dict[str, tuple[ir.DataType, Shape | None]]:
        types: dict[str, onnx.TypeProto] = {}
        data: dict[str, onnx.TensorProto] = {}
        given: set[str] = set()
        for value in node.inputs:
            if value is None or value.name is None:
                continue
            shape = self.known_shape(value)
            if shape is None:
                return {}
            if value.dtype is None:
                return {}
            dims = [size if isinstance(size, int) else str(size) for size in shape]
            types[value.name] = onnx.helper.make_tensor_type_proto(int(value.dtype), dims)
            given.update(map(str, dims))
            constant = value.const_value if not value.is_graph_input() else None
            if constant is not None and constant.size <= _LARGEST_DATA:
                data[value.name] = ir.serde.serialize_tensor(constant)
        try:
            proto = standard_node(node)
            if proto is None:
                return {}
            outputs = onnx.shape_inference.infer_node_outputs(
                onnx.defs.get_schema(proto.op_type, self.opset, proto.domain),
                proto,
                types,
                data,
                opset_imports=[onnx.helper.make_opsetid("", self.opset)],
            )
        except Exception:  # ONNX raises several kinds for operators without inference; the annotation remains
            return {}
        return {
            name: (
                ir.DataType(proto.tensor_type.elem_type),
                _shape(proto, given) if proto.tensor_type.HasField("shape") else None,
            )
            for name, proto in outputs.items()
            if proto.HasField("tensor_type")
        }

    def _annotated(self, value: ir.Value) -> Shape | None:
        if value.const_value is not None and not value.is_graph_input():
            return tuple(np.shape(value.const_value))
        if value.shape is None:
            return None
        sizes: list[Coord] = []
        for size in value.shape:
            if isinstance(size, int) and size >= 0:
                sizes.append(size)
            elif isinstance(size, int):  # some files write -1 for a size they do not know
                sizes.append(self.unknown_dimension(0))
            elif self._outer is not None:
                # A body runs many times, and a name need not mean the same size each time.
                sizes.append(self.unknown_dimension(0))
            else:
                known = self.unknown_dimension(1) if size.value is None else parse(str(size.value))
                sizes.append(substituted(known, self._fixed))
        return tuple(sizes)


def element_type(node: ir.Node) -> ir.DataType | None:
    """Returns the element type of what a movement or integer operator gives, as its specification states it."""
    if node.op_type in _GIVE_BOOLEANS:
        return ir.DataType.BOOL
    if node.op_type in _GIVE_SIZES:
        return ir.DataType.INT64
    if node.op_type == "Cast":
        return ir.DataType(node.attributes["to"].as_int())
    if node.op_type == "ConstantOfShape":
        return node.attributes["value"].as_tensor().dtype if "value" in node.attributes else ir.DataType.FLOAT
    model = node.inputs[1 if node.op_type in _LIKE_THE_SECOND else 0]
    if node.op_type == "SequenceAt":
        producer = model.producer() if model is not None else None
        model = producer.inputs[0] if producer is not None else None
    return None if model is None else model.dtype


def _shape(proto: onnx.TypeProto, given: Set[str]) -> Shape:
    """Returns a shape with -1 for every size that was not inferred.

    ONNX makes up names such as ``unk__12``; inputs of TensorFlow models have such names too, which mean something.
    """
    sizes: list[Coord] = []
    for dim in proto.tensor_type.shape.dim:
        if dim.HasField("dim_value"):
            sizes.append(dim.dim_value)
        elif dim.HasField("dim_param") and (dim.dim_param in given or not dim.dim_param.startswith("unk__")):
            sizes.append(parse(dim.dim_param))
        else:
            sizes.append(-1)
    return tuple(sizes)


def _is_generated(size: Coord) -> bool:
    """Whether a dimension's name was made up by shape inference, so that it says nothing."""
    return not isinstance(size, int) and str(size).startswith(("unk__", UNKNOWN))
