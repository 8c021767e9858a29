"""Opens an artifact by its suffix."""

from __future__ import annotations

import os
from pathlib import Path

from s2deploy.errors import TargetUnavailableError, UsageError
from s2deploy.runtime.session import OnnxSession, Session
from s2deploy.sidecar import read_sidecar


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> Session:
    """Opens an ``.onnx`` file on onnxruntime's CPU provider.

    Args:
        path: The file, e.g. one written by ``s2deploy export``.
        threads: Threads per operator; as many as this process may use unless given.

    Raises:
        UsageError: There is no such file, its kind is unknown, or `threads` is below 1.
        ArtifactError: The file is damaged, or onnxruntime refuses it.
        TargetUnavailableError: The file is a plan: it runs on the GPU it was built for.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(f"{file}: no such file", hint="give the path of an .onnx file written by s2deploy export")
    if file.suffix == ".onnx":
        return OnnxSession(file, threads=threads)
    if file.suffix in (".plan", ".engine"):
        _refuse_plan(file)
    raise UsageError(f"{file}: do not know how to run a {file.suffix or 'file without a suffix'}", hint="give an .onnx")


def _refuse_plan(file: Path) -> None:
    sidecar = read_sidecar(file)
    package = "TensorRT-RTX" if sidecar.target == "rtx" else "TensorRT"
    version = sidecar.versions.get("tensorrt_rtx" if sidecar.target == "rtx" else "tensorrt", "of any version")
    capabilities = " or ".join(sidecar.capabilities) or "its precision"
    raise TargetUnavailableError(
        f"{file} runs on {package} {version} with an NVIDIA GPU and driver (compute capability {capabilities}), "
        "which s2deploy does not drive yet",
        hint=f"deserialize it with {package}'s own runtime on such a machine, or load the .onnx it was built from",
    )
