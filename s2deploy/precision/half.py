"""fp16 as a property of the graph: a typed ONNX model, which every TensorRT from 10 on, and RTX, builds as it is.

Before: float32 weights and activations.
After: heavy operators (matrix products, convolutions) and what lies between them compute in float16; graph inputs and
outputs stay float32, with a Cast, unless float16 is asked for there as well.
Kept in float32: arithmetic on shapes (sizes above 2048 are not exact in float16), sums and powers over many
elements (they overflow at 65504), what onnxruntime's converter keeps because it has no float16 form, and what the
caller names. Operators of the plugins compute in float16 as well; ShiftSumPool gives float32 by definition, so a Cast
follows it.
Source: onnxruntime.transformers.float16 does the conversion; this module works around what it overlooks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from s2deploy.errors import BuildError
from s2deploy.precision.functions import gives_float32
from s2deploy.precision.graph import finish, shape_arithmetic, some

if TYPE_CHECKING:
    import onnx_ir as ir

ACCUMULATING = (
    "ReduceSum", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum",
    "ReduceLogSumExp", "Pow",
)  # fmt: skip
# their scales must be float32 below opset 19
_QUANTIZING = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul")
_LARGEST_FLOAT16 = 65504.0


def half_typed(model: ir.Model, *, keep_io: bool = True, kept: Collection[str] = ()) -> ir.Model:
    """Returns a copy of a normalised model in which float16 takes the place of float32.

    Args:
        model: A model out of `graph.normalised`; it stays as it is.
        keep_io: Whether float32 inputs and outputs stay float32.
        kept: Names of nodes that stay float32.

    Raises:
        BuildError: The converter cannot convert the model.
    """
    import onnx_ir as ir

    given = {node.name for node in model.graph.all_nodes()}
    exact = {node.name for node in shape_arithmetic(model.graph) if node.name is not None} | set(kept)
    try:
        typed: ir.Model = ir.from_proto(_convert(ir.to_proto(_with_room_for_casts(model, exact)), keep_io, exact))
    except Exception as error:  # the converter asserts, and lets protobuf's and numpy's errors through
        raise BuildError(
            f"the model cannot be typed in 16 bits: {type(error).__name__}: {error}", hint="build it in fp32"
        ) from error
    for node in typed.graph.all_nodes():
        if gives_float32(node):
            node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    _drop_round_trips(typed.graph, given)
    finish(typed)
    return typed


def blocked_operators(opset: int) -> list[str]:
    """Returns the operators that stay float32 at an opset wherever they are."""
    from onnxruntime.transformers import float16

    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, *ACCUMULATING]
    return blocked if opset >= 19 else [*blocked, *_QUANTIZING]


def unrepresentable(model: ir.Model) -> Iterator[str]:
    """Yields remarks on the weights float16 cannot hold."""
    import onnx_ir as ir

    beyond, invalid = [], []
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or tensor.dtype != ir.DataType.FLOAT:
            continue
        array = tensor.numpy()
        if array.size == 0:
            continue
        largest = float(np.max(np.abs(array), where=np.isfinite(array), initial=0.0))
        if largest > _LARGEST_FLOAT16:
            beyond.append(f"{value.name} (up to {largest:.3g})")
        if np.isnan(array).any():
            invalid.append(str(value.name))
    if beyond:
        yield f"clipped to float16's range of +-65504: {some(beyond)}"
    if invalid:
        yield f"not a number, in float32 already: {some(invalid)}"


def _with_room_for_casts(model: ir.Model, exact: Collection[str]) -> ir.Model:
    """Returns a copy with a Cast to float32 behind each node that gives float32 anyway: the converter narrows the Cast.

    Args:
        model: The model; it stays as it is.
        exact: Names of the nodes that stay float32, around which the converter puts Casts itself.
    """
    import onnx_ir as ir

    copy = model.clone()
    for node in copy.graph.all_nodes():
        if not gives_float32(node) or node.name in exact or node.graph is None:
            continue
        value = node.outputs[0]
        cast = ir.node("Cast", [value], attributes={"to": int(ir.DataType.FLOAT)}, name=f"{node.name}/narrows")
        narrow = cast.outputs[0]
        cast.replace_input_with(0, None)
        value.replace_all_uses_with(narrow, replace_graph_outputs=True)
        cast.replace_input_with(0, value)
        narrow.type, narrow.shape, narrow.name, value.name = value.type, value.shape, value.name, f"{value.name}/sum"
        node.graph.insert_after(node, cast)
    return copy


def _convert(proto: Any, keep_io: bool, exact: set[str]) -> Any:
    from onnxruntime.transformers import float16

    # it would take these for the types of activations, and cast initializers that stay float32
    initializers = {tensor.name for tensor in proto.graph.initializer}
    activations = [info for info in proto.graph.value_info if info.name not in initializers]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(activations)
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    return float16.convert_float_to_float16(
        proto,
        keep_io_types=keep_io,
        disable_shape_infer=True,  # done before, in a way that works above 2 GB
        op_block_list=blocked_operators(opset),
        node_block_list=sorted(exact),
    )


def _drop_round_trips(graph: ir.Graph, given: set[str | None]) -> None:
    """Connects float32 nodes directly where the converter put a cast to float16 and one back between them.

    Args:
        graph: The typed graph.
        given: Names of the nodes that are not the converter's.
    """
    import onnx_ir as ir

    for node in graph:
        if node.op_type != "Cast" or node.attributes.get_int("to") != ir.DataType.FLOAT:
            continue
        source = node.inputs[0].producer() if node.inputs[0] is not None else None
        if source is None or source.op_type != "Cast" or source.name in given:
            continue
        exact = source.inputs[0]
        if exact is None or source.attributes.get_int("to") != ir.DataType.FLOAT16:
            continue
        back = node.outputs[0]
        if not back.is_graph_output():
            back.replace_all_uses_with(exact)
        elif exact.producer() is not None and not exact.is_graph_output():
            exact.name, back.name = back.name, exact.name
            exact.type, exact.shape = back.type, back.shape
            back.replace_all_uses_with(exact, replace_graph_outputs=True)
