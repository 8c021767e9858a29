"""An ONNX file written tensor by tensor.

protobuf builds a file in memory, several times over: the message, its bytes, and the room they grow in. Only the graph
without its large weights is left to it here; they are put between its bytes as the wire format has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
import onnx
import onnx_ir as ir

_STREAMED_BYTES = 1 << 16
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9  # field numbers of ModelProto, GraphProto and TensorProto


def save(model: ir.Model, path: Path) -> None:
    """Writes a model as one file; the weights of the main graph are copied one at a time.

    Raises:
        OSError: The file cannot be written.
    """
    streamed = {
        value: value.const_value for value in model.graph.initializers.values() if _is_streamed(value.const_value)
    }
    try:
        for value in streamed:
            value.const_value = _stand_in(value)
        proto = ir.to_proto(model)
    finally:
        for value, tensor in streamed.items():
            value.const_value = tensor
    tensors = {value.name: tensor for value, tensor in streamed.items()}
    weights = [_head(weight, tensors.get(weight.name)) for weight in proto.graph.initializer]
    del proto.graph.initializer[:]
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    size = len(graph) + sum(len(head) + (0 if tensor is None else tensor.nbytes) for head, tensor in weights)
    with path.open("wb") as file:
        file.write(proto.SerializeToString() + _key(_GRAPH, size) + graph)
        for head, tensor in weights:
            file.write(head)
            if tensor is not None:
                _write(tensor, file)


def _is_streamed(tensor: ir.TensorProtocol | None) -> bool:
    """Whether a tensor is copied by itself: it is large or lies in another file; texts have no plain bytes."""
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return False
    return isinstance(tensor, ir.ExternalTensor) or tensor.nbytes >= _STREAMED_BYTES


def _stand_in(value: ir.Value) -> ir.TensorProtocol:
    tensor = value.const_value
    assert tensor is not None
    empty = ir.tensor(np.empty(0, np.uint8), name=tensor.name, doc_string=tensor.doc_string)
    empty.metadata_props.update(tensor.metadata_props)
    return empty


def _head(weight: onnx.TensorProto, tensor: ir.TensorProtocol | None) -> tuple[bytes, ir.TensorProtocol | None]:
    """Returns the bytes of an initializer up to those of its elements, and the tensor that has these."""
    if tensor is None:
        content = weight.SerializeToString()
        return _key(_INITIALIZER, len(content)) + content, None
    weight.ClearField("raw_data")
    weight.data_type = tensor.dtype
    weight.dims[:] = tensor.shape.numpy()
    content = weight.SerializeToString() + _key(_RAW_DATA, tensor.nbytes)
    return _key(_INITIALIZER, len(content) + tensor.nbytes) + content, tensor


def _write(tensor: ir.TensorProtocol, file: IO[bytes]) -> None:
    start = file.tell()
    copy = getattr(tensor, "tofile", None)  # no part of the protocol, but most tensors have it
    if copy is None:
        file.write(tensor.tobytes())
    else:
        copy(file)
    if file.tell() - start != tensor.nbytes:
        raise AssertionError(f"{tensor.name} has {file.tell() - start} bytes, {tensor.nbytes} expected")


def _key(field: int, size: int) -> bytes:
    """Returns what stands in front of a field of the given size: its number, wire type 2, and the size."""
    return _varint(field << 3 | 2) + _varint(size)


def _varint(number: int) -> bytes:
    groups = []
    while number > 127:
        groups.append(number & 127 | 128)
        number >>= 7
    return bytes([*groups, number])
