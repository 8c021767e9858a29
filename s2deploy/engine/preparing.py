"""What comes before TensorRT: the call checked, ranges, types and capabilities settled. A dry run ends here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from s2deploy.engine import capabilities as capability
from s2deploy.engine.families import Family
from s2deploy.engine.profiles import exported_ranges, make_profile
from s2deploy.engine.request import Request
from s2deploy.engine.targets import Toolchain
from s2deploy.engine.typed import Typed, typed_for
from s2deploy.errors import UsageError
from s2deploy.options import BuildOptions
from s2deploy.sidecar import ProfileShapes
from s2deploy.specs import Target

if TYPE_CHECKING:
    import onnx_ir as ir

_HIGHEST_LEVEL = 5


@dataclass(frozen=True)
class Prepared:
    """A model ready for TensorRT.

    Attributes:
        typed: The model as the family wants it.
        profiles: Shapes of the dynamic inputs, one mapping per optimization profile.
        capabilities: Compute capabilities to build for; none but for TensorRT-RTX.
    """

    typed: Typed
    profiles: tuple[dict[str, ProfileShapes], ...]
    capabilities: tuple[capability.Capability, ...]


def check_call(model_path: Path, options: BuildOptions) -> None:
    """Checks what needs neither the model's content nor a TensorRT.

    Raises:
        UsageError: The model is missing, or an option has a value it cannot have.
    """
    if not model_path.is_file():
        raise UsageError(
            f"{model_path}: no such file", hint="export a model first: s2deploy export MODEL -o model.onnx"
        )
    level = options.optimization_level
    if level is not None and not 0 <= level <= _HIGHEST_LEVEL:
        raise UsageError(
            f"the optimization level {level} is not one of 0 to {_HIGHEST_LEVEL}", hint="TensorRT's default is 3"
        )
    if options.workspace_bytes is not None and options.workspace_bytes <= 0:
        raise UsageError(
            f"a workspace of {options.workspace_bytes} bytes is none", hint="give it a size, e.g. --workspace 4GiB"
        )
    if options.timing_cache is not None and options.timing_cache.is_file():
        raise UsageError(
            f"{options.timing_cache} is a file", hint="name a folder: it gets a file per TensorRT version and GPU"
        )
    for text in options.capabilities:
        capability.parse(text)
    names: set[str] = set()
    for plugin in options.libraries:
        if not plugin.is_file():
            raise UsageError(f"plugin library {plugin}: no such file", hint="check the path of --plugin")
        if plugin.name in names:
            raise UsageError(
                f"two plugin libraries are named {plugin.name}", hint="a plan needs them all beside it: rename one"
            )
        names.add(plugin.name)


def prepare(model: ir.Model, options: BuildOptions, family: Family) -> Prepared:
    """Settles what a family of TensorRT will be asked; the model is consumed.

    Raises:
        UsageError: A range is missing or does not fit, or a node to keep does not exist.
        CapabilityError: The model computes in a type that a capability lacks.
        ArtifactError: The model's metadata is damaged.
        BuildError: The model cannot be typed, or breaks in that precision.
    """
    profiles = _profiles(model, options)
    ranges = options.profiles[0] if options.profiles else exported_ranges(model)
    typed = typed_for(model, family, options.typing, ranges, kernels=options.kernels is not None)
    asked = tuple(dict.fromkeys(map(capability.parse, options.capabilities)))
    chosen = capability.choose(asked, typed.model) if family.target is Target.RTX else ()
    return Prepared(typed, profiles, chosen)


def request_for(
    prepared: Prepared, options: BuildOptions, toolchain: Toolchain, model: Path, plan: Path | None
) -> Request:
    """Returns what a building process is asked.

    Args:
        prepared: The model and what was settled about it.
        options: How to build it.
        toolchain: The TensorRT that builds.
        model: The file of the prepared model.
        plan: The file to write; None to parse the model and build nothing.
    """
    return Request(
        model=str(model.absolute()),
        plan=None if plan is None else str(plan.absolute()),
        target=toolchain.target,
        version=toolchain.version,
        precision=options.typing.precision,
        io_16bit=options.typing.fp16_io,
        tf32=options.typing.tf32,
        kept=prepared.typed.kept,
        profiles=prepared.profiles,
        capabilities=prepared.capabilities,
        workspace_bytes=options.workspace_bytes,
        optimization_level=options.optimization_level,
        version_compatible=options.version_compatible,
        hardware_compatible=options.hardware_compatible,
        timing_cache=None if options.timing_cache is None else str(options.timing_cache.absolute()),
        plugins=tuple(str(plugin.absolute()) for plugin in options.plugins),
        kernels=None if options.kernels is None else str(options.kernels.absolute()),
    )


def _profiles(model: ir.Model, options: BuildOptions) -> tuple[dict[str, ProfileShapes], ...]:
    if not options.profiles:
        profile = make_profile(model, exported_ranges(model))
        return (profile,) if profile else ()
    profiles = tuple(make_profile(model, specs) for specs in options.profiles)
    if len(profiles) > 1 and not all(profiles):
        raise UsageError("the model is static, so one profile is all it has", hint="leave --profile out")
    return tuple(profile for profile in profiles if profile)
