"""TensorRT and CUDA's driver without a GPU: device memory is the host's, kernels are numpy, every call is recorded.

A fake plan is JSON: ``{"inputs": {name: shape}, "profiles": [{name: [min, opt, max]}], ...}``; -1 is dynamic. Its
engine computes ``y = x + x`` of the first input, and with ``"positive": true`` also ``positive``, its values above
zero, as many as there are. What a version's public API lacks, its fake lacks too.
"""

from __future__ import annotations

import ctypes
import json
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from tensorrt_surface import SURFACE

TORCH_STREAM = 7777


def plan_bytes(**parts: Any) -> bytes:
    return json.dumps({"inputs": {"x": [-1, 4]}, "profiles": [{"x": [[1, 4], [2, 4], [8, 4]]}]} | parts).encode()


class FakeDriver:
    """The driver API as far as `Device` uses it."""

    def __init__(self, devices: int = 1, capability: tuple[int, int] = (8, 6), memory_bytes: int = 1 << 20) -> None:
        self.devices, self.capability, self.memory_bytes = devices, capability, memory_bytes
        self.calls: list[tuple[Any, ...]] = []
        self.memory: dict[int, Any] = {}
        self.streams: set[int] = set()
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.recording: list[Callable[[], None]] | None = None
        self.capturable = True
        self.active = 0
        self._next = 1000

    def count(self, name: str) -> int:
        return Counter(call[0] for call in self.calls)[name]

    def new(self) -> int:
        self._next += 1
        return self._next

    def do(self, work: Callable[[], None]) -> None:
        """Does the work of a stream, or keeps it for a graph."""
        if self.recording is None:
            work()
        else:
            self.recording.append(work)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)

        def call(*arguments: Any) -> int:
            values = [getattr(argument, "value", argument) for argument in arguments]
            self.calls.append((name, *values))
            code = getattr(self, "_" + name)(*values)
            return 0 if code is None else code

        return call

    def _cuInit(self, flags: int) -> int:
        return 0 if self.devices else 100

    def _cuDeviceGetCount(self, count: Any) -> None:
        count._obj.value = self.devices

    def _cuDeviceGet(self, device: Any, ordinal: int) -> None:
        device._obj.value = ordinal

    def _cuDeviceGetName(self, name: Any, length: int, device: int) -> None: ...

    def _cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> None:
        value._obj.value = self.capability[attribute - 75]

    def _cuDevicePrimaryCtxRetain(self, context: Any, device: int) -> None:
        context._obj.value = self.new()

    def _cuCtxPushCurrent_v2(self, context: int) -> None:
        self.active += 1

    def _cuCtxPopCurrent_v2(self, context: Any) -> None:
        self.active -= 1

    def _cuMemAlloc_v2(self, address: Any, size: int) -> int | None:
        assert self.active > 0
        if size > self.memory_bytes:
            return 2
        block = (ctypes.c_char * (size + 256))()
        aligned = -(-ctypes.addressof(block) // 256) * 256
        self.memory[aligned] = block
        address._obj.value = aligned
        return None

    def _cuMemFree_v2(self, address: int) -> None:
        del self.memory[address]

    def _copy(self, to: int, source: int, size: int, stream: int) -> None:
        assert stream in self.streams
        assert size > 0
        self.do(lambda: ctypes.memmove(to, source, size))

    _cuMemcpyHtoDAsync_v2 = _cuMemcpyDtoHAsync_v2 = _cuMemcpyDtoDAsync_v2 = _copy

    def _cuStreamCreate(self, stream: Any, flags: int) -> None:
        stream._obj.value = self.new()
        self.streams.add(stream._obj.value)

    def _cuStreamDestroy_v2(self, stream: int) -> None:
        self.streams.remove(stream)

    def _cuStreamSynchronize(self, stream: int) -> None:
        assert stream in self.streams

    def _cuEventCreate(self, event: Any, flags: int) -> None:
        event._obj.value = self.new()

    def _cuEventRecord(self, event: int, stream: int) -> None: ...

    def _cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> None: ...

    def _cuEventDestroy_v2(self, event: int) -> None: ...

    def _cuEventElapsedTime(self, milliseconds: Any, first: int, then: int) -> None:
        milliseconds._obj.value = 1.5

    def _cuStreamBeginCapture_v2(self, stream: int, mode: int) -> None:
        self.recording = []

    def _cuStreamEndCapture(self, stream: int, graph: Any) -> int | None:
        graph._obj.value = self.new()
        self.graphs[graph._obj.value], self.recording = self.recording or [], None
        return None if self.capturable else 901

    def _cuGraphInstantiateWithFlags(self, executable: Any, graph: int, flags: int) -> None:
        executable._obj.value = self.new()
        self.graphs[executable._obj.value] = self.graphs[graph]

    def _cuGraphDestroy(self, graph: int) -> None:
        del self.graphs[graph]

    def _cuGraphLaunch(self, graph: int, stream: int) -> None:
        for work in self.graphs[graph]:
            work()

    def _cuGraphExecDestroy(self, graph: int) -> None:
        del self.graphs[graph]

    def _cuGetErrorString(self, code: int, text: Any) -> None:
        text._obj.value = b"what the driver says"


def member(name: str) -> Any:
    return SimpleNamespace(name=name)


def array_at(address: int, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    return np.frombuffer((ctypes.c_float * count).from_address(address), np.float32).reshape(shape)


class FakeTensorRT:
    """The module of one version; its classes hold what that version's public API holds.

    Args:
        version: As the module says it, e.g. ``10.16.0.12``; the first two numbers choose the surface.
        driver: Where kernels run.
    """

    def __init__(self, version: str, driver: FakeDriver) -> None:
        surface = {name: versions[".".join(version.split(".")[:2])].split() for name, versions in SURFACE.items()}
        self.__version__ = version
        self.used: dict[str, set[str]] = {name: set() for name in surface}
        self.contexts = 0
        self.plugins: list[str] = []
        self.runtimes: list[Any] = []
        self.works = True
        module = self
        exclusive = int(version.split(".")[0]) < 10

        def public(cls: type) -> type:
            """Takes off what the version lacks, and records what is used."""
            for name in [name for name in vars(cls) if not name.startswith("_")]:
                if name not in surface[cls.__name__]:
                    delattr(cls, name)
            original = cls.__getattribute__

            def get(self: Any, name: str) -> Any:
                if not name.startswith("_"):
                    module.used[cls.__name__].add(name)
                return original(self, name)

            cls.__getattribute__ = get  # type: ignore[method-assign, assignment]
            return cls

        class ILogger:
            def log(self, severity: Any, message: str) -> None: ...

        class IOutputAllocator: ...

        @public
        class IExecutionContext:
            def __init__(self, engine: Any) -> None:
                self._engine, self._shapes, self._at, self._profile = engine, dict(engine._inputs), {}, 0
                self._allocators: dict[str, Any] = {}
                module.contexts += 1

            def __del__(self) -> None:
                module.contexts -= 1

            @property
            def active_optimization_profile(self) -> int:
                return self._profile

            def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
                assert stream_handle in driver.streams
                self._profile, self._shapes = profile_index, dict(self._engine._inputs)
                return True

            def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
                low, _, high = self._engine._profiles[self._profile].get(name, [shape] * 3)
                if not all(a <= size <= b for a, size, b in zip(low, shape, high, strict=True)):
                    module.logger.log(member("ERROR"), f"{name}: {shape} is outside the profile")
                    return False
                self._shapes[name] = shape
                return True

            def infer_shapes(self) -> list[str]:
                return [name for name, shape in self._shapes.items() if -1 in shape]

            def get_tensor_shape(self, name: str) -> tuple[int, ...]:
                first = next(iter(self._shapes.values()))
                return {"y": first, "positive": (-1,)}.get(name) or self._shapes[name]

            def set_tensor_address(self, name: str, memory: int) -> bool:
                assert memory % 256 == 0
                assert memory
                self._at[name] = memory
                return True

            def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
                self._allocators[name] = output_allocator
                return True

            def execute_async_v3(self, stream_handle: int) -> bool:
                assert stream_handle in driver.streams
                if not module.works:
                    module.logger.log(member("ERROR"), "an illegal memory access")
                    return False
                name, shape = next(iter(self._shapes.items()))
                source, to, allocators = self._at[name], self._at["y"], dict(self._allocators)

                def kernel() -> None:
                    x = array_at(source, shape)
                    if x.size:
                        array_at(to, shape)[...] = x + x
                    for output, allocator in allocators.items():
                        found = x[x > 0]
                        address = allocator.reallocate_output(output, 0, max(found.nbytes, 1), 256)
                        allocator.notify_shape(output, found.shape)
                        array_at(address, found.shape)[...] = found

                driver.do(kernel)
                return True

        @public
        class ICudaEngine:
            def __init__(self, plan: dict[str, Any]) -> None:
                self._inputs = {name: tuple(shape) for name, shape in plan["inputs"].items()}
                first = next(iter(self._inputs.values()))
                self._outputs = {"y": first} | ({"positive": (-1,)} if plan.get("positive") else {})
                self._profiles, self._dtype = plan["profiles"], plan.get("dtype", "FLOAT")
                self._location = plan.get("location", "DEVICE")
                self._alive = 0

            @property
            def num_io_tensors(self) -> int:
                return len(self._inputs) + len(self._outputs)

            @property
            def num_optimization_profiles(self) -> int:
                return len(self._profiles)

            def get_tensor_name(self, index: int) -> str:
                return [*self._inputs, *self._outputs][index]

            def get_tensor_shape(self, name: str) -> tuple[int, ...]:
                return (self._inputs | self._outputs)[name]

            def get_tensor_dtype(self, name: str) -> Any:
                return member(self._dtype)

            def get_tensor_mode(self, name: str) -> Any:
                return member("INPUT" if name in self._inputs else "OUTPUT")

            def get_tensor_location(self, name: str) -> Any:
                return member(self._location)

            def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[list[int]]:
                return self._profiles[profile_index][name]

            def create_execution_context(self) -> Any:
                if exclusive and module.contexts and any(-1 in shape for shape in self._inputs.values()):
                    module.logger.log(member("ERROR"), "the profile is in use by another context")
                    return None
                return IExecutionContext(self)

        class Registry:
            def load_library(self, plugin_path: str) -> object:
                module.plugins.append(plugin_path)
                return None if "broken" in plugin_path else object()

        @public
        class Runtime:
            engine_host_code_allowed = False

            def __init__(self, logger: Any) -> None:
                module.logger = logger
                module.runtimes.append(self)

            def get_plugin_registry(self) -> Registry:
                return Registry()

            def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
                assert driver.active
                try:
                    return ICudaEngine(json.loads(serialized_engine))
                except ValueError:
                    module.logger.log(member("WARNING"), "nobody reads this")
                    module.logger.log(member("INTERNAL_ERROR"), "the magic tag does not match")
                    return None

        self.ILogger, self.IOutputAllocator, self.Runtime = ILogger, IOutputAllocator, Runtime
        self.logger: Any = None

    def init_libnvinfer_plugins(self, logger: Any, namespace: str) -> bool:
        return True
