"""Lowers a model to opset 17, the newest that TensorRT before version 10 reads.

Before: operators as of opset 18 to 20.
After: the same values from operators as of opset 17; Gelu becomes the arithmetic it stands for.
Refused: an operator, or a form of it, that opset 17 does not have; the message names the node.
Preserves: names and shapes of inputs and outputs; values up to rounding.
Source: the operator changelog of the ONNX standard. onnx.version_converter is no help here: it knows no way down for
Gelu, Pad, Split and most reductions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from s2deploy.errors import BuildError

if TYPE_CHECKING:
    import onnx_ir as ir

LOWEST = 17
_NEWEST = 20
_REDUCTIONS = frozenset(
    {"ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp"}
    | {"ReduceSumSquare"}
)
# what opset 17 lacks besides, and the attribute values that 18 to 20 brought
_ABSENT = frozenset(
    {"BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad", "Col2Im", "GroupNormalization", "Mish"}
    | {"DeformConv", "AffineGrid", "DFT", "StringConcat", "StringSplit", "RegexFullMatch", "ImageDecoder"}
)
_NEW_ATTRIBUTES: dict[str, dict[str, tuple[object, ...]]] = {
    "AveragePool": {"dilations": (None, [1], [1, 1], [1, 1, 1])},
    "LpPool": {"dilations": (None, [1], [1, 1], [1, 1, 1]), "ceil_mode": (None, 0)},
    "Pad": {"mode": (None, "constant", "edge", "reflect")},
    "Resize": {"antialias": (None, 0), "axes": (None,), "keep_aspect_ratio_policy": (None, "stretch")},
    "ScatterElements": {"reduction": (None, "none", "add", "mul")},
    "ScatterND": {"reduction": (None, "none", "add", "mul")},
}
_GRID_MODES = {"linear": "bilinear", "cubic": "bicubic", "nearest": "nearest"}


def lower(model: ir.Model) -> ir.Model:
    """Returns the model at opset 17; the one given is changed too. At 17 or below it is returned as it is.

    Raises:
        BuildError: An operator has no form at opset 17.
    """
    import onnx_ir.passes.common as passes
    from onnx_ir.passes import Sequential

    version = model.opset_imports.get("", LOWEST)
    if version <= LOWEST:
        return model
    if version > _NEWEST:
        raise BuildError(
            f"the model has opset {version}, TensorRT before 10 reads {LOWEST}", hint="export it with --opset 20"
        )
    Sequential(
        passes.InlinePass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.NameFixPass(),
        passes.ShapeInferencePass(strict_mode=False),
    )(model)
    for graph in model.graphs():
        for node in list(graph):
            if node.domain in ("", "ai.onnx"):
                _lower_node(graph, node)
    model.opset_imports[""] = LOWEST
    for graph in model.graphs():
        for node in graph:
            node.version = LOWEST if node.domain == "" else node.version
    passes.RemoveUnusedNodesPass()(model)
    return model


def _lower_node(graph: ir.Graph, node: ir.Node) -> None:
    if node.op_type in _ABSENT:
        raise _refuse(node, "the operator does not exist there")
    for attribute, allowed in _NEW_ATTRIBUTES.get(node.op_type, {}).items():
        if _attribute(node, attribute) not in allowed:
            raise _refuse(node, f"{attribute}={_attribute(node, attribute)} does not exist there")
    if node.op_type in _LOWERINGS:
        _LOWERINGS[node.op_type](graph, node)
    elif node.op_type in _REDUCTIONS:
        _axes_to_attribute(node)


def _lower_gelu(graph: ir.Graph, node: ir.Node) -> None:
    import onnx_ir as ir

    x = node.inputs[0]
    dtype = None if x is None else x.dtype
    if x is None or dtype is None:
        raise _refuse(node, "its type is unknown")
    tape = ir.tape.Tape()

    def constant(value: float) -> ir.Value:
        name = f"{node.name}_{value:.6g}"
        initializers = graph.initializers
        if name not in initializers:
            array = np.array(value, dtype=dtype.numpy())
            tensor = ir.tensor(array, name=name)
            initializers.add(ir.Value(name=name, const_value=tensor, shape=ir.Shape([]), type=x.type))
        return initializers[name]

    half = tape.op("Mul", [x, constant(0.5)])
    if _attribute(node, "approximate") == "tanh":
        cube = tape.op("Mul", [tape.op("Mul", [x, x]), x])
        inner = tape.op("Add", [x, tape.op("Mul", [cube, constant(0.044715)])])
        bent = tape.op("Tanh", [tape.op("Mul", [inner, constant(math.sqrt(2 / math.pi))])])
    else:
        bent = tape.op("Erf", [tape.op("Mul", [x, constant(1 / math.sqrt(2))])])
    result = tape.op("Mul", [half, tape.op("Add", [bent, constant(1.0)])])
    for made in tape.nodes:
        made.outputs[0].type, made.outputs[0].shape = x.type, x.shape
    ir.convenience.replace_nodes_and_values(graph, node, [node], list(tape.nodes), [node.outputs[0]], [result])


def _lower_split(_: ir.Graph, node: ir.Node) -> None:
    count = _attribute(node, "num_outputs")
    if count is None:
        return
    axis = _attribute(node, "axis") or 0
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    size = shape[axis] if shape is not None and isinstance(axis, int) else None
    if not isinstance(size, int) or not isinstance(count, int) or size % count:
        raise _refuse(node, "its parts are not known to be equal")
    del node.attributes["num_outputs"]


def _lower_pad(_: ir.Graph, node: ir.Node) -> None:
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        raise _refuse(node, "it has no axes there")


def _lower_cast(_: ir.Graph, node: ir.Node) -> None:
    node.attributes.pop("saturate", None)


def _lower_resize(_: ir.Graph, node: ir.Node) -> None:
    if _attribute(node, "coordinate_transformation_mode") == "half_pixel_symmetric":
        raise _refuse(node, "coordinate_transformation_mode=half_pixel_symmetric does not exist there")
    for attribute in ("antialias", "keep_aspect_ratio_policy"):
        node.attributes.pop(attribute, None)


def _lower_grid_sample(_: ir.Graph, node: ir.Node) -> None:
    import onnx_ir as ir

    rank = len(node.inputs[0].shape) if node.inputs[0] is not None and node.inputs[0].shape is not None else None
    mode = _attribute(node, "mode") or "linear"
    if mode in _GRID_MODES:
        if rank != 4:
            raise _refuse(node, "only images (rank 4) are sampled there")
        node.attributes["mode"] = ir.AttrString("mode", _GRID_MODES[str(mode)])


def _axes_to_attribute(node: ir.Node) -> None:
    import onnx_ir as ir

    noop = bool(_attribute(node, "noop_with_empty_axes"))
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    node.attributes.pop("noop_with_empty_axes", None)
    if axes is None or (axes.const_value is not None and axes.const_value.size == 0):
        if noop:
            raise _refuse(node, "noop_with_empty_axes does not exist there")
        node.resize_inputs(1)
        return
    if axes.const_value is None:
        raise _refuse(node, "its axes are not constant")
    values = [int(axis) for axis in axes.const_value.numpy()]
    node.resize_inputs(1)
    node.attributes["axes"] = ir.AttrInt64s("axes", values)


def _attribute(node: ir.Node, name: str) -> object:
    attribute = node.attributes.get(name)
    if attribute is None:
        return None
    return list(attribute.value) if isinstance(attribute.value, list | tuple) else attribute.value


def _refuse(node: ir.Node, reason: str) -> BuildError:
    return BuildError(
        f"{node.op_type} {node.name!r} cannot be lowered to opset {LOWEST} for TensorRT before 10: {reason}",
        hint="use TensorRT 10 or newer, or --target rtx",
    )


_LOWERINGS: dict[str, Callable[[ir.Graph, ir.Node], None]] = {
    "Cast": _lower_cast,
    "Gelu": _lower_gelu,
    "GridSample": _lower_grid_sample,
    "Pad": _lower_pad,
    "Resize": _lower_resize,
    "Split": _lower_split,
}
