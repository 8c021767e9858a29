"""Which TensorRT this machine can build with: its package, and for full TensorRT a GPU."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from importlib import metadata

from s2deploy.engine.device import count_devices
from s2deploy.engine.families import MODULES, Family, family_of
from s2deploy.errors import TargetUnavailableError
from s2deploy.specs import Target

_OLDEST = (8, 5)
_RTX_HINT = 'pip install "s2deploy[rtx]"'
_TENSORRT_HINT = 'pip install "s2deploy[tensorrt]" on a machine with an NVIDIA GPU and driver'


@dataclass(frozen=True)
class Toolchain:
    """A TensorRT that can be used.

    Attributes:
        target: Its family.
        version: Its version.
    """

    target: Target
    version: str

    @property
    def module(self) -> str:
        """The Python module it is imported as."""
        return MODULES[self.target]

    @property
    def family(self) -> Family:
        """How it wants to be used."""
        return family_of(self.target, self.version)


KNOWN = (
    Toolchain(Target.RTX, "1.7"),
    *(Toolchain(Target.TENSORRT, version) for version in ("11.1", "10.16", "9.3", "8.6", "8.5")),
)
"""A version of each family whose builds differ, to plan a build where none is installed."""


def installed(target: Target) -> Toolchain | None:
    """Returns a target's package, whether or not this machine has the GPU it needs; None where it is not installed."""
    version = _version(target)
    return None if version is None else Toolchain(target, version)


def find_toolchain(target: Target | None) -> Toolchain:
    """Returns the toolchain for a target, or the best one of this machine.

    Args:
        target: What was asked for; None takes full TensorRT where there is a GPU, else TensorRT-RTX.

    Raises:
        TargetUnavailableError: The package or the device is missing; the message says which.
    """
    if target is not None:
        return _require(target)
    if _version(Target.TENSORRT) is not None and count_devices() > 0:
        return _require(Target.TENSORRT)
    if _version(Target.RTX) is not None:
        return _require(Target.RTX)
    raise TargetUnavailableError(
        "no TensorRT is installed that can build here",
        hint=f"for TensorRT-RTX, which needs no GPU: {_RTX_HINT}; for TensorRT: {_TENSORRT_HINT}",
    )


def _require(target: Target) -> Toolchain:
    version = _version(target)
    if target is Target.RTX and version is None:
        raise TargetUnavailableError("TensorRT-RTX (the tensorrt_rtx package) is not installed", hint=_RTX_HINT)
    if target is Target.TENSORRT:
        missing = []
        if version is None:
            missing.append("the tensorrt package is not installed")
        if count_devices() == 0:
            missing.append("no NVIDIA GPU with a driver is found")
        if missing:
            raise TargetUnavailableError(
                f"TensorRT cannot build here: {' and '.join(missing)}",
                hint=f"{_TENSORRT_HINT}; --target rtx builds without a GPU",
            )
    assert version is not None
    found = Toolchain(target, version)
    if target is Target.TENSORRT and found.family.version < _OLDEST:
        raise TargetUnavailableError(
            f"TensorRT {version} is older than {_OLDEST[0]}.{_OLDEST[1]}, the oldest that is supported",
            hint=_TENSORRT_HINT,
        )
    return found


def _version(target: Target) -> str | None:
    module = MODULES[target]
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return metadata.version(module)  # importing would load TensorRT's libraries into this process
    except metadata.PackageNotFoundError:
        return str(importlib.import_module(module).__version__)
