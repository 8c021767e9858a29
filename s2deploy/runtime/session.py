"""A model that is loaded and can be called: the `Session` every backend offers, and onnxruntime's."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from s2deploy.errors import ArtifactError, S2DeployError, UsageError
from s2deploy.feeds import Array, Feed
from s2deploy.runtime.binding import TensorInfo, bind, check, from_torch, is_torch, to_torch
from s2deploy.specs import TensorSpec, parse_inputs

__all__ = ["OnnxSession", "Session", "TensorInfo"]

INPUTS_KEY = "s2deploy.inputs"
_ELEMENT_TYPES = {"float": "float32", "double": "float64"}


class Session(ABC):
    """A loaded model, called with one array per input.

    For example::

        with s2deploy.load("model.onnx") as session:
            outputs = session(x=array)

    Inputs are given by name, as one mapping, or in the model's order. They are numpy arrays or torch tensors,
    of the dtypes in `inputs`; the outputs, by name, are torch tensors where an input was one.
    """

    @property
    @abstractmethod
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The model's inputs, in its order."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The model's outputs, in its order."""

    @property
    @abstractmethod
    def metadata(self) -> Mapping[str, str]:
        """What the artifact records about itself; keys of s2deploy begin with ``s2deploy.``."""

    @abstractmethod
    def run(self, feed: Feed) -> Feed:
        """Runs on contiguous arrays that were checked, and returns the outputs by name."""

    @abstractmethod
    def close(self) -> None:
        """Frees the model; the session cannot be called afterwards."""

    @cached_property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The inputs as the artifact's metadata declares them; empty where it does not.

        Raises:
            ArtifactError: The metadata is damaged.
        """
        text = self.metadata.get(INPUTS_KEY)
        if text is None:
            return ()
        try:
            return parse_inputs(json.loads(text))
        except (ValueError, TypeError, UsageError) as error:
            raise ArtifactError(
                f"the artifact's {INPUTS_KEY} is damaged: {error}", hint="export the model again"
            ) from error

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Runs the model.

        Args:
            args: One mapping of arrays by name, or arrays in the order of `inputs`.
            kwargs: Arrays by name.

        Returns:
            The outputs by name: torch tensors on the device of the first torch input, or numpy arrays.

        Raises:
            UsageError: A name is missing, unknown or given twice, or a dtype, rank or size does not fit.
            ArtifactError: The artifact's metadata is damaged.
            S2DeployError: The runtime failed, or the session is closed.
        """
        named = bind(args, kwargs, self.inputs)
        tensors = [value for value in named.values() if is_torch(value)]
        feed = {name: from_torch(value) if is_torch(value) else value for name, value in named.items()}
        outputs = self.run(check(feed, self.inputs, self.specs))
        if not tensors:
            return dict(outputs)
        return {name: to_torch(array, tensors[0].device) for name, array in outputs.items()}

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OnnxSession(Session):
    """An ONNX file on onnxruntime's CPU provider.

    Args:
        path: The file; external data is found beside it.
        threads: Threads per operator; as many as this process may use unless given.
        optimized: Whether onnxruntime may rearrange the graph; otherwise it computes node by node.

    Raises:
        UsageError: `threads` is below 1.
        ArtifactError: The file is damaged, or onnxruntime refuses it.
    """

    def __init__(self, path: Path, *, threads: int | None = None, optimized: bool = True) -> None:
        import onnxruntime

        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}", hint="leave it out to use all cores")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _usable_cores()
        options.log_severity_level = 4  # what goes wrong is raised
        if not optimized:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise ArtifactError(
                f"onnxruntime cannot load {path}: {error}", hint="check the file with onnx.checker, or export it again"
            ) from error
        self._inputs = tuple(_info(node) for node in self._session.get_inputs())
        self._outputs = tuple(_info(node) for node in self._session.get_outputs())
        self._metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The model's inputs, in its order."""
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """The model's outputs, in its order."""
        return self._outputs

    @property
    def metadata(self) -> Mapping[str, str]:
        """The file's metadata_props."""
        return self._metadata

    def run(self, feed: Feed) -> Feed:
        """Runs on contiguous arrays that were checked, and returns the outputs by name.

        Raises:
            S2DeployError: onnxruntime failed, or the session is closed.
        """
        if self._session is None:
            raise S2DeployError("the session is closed", hint="load the artifact again")
        names = [output.name for output in self._outputs]
        try:
            if any(info.dtype == "bfloat16" for info in (*self._inputs, *self._outputs)):
                arrays = _run_with_bfloat16(self._session, names, feed)
            else:
                arrays = self._session.run(names, feed)
        except Exception as error:
            raise S2DeployError(
                f"onnxruntime failed: {error}", hint="check that the model accepts inputs of these sizes and values"
            ) from error
        return dict(zip(names, arrays, strict=True))

    def close(self) -> None:
        """Frees the model; the session cannot be called afterwards."""
        self._session = None


def _run_with_bfloat16(session: Any, names: list[str], feed: Feed) -> list[Array]:
    """Runs through OrtValues: onnxruntime takes and gives no numpy bfloat16."""
    import ctypes

    import ml_dtypes
    import numpy as np
    from onnx import TensorProto
    from onnxruntime import OrtValue

    def wrap(array: Array) -> Any:
        if array.dtype == ml_dtypes.bfloat16:
            return OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), TensorProto.BFLOAT16)
        return OrtValue.ortvalue_from_numpy(array)

    def unwrap(value: Any) -> Array:
        if value.data_type() != "tensor(bfloat16)":
            array: Array = value.numpy()
            return array
        shape = tuple(value.shape())
        data = ctypes.string_at(value.data_ptr(), 2 * int(np.prod(shape))) if np.prod(shape) else b""
        return np.frombuffer(bytearray(data), ml_dtypes.bfloat16).reshape(shape)

    values = session.run_with_ort_values(names, {name: wrap(array) for name, array in feed.items()})
    return [unwrap(value) for value in values]


def _info(node: Any) -> TensorInfo:
    kind = str(node.type).removeprefix("tensor(").removesuffix(")")
    return TensorInfo(node.name, tuple(node.shape or ()), _ELEMENT_TYPES.get(kind, kind))


def _usable_cores() -> int:
    # onnxruntime counts the machine's cores, and complains about those a container withholds
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
