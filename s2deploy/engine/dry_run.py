"""What a build would do, found without a GPU, and but for the parser's word without TensorRT. Nothing is written."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from s2deploy import onnx_file
from s2deploy.engine import capabilities as capability
from s2deploy.engine.estimate import Peak, activation_peak
from s2deploy.engine.families import Family
from s2deploy.engine.kernels import read_library
from s2deploy.engine.outlook import FamilyOutlook, ParserCheck, check_parser, outlooks
from s2deploy.engine.preparing import check_call, prepare
from s2deploy.engine.targets import KNOWN, Toolchain, find_toolchain, installed
from s2deploy.engine.typed import Typed
from s2deploy.errors import TargetUnavailableError, UsageError
from s2deploy.options import BuildOptions
from s2deploy.precision import Cost, census
from s2deploy.precision.graph import is_heavy
from s2deploy.precision.wide import Wide, stays_wide
from s2deploy.sidecar import EngineTensor, ProfileShapes
from s2deploy.specs import Precision

if TYPE_CHECKING:
    import onnx_ir as ir

_FLAGGED = {Precision.FP16: "float16", Precision.BF16: "bfloat16"}


@dataclass(frozen=True)
class DryRun:
    """What a build would do.

    Attributes:
        model: The ONNX file.
        target: ``rtx`` or ``tensorrt``.
        family: What would build it, with its version.
        unavailable: Why this machine cannot build it; None where it can.
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        flags: The builder's flags and settings.
        capabilities: Compute capabilities the plan would run on; empty for the GPU of the building machine.
        profiles: Optimization profiles, each by input name; empty for a static model.
        opset: The opset of the file.
        opset_built: The opset that the parser is given.
        nodes: Number of nodes of the file, constants aside.
        nodes_built: The same of what the parser is given.
        operators_changed: Operators whose number differs between the two, with both numbers.
        inputs: The inputs as they would be built.
        outputs: The outputs as they would be built.
        products: How many matrix products and convolutions would compute in each type.
        stays_float32: What stays wider than the precision, and why.
        weight_bytes: Weights by type; an estimate of most of the plan.
        activations: The most memory of activations at each profile's opt sizes, without fusion; an estimate.
        parser: What the parser says; None where it was not asked, because it is not on this machine.
        cost: What the precision costs, measured on onnxruntime; None for float32 and where it was not measured.
        kernels: What would become of the operators of the s2deploy plugins; empty where the model has none.
        families: What every family would make of it; empty where one was asked for.
        remarks: What else the user should know.
        seconds: Time all this took.
    """

    model: Path
    target: str
    family: str
    unavailable: str | None
    precision: str
    flags: tuple[str, ...]
    capabilities: tuple[str, ...]
    profiles: tuple[dict[str, ProfileShapes], ...]
    opset: int
    opset_built: int
    nodes: int
    nodes_built: int
    operators_changed: dict[str, tuple[int, int]]
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    products: dict[str, int]
    stays_float32: tuple[Wide, ...]
    weight_bytes: dict[str, int]
    activations: tuple[Peak, ...]
    parser: ParserCheck | None
    cost: Cost | None
    families: tuple[FamilyOutlook, ...]
    remarks: tuple[str, ...]
    seconds: float
    kernels: str = ""

    @property
    def builds(self) -> bool:
        """Whether nothing is known that would make the build fail."""
        return self.parser is None or not self.parser.failures


def dry_run(model_path: Path, options: BuildOptions | None = None) -> DryRun:
    """Returns what `build` would do with the same options.

    Args:
        model_path: The ONNX file.
        options: How it would be built. Where no target is named and none is here, the newest family that takes the
            options is described.

    Raises:
        UsageError: The build would not be started: a missing file or range, or an option the target lacks.
        ArtifactError: The ONNX file is damaged, or the folder for temporary files is full.
        BuildError: The model cannot be typed or breaks in that precision.
    """
    start = time.perf_counter()
    options = options or BuildOptions()
    check_call(model_path, options)
    toolchain, unavailable = choose_toolchain(options)
    family = toolchain.family
    family.check(options)
    source = onnx_file.read(model_path)
    before, opset = census.operators(source), source.opset_imports.get("", 0)
    copy = source.clone()
    prepared = prepare(source, options, family)
    typed, precision = prepared.typed, options.typing.precision
    after = census.operators(typed.model)
    changed = {
        name: (before.get(name, 0), after.get(name, 0))
        for name in dict.fromkeys((*before, *after))
        if before.get(name, 0) != after.get(name, 0)
    }
    products, stays = _types(typed, family, options)
    opts: list[dict[str, tuple[int, ...]]] = [
        {name: shapes.opt for name, shapes in profile.items()} for profile in prepared.profiles
    ]
    return DryRun(
        model=model_path,
        target=toolchain.target.value,
        family=f"{family.title} {toolchain.version}",
        unavailable=unavailable,
        precision=precision.value,
        flags=family.flags(options),
        capabilities=capability.names(prepared.capabilities),
        profiles=prepared.profiles,
        opset=opset,
        opset_built=typed.model.opset_imports.get("", 0),
        nodes=sum(before.values()),
        nodes_built=sum(after.values()),
        operators_changed=changed,
        inputs=tuple(_tensor(value) for value in typed.model.graph.inputs if not value.is_initializer()),
        outputs=tuple(map(_tensor, typed.model.graph.outputs)),
        products=products,
        stays_float32=stays,
        weight_bytes=census.weights(typed.model),
        activations=tuple(activation_peak(typed.model, shapes) for shapes in opts or [{}]),
        parser=None if unavailable else check_parser(prepared, options, toolchain, model_path),
        cost=typed.cost,
        families=outlooks(copy, typed, options, _compared(options, toolchain)),
        remarks=typed.remarks,
        seconds=time.perf_counter() - start,
    )


def choose_toolchain(options: BuildOptions) -> tuple[Toolchain, str | None]:
    """Returns what would build, and why it cannot do so here.

    Where nothing is installed, a library of plugins tells which TensorRT it was built for.

    Raises:
        UsageError: The library does not answer.
    """
    try:
        return find_toolchain(options.target), None
    except TargetUnavailableError as error:
        here = None if options.target is None else installed(options.target)
        known = [toolchain for toolchain in KNOWN if options.target in (None, toolchain.target)]
        major = None if options.kernels is None else read_library(options.kernels).tensorrt
        known = [toolchain for toolchain in known if major in (None, _plugin_major(toolchain))] or known
        taking = (toolchain for toolchain in known if _takes(toolchain.family, options))
        return here or next(taking, known[0]), error.message


def _plugin_major(toolchain: Toolchain) -> int:
    """Returns the major version whose plugins a TensorRT loads, 0 where it loads none."""
    return toolchain.family.version[0] if toolchain.family.runs_plugins else 0


def _takes(family: Family, options: BuildOptions) -> bool:
    try:
        family.check(options)
    except UsageError:
        return False
    return True


def _compared(options: BuildOptions, chosen: Toolchain) -> list[Toolchain]:
    """Returns a version of every family in question: the one chosen is the only one where it was asked for by name."""
    if options.target is not None and installed(options.target) is not None:
        return []
    others = [toolchain for toolchain in KNOWN if options.target in (None, toolchain.target)]
    alike = next((each for each in others if type(each.family) is type(chosen.family)), chosen)
    return [chosen if toolchain is alike else toolchain for toolchain in others]


def _types(typed: Typed, family: Family, options: BuildOptions) -> tuple[dict[str, int], tuple[Wide, ...]]:
    """Returns how many products compute in each type, and what stays in float32."""
    precision = options.typing.precision
    if family.strongly_typed or precision not in _FLAGGED:
        return census.products(typed.model), stays_wide(typed.model, precision, options.typing.keep_fp32)
    products: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for node in census.nodes(typed.model):
        if is_heavy(node):
            products["float32" if node.name in typed.kept else _FLAGGED[precision]] += 1
        elif node.op_type.startswith("Reduce"):
            held[node.op_type] += 1
    sums = Wide("sums are held to float32; TensorRT chooses for all other operators", dict(held.most_common()))
    return dict(products.most_common()), (sums,) if held else ()


def _tensor(value: ir.Value) -> EngineTensor:
    shape = () if value.shape is None else tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return EngineTensor(str(value.name), shape, census.dtype_name(value.dtype))
