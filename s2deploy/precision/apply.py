"""From an ONNX model and what is asked of its precision to a typed model, checked and measured."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from s2deploy.errors import BuildError, UsageError, ValidationError
from s2deploy.options import PrecisionOptions
from s2deploy.precision import int8
from s2deploy.precision.brain import brain_typed
from s2deploy.precision.calibration import Calibration
from s2deploy.precision.checks import check_eight_bits, check_loads, check_sixteen_bits
from s2deploy.precision.cost import Cost, measure
from s2deploy.precision.graph import RECURRENT_OPERATORS, is_heavy, normalised
from s2deploy.precision.half import half_typed, unrepresentable
from s2deploy.precision.kept import kept_nodes
from s2deploy.precision.random_feeds import random_feeds
from s2deploy.precision.ranges import ranges
from s2deploy.specs import Precision, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

_MEASURED_AT_MOST = 8
"""How many feeds of the calibration data measure the cost."""


@dataclass(frozen=True)
class Typed:
    """A model typed for a precision.

    Attributes:
        model: The typed model; the one it was made from must not be used any more.
        remarks: What else the user should know, such as weights float16 cannot hold.
        kept: Names of the heavy nodes that stay float32 because that was asked for.
        cost: What the precision cost; None for fp32, for a model that was typed already, and where a remark says why.
    """

    model: ir.Model
    remarks: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    cost: Cost | None = None


def typed(model: ir.Model, options: PrecisionOptions, specs: Sequence[TensorSpec] = ()) -> Typed:
    """Types a float32 model for a precision, and measures what that costs.

    Args:
        model: Any valid ONNX model. It is consumed.
        options: The precision, what stays float32, and calibration data.
        specs: Ranges of the inputs, for random feeds where there is no calibration data.

    Raises:
        UsageError: The options contradict each other, a name to keep is unknown, or calibration data is missing or
            does not fit the model.
        ArtifactError: A file of calibration data is not readable.
        BuildError: The model cannot be typed, or a heavy operator would stay wider than asked.
        ValidationError: onnxruntime cannot run the model on the calibration data.
    """
    _check_options(options)
    if options.precision is Precision.FP32:
        return Typed(model)
    reference = normalised(model)
    kept = kept_nodes(reference, options.keep_fp32)
    # a recurrence has products within, which TensorRT tells of
    computing = [node for node in reference.graph.all_nodes() if is_heavy(node) or node.op_type in RECURRENT_OPERATORS]
    kept_heavy = tuple(str(node.name) for node in computing if node.name in kept)
    if options.precision is Precision.INT8:
        return _eight_bits(reference, options, kept, kept_heavy)
    return _sixteen_bits(reference, options, specs, kept, kept_heavy)


def _check_options(options: PrecisionOptions) -> None:
    precision = options.precision
    if precision is Precision.FP32 and options.keep_fp32:
        raise UsageError(
            "--keep-fp32 says what stays float32 in another precision", hint="add --fp16, --bf16 or --int8"
        )
    if precision is Precision.FP32 and options.calibration is not None:
        raise UsageError("--calibration is data for another precision than fp32", hint="add --int8")
    if precision is Precision.FP32 and options.accept_loss:
        raise UsageError("--accept-loss is about another precision than fp32", hint="leave it out, or add --int8")
    if options.fp16_io and precision not in (Precision.FP16, Precision.BF16):
        raise UsageError("--fp16-io makes inputs and outputs of a 16-bit engine 16 bits wide", hint="add --fp16")


def _sixteen_bits(
    reference: ir.Model,
    options: PrecisionOptions,
    specs: Sequence[TensorSpec],
    kept: Collection[str],
    kept_heavy: tuple[str, ...],
) -> Typed:
    precision = options.precision
    remarks: tuple[str, ...] = ()
    if not any(is_heavy(node) for node in reference.graph.all_nodes()):
        remarks += ("the model has no matrix product and no convolution to type",)
    if precision is Precision.FP16:
        remarks += tuple(unrepresentable(reference))
        result = half_typed(reference, keep_io=not options.fp16_io, kept=kept)
        check_loads(result, precision)
    else:
        result = brain_typed(reference, keep_io=not options.fp16_io, kept=kept)
    check_sixteen_bits(result, precision, kept)
    if options.calibration is not None:
        calibration = Calibration(options.calibration, reference).first(_MEASURED_AT_MOST)
        cost = measure(reference, result, precision, calibration, calibrated=True)
        return Typed(result, remarks, kept_heavy, cost)
    try:
        cost = measure(reference, result, precision, random_feeds(reference, specs), calibrated=False)
    except (UsageError, ValidationError) as error:  # random numbers may be no sensible inputs
        unknown = f"what {precision.value} costs was not measured: {error.message}"
        return Typed(result, (*remarks, unknown), kept_heavy)
    return Typed(result, remarks, kept_heavy, cost)


def _eight_bits(
    reference: ir.Model, options: PrecisionOptions, kept: Collection[str], kept_heavy: tuple[str, ...]
) -> Typed:
    if int8.is_quantized(reference):
        check_eight_bits(reference, kept)
        return Typed(reference, ("the model is quantised already; its own scales are kept",), kept_heavy)
    nodes = int8.quantized_nodes(reference, kept)
    if options.calibration is None:
        names = ", ".join(f"{value.name}=array" for value in reference.graph.inputs)
        raise UsageError(
            "int8 needs calibration data: typical inputs, to know the range of every activation",
            hint=f"save a few feeds with numpy.savez('folder/0.npz', {names}) and give --calibration folder",
        )
    if not nodes:
        raise BuildError(
            "there is nothing to compute in int8: no float32 MatMul, Gemm, Conv or ConvTranspose, or all are kept",
            hint="build it without --int8",
        )
    calibration = Calibration(options.calibration, reference)
    largest = ranges(reference, int8.activations(nodes), calibration, options.calibrator)
    result = int8.eight_bit_typed(reference, nodes, largest)
    check_eight_bits(result, kept)
    check_loads(result, Precision.INT8)
    cost = measure(reference, result, Precision.INT8, calibration.first(_MEASURED_AT_MOST), calibrated=True)
    return Typed(result, (), kept_heavy, cost)
