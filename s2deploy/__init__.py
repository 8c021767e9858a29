"""Exports models with in-place shifts to clean ONNX graphs, proves them, and builds TensorRT engines.

The public functions are `export`, `validate`, `build`, `dry_run`, `load` and `bench`; they import what they need when
first used, so ``import s2deploy`` is quick and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from s2deploy.errors import S2DeployError

if TYPE_CHECKING:
    from s2deploy.accuracy import Comparison
    from s2deploy.benchmark import Measurement
    from s2deploy.engine import BuildResult, DryRun
    from s2deploy.pipeline import bench, build, dry_run, export, validate
    from s2deploy.results import BenchResult, ExportResult
    from s2deploy.runtime import Session, load

__all__ = [
    "BenchResult",
    "BuildResult",
    "Comparison",
    "DryRun",
    "ExportResult",
    "Measurement",
    "S2DeployError",
    "Session",
    "bench",
    "build",
    "dry_run",
    "export",
    "load",
    "validate",
]

_HOMES = {
    "BenchResult": "s2deploy.results",
    "BuildResult": "s2deploy.engine",
    "Comparison": "s2deploy.accuracy",
    "DryRun": "s2deploy.engine",
    "ExportResult": "s2deploy.results",
    "Measurement": "s2deploy.benchmark",
    "Session": "s2deploy.runtime",
    "bench": "s2deploy.pipeline",
    "build": "s2deploy.pipeline",
    "dry_run": "s2deploy.pipeline",
    "export": "s2deploy.pipeline",
    "load": "s2deploy.runtime",
    "validate": "s2deploy.pipeline",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 's2deploy' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
