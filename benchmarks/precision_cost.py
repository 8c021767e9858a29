"""Measures what fp16, bf16 and int8 cost an ONNX model on onnxruntime, and prints a Markdown table.

Run: python benchmarks/precision_cost.py MODEL.onnx [--feeds 4] [--keep-fp32 NAME]
The feeds are random, N(0, 1) at the smallest size of every dynamic dimension; calibration uses others than the
comparison, so that int8 is not measured on what its ranges come from.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from s2deploy import onnx_file
from s2deploy.engine.profiles import exported_ranges
from s2deploy.feeds import random_feed, sizes_at
from s2deploy.options import Calibrator, PrecisionOptions
from s2deploy.precision import typed
from s2deploy.precision.cost import measure
from s2deploy.precision.graph import normalised
from s2deploy.specs import Precision

CASES = (
    (Precision.FP16, Calibrator.MINMAX),
    (Precision.BF16, Calibrator.MINMAX),
    (Precision.INT8, Calibrator.MINMAX),
    (Precision.INT8, Calibrator.ENTROPY),
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--feeds", type=int, default=4, help="feeds to calibrate with, and as many to compare on")
    parser.add_argument("--keep-fp32", action="append", default=[], help="a node or operator type")
    asked = parser.parse_args()
    specs = exported_ranges(onnx_file.read(asked.model))
    if not specs:
        parser.error(f"{asked.model} does not say what its inputs are; export it with s2deploy")
    sizes = sizes_at(specs, "min")
    print("| precision | least cosine | worst difference | largest value | overflows | seconds | peak MB |")
    print("|---|---|---|---|---|---|---|")
    for precision, calibrator in CASES:
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(asked.feeds):
                np.savez(Path(folder) / f"{seed}.npz", **random_feed(specs, sizes, seed))
            options = PrecisionOptions(
                precision, calibration=Path(folder), calibrator=calibrator, keep_fp32=tuple(asked.keep_fp32)
            )
            start = time.perf_counter()
            result = typed(onnx_file.read(asked.model), options)
            seconds = time.perf_counter() - start
        others = [random_feed(specs, sizes, 1000 + seed) for seed in range(asked.feeds)]
        reference = normalised(onnx_file.read(asked.model))
        cost = measure(reference, result.model, precision, others, calibrated=False)
        cosine = min(output.cosine for output in cost.outputs if output.cosine is not None)
        worst = max(cost.outputs, key=lambda output: output.worst)
        name = precision.value + (f" {calibrator.value}" if precision is Precision.INT8 else "")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"| {name} | {cosine:.6f} | {worst.worst:.3g} | {worst.largest:.3g} | {len(cost.overflows)} |"
            f" {seconds:.1f} | {peak} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
