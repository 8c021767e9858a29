"""Every node that TensorRT's ONNX parser does not take, found in the building process.

The parser checks all nodes for what it can see at a glance, and then stops at the first one that it cannot import. So
refused nodes are cut out, their outputs becoming inputs, and the rest is parsed again, until it is taken or nothing new
is found. A node that depends on one that was cut out is not judged: what it is given may not be what it would get.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2deploy import onnx_file
from s2deploy.engine.families import Family
from s2deploy.engine.request import Refusal, Request
from s2deploy.environment import without_logs

if TYPE_CHECKING:
    import onnx_ir as ir

_MOST_ROUNDS = 10  # each writes and parses the model


def refused(family: Family, request: Request) -> tuple[Refusal, ...]:
    """Returns the refused nodes of a model that the parser has not taken; none where it blames no node."""
    from onnx_ir.passes.common import ShapeInferencePass

    found: list[Refusal] = []
    model = onnx_file.read(Path(request.model))
    with without_logs("onnx_ir.passes.common.shape_inference"):
        ShapeInferencePass(strict_mode=False)(model)
    doubtful: set[ir.Value] = set()
    with tempfile.TemporaryDirectory(prefix="s2deploy-parse-") as folder:
        path = Path(request.model)
        for _ in range(_MOST_ROUNDS):
            nodes = list(model.graph)
            cut = []
            for error in _errors(family, request, path):
                node = _blamed(error, nodes)
                if node is None:
                    refusal = Refusal(_told(error, "node_name"), _told(error, "node_operator"), "", _words(error))
                    if refusal not in found:  # nothing was cut out for it, so that every round tells it
                        found.append(refusal)
                elif node not in cut:
                    cut.append(node)
                    if not any(value in doubtful for value in node.inputs):
                        output = str(node.outputs[0].name)
                        found.append(Refusal(node.name or "", node.op_type, output, _words(error)))
            if not cut or not all(_cut_out(model, node, doubtful) for node in cut):
                break
            path = Path(folder) / "model.onnx"
            onnx_file.write(model, path)
    return tuple(found)


def _errors(family: Family, request: Request, path: Path) -> Iterator[Any]:
    _builder, _network, parser = family.parser(request)  # all three must live while its errors are read
    parser.parse_from_file(str(path))
    for index in range(parser.num_errors):
        yield parser.get_error(index)


def _blamed(error: Any, nodes: Sequence[ir.Node]) -> ir.Node | None:
    """Returns the node of the main graph that an error names; None where it is one of a body or function."""
    node = nodes[error.node()] if 0 <= error.node() < len(nodes) else None
    named = hasattr(error, "node_operator") and node is not None and error.node_operator() != node.op_type
    return None if named else node


def _told(error: Any, what: str) -> str:
    """Returns what an error says of its node; of TensorRT 8.5 it tells its number alone."""
    return str(getattr(error, what)()) if hasattr(error, what) else ""


def _words(error: Any) -> str:
    code = str(error.code()).rpartition(".")[2]
    return f"{error.func()}: {code}: {error.desc()}" if error.func() else f"{code}: {error.desc()}"


def _cut_out(model: ir.Model, node: ir.Node, doubtful: set[ir.Value]) -> bool:
    """Turns a node's outputs into inputs, if their types are known; what is computed from them becomes doubtful."""
    import onnx_ir as ir

    if any(value.dtype is None or value.shape is None for value in node.outputs):
        return False
    for value in node.outputs:
        given = ir.Value(name=f"{value.name}/given", type=value.type, shape=value.shape)
        for index, output in enumerate(model.graph.outputs):
            if output is value:
                model.graph.outputs[index] = given
        value.replace_all_uses_with(given)
        model.graph.inputs.append(given)
        doubtful.add(given)
    model.graph.remove(node, safe=True)
    for later in model.graph:
        if any(value in doubtful for value in later.inputs):
            doubtful.update(later.outputs)
    return True
