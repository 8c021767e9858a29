"""`build`: an exported ONNX file becomes a plan and its sidecar; `dry_run` says what it would become."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar

from s2deploy import engine
from s2deploy.engine import BuildResult, DryRun, Phase
from s2deploy.engine.preparing import check_call
from s2deploy.engine.targets import find_toolchain
from s2deploy.errors import UsageError
from s2deploy.options import BuildOptions, Calibrator, PrecisionOptions
from s2deploy.pipeline import kernel_builds, kernels
from s2deploy.pipeline.arguments import AnyPath, require_list, specs_of
from s2deploy.pipeline.kernels import Asked, Choice
from s2deploy.report import Reporter, format_bytes
from s2deploy.specs import Precision, Target, TensorSpec

if TYPE_CHECKING:
    from typing_extensions import Unpack  # of the standard library from Python 3.11 on

_Choice = TypeVar("_Choice", bound=enum.Enum)
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


class BuildArguments(TypedDict, total=False):
    """How an engine is built.

    Attributes:
        target: ``rtx`` or ``tensorrt``; what this machine has unless given.
        fp16: Whether matrix products and convolutions compute in half precision.
        bf16: Whether they compute in bfloat16.
        int8: Whether they compute in 8-bit integers, with the ranges that `calibration` shows.
        fp16_io: Whether inputs and outputs have the 16-bit type too.
        calibration: For int8: an ``.npz`` file of one feed, or a folder of such files. The cost of the other precisions
            is measured on it too, instead of random inputs.
        calibrator: For int8: ``entropy`` or ``minmax``, how ranges are chosen.
        keep_fp32: Nodes or operator types that stay in float32.
        accept_loss: Whether to build although outputs miss the tolerance on calibration data. Outputs that lose values
            to overflow fail always, and random inputs prove nothing: a tolerance missed on them is a warning.
        tf32: Whether float32 products may round their factors to TF32; they may unless said otherwise.
        inputs: Ranges of dynamic inputs, for one optimization profile; those of the export unless given.
        profiles: The same for several profiles, in the order of their numbers: a text of inputs separated by blanks, or
            a sequence of inputs, for each.
        capabilities: Compute capabilities such as ``8.6``, for rtx; all that support the precision unless given.
        workspace: Most memory a layer may use, in bytes or as a text like ``4GiB``; TensorRT's default unless given.
        optimization_level: How long the builder searches, 0 to 5; TensorRT's default unless given.
        version_compatible: Whether newer versions of TensorRT may load the plan.
        hardware_compatible: Whether newer GPUs may load the plan.
        timing_cache: A folder in which the builder keeps its measurements from build to build.
        plugins: Libraries of plugins the model needs; they are copied beside the plan. Among them may be the library of
            the s2deploy plugins, whose kernels then compute the operators of a model that was exported with
            ``plugin=True`` where that is faster; ``auto`` looks for that library, ``always`` insists on its kernels.
    """

    target: Target | str | None
    fp16: bool
    bf16: bool
    int8: bool
    fp16_io: bool
    calibration: AnyPath | None
    calibrator: Calibrator | str
    keep_fp32: Sequence[str]
    accept_loss: bool
    tf32: bool
    inputs: Sequence[str | TensorSpec]
    profiles: Sequence[str | Sequence[str | TensorSpec]]
    capabilities: Sequence[str]
    workspace: int | str | None
    optimization_level: int | None
    version_compatible: bool
    hardware_compatible: bool
    timing_cache: AnyPath | None
    plugins: Sequence[AnyPath]


def build(
    model: AnyPath, output: AnyPath, *, reporter: Reporter | None = None, **arguments: Unpack[BuildArguments]
) -> BuildResult:
    """Builds a TensorRT engine in a child process, and proves that it computes in the precision asked for.

    For example::

        engine = s2deploy.build("model.onnx", "model.plan", fp16=True, capabilities=["8.6"])

    Args:
        model: An ``.onnx`` file.
        output: The plan to write; what is known about it goes to ``OUTPUT.json`` beside it.
        reporter: Told about the stage.
        arguments: How to build it, all of it optional; see `BuildArguments`.

    Raises:
        UsageError: The call is wrong, or the target lacks an option.
        TargetUnavailableError: The target's package or device is not on this machine.
        BuildError: TensorRT could not build the engine, or not in this precision, or the precision breaks the model.
        ArtifactError: The model is unreadable or the plan cannot be written.
    """
    options, asked = _options(**arguments)
    _check(Path(model), options, asked)
    with (reporter or Reporter()).stage("build", "building the engine") as stage:

        def on_phase(phase: Phase) -> None:
            stage.now(phase.name)
            stage.count(phase.done, phase.total)

        choice = kernels.choose(Path(model), options, asked, find_toolchain(options.target))
        result = kernel_builds.build(Path(model), Path(output), choice, on_phase)
        sidecar = result.sidecar
        stage.detail = f"{sidecar.target} {sidecar.precision}, {format_bytes(sidecar.plan.size_bytes)}"
        stage.notes += result.remarks
        if choice.reason and sidecar.kernels is None:
            stage.notes.append(choice.reason)
    return result


def dry_run(model: AnyPath, *, reporter: Reporter | None = None, **arguments: Unpack[BuildArguments]) -> DryRun:
    """Says what `build` would do, without a GPU and without TensorRT, and writes nothing.

    For example::

        outlook = s2deploy.dry_run("model.onnx", fp16=True)
        assert outlook.builds

    Args:
        model: An ``.onnx`` file.
        reporter: Told about the stage.
        arguments: How it would be built; see `BuildArguments`.

    Raises:
        UsageError: The call is wrong, or the target lacks an option.
        BuildError: The model cannot be typed for the precision, or breaks in it.
        ArtifactError: The model is unreadable.
    """
    options, asked = _options(**arguments)
    _check(Path(model), options, asked)
    with (reporter or Reporter()).stage("dry run", "planning the build") as stage:
        toolchain, unavailable = engine.choose_toolchain(replace(options, kernels=asked.library))
        choice = kernels.choose(Path(model), options, asked, toolchain, here=unavailable is None)
        result = replace(engine.dry_run(Path(model), choice.options), kernels=_outlook(choice))
        stage.detail = f"{result.family}, {result.precision}"
        stage.notes += result.remarks
    return result


def _options(
    target: Target | str | None = None,
    fp16: bool = False,
    bf16: bool = False,
    int8: bool = False,
    fp16_io: bool = False,
    calibration: AnyPath | None = None,
    calibrator: Calibrator | str = Calibrator.ENTROPY,
    keep_fp32: Sequence[str] = (),
    accept_loss: bool = False,
    tf32: bool = True,
    inputs: Sequence[str | TensorSpec] = (),
    profiles: Sequence[str | Sequence[str | TensorSpec]] = (),
    capabilities: Sequence[str] = (),
    workspace: int | str | None = None,
    optimization_level: int | None = None,
    version_compatible: bool = False,
    hardware_compatible: bool = False,
    timing_cache: AnyPath | None = None,
    plugins: Sequence[AnyPath] = (),
) -> tuple[BuildOptions, Asked]:
    for name, texts in (
        ("capabilities", capabilities),
        ("profiles", profiles),
        ("keep_fp32", keep_fp32),
        ("plugins", plugins),
    ):
        require_list(name, texts)
    options = BuildOptions(
        target=None if target is None else _member(Target, target, "target"),
        typing=PrecisionOptions(
            precision=_precision(fp16=fp16, bf16=bf16, int8=int8),
            fp16_io=fp16_io,
            tf32=tf32,
            keep_fp32=tuple(keep_fp32),
            calibration=None if calibration is None else Path(calibration),
            calibrator=_member(Calibrator, calibrator, "calibrator"),
            accept_loss=accept_loss,
        ),
        profiles=_profiles(inputs, profiles),
        capabilities=tuple(capabilities),
        workspace_bytes=_workspace_bytes(workspace),
        optimization_level=optimization_level,
        version_compatible=version_compatible,
        hardware_compatible=hardware_compatible,
        timing_cache=None if timing_cache is None else Path(timing_cache),
    )
    return options, Asked.of(plugins)


def _check(model: Path, options: BuildOptions, asked: Asked) -> None:
    """Checks the call before anything is looked for on this machine: a wrong path matters more than what is missing."""
    check_call(model, replace(options, plugins=asked.others, kernels=asked.library))


def _outlook(choice: Choice) -> str:
    """Returns in words what would become of the operators of the plugins."""
    library = choice.options.kernels
    if library is None:
        return f"functions written out: {choice.reason}" if choice.operators else choice.reason
    if choice.insisted:
        return f"kernels of {library}, which are asked for"
    return f"kernels of {library}, and functions written out, would both be built on the GPU, and the faster one kept"


def _profiles(
    inputs: Sequence[str | TensorSpec], profiles: Sequence[str | Sequence[str | TensorSpec]]
) -> tuple[tuple[TensorSpec, ...], ...]:
    if inputs and profiles:
        raise UsageError(
            "--input and --profile both give ranges", hint="give every profile with a --profile of its own"
        )
    if inputs:
        return (specs_of(inputs, ()),)
    return tuple(specs_of(one.split() if isinstance(one, str) else one, ()) for one in profiles)


def _workspace_bytes(size: int | str | None) -> int | None:
    if not isinstance(size, str):
        return size
    match = _SIZE.fullmatch(size.strip())
    unit = None if match is None else _UNITS.get(match[2].lower())
    if match is None or unit is None:
        raise UsageError(f"{size!r} is not a size", hint="write e.g. 4GiB, 512MiB or a number of bytes")
    return int(float(match[1]) * unit)


def _precision(**asked: bool) -> Precision:
    names = [name for name, wanted in asked.items() if wanted]
    if len(names) > 1:
        raise UsageError(f"--{' and --'.join(names)} contradict each other", hint="choose one precision")
    return Precision(names[0]) if names else Precision.FP32


def _member(kind: type[_Choice], name: _Choice | str, what: str) -> _Choice:
    try:
        return kind(name)
    except ValueError:
        known = ", ".join(str(choice.value) for choice in kind)
        raise UsageError(f"unknown {what} {name!r}", hint=f"the {what}s are {known}") from None
