"""The model as a family of TensorRT wants it: its types, its opset, and what its parser misreads."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2deploy import precision
from s2deploy.engine.adapt import adapt
from s2deploy.engine.families import Family
from s2deploy.engine.lowering import lower
from s2deploy.engine.plugin_nodes import as_plugins
from s2deploy.environment import without_logs
from s2deploy.errors import BuildError
from s2deploy.options import PrecisionOptions
from s2deploy.precision.functions import inline
from s2deploy.precision.graph import normalised, some
from s2deploy.precision.kept import kept_nodes
from s2deploy.specs import Precision, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

_MOST_NODES = 8


@dataclass(frozen=True)
class Typed:
    """A model ready to be built.

    Attributes:
        model: The model.
        changed: Whether it differs from the file it was read from.
        kept: Names of the nodes that stay in float32 because that was asked for.
        remarks: What else the user should know.
        cost: What the precision cost; None where it was not measured.
    """

    model: ir.Model
    changed: bool
    kept: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    cost: precision.Cost | None = None


def typed_for(
    model: ir.Model,
    family: Family,
    options: PrecisionOptions,
    specs: Sequence[TensorSpec] = (),
    *,
    kernels: bool = False,
) -> Typed:
    """Returns the model as the family wants it; the one given is consumed.

    Args:
        model: The model as it was read.
        family: The TensorRT that will build it.
        options: What it should compute in.
        specs: Ranges of its inputs, to measure what the precision costs.
        kernels: Whether plugins compute the operators of `s2deploy.ops`; their functions are written out otherwise.

    Raises:
        UsageError: A node to keep does not exist, or calibration data is missing.
        BuildError: The model cannot be typed, or breaks in that precision: an output loses elements to overflow, or
            misses the tolerance on calibration data and `options` do not accept that.
    """
    # ONNX has no bfloat16 convolution below opset 22, but TensorRT has one
    with without_logs("onnx_ir.passes.common.shape_inference"):
        return _typed_for(model, family, options, specs, kernels)


def _typed_for(
    model: ir.Model, family: Family, options: PrecisionOptions, specs: Sequence[TensorSpec], kernels: bool
) -> Typed:
    from onnx_ir.passes.common import ShapeInferencePass

    changed = inline(model, keep_operators=kernels) or kernels or options.precision is not Precision.FP32
    # flags of the builder type a weakly typed network, whose graph stays float32; the measurement is the same
    flagged = not family.strongly_typed and options.precision in (Precision.FP16, Precision.BF16)
    given = model.clone() if flagged else model
    result = precision.typed(given, options, specs)
    kept = result.kept
    if flagged:
        model = normalised(model)
        # as the typed graph keeps powers of sums in float32, which leave the range of float16
        powers = (str(node.name) for node in model.graph.all_nodes() if node.op_type == "Pow")
        kept = tuple(sorted({*kept_nodes(model, options.keep_fp32), *powers}))
    else:
        model = result.model
    if result.cost is not None and result.cost.broken and _unacceptable(result.cost, options):
        raise _broken(result.cost)
    if kernels:
        as_plugins(model)
    if family.newest_opset is not None and model.opset_imports.get("", 0) > family.newest_opset:
        model, changed = lower(model), True
    changed |= adapt(model)
    ShapeInferencePass(strict_mode=False)(model)
    return Typed(model, changed, kept, result.remarks, result.cost)


def _unacceptable(cost: precision.Cost, options: PrecisionOptions) -> bool:
    return cost.lost or (cost.calibrated and not options.accept_loss)


def _broken(cost: precision.Cost) -> BuildError:
    message = f"{cost.precision.value} breaks the model: " + "; ".join(cost.failures)
    nodes = [repr(overflow.node) for overflow in cost.overflows]
    if nodes:
        message += f"; these nodes overflow: {some(nodes, _MOST_NODES)}"
    if cost.repair:
        keep = " ".join(f"--keep-fp32 {shlex.quote(name)}" for name in cost.repair)
        return BuildError(message, hint=f"leave what overflows in float32: {keep}")
    if cost.lost:
        return BuildError(message, hint="try another precision, or --keep-fp32 for the nodes that matter")
    return BuildError(
        message,
        hint="try other calibration data, another precision, or --keep-fp32 for the nodes that matter; if your own "
        "measure of quality is fine with it, --accept-loss builds it",
    )
