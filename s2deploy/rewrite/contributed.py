"""Shapes behind onnxruntime's own operators, as files have them that onnxruntime has optimized and saved.

Before: a ``FusedConv`` of domain com.microsoft, behind which nothing is known. After: the node as the operator of the
standard that gives the same shape, for shape inference alone; the graph stays. Requires: one of the operators below.
Source: the operator documentation of onnxruntime (ContribOperators.md).
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

_DOMAIN = "com.microsoft"
_SAME_SHAPE = frozenset(
    {"BiasGelu", "FastGelu", "Gelu", "QuickGelu", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization"}
)
_TURNS = ("transA", "transB", "transBatchA", "transBatchB")
_FUSED = {"FusedConv": "Conv", "FusedGemm": "Gemm", "FusedMatMul": "MatMul", "TransposeMatMul": "MatMul"}
_INPUTS = {"Conv": 3, "Gemm": 3, "MatMul": 2}


def standard_operator(node: ir.Node) -> str | None:
    """Returns the operator of the standard that gives the shape of a node's first output, None where none does."""
    if node.domain == "":
        return node.op_type
    if node.domain != _DOMAIN:
        return None
    if node.op_type in _SAME_SHAPE:
        return "Identity"
    operator = _FUSED.get(node.op_type)
    turned = any(node.attributes[name].as_int() for name in _TURNS if name in node.attributes)
    return None if operator == "MatMul" and turned else operator


def standard_node(node: ir.Node) -> onnx.NodeProto | None:
    """Returns a node by whose operator of the standard shapes can be inferred."""
    proto = ir.serde.serialize_node(node)  # to_proto asks typing's protocols first, which takes longer than the rest
    operator = standard_operator(node)
    if node.domain == "" or operator is None:
        return proto if node.domain == "" else None
    del proto.input[_INPUTS.get(operator, 1) :], proto.output[1:]
    proto.op_type, proto.domain = operator, ""
    known = onnx.defs.get_schema(operator).attributes
    kept = [attribute for attribute in proto.attribute if attribute.name in known]
    del proto.attribute[:]
    proto.attribute.extend(kept)
    return proto
