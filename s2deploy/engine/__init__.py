"""Builds engines: a typed ONNX model becomes a plan and its sidecar, in a process of its own."""

from s2deploy.engine.builder import BuildResult, build
from s2deploy.engine.capabilities import KNOWN as KNOWN_CAPABILITIES
from s2deploy.engine.dry_run import DryRun, choose_toolchain, dry_run
from s2deploy.engine.progress import Phase
from s2deploy.sidecar import Sidecar, read_sidecar

__all__ = [
    "KNOWN_CAPABILITIES",
    "BuildResult",
    "DryRun",
    "Phase",
    "Sidecar",
    "build",
    "choose_toolchain",
    "dry_run",
    "read_sidecar",
]
