"""What the fixture scripts share: a model goes to a small file, without the traces and long names of exporters."""

from __future__ import annotations

from pathlib import Path

import onnx

_LARGEST = 40_000


def save(model: onnx.ModelProto, folder: str, name: str) -> None:
    """Writes ``<folder>/<name>.onnx`` beside this file; what is inside the graph gets short names.

    Raises:
        ValueError: The model is too large for a fixture.
    """
    kept = {value.name for value in (*model.graph.input, *model.graph.output)} | {""}
    names = _Names(kept)
    _shorten(model.graph, names)
    for function in model.functions:
        for values in (function.input, function.output):
            values[:] = [names.short(value) for value in values]
        _shorten(function, names)
    del model.metadata_props[:]
    onnx.checker.check_model(model)
    content = model.SerializeToString(deterministic=True)
    if len(content) > _LARGEST:
        raise ValueError(f"{folder}/{name} has {len(content)} bytes")
    path = Path(__file__).parent / folder / f"{name}.onnx"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    print(f"{folder}/{name}: opset {opset}, {len(model.graph.node)} nodes, {len(content)} bytes")


class _Names:
    """Short names, the same for the same name everywhere in a model."""

    def __init__(self, kept: set[str]) -> None:
        self._kept = kept
        self._short: dict[str, str] = {}

    def short(self, name: str) -> str:
        if name in self._kept:
            return name
        return self._short.setdefault(name, f"v{len(self._short)}")


def _shorten(graph: onnx.GraphProto | onnx.FunctionProto, names: _Names) -> None:
    """Renames values, and removes what only tells where a node came from."""
    del graph.metadata_props[:]
    for node in graph.node:
        for field in ("name", "doc_string"):
            node.ClearField(field)
        del node.metadata_props[:]
        node.input[:] = [names.short(name) for name in node.input]
        node.output[:] = [names.short(name) for name in node.output]
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
            if attribute.type == onnx.AttributeProto.GRAPH:
                _shorten(attribute.g, names)
            elif attribute.type == onnx.AttributeProto.TENSOR:
                attribute.t.ClearField("name")
    for value in graph.value_info:
        value.name = names.short(value.name)
        del value.metadata_props[:]
    if isinstance(graph, onnx.GraphProto):
        for named in (*graph.input, *graph.output, *graph.initializer):
            named.name = names.short(named.name)
