"""Where an ONNX node comes from, as ``file.py:LINE`` of the user's code, and nothing else of what torch records."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

SOURCE = "s2deploy.source"
"""Key of a node's metadata: the line of Python that caused it."""

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def keep_source_lines(model: ir.Model) -> None:
    """Replaces torch's metadata of nodes, values and graph, which is larger than many a graph, by `SOURCE`."""
    import onnx_ir as ir

    graphs: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for graph in graphs:
        graph.metadata_props.clear()
        for value in graph.inputs:
            value.metadata_props.clear()
        for node in ir.traversal.RecursiveGraphIterator(graph):
            line = source_line(node.metadata_props.get("pkg.torch.onnx.stack_trace", ""))
            node.metadata_props.clear()
            node.meta.clear()
            if line:
                node.metadata_props[SOURCE] = line
            for value in node.outputs:
                value.metadata_props.clear()
    for value in model.graph.initializers.values():
        value.metadata_props.clear()
    model.metadata_props.clear()


@cache
def source_line(stack_trace: str) -> str | None:
    """Returns the innermost line outside torch in a stack trace as torch.export writes it, as ``file.py:LINE``."""
    import torch

    library = str(Path(torch.__file__).parent)
    frames = [(file, line) for file, line in _FRAME.findall(stack_trace) if not file.startswith(library)]
    if not frames:
        return None
    file, line = frames[-1]
    return f"{Path(file).name}:{line}"
