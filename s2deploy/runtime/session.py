"""A model that is loaded and can be called: what every backend offers."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from types import TracebackType
from typing import Any

from s2deploy.errors import ArtifactError, UsageError
from s2deploy.feeds import Feed
from s2deploy.runtime.binding import bind, check
from s2deploy.runtime.tensors import TensorInfo, from_torch, give_back, is_torch, to_torch
from s2deploy.sidecar import read_state
from s2deploy.specs import TensorSpec, parse_inputs

INPUTS_KEY = "s2deploy.inputs"
VALUE_RANGES_KEY = "s2deploy.value_ranges"


class Session(ABC):
    """A loaded model, called with one array per input.

    For example::

        with s2deploy.load("model.onnx") as session:
            outputs = session(x=array)

    Inputs are given by name, as one mapping, or in the model's order. They are numpy arrays, torch tensors, or arrays
    of another framework that speaks DLPack, of the dtypes in `inputs`. The outputs, by name, are torch tensors where an
    input was one, on its device; otherwise arrays of the framework the inputs came from if it follows the array API
    standard (`__array_namespace__`), and numpy arrays if not. Several threads may call a session at the same time.
    """

    remarks: tuple[str, ...] = ()
    """What the user should know about how the artifact was loaded."""

    def __init__(
        self,
        inputs: tuple[TensorInfo, ...],
        outputs: tuple[TensorInfo, ...],
        metadata: Mapping[str, str],
        backend: str,
    ) -> None:
        self._inputs, self._outputs, self._metadata, self._backend = inputs, outputs, metadata, backend

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
        """What the artifact records about itself; keys of s2deploy begin with ``s2deploy.``."""
        return self._metadata

    @property
    def backend(self) -> str:
        """What runs the model, with its version and device, e.g. ``onnxruntime 1.32.0, CPU``."""
        return self._backend

    @abstractmethod
    def run(self, feed: Feed) -> Feed:
        """Runs on contiguous arrays that were checked, and returns the outputs by name."""

    @abstractmethod
    def close(self) -> None:
        """Frees the model; the session cannot be called afterwards."""

    @cached_property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The inputs with the ranges the artifact declares; empty where it declares none.

        Raises:
            ArtifactError: The metadata is damaged.
        """
        text = self.metadata.get(INPUTS_KEY)
        if text is None:
            return ()
        try:
            ranges = json.loads(self.metadata.get(VALUE_RANGES_KEY, "{}"))
            return parse_inputs(json.loads(text), [f"{name}={low}..{high}" for name, (low, high) in ranges.items()])
        except (ValueError, TypeError, AttributeError, UsageError) as error:
            raise ArtifactError(
                f"the artifact's {INPUTS_KEY} is damaged: {error}", hint="export the model again"
            ) from error

    @cached_property
    def state(self) -> dict[str, str]:
        """The buffer or parameter for each output that is the new value of one.

        Raises:
            ArtifactError: The metadata is damaged.
        """
        return read_state(self.metadata)

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Runs the model.

        Args:
            args: One mapping of arrays by name, or arrays in the order of `inputs`.
            kwargs: Arrays by name.

        Returns:
            The outputs by name, in the framework of the inputs; torch tensors on the device of the first torch input.

        Raises:
            UsageError: A name is missing, unknown or given twice, or a dtype, rank or size does not fit.
            ArtifactError: The artifact's metadata is damaged.
            S2DeployError: The runtime failed, or the session is closed.
        """
        named = bind(args, kwargs, self.inputs)
        checked = check(named, self.inputs, self._declared())
        if any(map(is_torch, checked.values())):
            return give_back(self._run_torch(checked), named)
        return give_back(self.run(checked), named)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _declared(self) -> tuple[TensorSpec, ...]:
        """Returns the ranges that inputs are held against before they are run."""
        return self.specs

    def _run_torch(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Runs on checked values some of which are torch tensors; here through arrays."""
        device = next(value.device for value in values.values() if is_torch(value))
        feed = {name: from_torch(value) if is_torch(value) else value for name, value in values.items()}
        return {name: to_torch(array, device) for name, array in self.run(feed).items()}
