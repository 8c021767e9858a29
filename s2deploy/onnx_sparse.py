"""Sparse tensors of ONNX files as ordinary ones: the graph library that reads files knows no others."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from s2deploy.errors import ArtifactError

_MOST_ELEMENTS = 1 << 26


def make_dense(proto: Any) -> None:
    """Replaces the sparse initializers and constants of an ``onnx.ModelProto`` in place.

    Raises:
        ArtifactError: One of them would be too large, or keeps its elements in a file of its own.
        ValueError: One of them contradicts itself.
    """
    for graph in _graphs(proto.graph):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_dense(sparse))
        graph.ClearField("sparse_initializer")
        _make_constants_dense(graph.node)
    for function in proto.functions:
        _make_constants_dense(function.node)
        for graph in _graphs_in(function.node):
            _make_constants_dense(graph.node)


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    yield from _graphs_in(graph.node)


def _graphs_in(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graphs(graph)


def _make_constants_dense(nodes: Any) -> None:
    for node in nodes:
        for attribute in node.attribute if node.op_type == "Constant" else ():
            if attribute.HasField("sparse_tensor"):
                dense = _dense(attribute.sparse_tensor)
                attribute.ClearField("sparse_tensor")
                attribute.name, attribute.type = "value", attribute.TENSOR
                attribute.t.CopyFrom(dense)


def _dense(sparse: Any) -> Any:
    from onnx import TensorProto, numpy_helper

    name, shape = sparse.values.name, tuple(sparse.dims)
    if math.prod(shape) > _MOST_ELEMENTS:
        raise ArtifactError(
            f"the sparse weight {name!r} of shape {shape} is too large to be written out",
            hint="export the model with dense weights",
        )
    if TensorProto.EXTERNAL in (sparse.values.data_location, sparse.indices.data_location):
        raise ArtifactError(
            f"the sparse weight {name!r} is in external data", hint="export the model with dense weights"
        )
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    places = indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), shape)
    full = np.zeros(math.prod(shape), values.dtype)
    full[places] = values
    return numpy_helper.from_array(full.reshape(shape), name)
