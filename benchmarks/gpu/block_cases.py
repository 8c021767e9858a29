"""What the comparison of whole blocks runs: which blocks, in which ways, at which batches."""

from __future__ import annotations

from typing import Any

from cases import Case

WAYS = {"scatter": "naive ScatterND", "slices": "Slice and Concat", "plugin": "plugin"}
"""How a block is written as ONNX: PyTorch's TorchScript exporter, s2deploy, s2deploy with the plugins' operators."""

BATCHES = (1, 2, 4, 8, 16, 32, 64)
PRECISIONS = ("fp32", "fp16")
EXAMPLE = "example.onnx"
"""The example model with the plugins' operators, for the C++ pipeline."""


def blocks(sizes: list[tuple[int, int]], batches: tuple[int, ...] = BATCHES) -> list[Case]:
    """Returns one attention block of S2-MLPv2 for each size.

    Args:
        sizes: Channels, and height and width, of each.
        batches: At which batches it runs.
    """
    low, high = min(batches), max(batches)
    return [
        Case(
            f"block_{channels}_{side}",
            "benchmarks/blocks.py",
            "S2Attention",
            {"channels": channels},
            f"x:batch={low}..{low}..{high},{channels},{side},{side}",
            tuple((batch, channels, side, side) for batch in batches),
        )
        for channels, side in sizes
    ]


def of_batch(samples: Any, batch: int) -> Any:
    """Returns a batch of the stored samples, which repeat: what a block makes of one depends on no other."""
    return samples[[number % len(samples) for number in range(batch)]]


def file_of(case: Case, way: str) -> str:
    """Returns the name of a block's ONNX file."""
    return f"{case.name}.{way}.onnx"
