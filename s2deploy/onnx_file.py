"""ONNX files in and out: weights in external data are mapped and copied piece by piece, never held as a whole.

A file is written as one piece where it can be; large weights that came in external data, and all that one file cannot
hold, go to one data file beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from s2deploy.errors import ArtifactError
from s2deploy.onnx_sparse import make_dense
from s2deploy.onnx_stream import save

_MOST_PROTOBUF_BYTES = (1 << 31) - 1
_ONE_FILE_BYTES = 1_900_000_000  # the graph itself needs room beside its weights
_TAKEN_IN_BYTES = 100_000_000  # below it one file is handier than two, and its memory is not worth a word
_HINT_FOR_KINDS = "export the part of the model that works on tensors, e.g. without ZipMap (zipmap=False in skl2onnx)"
_HINT = "it may be truncated: download it or export it from its framework again"


def read(path: Path) -> ir.Model:
    """Reads an ONNX file; weights in external data are mapped, not copied.

    Raises:
        ArtifactError: The file is no readable ONNX model, its nodes read what nothing computes or wait for each
            other, or its external data is missing, too short or elsewhere than in the model's folder.
    """
    try:
        if path.stat().st_size > _MOST_PROTOBUF_BYTES:
            raise ArtifactError(
                f"{path} is larger than 2 GB, which no ONNX file can be",
                hint="save it with its weights in external data: onnx.save(model, path, save_as_external_data=True)",
            )
        model = _loaded(path)
    except ArtifactError:
        raise
    except Exception as error:  # protobuf's and onnx_ir's exceptions have no base class in common
        cause = _cause(error)
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        if isinstance(cause, NotImplementedError):
            reason = reason.partition(". ")[0]
            raise ArtifactError(f"{path} cannot be rewritten: {reason}", hint=_HINT_FOR_KINDS) from error
        raise ArtifactError(f"{path} is not a readable ONNX file: {reason}", hint=_HINT) from error
    if not model.graph.outputs:
        raise ArtifactError(f"{path} is not an ONNX model: its graph has no outputs", hint=_HINT)
    raw = (value for _, attribute in _tensor_attributes(model) for value in _tensors_of(attribute))
    for tensor in (*_weights(model), *raw):
        if not _has_type(tensor):
            raise ArtifactError(f"{path} is not a valid ONNX model: a weight of it has no element type", hint=_HINT)
    for tensor in _external(model):
        _check_external(tensor, path)
    for graph in model.graphs():
        if not isinstance(graph.name or "", str):  # protobuf gives what is no UTF-8 as bytes
            raise ArtifactError(f"{path} is not a readable ONNX file: {graph.name!r} is no UTF-8 text", hint=_HINT)
    for body in _bodies(model):
        _check_order(body, path)
    for value in (value for body in [*model.graphs(), *_bodies(model)] for value in body.outputs):
        if not _exists(value):
            raise ArtifactError(f"{path} is not a valid ONNX model: nothing computes {value.name!r}", hint=_HINT)
    return model


def write(model: ir.Model, path: Path) -> None:
    """Writes a model, its weights in ``NAME.data`` beside it where they do not belong into the file; see above.

    Raises:
        ArtifactError: The model holds what no ONNX file can, such as text that is not UTF-8.
        OSError: The file cannot be written.
    """
    _take_in_attributes(model)
    external = any(isinstance(tensor, ir.ExternalTensor) for tensor in _weights(model))
    if weight_bytes(model) > (_TAKEN_IN_BYTES if external else _ONE_FILE_BYTES):
        ir.save(model, path, external_data=f"{path.name}.data")
        return
    inner = {value: value.const_value for graph in model.graph.subgraphs() for value in graph.initializers.values()}
    try:
        for value, tensor in inner.items():
            if isinstance(tensor, ir.ExternalTensor):
                value.const_value = _taken_in(tensor)
        save(model, path)
    except ir.serde.SerdeError as error:
        raise ArtifactError(f"{path} cannot be written: {error.__cause__ or error}", hint=_HINT) from error
    finally:
        for value, tensor in inner.items():
            value.const_value = tensor


def weight_bytes(model: ir.Model) -> int:
    """Returns the size of all initializers, those of subgraphs included, in bytes."""
    return sum(tensor.nbytes for tensor in _weights(model))


def data_files(model: ir.Model) -> set[Path]:
    """Returns the files a model maps its weights from."""
    return {Path(tensor.path) for tensor in _external(model)}


def _loaded(path: Path) -> ir.Model:
    proto = onnx.load(path, load_external_data=False)
    make_dense(proto)
    model = ir.from_proto(proto)
    for tensor in _external(model):
        tensor.base_dir = path.parent
    return model


def _cause(error: BaseException) -> BaseException:
    """Returns what an error began with; onnx_ir puts the whole file into the messages around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _weights(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value


def _bodies(model: ir.Model) -> list[ir.Graph | ir.Function]:
    return [model.graph, *model.functions.values()]


def _external(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    for tensor in _weights(model):
        if isinstance(tensor, ir.ExternalTensor):
            yield tensor
    for _, attribute in _tensor_attributes(model):
        yield from (tensor for tensor in _tensors_of(attribute) if isinstance(tensor, ir.ExternalTensor))


def _tensor_attributes(model: ir.Model) -> Iterator[tuple[ir.Node, ir.Attr]]:
    for node in (node for body in _bodies(model) for node in body.all_nodes()):
        for attribute in node.attributes.values():
            if attribute.type in (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS) and not attribute.is_ref():
                yield node, attribute


def _tensors_of(attribute: ir.Attr) -> tuple[ir.TensorProtocol, ...]:
    # as_tensor asks for the size in bytes, which a tensor without an element type does not have
    return (attribute.value,) if attribute.type == ir.AttributeType.TENSOR else tuple(attribute.value)


def _take_in_attributes(model: ir.Model) -> None:
    """Makes tensors of attributes part of the model: only initializers are written to a data file."""
    for node, attribute in list(_tensor_attributes(model)):
        tensors = _tensors_of(attribute)
        if any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors):
            values: Any = list(map(_taken_in, tensors))
            if attribute.type == ir.AttributeType.TENSOR:
                (values,) = values
            node.attributes.add(ir.Attr(attribute.name, attribute.type, values, doc_string=attribute.doc_string))


def _has_type(tensor: ir.TensorProtocol) -> bool:
    try:
        return tensor.dtype != ir.DataType.UNDEFINED
    except ValueError:  # a number that stands for no type
        return False


def _taken_in(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy().copy(), name=tensor.name, dtype=tensor.dtype, doc_string=tensor.doc_string)


def _check_order(graph: ir.Graph | ir.Function, path: Path) -> None:
    """Checks that every value a node reads exists, and sorts the nodes if they are not in order."""
    for node in graph.all_nodes():
        for value in node.inputs:
            if value is not None and not _exists(value):
                raise ArtifactError(
                    f"{path} is not a valid ONNX model: a {node.op_type} reads {value.name!r}, which nothing computes",
                    hint=_HINT,
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
