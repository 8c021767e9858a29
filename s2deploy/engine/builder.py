"""Builds an engine: ONNX file in, byte-pure plan and sidecar out, both or neither."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata as packages
from pathlib import Path

from s2deploy import onnx_file
from s2deploy.artifacts import check_output, sha256, staged
from s2deploy.engine import capabilities as capability
from s2deploy.engine.families import Family
from s2deploy.engine.preparing import check_call, prepare, request_for
from s2deploy.engine.process import run_build
from s2deploy.engine.products import wider
from s2deploy.engine.progress import Phase
from s2deploy.engine.request import Answer
from s2deploy.engine.targets import Toolchain, find_toolchain
from s2deploy.errors import BuildError, UsageError
from s2deploy.options import BuildOptions
from s2deploy.precision import Cost
from s2deploy.precision.graph import some
from s2deploy.sidecar import FileIdentity, Kernels, Loss, OutputLoss, Proof, Sidecar, identify, read_state, sidecar_path
from s2deploy.specs import Precision

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
        cost: What the precision cost, measured on onnxruntime; None for float32 and where it was not measured.
    """

    plan: Path
    sidecar: Sidecar
    sidecar_path: Path
    seconds: float
    remarks: tuple[str, ...]
    cost: Cost | None = None


def build(
    model_path: Path,
    plan_path: Path,
    options: BuildOptions | None = None,
    *,
    kernels: Kernels | None = None,
    on_start: Callable[[int], None] = lambda pid: None,
    on_phase: Callable[[Phase], None] = lambda phase: None,
) -> BuildResult:
    """Builds a plan from an ONNX file.

    Args:
        model_path: The ONNX file.
        plan_path: Where the plan goes; its sidecar gets ``.json`` appended, and plugin libraries are copied beside it.
        options: How to build it; float32 for what the machine has unless given.
        kernels: What was decided about the operators of the plugins, for the sidecar.
        on_start: Called with the process id of the building process once it runs.
        on_phase: Called with what TensorRT is doing, from version 9 on.

    Raises:
        UsageError: The call cannot be meant: a missing file or range, an option the target lacks, an impossible
            combination or capability.
        ArtifactError: The ONNX file is damaged, or the plan cannot be written.
        TargetUnavailableError: The target's package or device is missing.
        BuildError: The model cannot be built, or a product would compute in a wider type than asked for.
    """
    start = time.perf_counter()
    options = options or BuildOptions()
    check_call(model_path, options)
    toolchain = find_toolchain(options.target)
    family = toolchain.family
    family.check(options)
    check_output(plan_path, [model_path, *options.libraries])
    absent = absent_beside(plan_path, options.libraries)
    source = onnx_file.read(model_path)
    semantics = source.metadata_props.get(SEMANTICS_KEY)
    state = read_state(source.metadata_props)
    prepared = prepare(source, options, family)
    typed = prepared.typed
    # the scratch folder lies in the staged one, which goes whatever happens
    with staged(plan_path) as draft, tempfile.TemporaryDirectory(dir=draft.parent) as folder:
        scratch = Path(folder)
        network_path = model_path
        if typed.changed:
            network_path = scratch / "model.onnx"
            onnx_file.write(typed.model, network_path)
        request = request_for(prepared, options, toolchain, network_path, draft)
        answer = run_build(request, scratch, typed.model, on_start, on_phase)
        proof = _prove(answer, options.typing.precision, typed.kept)
        for plugin in absent:
            shutil.copyfile(plugin, draft.with_name(plugin.name))
        sidecar = Sidecar(
            onnx=identify(model_path),
            plan=FileIdentity(plan_path.name, sha256(draft), draft.stat().st_size),
            target=toolchain.target.value,
            precision=options.typing.precision.value,
            capabilities=capability.names(prepared.capabilities),
            versions=_versions(toolchain, answer.version),
            profiles=prepared.profiles,
            inputs=answer.inputs,
            outputs=answer.outputs,
            options=_recorded(options, family, answer),
            build_seconds=round(answer.seconds, 3),
            semantics=semantics,
            device=answer.device,
            proof=proof,
            plugins=tuple(map(identify, options.libraries)),
            loss=_loss(typed.cost),
            kernels=kernels,
            state=state,
        )
        sidecar_path(draft).write_text(sidecar.to_json(), encoding="utf-8")
    remarks = (*typed.remarks, *answer.remarks)
    return BuildResult(plan_path, sidecar, sidecar_path(plan_path), time.perf_counter() - start, remarks, typed.cost)


def absent_beside(plan_path: Path, plugins: Iterable[Path]) -> list[Path]:
    """Returns the plugin libraries that must be copied beside the plan, where a session looks for them.

    Raises:
        UsageError: Another file of that name lies there.
        ArtifactError: A library cannot be read.
    """
    absent = []
    for plugin in plugins:
        there = plan_path.with_name(plugin.name)
        if not there.exists():
            absent.append(plugin)
        elif sha256(there) != sha256(plugin):
            raise UsageError(
                f"{there} is another library than {plugin}, which the plan would need beside it",
                hint="write the plan to a folder of its own, or remove the other library",
            )
    return absent


def _prove(answer: Answer, precision: Precision, kept: tuple[str, ...]) -> Proof:
    """Returns what was read back.

    Raises:
        BuildError: A product would compute in a wider type than asked for.
    """
    wrong = wider((*answer.products, *answer.inspected), precision, kept)
    if wrong:
        named = list(dict.fromkeys(f"{product.node!r} ({product.dtype})" for product in wrong))
        raise BuildError(
            f"{len(named)} matrix products or convolutions compute in a wider type than {precision.value}: "
            + some(named),
            hint="if they shall, name them with --keep-fp32; otherwise build without the narrower precision",
        )
    computed = Counter(product.dtype for product in answer.products)
    held = {name for product in answer.products for name in product.node.split(" + ")} & set(kept)
    return Proof("network" if answer.device is None else "engine", dict(sorted(computed.items())), tuple(sorted(held)))


def _loss(cost: Cost | None) -> Loss | None:
    if cost is None:
        return None
    outputs = tuple(OutputLoss(one.name, one.cosine, one.worst, one.largest) for one in cost.outputs)
    return Loss("calibration" if cost.calibrated else "random", cost.feeds, outputs, cost.failures)


def _recorded(options: BuildOptions, family: Family, answer: Answer) -> dict[str, bool | int | str]:
    recorded: dict[str, bool | int | str] = {
        "strongly_typed": family.strongly_typed,
        "tf32": answer.tf32,
        "fp16_io": options.typing.fp16_io,
        "version_compatible": options.version_compatible,
        "hardware_compatible": options.hardware_compatible,
    }
    if options.typing.keep_fp32:
        recorded["keep_fp32"] = ", ".join(options.typing.keep_fp32)
    if options.typing.precision is Precision.INT8:
        recorded["calibrator"] = options.typing.calibrator.value
        recorded["calibration"] = "" if options.typing.calibration is None else options.typing.calibration.name
    if options.workspace_bytes is not None:
        recorded["workspace_bytes"] = options.workspace_bytes
    if options.optimization_level is not None:
        recorded["optimization_level"] = options.optimization_level
    return recorded


def _versions(toolchain: Toolchain, version: str) -> dict[str, str]:
    versions = {toolchain.module: version}
    for name in ("polygraphy", "onnx", "s2deploy"):
        with suppress(packages.PackageNotFoundError):  # a checkout on the path has no metadata
            versions[name] = packages.version(name)
    return versions
