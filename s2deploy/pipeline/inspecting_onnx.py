"""What an ONNX file holds, read without running it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from s2deploy import onnx_file
from s2deploy.inspection import OnnxInspection, Provenance, TensorFound
from s2deploy.metadata import PREFIX, Metadata
from s2deploy.specs import TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

_SCATTERS = ("ScatterND", "ScatterElements", "Scatter")
_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "LSTM", "GRU", "RNN"})
_INTEGER_PRODUCTS = frozenset({"MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv"})
_DTYPES = {"FLOAT": "float32", "DOUBLE": "float64"}


def inspect_onnx(path: Path) -> OnnxInspection:
    """Returns what an ONNX file holds.

    Raises:
        ArtifactError: The file, or its s2deploy metadata, is damaged.
    """
    model = onnx_file.read(path)
    own = {key: text for key, text in model.metadata_props.items() if key.startswith(PREFIX)}
    metadata = Metadata.from_props(model.metadata_props, path) if f"{PREFIX}semantics" in own else None
    specs = {} if metadata is None or metadata.open_dims else {spec.name: spec for spec in metadata.inputs}
    nodes = list(_nodes(model))
    operators = Counter(_operator(node) for node in nodes)
    functions = {f"{function.domain}::{function.name}" for function in model.functions.values()}
    weights: Counter[str] = Counter()
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                weights[_dtype(value.const_value.dtype)] += value.const_value.nbytes
    return OnnxInspection(
        path=path,
        size_bytes=path.stat().st_size,
        weight_bytes=dict(weights.most_common()),
        data_files=tuple(sorted(file.name for file in onnx_file.data_files(model))),
        producer=" ".join(filter(None, (model.producer_name, model.producer_version))),
        ir_version=model.ir_version,
        opsets={domain or "ai.onnx": version for domain, version in model.opset_imports.items()},
        inputs=tuple(_tensor(value, specs.get(str(value.name))) for value in _inputs(model)),
        outputs=tuple(_tensor(value, None) for value in model.graph.outputs),
        nodes=len(nodes),
        operators=dict(operators.most_common()),
        scatters=sum(operators[name] for name in _SCATTERS),
        products=dict(Counter(map(_computes_in, filter(_is_product, nodes))).most_common()),
        functions=tuple(sorted(functions)),
        plugins=tuple(sorted(name for name in operators if _is_foreign(name) and name not in functions)),
        provenance=None if metadata is None else _provenance(metadata),
        properties={key: text for key, text in model.metadata_props.items() if key not in own},
    )


def _nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Yields the nodes that are not Constant, which are counted everywhere else as well."""
    bodies: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for body in bodies:
        yield from (node for node in body.all_nodes() if node.op_type != "Constant")


def _inputs(model: ir.Model) -> list[ir.Value]:
    """Returns the inputs a caller gives: old files list their weights among them."""
    return [value for value in model.graph.inputs if not value.is_initializer()]


def _operator(node: ir.Node) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def _is_foreign(operator: str) -> bool:
    return "::" in operator and not operator.startswith("ai.onnx.")


def _is_product(node: ir.Node) -> bool:
    return node.op_type in _PRODUCTS | _INTEGER_PRODUCTS


def _computes_in(node: ir.Node) -> str:
    """Returns the type of a product: that of any input the file gives one; int8 where its inputs are dequantized."""
    if node.op_type in _INTEGER_PRODUCTS:
        return "int8"
    inputs = [value for value in node.inputs[:2] if value is not None]
    makers = [value.producer() for value in inputs]
    if inputs and all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers):
        return "int8"
    return next((_dtype(value.dtype) for value in (*inputs, *node.outputs) if value.dtype is not None), "unknown")


def _dtype(dtype: ir.DataType | None) -> str:
    return "unknown" if dtype is None else _DTYPES.get(dtype.name, dtype.name.lower())


def _tensor(value: ir.Value, spec: TensorSpec | None) -> TensorFound:
    shape = () if value.shape is None else tuple(size if isinstance(size, int) else size.value for size in value.shape)
    named = tuple(size if isinstance(size, int) else str(size or "?") for size in shape)
    return TensorFound(str(value.name), named, _dtype(value.dtype), str(spec) if spec and spec.dynamic else None)


def _provenance(metadata: Metadata) -> Provenance:
    return Provenance(
        source=metadata.source,
        source_sha256=metadata.source_sha256,
        weights=metadata.weights,
        weights_sha256=metadata.weights_sha256,
        semantics=metadata.semantics,
        guards=metadata.guards,
        atol=metadata.tolerance.atol,
        rtol=metadata.tolerance.rtol,
        versions=metadata.versions,
    )
