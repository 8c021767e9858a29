"""One TensorRT execution context with its stream and buffers: inputs in, kernels, outputs out.

A context serves one thread at a time; `s2deploy.runtime.engine_session` sees to that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from s2deploy.errors import S2DeployError
from s2deploy.feeds import Array
from s2deploy.runtime.device import Device
from s2deploy.runtime.library import Library
from s2deploy.runtime.tensors import TensorInfo, current_stream, new_tensor, numpy_dtype

_ALIGNMENT = 256
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Engine:
    """A deserialized plan, and what it takes to run it.

    Attributes:
        library: The TensorRT that runs it.
        device: The GPU it runs on.
        engine: TensorRT's object.
        inputs: Its inputs.
        outputs: Its outputs.
    """

    library: Library
    device: Device
    engine: Any
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


class Buffer:
    """Memory of the device that is kept from call to call and grows when it must."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.address = 0
        self._size_bytes = 0

    def reserve(self, size_bytes: int) -> int:
        """Returns the address of at least that much memory; even nothing has an address."""
        if size_bytes > self._size_bytes or not self.address:
            self.free()
            self.address = self._device.allocate(max(size_bytes, _ALIGNMENT))
            self._size_bytes = max(size_bytes, _ALIGNMENT)
        return self.address

    def free(self) -> None:
        """Frees the memory."""
        if self.address:
            self._device.free(self.address)
        self.address, self._size_bytes = 0, 0


