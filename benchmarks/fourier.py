"""Measures Fourier transforms on onnxruntime as DFT nodes and as products with matrices; prints a Markdown table.

Run: python benchmarks/fourier.py [--seconds 0.3]
Each row is a batch of transforms of one length, 200,000 numbers in all, on one thread; the two files take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from side_by_side import medians_ms, session

from s2deploy.rewrite import rewrite

LENGTHS = (7, 14, 16, 28, 32, 56, 64, 100, 128, 224, 256, 384, 512, 720, 1024)
_NUMBERS = 200_000


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3, help="how long each row is measured")
    asked = parser.parse_args()
    print("| length | of | DFT ms | products ms | ratio | error of DFT | error of products |")
    print("|---|---|---|---|---|---|---|")
    for length in LENGTHS:
        for pair, title in ((1, "real"), (2, "complex")):
            if length * length * pair * 4 > 4 << 20:
                continue
            model = transforms(length, pair)
            graph = ir.from_proto(model)
            rewrite(graph)
            product = ir.to_proto(graph)
            assert not any(node.op_type == "DFT" for node in product.graph.node)
            print(row(length, title, (session(model), session(product)), asked.seconds), flush=True)


def transforms(length: int, pair: int) -> onnx.ModelProto:
    """Returns a model of transforms of real (1) or complex (2) numbers, one side where these are real."""
    shape = [1, _NUMBERS // length // pair, length, pair]
    node = helper.make_node("DFT", ["x", "", "axis"], ["y"], onesided=2 - pair)
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    wanted = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    axis = numpy_helper.from_array(np.array(2, np.int64), "axis")
    graph = helper.make_graph([node], "transforms", given, wanted, [axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def row(length: int, title: str, sessions: Sequence[onnxruntime.InferenceSession], seconds: float) -> str:
    """Returns a row of the table."""
    x = np.random.default_rng(0).standard_normal(sessions[0].get_inputs()[0].shape).astype(np.float32)
    numbers = x[..., 0].astype(np.float64) if x.shape[-1] == 1 else x[..., 0] + 1j * x[..., 1].astype(np.float64)
    wanted = np.fft.rfft(numbers) if x.shape[-1] == 1 else np.fft.fft(numbers)
    errors = []
    for each in sessions:
        (found,) = each.run(None, {"x": x})
        errors.append(np.abs(found[..., 0] + 1j * found[..., 1] - wanted).max() / np.abs(wanted).max())
    slow, fast = medians_ms(sessions, {"x": x}, seconds)
    return f"| {length} | {title} | {slow:.2f} | {fast:.2f} | {slow / fast:.1f} | {errors[0]:.0e} | {errors[1]:.0e} |"


if __name__ == "__main__":
    main()
