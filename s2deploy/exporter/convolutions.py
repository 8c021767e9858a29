"""Convolutions with as many groups as a dynamic size says, in a decomposed program.

Before: conv(x, kernels, groups=b): examples as groups of one image, each with a kernel of its own, as cross-
        correlation, modulated and dynamic convolutions are written. ONNX keeps the number of groups as a constant
After:  matmul(kernels as (b, m, c * k), windows as (b, c * k, places)), the windows k slices of x, one for each tap of
        the kernel

Requires: one image; known channels of a group, sizes of the kernel, steps, borders and gaps; at most 256 taps
Refuses (leaves the convolution, which torch's exporter refuses with its line): everything else
Preserves: shapes, types and names; values up to the order of sums; the program stays executable
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

from s2deploy.exporter.calls import call, call_for
from s2deploy.exporter.slices import END

if TYPE_CHECKING:
    import torch
    from torch.fx import Node

_MOST_TAPS = 256
_DEFAULTS = (None, [1], [0], [1], 1)


def multiply_in_dynamic_groups(graph_module: torch.fx.GraphModule) -> None:
    """Rewrites these convolutions, in place."""
    import torch

    aten = torch.ops.aten
    for node in list(graph_module.graph.nodes):
        if node.target not in (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default):
            continue
        arguments: tuple[Any, ...] = (*node.args, *_DEFAULTS[len(node.args) - 2 :])
        x, weight, bias, *window, groups = arguments
        _, *known = weight.meta["val"].shape
        count, *_ = x.meta["val"].shape
        is_one_image = isinstance(count, int) and count == 1 and len(x.meta["val"].shape) == len(known) + 1
        if isinstance(groups, int) or node.kwargs or not is_one_image or not all(isinstance(k, int) for k in known):
            continue
        if math.prod(known[1:]) > _MOST_TAPS:
            continue
        with graph_module.graph.inserting_before(node):
            steps, borders, gaps = ([*given] * (len(known) - 1 if len(given) == 1 else 1) for given in window)
            result = _multiplied(node, x, weight, groups, steps, borders, gaps)
            if bias is not None:
                column = call(node, aten.reshape.default, bias, [1, -1, *(1 for _ in steps)])
                result = call(node, aten.add.Tensor, result, column)
        # The node itself becomes the last step: a program knows its outputs by name.
        node.target, node.args = result.target, result.args
        graph_module.graph.erase_node(result)


def _multiplied(
    node: Node, x: Node, weight: Node, groups: Node, steps: list[int], borders: list[int], gaps: list[int]
) -> Node:
    import torch

    aten = torch.ops.aten
    _, channels, *kernel = weight.meta["val"].shape
    if any(borders):
        before = x.meta["val"]
        padded = [size + 2 * border for size, border in zip(before.shape[2:], borders, strict=True)]
        result = before.new_empty([*before.shape[:2], *padded])
        border = [b for b in reversed(borders) for _ in range(2)]
        x = call_for(node, result, aten.constant_pad_nd.default, x, border)
    windows = []
    for taps in itertools.product(*map(range, kernel)):
        window = x
        for axis, (tap, size, step, gap) in enumerate(zip(taps, kernel, steps, gaps, strict=True), start=2):
            end = (tap - size + 1) * gap or END
            window = call(node, aten.slice.Tensor, window, axis, tap * gap, end, step)
        windows.append(call(node, aten.unsqueeze.default, window, 2))
    places = [_size(node, windows[0], axis) for axis in range(3, len(kernel) + 3)]
    together = call(node, aten.cat.default, windows, 2)
    depth = channels * math.prod(kernel)
    read = call(node, aten.reshape.default, together, [groups, depth, -1])
    product = call(node, aten.bmm.default, call(node, aten.reshape.default, weight, [groups, -1, depth]), read)
    return call(node, aten.reshape.default, product, [1, -1, *places])


def _size(node: Node, tensor: Node, axis: int) -> Any:
    import torch

    size = tensor.meta["val"].shape[axis]
    return size if isinstance(size, int) else call(node, torch.ops.aten.sym_size.int, tensor, axis)
