"""What differs between TensorRT 8.5, 8.6 to 9, 10, 11 and TensorRT-RTX at run time, all of it.

Tensors are addressed by name from 8.5 on, so running is the same everywhere:

==========================================  =======  ==========  =========  ====
                                            8.5      8.6 to 9    10, 11     RTX
==========================================  =======  ==========  =========  ====
host code in a plan can be let run          no       yes         yes        yes
plugin libraries are loaded by              ctypes   registry    registry   none
contexts can share an optimization profile  no       no          yes        yes
==========================================  =======  ==========  =========  ====

Source: the public headers and Python bindings of TensorRT 8.5, 8.6, 10.16 and 11.1, and TensorRT-RTX 1.7.1 itself.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from s2deploy.errors import ArtifactError, S2DeployError, TargetUnavailableError

MODULES = {"rtx": "tensorrt_rtx", "tensorrt": "tensorrt"}
TITLES = {"rtx": "TensorRT-RTX", "tensorrt": "TensorRT"}
_SEVERE = ("INTERNAL_ERROR", "ERROR")
_DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16",
    "INT64": "int64", "INT32": "int32", "INT8": "int8", "UINT8": "uint8", "BOOL": "bool",
}  # fmt: skip


class Library:
    """An installed TensorRT.

    Args:
        target: Its family, ``tensorrt`` or ``rtx``.
        module: Its Python module; the installed one unless given.

    Raises:
        TargetUnavailableError: It is not installed or cannot be imported.
    """

    def __init__(self, target: str, module: Any = None) -> None:
        self.target, self.title = target, TITLES[target]
        self._module = _import(target) if module is None else module
        self.version = str(self._module.__version__)
        self._errors: list[str] = []
        self._logger = self._make_logger()

    @property
    def profiles_are_exclusive(self) -> bool:
        """Whether an optimization profile of dynamic shapes serves one execution context at a time."""
        return self.target == "tensorrt" and int(self.version.partition(".")[0]) < 10

    def deserialize(self, plan: bytes, *, host_code: bool, plugins: Sequence[Path]) -> Any:
        """Returns the engine of a plan.

        Args:
            plan: Its bytes.
            host_code: Whether code for the processor inside the plan may run.
            plugins: Libraries of plugins the plan needs.

        Raises:
            ArtifactError: TensorRT refuses the plan, or a plugin library cannot be loaded.
        """
        runtime = self._module.Runtime(self._logger)
        if runtime is None:
            raise self.failed("cannot start")
        if hasattr(runtime, "engine_host_code_allowed"):  # 8.5 has no plans that hold any
            runtime.engine_host_code_allowed = host_code
        self._load_plugins(runtime, plugins)
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            refused = self.failed("refuses the plan")
            raise ArtifactError(refused.message, hint="build it again on this machine: s2deploy build") from refused
        return engine

    def dtype_name(self, dtype: Any) -> str:
        """Returns a data type by numpy's name.

        Raises:
            ArtifactError: Arrays of that type cannot be given or taken.
        """
        if dtype.name not in _DTYPES:
            raise ArtifactError(
                f"an input or output of the plan is {dtype.name}, which no array is",
                hint="export the model with float32 or float16 inputs and outputs",
            )
        return _DTYPES[dtype.name]

    def output_allocator(self, reserve: Callable[[int], int]) -> Any:
        """Returns an allocator for an output whose shape the values decide; `shape` is known once it has run.

        Args:
            reserve: Returns the address of memory of that many bytes.
        """
        base: Any = self._module.IOutputAllocator

        class Allocator(base):  # type: ignore[misc]
            def __init__(self) -> None:
                base.__init__(self)
                self.shape: tuple[int, ...] | None = None

            def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
                return reserve(size)

            def notify_shape(self, tensor_name: str, shape: Any) -> None:
                self.shape = tuple(shape)

        return Allocator()

    def failed(self, doing: str) -> S2DeployError:
        """Returns an error in TensorRT's own words, which are then forgotten."""
        said = "\n".join(f"  {line}" for line in self._errors) or "  nothing"
        self._errors.clear()
        return S2DeployError(
            f"{self.title} {self.version} {doing}; it says:\n{said}",
            hint="nvidia-smi shows whether driver and GPU are as they should be",
        )

    def _load_plugins(self, runtime: Any, plugins: Sequence[Path]) -> None:
        if self.target == "tensorrt":
            self._module.init_libnvinfer_plugins(self._logger, "")
        for path in plugins:
            try:
                if hasattr(runtime, "get_plugin_registry"):
                    if runtime.get_plugin_registry().load_library(str(path)) is None:
                        raise self.failed("finds no plugins in it")
                else:
                    ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            except Exception as error:  # the registry's errors have no class of their own
                raise ArtifactError(
                    f"the plugin library {path} cannot be loaded: {error}", hint="build it for this machine's TensorRT"
                ) from error

    def _make_logger(self) -> Any:
        base: Any = self._module.ILogger
        errors = self._errors

        class Logger(base):  # type: ignore[misc]
            def __init__(self) -> None:
                base.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity.name in _SEVERE:
                    errors.append(message)

        return Logger()


def _import(target: str) -> Any:
    try:
        return importlib.import_module(MODULES[target])
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == MODULES[target]
        problem = "is not installed" if missing else f"cannot be imported: {error}"
        raise TargetUnavailableError(
            f"the plan runs on {TITLES[target]}, which {problem}", hint=f'pip install "s2deploy[{target}]"'
        ) from error
