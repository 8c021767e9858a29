"""Random feeds to measure a precision on, where there is no calibration data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from s2deploy.errors import UsageError
from s2deploy.feeds import Feed, random_feed, sizes_at
from s2deploy.specs import DTYPES, Dim, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir


def random_feeds(model: ir.Model, specs: Sequence[TensorSpec]) -> list[Feed]:
    """Returns feeds at the smallest and the optimal sizes, the same ones for the same arguments.

    Args:
        model: The model they are for.
        specs: Ranges of its dynamic inputs.

    Raises:
        UsageError: A dynamic input has no range, or an input is of a type that has no random values.
    """
    ranges = {spec.name: spec for spec in specs}
    inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    full = [_spec(value, ranges.get(str(value.name))) for value in inputs]
    sizes = [sizes_at(full, "opt"), sizes_at(full, "min")]
    return [random_feed(full, one, seed) for seed, one in enumerate(sizes)]


def _spec(value: ir.Value, spec: TensorSpec | None) -> TensorSpec:
    dtype = str(value.dtype.numpy()) if value.dtype is not None else "float32"
    if dtype not in DTYPES:
        raise UsageError(f"input {value.name!r} is {dtype}, which has no random values", hint="give --calibration")
    if spec is not None:
        return replace(spec, dtype=dtype)
    if value.shape is None or not all(isinstance(size, int) for size in value.shape):
        raise UsageError(f"input {value.name!r} is dynamic and has no range", hint="say its sizes with --input")
    return TensorSpec(str(value.name), tuple(Dim.fixed(int(str(size))) for size in value.shape), dtype)
