"""Exports models with in-place shifts to clean ONNX graphs, proves them, and builds TensorRT engines.

The public functions are `export`, `validate`, `build` and `load`; they import what they need when first used, so
``import s2deploy`` is quick and imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from s2deploy.errors import S2DeployError

if TYPE_CHECKING:
    from s2deploy.accuracy import Comparison
    from s2deploy.engine import BuildResult
    from s2deploy.pipeline import build, export, validate
    from s2deploy.results import ExportResult
    from s2deploy.runtime import Session, load

__all__ = [
    "BuildResult",
    "Comparison",
    "ExportResult",
    "S2DeployError",
    "Session",
    "build",
    "export",
    "load",
    "validate",
]

_HOMES = {
    "BuildResult": "s2deploy.engine",
    "Comparison": "s2deploy.accuracy",
    "ExportResult": "s2deploy.results",
    "Session": "s2deploy.runtime",
    "build": "s2deploy.pipeline",
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
