"""Whether a plan may be given to TensorRT here, decided from its sidecar before TensorRT reads a byte of it.

TensorRT trusts a plan: one of another version, GPU or build ends in an assertion at best. What it takes:

* a plan runs on the version that built it, to the build number: 8.6.1.6 refuses a plan of 8.6.1.4, 9.2.0.5 one of
  9.2.0.4. TensorRT-RTX takes plans of its own release alone;
* a version-compatible plan, which 8.6 was the first to build, runs on every later version of the same major version,
  and from one major version to another only as `_RUNS_UP_TO` says; never on an earlier version;
* a hardware-compatible plan runs on every GPU of compute capability 8.0 or newer, whichever of these built it.

Source: NVIDIA's TensorRT documentation 10.16 and 11.4, "Version Compatibility" and "Engine Portability"; its
documentation of TensorRT-RTX, "Engine Compatibility"; the header's words on `HardwareCompatibilityLevel`; the refusals
are quoted in NVIDIA/TensorRT issues 3069, 3071 and 3793. No GPU has run any of it here.
"""

from __future__ import annotations

import re
from pathlib import Path

from s2deploy.artifacts import sha256
from s2deploy.errors import ArtifactError, TargetUnavailableError, UsageError
from s2deploy.runtime.device import Device
from s2deploy.runtime.library import MODULES, Library
from s2deploy.sidecar import Sidecar, sidecar_path

_NEWER_GPUS_FROM = (8, 0)
_RUNS_UP_TO = {8: 10, 9: 10}
"""The last major version that runs version-compatible plans of a major version, where it is not the next one."""


def check_sidecar(plan: Path) -> None:
    """Checks that the plan has a sidecar.

    Raises:
        ArtifactError: It has none.
    """
    path = sidecar_path(plan)
    if not path.exists():
        raise ArtifactError(
            f"{plan} has no sidecar {path.name}, so nothing about it can be checked",
            hint="put it beside the plan, or build the plan again with s2deploy build; a plan you trust can be loaded "
            "without one as unchecked='tensorrt' or 'rtx', on the command line --unchecked tensorrt",
        )


def check_target(plan: Path, sidecar: Sidecar) -> None:
    """Checks that the plan is of a family this version runs.

    Raises:
        ArtifactError: It is of another one.
    """
    if sidecar.target not in MODULES:
        raise ArtifactError(
            f"{plan} was built for {sidecar.target!r}, which this version of s2deploy does not run",
            hint="upgrade s2deploy",
        )


def check_version(plan: Path, sidecar: Sidecar, library: Library) -> None:
    """Checks the version of TensorRT: the one that built the plan, or a newer one where the plan allows it.

    Raises:
        TargetUnavailableError: It is another one.
    """
    built = sidecar.versions.get(MODULES[sidecar.target], "")
    made, here = _numbers(built), _numbers(library.version)
    # some packages leave out the build number, which TensorRT itself then compares
    if all(one == other for one, other in zip(made, here, strict=False)):
        return
    package = f"{MODULES[sidecar.target].replace('_', '-')}=={built}"
    again = "build the plan again on this machine"
    if not sidecar.options.get("version_compatible"):
        newer = "" if sidecar.target == "rtx" else "; with --version-compatible newer versions run it too"
        raise TargetUnavailableError(
            f"{plan} was built by {library.title} {built} and runs on that version alone; this is {library.version}",
            hint=f"pip install {package}, or {again}{newer}",
        )
    newest = _RUNS_UP_TO.get(made[0], made[0] + 1)
    if here < made or here[0] > newest:
        raise TargetUnavailableError(
            f"{plan} runs on {library.title} {built} up to {newest}.x; this is {library.version}",
            hint=f"pip install {package}, or {again}",
        )


def check_device(plan: Path, sidecar: Sidecar, device: Device) -> None:
    """Checks the compute capability of the GPU.

    Raises:
        TargetUnavailableError: The plan was built for others.
    """
    built = sidecar.capabilities
    if not built and sidecar.device is not None:
        built = (sidecar.device.capability,)
    if not built or device.capability in built:
        return
    if sidecar.options.get("hardware_compatible") and _numbers(device.capability) >= _NEWER_GPUS_FROM:
        return
    hint = f"build it for this one: s2deploy build MODEL --target rtx --compute-capability {device.capability} -o PLAN"
    if sidecar.target == "tensorrt":
        hint = "build it on this GPU; with --hardware-compatible a plan runs on every GPU from 8.0 on"
    raise TargetUnavailableError(
        f"{plan} was built for GPUs of compute capability {' or '.join(built)}; "
        f"GPU {device.ordinal}, {device.name}, has {device.capability}",
        hint=hint,
    )


def check_plugins(plan: Path, sidecar: Sidecar) -> list[Path]:
    """Returns the plugin libraries the plan needs, which lie beside it and are those it was built with.

    Raises:
        ArtifactError: One is missing or another file.
    """
    libraries = []
    for plugin in sidecar.plugins:
        if Path(plugin.name).name != plugin.name:
            raise ArtifactError(
                f"the sidecar of {plan} names {plugin.name!r}, no file beside it", hint="build the plan again"
            )
        path = plan.with_name(plugin.name)
        if not path.is_file():
            raise ArtifactError(
                f"{plan} needs the plugin library {plugin.name}, which is not beside it",
                hint=f"copy it to {plan.parent}, from where the plan was built",
            )
        if sha256(path) != plugin.sha256:
            raise ArtifactError(
                f"{path} is not the plugin library {plan.name} was built with (SHA-256 differs)",
                hint="copy it from where the plan was built, or build the plan again with this one",
            )
        libraries.append(path.resolve())
    return libraries


def check_unchecked(target: str) -> None:
    """Checks the family named for a plan without a sidecar.

    Raises:
        UsageError: There is no such family.
    """
    if target not in MODULES:
        raise UsageError(f"there is no TensorRT family {target!r}", hint=f"it is one of {', '.join(MODULES)}")


def _numbers(version: str) -> tuple[int, ...]:
    """Returns the numbers of a version: major, minor, patch and build, as far as it tells them."""
    release = re.match(r"\d+(\.\d+)*", version)
    return () if release is None else tuple(map(int, release[0].split(".")))
