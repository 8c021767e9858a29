"""Plans on TensorRT: checked against their sidecar first, then run with as few copies as the caller's arrays allow."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from s2deploy.errors import ArtifactError, UsageError
from s2deploy.feeds import Feed
from s2deploy.runtime import admission
from s2deploy.runtime.device import Device
from s2deploy.runtime.execution import Engine, Execution
from s2deploy.runtime.lanes import Lanes
from s2deploy.runtime.library import Library
from s2deploy.runtime.profiles import Profile, choose_profile, profiles_of
from s2deploy.runtime.session import Session
from s2deploy.runtime.tensors import TensorInfo, from_torch, is_torch, to_torch
from s2deploy.sidecar import Sidecar, read_sidecar
from s2deploy.specs import Dim, TensorSpec


class EngineSession(Session):
    """A plan on TensorRT or TensorRT-RTX.

    Numpy arrays and torch tensors on the processor are copied to the GPU and the outputs back. Torch tensors on the GPU
    are read in place, and the outputs are new tensors there; work is ordered with torch's current stream and the call
    does not wait for it. The optimization profile is chosen by the shapes. Every thread that calls has an execution
    context with a stream of its own meanwhile (one for all threads where a version of TensorRT before 10 runs an engine
    with dynamic shapes, because its profiles cannot be shared).

    Args:
        path: The plan.
        unchecked: ``tensorrt`` or ``rtx``: load a plan of that family without its sidecar, unchecked.
        device: The number of the GPU.
        cuda_graphs: Whether the kernels of each shape are captured as a CUDA graph at its first call and launched as
            one from then on. It helps where many small kernels run; inputs on the GPU are copied then. The graphs of
            the 8 shapes used last are kept.
        library: The TensorRT to use; the installed one unless given.
        gpu: The GPU to use; the one of that number unless given.

    Raises:
        ArtifactError: The plan, its sidecar or a plugin library is missing, damaged or not what belongs together.
        TargetUnavailableError: This machine's TensorRT or GPU is not one the plan was built for.
        S2DeployError: TensorRT or CUDA failed.
    """

    def __init__(
        self,
        path: Path,
        *,
        unchecked: str | None = None,
        device: int = 0,
        cuda_graphs: bool = False,
        library: Library | None = None,
        gpu: Device | None = None,
    ) -> None:
        sidecar = None
        if unchecked is None:
            admission.check_sidecar(path)
            sidecar = read_sidecar(path)
            admission.check_target(path, sidecar)
        else:
            admission.check_unchecked(unchecked)
        self._library = library or Library(sidecar.target if sidecar else str(unchecked))
        if sidecar is not None:
            admission.check_version(path, sidecar, self._library)
        self._device = gpu or Device(device)
        plugins: list[Path] = []
        if sidecar is not None:
            admission.check_device(path, sidecar, self._device)
            plugins = admission.check_plugins(path, sidecar)
            self.remarks = _remarks(sidecar, self._device)
        host_code = sidecar is not None and bool(sidecar.options.get("version_compatible"))
        with self._device.active():
            loaded = self._library.deserialize(_read(path), host_code=host_code, plugins=plugins)
            engine = _describe(self._library, self._device, loaded)
            self._profiles = profiles_of(loaded, engine.inputs)
        super().__init__(
            inputs=engine.inputs,
            outputs=engine.outputs,
            metadata={} if sidecar is None else _metadata(sidecar),
            backend=f"{self._library.title} {self._library.version}, {self._device.name}",
        )
        alone = self._library.profiles_are_exclusive and any(None in info.shape for info in engine.inputs)
        self._lanes = Lanes(engine, cuda_graphs, one_context=alone)
        self._end = weakref.finalize(self, self._lanes.close)
        self._end.atexit = False  # the process's end frees everything by itself

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """The optimization profiles, in the engine's order."""
        return self._profiles

    @cached_property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The inputs with the ranges of the first profile."""
        return tuple(
            TensorSpec(info.name, tuple(map(_dim, _axis_names(info), *self._profiles[0].shapes[info.name])), info.dtype)
            for info in self.inputs
        )

    def run(self, feed: Feed) -> Feed:
        """Runs on contiguous arrays that were checked, and returns the outputs by name.

        Raises:
            UsageError: No optimization profile takes these shapes.
            S2DeployError: TensorRT or CUDA failed, or the session is closed.
        """
        return self._run(feed, None)

    def timed(self, feed: Feed) -> tuple[Feed, float]:
        """Runs like `run`, and also returns the milliseconds of the kernels by CUDA events, without the copies.

        Raises:
            UsageError: No optimization profile takes these shapes.
            S2DeployError: TensorRT or CUDA failed, or the session is closed.
        """
        with self._execution(feed) as (execution, profile):
            return execution.timed(profile, feed)

    def close(self) -> None:
        """Waits for the work under way and frees the engine; the session cannot be called afterwards."""
        self._end()

    def _declared(self) -> tuple[TensorSpec, ...]:
        return ()  # the profiles say what an engine takes

    def _run_torch(self, values: Mapping[str, Any]) -> dict[str, Any]:
        first = next(value for value in values.values() if is_torch(value))
        like = next((value for value in values.values() if is_torch(value) and value.is_cuda), None)
        for name, value in values.items():
            if is_torch(value) and value.is_cuda and (value.device.index or 0) != self._device.ordinal:
                raise UsageError(
                    f"input {name!r} is on {value.device}, the plan was loaded on GPU {self._device.ordinal}",
                    hint=f"move it there, or load the plan with device={value.device.index}",
                )
        feed = {n: from_torch(value) if is_torch(value) and not value.is_cuda else value for n, value in values.items()}
        outputs = self._run(feed, like)
        if like is None:
            return {name: to_torch(array, first.device) for name, array in outputs.items()}
        return outputs

    def _run(self, values: Mapping[str, Any], like: Any) -> dict[str, Any]:
        with self._execution(values) as (execution, profile):
            return execution.run(profile, values, like=like)

    @contextmanager
    def _execution(self, values: Mapping[str, Any]) -> Iterator[tuple[Execution, int]]:
        """Yields what runs values of these shapes, and the profile."""
        shapes = {name: tuple(value.shape) for name, value in values.items()}
        profile = choose_profile(self._profiles, shapes)
        with self._device.active(), self._lanes.borrow() as lane:
            yield lane.execution(profile, shapes), profile


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}", hint="check the path") from error


def _describe(library: Library, device: Device, engine: Any) -> Engine:
    inputs: list[TensorInfo] = []
    outputs: list[TensorInfo] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = tuple(None if size < 0 else size for size in engine.get_tensor_shape(name))
        info = TensorInfo(name, shape, library.dtype_name(engine.get_tensor_dtype(name)))
        if engine.get_tensor_location(name).name == "HOST":
            raise ArtifactError(
                f"{name!r} of the plan holds sizes, which TensorRT reads or writes on the processor",
                hint="export the model with these sizes as constants, or taken from the shape of another input",
            )
        (inputs if engine.get_tensor_mode(name).name == "INPUT" else outputs).append(info)
    return Engine(library, device, engine, tuple(inputs), tuple(outputs))


def _axis_names(info: TensorInfo) -> list[str]:
    return [f"{info.name}_{axis}" for axis in range(len(info.shape))]


def _dim(name: str, low: int, typical: int, high: int) -> Dim:
    return Dim.fixed(low) if low == high else Dim(name, low, typical, high)


def _metadata(sidecar: Sidecar) -> dict[str, str]:
    origin = {"source": json.dumps({"reference": sidecar.onnx.name, "sha256": sidecar.onnx.sha256})}
    if sidecar.semantics is not None:
        origin["semantics"] = sidecar.semantics
    if sidecar.state:
        origin["state"] = json.dumps(sidecar.state)
    return {f"s2deploy.{key}": value for key, value in origin.items()}


def _remarks(sidecar: Sidecar, device: Device) -> tuple[str, ...]:
    if sidecar.device is None or sidecar.device.name == device.name:
        return ()
    return (f"the plan was built and tuned on {sidecar.device.name}; on {device.name} it may be slower",)
