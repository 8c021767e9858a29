"""The building process without cuBLAS, cuBLASLt and cuDNN, which TensorRT 8.5 to 9 loads where they are installed.

`tensorrt_side` starts it in place of ``s2deploy.engine.child`` on a machine that lacks these libraries.
"""

from __future__ import annotations

from typing import Any

from s2deploy.engine import child
from s2deploy.engine.families import WeaklyTyped
from s2deploy.engine.request import Request

_LIBRARIES = ("CUBLAS", "CUBLAS_LT", "CUDNN")
_settings = WeaklyTyped._config_settings


def _without_libraries(self: WeaklyTyped, request: Request) -> dict[str, Any]:
    sources = self.module().TacticSource
    left = [source for name, source in sources.__members__.items() if name not in _LIBRARIES]
    return _settings(self, request) | {"tactic_sources": left}


def main(folder: str) -> None:
    """Carries out a build as ``s2deploy.engine.child`` does."""
    WeaklyTyped._config_settings = _without_libraries  # type: ignore[method-assign]
    child.main(folder)
