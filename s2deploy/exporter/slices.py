"""Slice bounds of a decomposed program as constants, wherever the declared ranges allow it.

    Before: slice(x, dim, 0, s0 - 1) and slice_scatter(x, src, dim, 1, s0 - 1) on a dimension of size s0
    After:  the bound is -1

    Requires: the bound is at least 0 for every size in range, because a negative bound counts from the end
    Preserves: values, shapes and names; the program stays executable

Bounds on a dimension of fixed size are clamped into it. A bound that lies at the end for every size in range becomes
the largest integer. The end of a slice_scatter that may come before its start becomes symbolic, so that the translation
compares the two at run time; two constant bounds are in order.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from s2deploy.exporter.calls import call

if TYPE_CHECKING:
    import torch
    from torch.fx import Node

END = 2**63 - 1
"""The end of any dimension, as PyTorch and ONNX write it."""


def make_bounds_constant(graph_module: torch.fx.GraphModule) -> None:
    """Rewrites the bounds of every slice and slice_scatter of step 1, in place."""
    import torch

    aten = torch.ops.aten
    tensors = {aten.slice.Tensor: 1, aten.slice_scatter.default: 2}
    for module in graph_module.modules():
        if not isinstance(module, torch.fx.GraphModule):
            continue
        for node in module.graph.nodes:
            if node.target in tensors:
                _rewrite(node, tensors[node.target])


def _rewrite(node: Node, tensors: int) -> None:
    tensor: Any = node.args[0]
    given: dict[str, Any] = dict(zip(("dim", "start", "end", "step"), node.args[tensors:], strict=False))
    given |= node.kwargs
    dim, step = given.get("dim", 0), given.get("step", 1)
    if step != 1:
        return
    start, end = given.get("start"), given.get("end")
    size = tensor.meta["val"].shape[dim]
    start = _constant(0 if start is None else start, size)
    end = _constant(END if end is None else end, size)
    if tensors == 2 and isinstance(start, int) and isinstance(end, int) and not _in_order(start, end, size):
        end = _at_run_time(node, tensor, dim, end)
    node.args = (*node.args[:tensors], dim, start, end, 1)
    node.kwargs = {}


def _constant(bound: Any, size: Any) -> Any:
    """Returns a bound as an integer where one integer is right for every size, else unchanged."""
    import torch
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    value = bound.meta["val"] if isinstance(bound, torch.fx.Node) else bound
    if isinstance(value, int) and isinstance(size, int):
        return min(max(value + size if value < 0 else value, 0), size)
    if value == END or statically_known_true(value >= size):
        return END
    if isinstance(value, int):
        return value
    behind = size - value
    distance = behind.node.maybe_as_int() if isinstance(behind, torch.SymInt) else behind
    if distance is not None and statically_known_true(value >= 0):
        return -distance
    return bound


def _in_order(start: int, end: int, size: Any) -> bool:
    """Whether the end never comes before the start, or does so whatever the size."""
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    if (start < 0) == (end < 0):
        return True
    return statically_known_true(start <= end + size) if end < 0 else end == END


def _at_run_time(node: Node, tensor: Node, dim: int, end: int) -> Node:
    """Inserts the computation of a constant end, counted from the start."""
    import torch

    # A size of a negative dimension has no translation: it ends at 0, before it starts.
    length = call(node, torch.ops.aten.sym_size.int, tensor, dim % tensor.meta["val"].dim())
    return call(node, torch.sym_min, length, end) if end >= 0 else call(node, operator.add, length, end)
