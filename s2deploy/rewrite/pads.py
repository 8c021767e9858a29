"""A border of one constant, for element types that have no Pad.

Before: ``Pad(x, before, after, value)``. After: a Concat of constants and x along every axis with a border.
Requires: widths that are known numbers. Preserves every value. Source: the ONNX specification of Pad, which knows
booleans from version 13 on, and onnxruntime's CPU kernels, which lack integers of 16 bits, text, and bfloat16 before
version 21.
"""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from s2deploy.rewrite.expressions import Concat, Expression, Fill, Pad, Source

_OLDEST_OPSETS = {ir.DataType.BOOL: 13, ir.DataType.BFLOAT16: 21}
_NEVER = frozenset({ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.STRING})


def writable(expression: Expression, dtype: ir.DataType | None, opset: int) -> Expression:
    """Returns an expression of a type without the Pads that the type does not have."""
    if dtype not in _NEVER and (dtype is None or opset >= _OLDEST_OPSETS.get(dtype, 0)):
        return expression
    return _without_pads(expression)


def _without_pads(expression: Expression) -> Expression:
    if isinstance(expression, (Source, Fill)):
        return expression
    if isinstance(expression, Concat):
        return replace(expression, parts=tuple(map(_without_pads, expression.parts)))
    inner = replace(expression, of=_without_pads(expression.of))
    return _joined(inner) if isinstance(inner, Pad) else inner


def _joined(pad: Pad) -> Expression:
    found, shape = pad.of, list(pad.of.shape)
    for axis, (before, after) in enumerate(zip(pad.before, pad.after, strict=True)):
        if before or after:
            sides = [(*shape[:axis], width, *shape[axis + 1 :]) for width in (before, after)]
            front, back = ((Fill(pad.fill, side),) if side[axis] else () for side in sides)
            shape[axis] = pad.shape[axis]
            found = Concat(axis, (*front, found, *back), tuple(shape))
    return found
