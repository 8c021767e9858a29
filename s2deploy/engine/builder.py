"""Builds an engine: ONNX file in, byte-pure plan and sidecar out, both or neither."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata as packages
from pathlib import Path
from typing import TYPE_CHECKING

from s2deploy import onnx_file
from s2deploy.artifacts import check_output, sha256, staged
from s2deploy.engine import capabilities as capability
from s2deploy.engine.adapt import adapt
from s2deploy.engine.dialect import Dialect, dialect_of
from s2deploy.engine.lowering import lower
from s2deploy.engine.process import run_build
from s2deploy.engine.profiles import exported_ranges, make_profile
from s2deploy.engine.request import Request
from s2deploy.engine.targets import Toolchain, find_toolchain
from s2deploy.errors import CapabilityError, UsageError
from s2deploy.precision import to_fp16
from s2deploy.sidecar import FileIdentity, Sidecar, identify, sidecar_path
from s2deploy.specs import Precision, Target, TensorSpec

if TYPE_CHECKING:
    import onnx_ir as ir

SEMANTICS_KEY = "s2deploy.semantics"


@dataclass(frozen=True)
class BuildResult:
    """A built engine.

    Attributes:
        plan: The plan.
        sidecar: What is known about it, as written beside it.
        sidecar_path: Where that is.
        seconds: Time the whole build took.
        remarks: What else the user should know, e.g. weights that float16 cannot hold.
    """

    plan: Path
    sidecar: Sidecar
    sidecar_path: Path
    seconds: float
    remarks: tuple[str, ...]


def build(
    model_path: Path,
    plan_path: Path,
    *,
    specs: Sequence[TensorSpec] = (),
    target: Target | None = None,
    precision: Precision = Precision.FP32,
    capabilities: Sequence[str] = (),
    fp16_io: bool = False,
    on_start: Callable[[int], None] | None = None,
) -> BuildResult:
    """Builds a plan from an ONNX file.

    Args:
        model_path: The ONNX file.
        plan_path: Where the plan goes; its sidecar gets ``.json`` appended.
        specs: Ranges of the dynamic inputs; those the file was exported with unless given.
        target: Which TensorRT; None takes what the machine has.
        precision: What the heavy operators compute in.
        capabilities: Compute capabilities such as ``8.6``, for TensorRT-RTX; none means all that can.
        fp16_io: With FP16, whether inputs and outputs are float16 as well.
        on_start: Called with the process id of the building process once it runs.

    Raises:
        UsageError: The call cannot be meant: a missing file or range, an impossible combination or capability.
        ArtifactError: The ONNX file is damaged, or the plan cannot be written.
        TargetUnavailableError: The target's package or device is missing.
        BuildError: The model cannot be built.
    """
    start = time.perf_counter()
    _check_call(model_path, target, precision, capabilities, fp16_io)
    toolchain = find_toolchain(target)
    if capabilities and toolchain.target is Target.TENSORRT:
        raise _no_capabilities()
    asked = tuple(dict.fromkeys(map(capability.parse, capabilities)))
    check_output(plan_path, [model_path])
    source = onnx_file.read(model_path)
    semantics = source.metadata_props.get(SEMANTICS_KEY)
    profile = make_profile(source, specs or exported_ranges(source))
    dialect = dialect_of(toolchain, precision)
    typed, changed, remarks = _typed(source, dialect, precision, fp16_io)
    chosen = capability.choose(asked, typed) if toolchain.target is Target.RTX else ()
    # the scratch folder lies in the staged one, which goes whatever happens
    with staged(plan_path) as draft, tempfile.TemporaryDirectory(dir=draft.parent) as folder:
        scratch = Path(folder)
        network_path = model_path
        if changed:
            network_path = scratch / "model.onnx"
            onnx_file.write(typed, network_path)
        request = Request(
            model=str(network_path.absolute()),
            plan=str(draft.absolute()),
            rtx=toolchain.target is Target.RTX,
            capabilities=chosen,
            strongly_typed=dialect.strongly_typed,
            fp16_flag=dialect.fp16_flag,
            profile=profile,
        )
        answer = run_build(request, scratch, on_start)
        sidecar = Sidecar(
            onnx=identify(model_path),
            plan=FileIdentity(plan_path.name, sha256(draft), draft.stat().st_size),
            target=toolchain.target.value,
            precision=precision.value,
            capabilities=capability.names(chosen),
            versions=_versions(toolchain, answer.version),
            profiles=(profile,) if profile else (),
            inputs=answer.inputs,
            outputs=answer.outputs,
            options={"strongly_typed": dialect.strongly_typed, "tf32": answer.tf32, "fp16_io": fp16_io},
            build_seconds=round(answer.seconds, 3),
            semantics=semantics,
        )
        sidecar_path(draft).write_text(sidecar.to_json(), encoding="utf-8")
    return BuildResult(plan_path, sidecar, sidecar_path(plan_path), time.perf_counter() - start, remarks)


def _check_call(
    model_path: Path, target: Target | None, precision: Precision, capabilities: Sequence[str], fp16_io: bool
) -> None:
    if not model_path.is_file():
        raise UsageError(
            f"{model_path}: no such file", hint="export a model first: s2deploy export MODEL -o model.onnx"
        )
    if fp16_io and precision is not Precision.FP16:
        raise UsageError("--fp16-io makes the inputs and outputs of an fp16 engine float16", hint="add --fp16")
    if capabilities and target is Target.TENSORRT:
        raise _no_capabilities()


def _no_capabilities() -> CapabilityError:
    return CapabilityError(
        "TensorRT builds for the GPU of this machine; it takes no compute capability", hint="use --target rtx"
    )


def _typed(
    model: ir.Model, dialect: Dialect, precision: Precision, fp16_io: bool
) -> tuple[ir.Model, bool, tuple[str, ...]]:
    """Returns the model as the toolchain wants it, with types, whether it differs from the file, and remarks."""
    from onnx_ir.passes.common import ShapeInferencePass

    remarks: tuple[str, ...] = ()
    changed = False
    if precision is Precision.FP16 and dialect.strongly_typed:
        half = to_fp16(model, keep_io=not fp16_io)
        model, remarks, changed = half.model, half.remarks, True
    if dialect.newest_opset is not None and model.opset_imports.get("", 0) > dialect.newest_opset:
        model, changed = lower(model), True
    changed |= adapt(model)
    ShapeInferencePass(strict_mode=False)(model)
    return model, changed, remarks


def _versions(toolchain: Toolchain, version: str) -> dict[str, str]:
    others = {name: packages.version(name) for name in ("polygraphy", "onnx", "s2deploy")}
    return {toolchain.module: version} | others
