"""ONNX files on onnxruntime, on the processor or on what else the installed onnxruntime offers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2deploy.environment import usable_cores
from s2deploy.errors import ArtifactError, S2DeployError, TargetUnavailableError, UsageError
from s2deploy.feeds import Array, Feed
from s2deploy.runtime.session import Session
from s2deploy.runtime.tensors import TensorInfo, is_torch, numpy_dtype, to_torch

_ELEMENT_TYPES = {"float": "float32", "double": "float64"}
_SUFFIX = "ExecutionProvider"
_ON_CUDA = frozenset({"CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider"})


class OnnxSession(Session):
    """An ONNX file on onnxruntime.

    Args:
        path: The file; external data is found beside it.
        provider: Where it runs, e.g. ``cpu`` or ``cuda``: one of onnxruntime's execution providers, by its full name or
            without its ending. What it lacks runs on the processor.
        threads: Threads per operator; as many as this process may use unless given.
        optimized: Whether onnxruntime may rearrange the graph; otherwise it computes node by node.

    Raises:
        UsageError: `threads` is below 1, or there is no such provider.
        TargetUnavailableError: The provider is there but cannot be used on this machine.
        ArtifactError: The file is damaged, or onnxruntime refuses it.
    """

    def __init__(
        self, path: Path, *, provider: str = "cpu", threads: int | None = None, optimized: bool = True
    ) -> None:
        import onnxruntime

        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}", hint="leave it out to use all cores")
        chosen = _provider(provider, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        # onnxruntime counts the machine's cores, and complains about those a container withholds
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = 4  # what goes wrong is raised
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=list(dict.fromkeys([chosen, "CPUExecutionProvider"]))
            )
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise ArtifactError(
                f"onnxruntime cannot load {path}: {error}", hint="check the file with onnx.checker, or export it again"
            ) from error
        if chosen not in self._session.get_providers():  # onnxruntime falls back without a word
            raise TargetUnavailableError(
                f"onnxruntime cannot use {chosen} on this machine",
                hint="check its driver and libraries, or load the file with provider='cpu'",
            )
        self._device = "cuda" if chosen in _ON_CUDA else "cpu"
        super().__init__(
            inputs=tuple(_info(node) for node in self._session.get_inputs()),
            outputs=tuple(_info(node) for node in self._session.get_outputs()),
            metadata=dict(self._session.get_modelmeta().custom_metadata_map),
            backend=f"onnxruntime {onnxruntime.__version__}, {chosen.removesuffix(_SUFFIX)}",
        )

    def run(self, feed: Feed) -> Feed:
        """Runs on contiguous arrays that were checked, and returns the outputs by name.

        Raises:
            S2DeployError: onnxruntime failed, or the session is closed.
        """
        session = self._opened()
        names = [output.name for output in self._outputs]
        try:
            if any(info.dtype == "bfloat16" for info in (*self._inputs, *self._outputs)):
                arrays = _run_with_bfloat16(session, names, feed)
            else:
                arrays = session.run(names, feed)
        except Exception as error:
            raise _failure(error) from error
        return dict(zip(names, arrays, strict=True))

    def close(self) -> None:
        """Frees the model; the session cannot be called afterwards."""
        self._session = None

    def _run_torch(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Binds tensors where they lie, so that neither inputs nor outputs are copied, where all are plain tensors."""
        session = self._opened()
        device = next(value.device for value in values.values() if is_torch(value))
        if device.type != self._device or not self._can_bind(session):
            return super()._run_torch(values)
        tensors = {
            name: (value if is_torch(value) else to_torch(value, device)).to(device) for name, value in values.items()
        }
        try:
            outputs = _run_bound(session, tensors, device)
        except Exception as error:
            raise _failure(error) from error
        return dict(zip((info.name for info in self._outputs), outputs, strict=True))

    def _can_bind(self, session: Any) -> bool:
        """Whether all inputs and outputs are tensors of numbers, and onnxruntime is new enough to take torch's."""
        from onnxruntime import OrtValue

        nodes = [*session.get_inputs(), *session.get_outputs()]
        return hasattr(OrtValue, "from_dlpack") and all(
            node.type.startswith("tensor(") and node.type != "tensor(string)" for node in nodes
        )

    def _opened(self) -> Any:
        session = self._session
        if session is None:
            raise S2DeployError("the session is closed", hint="load the artifact again")
        return session


def _provider(asked: str, available: list[str]) -> str:
    """Returns the full name of a provider."""
    wanted = asked.lower().removesuffix(_SUFFIX.lower())
    for name in available:
        if name.removesuffix(_SUFFIX).lower() == wanted:
            return name
    known = ", ".join(name.removesuffix(_SUFFIX).lower() for name in available)
    raise UsageError(
        f"the installed onnxruntime has no execution provider {asked!r}; it has: {known}",
        hint="choose one of these, or install the onnxruntime package that has it, e.g. onnxruntime-gpu for cuda",
    )


def _run_bound(session: Any, tensors: Mapping[str, Any], device: Any) -> list[Any]:
    """Runs on torch tensors in place; the outputs are torch tensors in onnxruntime's own memory."""
    import torch.utils.dlpack
    from onnxruntime import OrtValue

    binding = session.io_binding()
    for name, tensor in tensors.items():
        binding.bind_ortvalue_input(name, OrtValue.from_dlpack(tensor))
    for node in session.get_outputs():
        binding.bind_output(node.name, device.type, device.index or 0)
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()  # what makes the inputs may still be running
    session.run_with_iobinding(binding)
    return [torch.utils.dlpack.from_dlpack(value) for value in binding.get_outputs()]


def _run_with_bfloat16(session: Any, names: list[str], feed: Feed) -> list[Array]:
    """Runs through OrtValues: onnxruntime takes and gives no numpy bfloat16."""
    import ctypes

    import numpy as np
    from onnx import TensorProto
    from onnxruntime import OrtValue

    def wrap(array: Array) -> Any:
        if array.dtype.name == "bfloat16":
            return OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), TensorProto.BFLOAT16)
        return OrtValue.ortvalue_from_numpy(array)

    def unwrap(value: Any) -> Array:
        if value.data_type() != "tensor(bfloat16)":
            array: Array = value.numpy()
            return array
        shape = tuple(value.shape())
        data = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(shape))) if np.prod(shape) else b""
        return np.frombuffer(bytearray(data), numpy_dtype("bfloat16")).reshape(shape)

    values = session.run_with_ort_values(names, {name: wrap(array) for name, array in feed.items()})
    return [unwrap(value) for value in values]


def _failure(error: Exception) -> S2DeployError:
    return S2DeployError(
        f"onnxruntime failed: {error}", hint="check that the model accepts inputs of these sizes and values"
    )


def _info(node: Any) -> TensorInfo:
    kind = str(node.type).removeprefix("tensor(").removesuffix(")")
    return TensorInfo(node.name, tuple(node.shape or ()), _ELEMENT_TYPES.get(kind, kind))
