"""Opens an artifact by its suffix."""

from __future__ import annotations

import os
from pathlib import Path

from s2deploy.errors import UsageError
from s2deploy.runtime.onnx_session import OnnxSession
from s2deploy.runtime.session import Session

_PLANS = (".plan", ".engine", ".trt")


def load(
    path: str | os.PathLike[str],
    *,
    provider: str | None = None,
    threads: int | None = None,
    device: int | None = None,
    cuda_graphs: bool = False,
    unchecked: str | None = None,
) -> Session:
    """Opens an ``.onnx`` file on onnxruntime, or a plan on the TensorRT it was built for.

    For example::

        with s2deploy.load("model.onnx", provider="cuda") as session:
            outputs = session(x=array)

    A plan is checked against its sidecar ``model.plan.json`` before TensorRT reads it: its SHA-256, TensorRT's family
    and version, the GPU's compute capability, and its plugins. Load only plans you built: a plan is a program.

    Args:
        path: The file, e.g. one written by ``s2deploy export`` or ``s2deploy build``.
        provider: For .onnx: onnxruntime's execution provider, e.g. ``cuda`` or ``openvino``; ``cpu`` unless given.
        threads: For .onnx: threads per operator; as many as this process may use unless given.
        device: For plans: the number of the GPU, 0 unless given.
        cuda_graphs: For plans: launch the kernels of each shape as one CUDA graph; see `EngineSession`.
        unchecked: For plans: ``tensorrt`` or ``rtx``, to load a plan of that family without a sidecar, unchecked.

    Raises:
        UsageError: There is no such file, its kind is unknown, or an argument does not go with it.
        ArtifactError: The file is damaged, or the runtime refuses it.
        TargetUnavailableError: This machine's TensorRT or GPU, or the provider, is not what the file needs.
    """
    file = Path(path)
    if not file.is_file():
        raise UsageError(
            f"{file}: no such file", hint="give an .onnx file of s2deploy export, or a .plan of s2deploy build"
        )
    if file.suffix == ".onnx":
        _refuse(file, "plans", device=device, cuda_graphs=cuda_graphs or None, unchecked=unchecked)
        return OnnxSession(file, provider=provider or "cpu", threads=threads)
    if file.suffix in _PLANS:
        from s2deploy.runtime.engine_session import EngineSession

        _refuse(file, "ONNX files", provider=provider, threads=threads)
        return EngineSession(file, unchecked=unchecked, device=device or 0, cuda_graphs=cuda_graphs)
    raise UsageError(
        f"{file}: do not know how to run a {file.suffix or 'file without a suffix'}",
        hint="give an .onnx, or a plan named .plan or .engine",
    )


def _refuse(file: Path, kind: str, **arguments: object) -> None:
    for name, value in arguments.items():
        if value is not None:
            raise UsageError(f"{name} is for {kind}; {file} is none of them", hint=f"leave {name} out")
