"""`build`: an exported ONNX file becomes a plan and its sidecar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from s2deploy import engine
from s2deploy.engine import BuildResult
from s2deploy.errors import UsageError
from s2deploy.pipeline.arguments import AnyPath, require_list, specs_of
from s2deploy.report import Reporter, format_bytes
from s2deploy.specs import Precision, Target, TensorSpec


def build(
    model: AnyPath,
    output: AnyPath,
    *,
    target: Target | str | None = None,
    fp16: bool = False,
    fp16_io: bool = False,
    capabilities: Sequence[str] = (),
    inputs: Sequence[str | TensorSpec] = (),
    reporter: Reporter | None = None,
) -> BuildResult:
    """Builds a TensorRT engine in a child process.

    Args:
        model: An ``.onnx`` file.
        output: The plan to write; what is known about it goes to ``OUTPUT.json`` beside it.
        target: ``rtx`` or ``tensorrt``; what this machine has unless given.
        fp16: Whether the heavy operators compute in half precision.
        fp16_io: Whether inputs and outputs are half precision too.
        capabilities: Compute capabilities such as ``8.6``, for rtx; all that support the precision unless given.
        inputs: Ranges of dynamic inputs; those of the export unless given.
        reporter: Told about the stage.

    Raises:
        UsageError: The call is wrong.
        TargetUnavailableError: The target's package or device is not on this machine.
        BuildError: TensorRT could not build the engine.
        ArtifactError: The model is unreadable or the plan cannot be written.
    """
    reporter = reporter or Reporter()
    require_list("capabilities", capabilities)
    with reporter.stage("build", "building the engine") as stage:
        result = engine.build(
            Path(model),
            Path(output),
            specs=specs_of(inputs, ()),
            target=_target(target),
            precision=Precision.FP16 if fp16 else Precision.FP32,
            capabilities=capabilities,
            fp16_io=fp16_io,
        )
        sidecar = result.sidecar
        stage.detail = f"{sidecar.target} {sidecar.precision}, {format_bytes(sidecar.plan.size_bytes)}"
        stage.notes += result.remarks
    return result


def _target(name: Target | str | None) -> Target | None:
    try:
        return None if name is None else Target(name)
    except ValueError:
        known = ", ".join(target.value for target in Target)
        raise UsageError(f"unknown target {name!r}", hint=f"the targets are {known}") from None
