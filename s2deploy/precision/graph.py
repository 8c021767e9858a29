"""What every precision asks of a graph: which operators are heavy, which compute shapes, and a form the tools take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from s2deploy.errors import BuildError
from s2deploy.precision.functions import inline

if TYPE_CHECKING:
    import onnx_ir as ir

HEAVY_OPERATORS = frozenset({"MatMul", "Gemm", "Einsum", "Conv", "ConvTranspose"})
RECURRENT_OPERATORS = frozenset({"LSTM", "GRU", "RNN"})


def normalised(model: ir.Model) -> ir.Model:
    """Brings a graph into the form the converters handle; what it computes stays. The model is consumed.

    Operators of the plugins stay nodes: where they shall not, the caller has written them out. The converters do not
    look into local functions, miss Constant nodes that hold plain numbers, assert unique names of
    initializers, and need every type to be known.

    Raises:
        BuildError: An input is an output as well, which leaves no room for a Cast between them.
    """
    import onnx_ir as ir
    import onnx_ir.passes.common as passes
    from onnx_ir.passes import Sequential

    for value in model.graph.outputs:
        if value.is_graph_input():
            raise BuildError(
                f"input {value.name!r} is an output as well, so it cannot be typed",
                hint="export the model without that output, or build it in fp32",
            )
    inline(model, keep_operators=True)
    ir.external_data.load_to_model(model)  # the converters read weights only where they are part of the model
    tidy = Sequential(
        passes.RemoveInitializersFromInputsPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.LiftSubgraphInitializersToMainGraphPass(),
        passes.NameFixPass(),
        passes.ShapeInferencePass(strict_mode=False, data_prop=True),
    )
    return tidy(model).model


def finish(model: ir.Model) -> None:
    """Sorts a graph whose converter appended nodes at its end, drops what nothing reads, and infers types."""
    import onnx_ir.passes.common as passes
    from onnx_ir.passes import Sequential

    Sequential(
        passes.RemoveUnusedNodesPass(),
        passes.TopologicalSortPass(),
        passes.ShapeInferencePass(strict_mode=False, data_prop=True),
    )(model)


def is_heavy(node: ir.Node) -> bool:
    """Whether a node is a matrix product or convolution of the ONNX standard."""
    return node.op_type in HEAVY_OPERATORS and node.domain in ("", "ai.onnx")


def retyped(kind: Any, dtype: ir.DataType) -> Any:
    """Returns a type of a value with another element type; types are shared between values, so none is changed."""
    import onnx_ir as ir

    return ir.TensorType(dtype) if isinstance(kind, ir.TensorType) else type(kind)(retyped(kind.elem_type, dtype))


def shape_arithmetic(graph: ir.Graph) -> Iterator[ir.Node]:
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


def some(names: Iterable[str], most: int = 5) -> str:
    """Returns the first names as text, and how many more there are."""
    named = list(names)
    more = len(named) - most
    return ", ".join(named[:most]) + (f" and {more} more" if more > 0 else "")
