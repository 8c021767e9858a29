"""Sizes that windows leave: what a Conv or a pooling gives along its spatial axes, and a Resize by whole factors.

ONNX's inference knows them for numbers alone. As coordinates, two Convs of one tensor give equal sizes, and a Conv that
keeps the size of its input keeps its name.
Source: the ONNX specifications of Conv, MaxPool, AveragePool, LpPool and Resize.
"""

from __future__ import annotations

import onnx_ir as ir

from s2deploy.rewrite.contents import Shape
from s2deploy.rewrite.contributed import standard_operator
from s2deploy.rewrite.coordinates import Coord, floor_divide

_POOLS = frozenset({"AveragePool", "LpPool", "MaxPool"})


def shape_left(node: ir.Node, data: Shape) -> Shape | None:
    """Returns the shape of a node's first output, None where it follows another rule.

    Args:
        node: The node.
        data: The shape of its first input.
    """
    if standard_operator(node) is None or len(data) < 3:
        return None
    if node.op_type == "Resize":
        return _resized(node, data)
    found = _kernel(node, data[1])
    if found is None:
        return None
    channels, kernel = found
    rank = len(data) - 2
    padding = node.attributes.get("auto_pad")
    if len(kernel) != rank or (padding is not None and padding.as_string() not in ("NOTSET", "VALID")):
        return None
    if node.attributes.get("ceil_mode") is not None and node.attributes["ceil_mode"].as_int():
        return None
    pads = _integers(node, "pads") or (0,) * (2 * rank)
    strides, dilations = (_integers(node, name) or (1,) * rank for name in ("strides", "dilations"))
    sizes = [
        floor_divide(size + (before + after - dilation * (width - 1) - 1), stride) + 1
        for size, before, after, dilation, width, stride in zip(
            data[2:], pads[:rank], pads[rank:], dilations, kernel, strides, strict=True
        )
    ]
    return data[0], channels, *sizes


def _kernel(node: ir.Node, channels: Coord) -> tuple[Coord, tuple[int, ...]] | None:
    """Returns how many channels a node gives, and the sizes of its window."""
    if node.op_type in _POOLS:
        kernel = _integers(node, "kernel_shape")
        return None if kernel is None else (channels, kernel)
    weight = node.inputs[1] if standard_operator(node) == "Conv" and len(node.inputs) > 1 else None
    if weight is None or weight.const_value is None:
        return None
    first, _, *window = (int(size) for size in weight.const_value.shape.numpy())
    return first, tuple(window)


def _resized(node: ir.Node, data: Shape) -> Shape | None:
    scales = node.inputs[2] if len(node.inputs) > 2 else None
    constant = None if scales is None or scales.is_graph_input() else scales.const_value
    if constant is None or constant.size != len(data) or "axes" in node.attributes:
        return None
    factors = [float(factor) for factor in constant.numpy()]
    if not all(factor.is_integer() and factor >= 1 for factor in factors):
        return None
    return tuple(size * int(factor) for size, factor in zip(data, factors, strict=True))


def _integers(node: ir.Node, name: str) -> tuple[int, ...] | None:
    attribute = node.attributes.get(name)
    return None if attribute is None else tuple(attribute.as_ints())
