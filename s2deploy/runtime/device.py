"""A GPU through CUDA's driver, which is there wherever a GPU can be used; neither torch nor a CUDA package is needed.

Its memory, streams and graphs are those of the device's primary context, which TensorRT and torch use too: addresses
and streams of theirs can be given to it, and its own to them. What it does has not yet run on a GPU: the calls follow
the driver API's reference, and tests hold them against a stand-in for the driver.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any

from s2deploy.errors import S2DeployError, TargetUnavailableError

_MAJOR, _MINOR = 75, 76
_OUT_OF_MEMORY = 2
_NON_BLOCKING = 1  # a stream of its own, which does not wait for the default stream
_CAPTURE_THIS_THREAD = 1
_NO_TIMING = 2


class Device:
    """One GPU.

    Args:
        ordinal: Its number, as ``CUDA_VISIBLE_DEVICES`` leaves it.
        driver: The loaded driver library; the system's unless given.

    Attributes:
        name: As its driver calls it.
        capability: Its compute capability, e.g. ``8.6``.

    Raises:
        TargetUnavailableError: There is no driver, or no GPU of that number.
    """

    def __init__(self, ordinal: int = 0, driver: Any = None) -> None:
        self.ordinal = ordinal
        self._driver = _system_driver() if driver is None else driver
        if self._driver.cuInit(c_uint(0)) != 0:
            raise _no_gpu("the NVIDIA driver finds no GPU it can use")
        count = c_int()
        self._do("cuDeviceGetCount", byref(count))
        if not 0 <= ordinal < count.value:
            raise _no_gpu(f"there is no GPU {ordinal}: the driver offers {count.value}")
        handle, name = c_int(), ctypes.create_string_buffer(256)
        self._do("cuDeviceGet", byref(handle), c_int(ordinal))
        self._do("cuDeviceGetName", name, c_int(256), handle)
        self.name = name.value.decode(errors="replace")
        major, minor = c_int(), c_int()
        for value, attribute in ((major, _MAJOR), (minor, _MINOR)):
            self._do("cuDeviceGetAttribute", byref(value), c_int(attribute), handle)
        self.capability = f"{major.value}.{minor.value}"
        self._context = c_void_p()
        self._do("cuDevicePrimaryCtxRetain", byref(self._context), handle)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes the device the calling thread's own meanwhile."""
        self._do("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._do("cuCtxPopCurrent_v2", byref(c_void_p()))

    def allocate(self, size_bytes: int) -> int:
        """Returns the address of new memory, aligned to 256 bytes.

        Raises:
            S2DeployError: There is not enough.
        """
        address = c_void_p()
        self._do("cuMemAlloc_v2", byref(address), c_size_t(size_bytes))
        return address.value or 0

    def free(self, address: int) -> None:
        """Frees memory once the work on it is over."""
        self._do("cuMemFree_v2", c_void_p(address))

    def copy_in(self, to: int, host: int, size_bytes: int, stream: int) -> None:
        """Copies from the host; pageable memory may be changed again when this returns."""
        self._do("cuMemcpyHtoDAsync_v2", c_void_p(to), c_void_p(host), c_size_t(size_bytes), c_void_p(stream))

    def copy_out(self, host: int, source: int, size_bytes: int, stream: int) -> None:
        """Copies to the host; the bytes are there once the stream is synchronized."""
        self._do("cuMemcpyDtoHAsync_v2", c_void_p(host), c_void_p(source), c_size_t(size_bytes), c_void_p(stream))

    def copy(self, to: int, source: int, size_bytes: int, stream: int) -> None:
        """Copies within the device."""
        self._do("cuMemcpyDtoDAsync_v2", c_void_p(to), c_void_p(source), c_size_t(size_bytes), c_void_p(stream))

    def new_stream(self) -> int:
        """Returns a stream that waits for no other."""
        stream = c_void_p()
        self._do("cuStreamCreate", byref(stream), c_uint(_NON_BLOCKING))
        return stream.value or 0

    def free_stream(self, stream: int) -> None:
        """Frees a stream once its work is over."""
        self._do("cuStreamDestroy_v2", c_void_p(stream))

    def synchronize(self, stream: int) -> None:
        """Waits until the stream's work is over.

        Raises:
            S2DeployError: Some of it failed.
        """
        self._do("cuStreamSynchronize", c_void_p(stream))

    def order(self, first: int, then: int) -> None:
        """Lets a stream wait, on the device, for what another has been given so far."""
        event = c_void_p()
        self._do("cuEventCreate", byref(event), c_uint(_NO_TIMING))
        self._do("cuEventRecord", event, c_void_p(first))
        self._do("cuStreamWaitEvent", c_void_p(then), event, c_uint(0))
        self._do("cuEventDestroy_v2", event)

    def new_event(self) -> int:
        """Returns an event that tells the time."""
        event = c_void_p()
        self._do("cuEventCreate", byref(event), c_uint(0))
        return event.value or 0

    def free_event(self, event: int) -> None:
        """Frees an event."""
        self._do("cuEventDestroy_v2", c_void_p(event))

    def record(self, event: int, stream: int) -> None:
        """Lets an event happen once the stream's work so far is over."""
        self._do("cuEventRecord", c_void_p(event), c_void_p(stream))

    def milliseconds(self, first: int, then: int) -> float:
        """Returns the time from one event to another, both of which have happened."""
        elapsed = c_float()
        self._do("cuEventElapsedTime", byref(elapsed), c_void_p(first), c_void_p(then))
        return float(elapsed.value)

    def capture(self, stream: int, enqueue: Callable[[], None]) -> int:
        """Returns a graph of the work that a function gives to a stream; it is not done meanwhile.

        Raises:
            S2DeployError: Some of it cannot be part of a graph.
        """
        self._do("cuStreamBeginCapture_v2", c_void_p(stream), c_int(_CAPTURE_THIS_THREAD))
        graph, executable = c_void_p(), c_void_p()
        try:
            enqueue()
        finally:
            ended = self._driver.cuStreamEndCapture(c_void_p(stream), byref(graph))
        self._check(ended, "cuStreamEndCapture")
        try:
            self._do("cuGraphInstantiateWithFlags", byref(executable), graph, c_ulonglong(0))
        finally:
            self._do("cuGraphDestroy", graph)
        return executable.value or 0

    def launch(self, graph: int, stream: int) -> None:
        """Gives a captured graph to a stream."""
        self._do("cuGraphLaunch", c_void_p(graph), c_void_p(stream))

    def free_graph(self, graph: int) -> None:
        """Frees a captured graph."""
        self._do("cuGraphExecDestroy", c_void_p(graph))

    def _do(self, function: str, *arguments: Any) -> None:
        self._check(getattr(self._driver, function)(*arguments), function)

    def _check(self, code: int, function: str) -> None:
        if code == 0:
            return
        if code == _OUT_OF_MEMORY:
            raise S2DeployError(
                f"the memory of GPU {self.ordinal} ran out",
                hint="run smaller batches, close other sessions, or use a GPU with more memory",
            )
        words = c_char_p()
        self._driver.cuGetErrorString(c_int(code), byref(words))
        said = (words.value or b"unknown error").decode(errors="replace")
        raise S2DeployError(
            f"CUDA failed in {function}: {said} (error {code})",
            hint="nvidia-smi shows the state of the GPU; after such an error the process must be started again",
        )


def _system_driver() -> Any:
    try:
        return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        raise _no_gpu("this machine has no NVIDIA driver") from error


def _no_gpu(what: str) -> TargetUnavailableError:
    return TargetUnavailableError(
        f"{what}, and a plan runs on a GPU",
        hint="check with nvidia-smi; the .onnx the plan was built from runs anywhere",
    )
