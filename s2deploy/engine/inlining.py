"""Functions of a file written out: the parsers of TensorRT are given operators alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def inline(model: ir.Model) -> bool:
    """Replaces every node of a local function by what the function computes, and tells whether there was one."""
    from onnx_ir.passes.common import InlinePass

    if not model.functions:
        return False
    InlinePass()(model)
    model.functions.clear()
    model.graph.opset_imports.pop("s2deploy", None)
    return True
