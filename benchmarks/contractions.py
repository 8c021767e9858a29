"""Measures Einsum on onnxruntime as it is and as the operators that it stands for; prints a Markdown table.

Run: python benchmarks/contractions.py [--seconds 1]
One thread; both files of a row take turns on the same random inputs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from side_by_side import medians_ms, session

from s2deploy.rewrite import rewrite

_WEIGHTS = 1
CASES = (
    ("modes of a Fourier layer", "bixy,ioxy->boxy", ((1, 32, 12, 12), (32, 32, 12, 12)), _WEIGHTS),
    ("the same, batch 8", "bixy,ioxy->boxy", ((8, 32, 12, 12), (32, 32, 12, 12)), _WEIGHTS),
    ("channels of a picture", "bchw,oc->bohw", ((1, 96, 56, 56), (96, 96)), _WEIGHTS),
    ("projection to heads", "bnd,dhe->bhne", ((1, 196, 384), (384, 6, 64)), _WEIGHTS),
    ("projection from heads", "bnhd,hde->bne", ((1, 196, 6, 64), (6, 64, 384)), _WEIGHTS),
    ("graph convolution", "nkctv,kvw->nctw", ((4, 3, 64, 64, 25), (3, 25, 25)), _WEIGHTS),
    ("decomposed positions", "bhwc,hkc->bhwk", ((8, 14, 14, 64), (14, 14, 64)), _WEIGHTS),
    ("attention, scores", "bhid,bhjd->bhij", ((1, 6, 196, 64), (1, 6, 196, 64)), None),
    ("attention, values", "bhij,bhjd->bhid", ((1, 6, 196, 196), (1, 6, 196, 64)), None),
    ("attention, heads last, scores", "bnhd,bmhd->bhnm", ((1, 196, 6, 64), (1, 196, 6, 64)), None),
    ("attention, heads last, values", "bhnm,bmhd->bnhd", ((1, 6, 196, 196), (1, 196, 6, 64)), None),
    ("channel gate", "bchw,bc->bchw", ((1, 96, 56, 56), (1, 96)), None),
    ("patches to a picture", "nhwpqc->nchpwq", ((1, 14, 14, 16, 16, 3),), None),
    ("mean over positions", "bchw->bc", ((1, 96, 56, 56),), None),
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each row is measured")
    asked = parser.parse_args()
    print("| | equation | shapes | Einsum ms | rewritten ms | ratio |")
    print("|---|---|---|---|---|---|")
    for title, equation, shapes, weights in CASES:
        model = einsum(equation, shapes, weights)
        graph = ir.from_proto(model)
        rewrite(graph)
        other = ir.to_proto(graph)
        assert not any(node.op_type == "Einsum" for node in other.graph.node)
        values = np.random.default_rng(1)
        feed = {f"x{k}": values.standard_normal(s).astype(np.float32) for k, s in enumerate(shapes) if k != weights}
        slow, fast = medians_ms((session(model), session(other)), feed, asked.seconds)
        sizes = ", ".join("×".join(map(str, shape)) for shape in shapes)
        print(f"| {title} | `{equation}` | {sizes} | {slow:.3f} | {fast:.3f} | {slow / fast:.2f} |", flush=True)


def einsum(equation: str, shapes: Sequence[Sequence[int]], weights: int | None) -> onnx.ModelProto:
    """Returns a model of one Einsum, one of whose tensors may be weights."""
    values = np.random.default_rng(0)
    names = [f"x{k}" for k in range(len(shapes))]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for k, (name, shape) in enumerate(zip(names, shapes, strict=True))
        if k != weights
    ]
    constants = [] if weights is None else [values.standard_normal(shapes[weights]).astype(np.float32)]
    initializers = [numpy_helper.from_array(array, f"x{weights}") for array in constants]
    node = helper.make_node("Einsum", names, ["y"], equation=equation)
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "einsum", inputs, [output], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


if __name__ == "__main__":
    main()
