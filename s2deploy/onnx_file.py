"""ONNX files in and out: read with their external data, written with external data where one file cannot hold them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from s2deploy.errors import ArtifactError

_ONE_FILE_BYTES = 1_900_000_000  # protobuf ends at 2 GiB; the graph itself needs room beside its weights
_HINT = "it may be truncated: download it or export it from its framework again"


def read(path: Path) -> ir.Model:
    """Reads an ONNX file; weights in external data are mapped, not copied.

    Raises:
        ArtifactError: The file is no readable ONNX model, its nodes read what nothing computes or wait for each
            other, or its external data is missing, too short or elsewhere than in the model's folder.
    """
    try:
        model = ir.load(path)
    except Exception as error:  # protobuf's and onnx_ir's exceptions have no base class in common
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtifactError(f"{path} is not a readable ONNX file: {reason}", hint=_HINT) from error
    if not model.graph.outputs:
        raise ArtifactError(f"{path} is not an ONNX model: its graph has no outputs", hint=_HINT)
    for tensor in (*_weights(model), *_constants(model)):
        if isinstance(tensor, ir.ExternalTensor):
            _check_external(tensor, path)
    for graph in (model.graph, *model.functions.values()):
        _check_order(graph, path)
    return model


def write(model: ir.Model, path: Path) -> None:
    """Writes a model; above 2 GB its weights go to ``NAME.data`` beside it, as protobuf cannot hold more.

    Raises:
        OSError: The file cannot be written.
    """
    if weight_bytes(model) > _ONE_FILE_BYTES:
        ir.save(model, path, external_data=f"{path.name}.data")
    else:
        ir.external_data.load_to_model(model)
        ir.save(model, path)


def weight_bytes(model: ir.Model) -> int:
    """Returns the size of all initializers, those of subgraphs included, in bytes."""
    return sum(tensor.nbytes for tensor in _weights(model))


def _weights(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value


def _constants(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in (model.graph, *model.functions.values()):
        for node in graph.all_nodes():
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.TENSOR:
                    yield attribute.as_tensor()


def _check_order(graph: ir.Graph | ir.Function, path: Path) -> None:
    """Checks that every value a node reads exists, and sorts the nodes if they are not in order."""
    for node in graph.all_nodes():
        for value in node.inputs:
            if value is not None and not _exists(value):
                raise ArtifactError(
                    f"{path} is not a valid ONNX model: a {node.op_type} reads {value.name!r}, which nothing computes",
                    hint=_HINT,
                )
    for value in graph.outputs:
        if not _exists(value):
            raise ArtifactError(
                f"{path} is not a valid ONNX model: nothing computes its output {value.name!r}", hint=_HINT
            )
    if not _is_sorted(graph, set()):
        try:
            graph.sort()
        except ValueError as error:
            raise ArtifactError(f"{path} is not a valid ONNX model: its nodes form a cycle", hint=_HINT) from error


def _exists(value: ir.Value) -> bool:
    return value.producer() is not None or value.is_graph_input() or value.is_initializer()


def _is_sorted(graph: ir.Graph | ir.Function, computed: set[ir.Node]) -> bool:
    for node in graph:
        producers = (value.producer() for value in node.inputs if value is not None)
        if not all(producer is None or producer in computed for producer in producers):
            return False
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH and not _is_sorted(attribute.as_graph(), computed):
                return False
        computed.add(node)
    return True


def _check_external(tensor: ir.ExternalTensor, path: Path) -> None:
    data = Path(tensor.path)
    if not data.resolve().is_relative_to(path.resolve().parent):
        raise ArtifactError(
            f"{path} keeps the weight {tensor.name!r} in {data}, outside its own folder",
            hint="move the data file beside the model and name it by a relative path",
        )
    if not data.is_file():
        raise ArtifactError(
            f"{path} keeps its weights in {data}, which is missing", hint="put that file beside the model"
        )
    if data.stat().st_size < (tensor.offset or 0) + (tensor.length or tensor.nbytes):
        raise ArtifactError(f"{data} is too short for the weight {tensor.name!r} of {path}", hint=_HINT)
