"""fp16 as a property of the graph: a typed ONNX model, which every TensorRT from 10 on, and RTX, builds as it is.

Before: float32 weights and activations.
After: heavy operators (matrix products, convolutions) and what lies between them compute in float16; graph inputs and
outputs stay float32, with a Cast, unless float16 is asked for there as well.
Kept in float32: arithmetic on shapes (sizes above 2048 are not exact in float16), sums and powers over many
elements (they overflow at 65504), and what onnxruntime's converter keeps because it has no float16 form.
Refused: a model in which a heavy operator would not end up in float16, or that is no longer valid.
Source: onnxruntime.transformers.float16 does the conversion; this module works around what it overlooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from s2deploy.errors import BuildError

if TYPE_CHECKING:
    import onnx_ir as ir

HEAVY_OPERATORS = frozenset({"MatMul", "Gemm", "Einsum", "Conv", "ConvTranspose"})
_ACCUMULATING = (
    "ReduceSum", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum",
    "ReduceLogSumExp", "Pow",
)  # fmt: skip
# their scales must be float32 below opset 19
_QUANTIZING = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul")
_LARGEST_FLOAT16 = 65504.0
_NAMED_AT_MOST = 5


@dataclass(frozen=True)
class HalfModel:
    """A model typed for fp16.

    Attributes:
        model: The typed model; the one it was made from is changed too and must not be used any more.
        remarks: What float16 cannot represent: weights out of its range, or not a number.
    """

    model: ir.Model
    remarks: tuple[str, ...]


def to_fp16(model: ir.Model, *, keep_io: bool = True) -> HalfModel:
    """Types a float32 model for fp16.

    Args:
        model: Any valid ONNX model. It is consumed.
        keep_io: Whether float32 inputs and outputs stay float32.

    Raises:
        BuildError: The typed graph would not be valid, or a heavy operator would not compute in float16.
    """
    import onnx_ir as ir

    for value in model.graph.outputs:
        if value.is_graph_input():
            raise BuildError(
                f"input {value.name!r} is an output as well, so it cannot be typed for fp16",
                hint="export the model without that output, or build it without --fp16",
            )
    model = _normalise(model)
    remarks = tuple(_unrepresentable(model))
    given = {node.name for node in model.graph.all_nodes()}
    exact = {node.name for node in _shape_arithmetic(model.graph) if node.name is not None}
    try:
        typed = ir.from_proto(_convert(ir.to_proto(model), keep_io, exact))
    except Exception as error:  # the converter asserts, and lets protobuf's and numpy's errors through
        raise BuildError(
            f"the model cannot be typed for fp16: {type(error).__name__}: {error}", hint="build it without --fp16"
        ) from error
    _drop_round_trips(typed.graph, given)
    _finish(typed)
    _check_heavy(typed)
    _check_loads(typed)
    return HalfModel(typed, remarks)


def _normalise(model: ir.Model) -> ir.Model:
    """Brings the graph into the form the converter handles.

    It does not look into local functions, misses Constant nodes that hold plain numbers, asserts unique names of
    initializers, and needs every type to be known.
    """
    import onnx_ir as ir
    import onnx_ir.passes.common as passes
    from onnx_ir.passes import Sequential

    ir.external_data.load_to_model(model)  # the converter reads weights only where they are part of the model
    tidy = Sequential(
        passes.InlinePass(),
        passes.RemoveInitializersFromInputsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.NameFixPass(),
        passes.ShapeInferencePass(strict_mode=False, data_prop=True),
    )
    return tidy(model).model


def _convert(proto: Any, keep_io: bool, exact: set[str]) -> Any:
    from onnxruntime.transformers import float16

    # it would take these for the types of activations, and cast initializers that stay float32
    initializers = {tensor.name for tensor in proto.graph.initializer}
    activations = [info for info in proto.graph.value_info if info.name not in initializers]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(activations)
    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, *_ACCUMULATING]
    if max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=1) < 19:
        blocked += _QUANTIZING
    return float16.convert_float_to_float16(
        proto,
        keep_io_types=keep_io,
        disable_shape_infer=True,  # done before, in a way that works above 2 GB
        op_block_list=blocked,
        node_block_list=sorted(exact),
    )


def _finish(model: ir.Model) -> None:
    import onnx_ir.passes.common as passes
    from onnx_ir.passes import Sequential

    # the converter appends its casts at the end of the graph
    Sequential(
        passes.RemoveUnusedNodesPass(),
        passes.TopologicalSortPass(),
        passes.ShapeInferencePass(strict_mode=False, data_prop=True),
    )(model)


def _shape_arithmetic(graph: ir.Graph) -> Iterator[ir.Node]:
    """Yields the nodes whose inputs all come from shapes and constants, at least one from a shape."""
    derived: set[ir.Value] = set()
    for node in graph:
        inputs = [value for value in node.inputs if value is not None]
        from_shapes = any(value in derived for value in inputs)
        if node.op_type in HEAVY_OPERATORS:
            continue
        if node.op_type in ("Shape", "Size") or (
            from_shapes and all(value in derived or value.const_value is not None for value in inputs)
        ):
            derived.update(node.outputs)
            yield node


def _unrepresentable(model: ir.Model) -> Iterator[str]:
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
        yield f"clipped to float16's range of +-65504: {_names(beyond)}"
    if invalid:
        yield f"not a number, in float32 already: {_names(invalid)}"


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


def _check_heavy(model: ir.Model) -> None:
    import onnx_ir as ir

    allowed = (None, ir.DataType.FLOAT16, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT32, ir.DataType.UINT64)
    for node in model.graph.all_nodes():
        if node.op_type not in HEAVY_OPERATORS or node.domain not in ("", "ai.onnx"):
            continue
        wrong = next((value.dtype for value in node.inputs if value is not None and value.dtype not in allowed), None)
        if wrong is not None:
            raise BuildError(
                f"{node.op_type} {node.name!r} would compute in {wrong.name.lower()} instead of float16",
                hint="give a model of float32 weights and activations, or build it without --fp16",
            )


def _check_loads(model: ir.Model) -> None:
    """Lets onnxruntime check every type; the CPU provider runs float16 as float32, so this says nothing of overflow."""
    import tempfile
    from pathlib import Path

    import onnxruntime

    from s2deploy import onnx_file

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="s2deploy-fp16-") as folder:
        path = Path(folder) / "model.onnx"
        onnx_file.write(model, path)
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise BuildError(
                f"the model is not valid once typed for fp16: {error}", hint="build it without --fp16"
            ) from error


def _names(names: Iterable[str]) -> str:
    named = list(names)
    more = len(named) - _NAMED_AT_MOST
    return ", ".join(named[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