class Execution:
    """A context, run on one stream.

    Args:
        engine: The engine.
        graphs: Whether the kernels are captured once as a CUDA graph and launched as one from then on. All calls have
            the shapes of the first then, and inputs on the device are copied to where the graph reads them.

    Raises:
        S2DeployError: TensorRT cannot make the context.
    """

    def __init__(self, engine: Engine, *, graphs: bool) -> None:
        self._engine, self._device, self._library = engine, engine.device, engine.library
        self._graphs = graphs
        self._graph = 0
        self._prepared: tuple[int, dict[str, Shape]] | None = None
        self._buffers = {info.name: Buffer(self._device) for info in (*engine.inputs, *engine.outputs)}
        self._allocators: dict[str, Any] = {}
        self._events: tuple[int, int] | None = None
        self._context = engine.engine.create_execution_context()
        if self._context is None:
            raise self._library.failed("cannot make an execution context")
        self._stream = self._device.new_stream()

    def timed(self, profile: int, values: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
        """Runs the engine on numpy arrays, and returns its outputs and the milliseconds of its kernels, without copies.

        Raises:
            S2DeployError: TensorRT or CUDA failed.
        """
        self._events = self._events or (self._device.new_event(), self._device.new_event())
        outputs = self.run(profile, values, like=None, events=self._events)
        return outputs, self._device.milliseconds(*self._events)

    def run(
        self, profile: int, values: Mapping[str, Any], *, like: Any, events: tuple[int, int] | None = None
    ) -> dict[str, Any]:
        """Runs the engine.

        Args:
            profile: The optimization profile.
            values: Contiguous numpy arrays, or torch tensors on the device.
            like: A torch tensor on the device, or None. The outputs are torch tensors on the device where there is
                one, ordered after the work in torch's current stream; otherwise numpy arrays.
            events: What to record on the stream before and after the kernels.

        Raises:
            S2DeployError: TensorRT or CUDA failed.
        """
        outer = None if like is None else current_stream(like)
        self._prepare(profile, {name: tuple(value.shape) for name, value in values.items()})
        if outer is not None:
            self._device.order(outer, self._stream)
        for name, value in values.items():
            self._set_address(name, self._input(name, value))
        made = {info.name: self._output(info, like) for info in self._engine.outputs}
        if events is not None:
            self._device.record(events[0], self._stream)
        captured = bool(self._graph)
        if captured:
            self._device.launch(self._graph, self._stream)
        else:
            self._enqueue()
        if events is not None:
            self._device.record(events[1], self._stream)
        if not captured:
            self._capture()
        outputs = {info.name: self._take(info, made[info.name], like) for info in self._engine.outputs}
        if outer is None:
            self._device.synchronize(self._stream)
        else:
            self._device.order(self._stream, outer)
        return outputs

    def close(self) -> None:
        """Waits for the work under way and frees everything."""
        try:
            self._device.synchronize(self._stream)
        finally:
            if self._graph:
                self._device.free_graph(self._graph)
            for event in self._events or ():
                self._device.free_event(event)
            self._context = None
            self._allocators.clear()
            for buffer in self._buffers.values():
                buffer.free()
            self._device.free_stream(self._stream)

    def _prepare(self, profile: int, shapes: dict[str, Shape]) -> None:
        """Tells the context the shapes, unless it has them."""
        if self._prepared == (profile, shapes):
            return
        self._prepared = None
        context = self._context
        if context.active_optimization_profile != profile and not context.set_optimization_profile_async(
            profile, self._stream
        ):
            raise self._library.failed(f"cannot use optimization profile {profile}")
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise self._library.failed(f"refuses the shape {shape} for input {name!r}")
        missing = context.infer_shapes()
        if missing:
            raise self._library.failed(f"cannot tell the shapes of {', '.join(missing)}")
        self._prepared = (profile, shapes)

    def _input(self, name: str, value: Any) -> int:
        """Returns where the engine reads an input: in place where it can be, or else in our buffer."""
        buffer, stream = self._buffers[name], self._stream
        if isinstance(value, np.ndarray):
            address = buffer.reserve(value.nbytes)
            if value.nbytes:
                self._device.copy_in(address, value.ctypes.data, value.nbytes, stream)
            return address
        source, size_bytes = value.data_ptr(), value.numel() * value.element_size()
        if not self._graphs and size_bytes and source % _ALIGNMENT == 0:
            return int(source)
        address = buffer.reserve(size_bytes)
        if size_bytes:
            self._device.copy(address, source, size_bytes, stream)
        return address

    def _output(self, info: TensorInfo, like: Any) -> Any:
        """Sets where the engine writes an output; returns its torch tensor where it writes into one, else its shape."""
        shape = tuple(self._context.get_tensor_shape(info.name))
        buffer = self._buffers[info.name]
        if -1 in shape:
            if info.name not in self._allocators:
                self._allocators[info.name] = self._library.output_allocator(buffer.reserve)
                if not self._context.set_output_allocator(info.name, self._allocators[info.name]):
                    raise self._library.failed(f"takes no allocator for output {info.name!r}")
            self._allocators[info.name].shape = None
            self._set_address(info.name, buffer.reserve(0))
            return None
        if like is not None and not self._graphs:
            tensor = new_tensor(like, shape, info.dtype)
            if tensor.numel() and tensor.data_ptr() % _ALIGNMENT == 0:
                self._set_address(info.name, tensor.data_ptr())
                return tensor
        self._set_address(info.name, buffer.reserve(math.prod(shape) * numpy_dtype(info.dtype).itemsize))
        return shape

    def _take(self, info: TensorInfo, made: Any, like: Any) -> Any:
        """Returns an output, copied out of our buffer unless the engine wrote it into a tensor."""
        if made is not None and not isinstance(made, tuple):
            return made
        shape = made
        if shape is None:
            shape = self._allocators[info.name].shape
            if shape is None:
                raise self._library.failed(f"did not say the shape of output {info.name!r}")
        source, stream = self._buffers[info.name].address, self._stream
        if like is None:
            array: Array = np.empty(shape, numpy_dtype(info.dtype))
            if array.nbytes:
                self._device.copy_out(array.ctypes.data, source, array.nbytes, stream)
            return array
        tensor = new_tensor(like, shape, info.dtype)
        if tensor.numel():
            self._device.copy(tensor.data_ptr(), source, tensor.numel() * tensor.element_size(), stream)
        return tensor

    def _enqueue(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise self._library.failed("failed to run")

    def _capture(self) -> None:
        """Captures the kernels after their first run, which readied the context for these shapes."""
        if not self._graphs or self._allocators:
            return
        try:
            self._graph = self._device.capture(self._stream, self._enqueue)
        except S2DeployError:
            self._graphs = False  # some layers decide on the host; such an engine runs without a graph

    def _set_address(self, name: str, address: int) -> None:
        if not self._context.set_tensor_address(name, address):
            raise self._library.failed(f"refuses the memory of {name!r}")
