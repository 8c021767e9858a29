"""Sizes that torch reads off a tensor's strides.

A number that `integers` computes is traced from whatever of a tensor is equal to a symbol, and that may be a stride:
the first of a contiguous matrix is the size of its second axis. An ONNX tensor has sizes only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def read_sizes_instead(module: torch.fx.GraphModule) -> None:
    """Replaces strides that are the size of an input's axis by that size."""
    import torch

    graph = module.graph
    sizes = {
        size.node.expr: (node, axis)
        for node in graph.find_nodes(op="placeholder")
        for axis, size in enumerate(getattr(node.meta.get("val"), "shape", ()))
        if isinstance(size, torch.SymInt)
    }
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.sym_stride.int):
        stride = node.meta["val"]
        source = sizes.get(stride.node.expr) if isinstance(stride, torch.SymInt) else None
        if source is not None:
            with graph.inserting_before(node):
                size = graph.call_function(torch.ops.aten.sym_size.int, source)
            size.meta.update(node.meta)
            node.replace_all_uses_with(size)
            graph.erase_node(node)
    module.recompile()
