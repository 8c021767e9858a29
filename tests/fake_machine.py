"""A machine that is made up: a GPU, a TensorRT of any version, and plans for both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fake_tensorrt import FakeDriver, FakeTensorRT, plan_bytes

from s2deploy.runtime.device import Device
from s2deploy.runtime.engine_session import EngineSession
from s2deploy.runtime.library import Library
from s2deploy.sidecar import EngineTensor, Sidecar, identify, sidecar_path

VERSIONS = ["8.5.3.1", "8.6.1.6", "10.16.0.72", "11.1.0.3"]
X = np.arange(8, dtype=np.float32).reshape(2, 4) - 3


class OnGpu(torch.Tensor):
    """A tensor that says it is on a GPU; its memory is aligned as CUDA's is."""

    is_cuda = True  # type: ignore[assignment]

    @staticmethod
    def of(values: np.ndarray) -> OnGpu:
        block = np.zeros(values.nbytes + 256, np.uint8)
        start = -block.ctypes.data % 256
        aligned = block[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
        aligned[...] = values
        return torch.from_numpy(aligned).as_subclass(OnGpu)

    def new_empty(self, shape: Any, dtype: Any) -> OnGpu:  # type: ignore[override]
        return OnGpu.of(np.zeros(shape, str(dtype).removeprefix("torch.")))


class Machine:
    """A GPU and a TensorRT, both made up."""

    def __init__(self, version: str = "10.16.0.72", **driver: Any) -> None:
        self.driver = FakeDriver(**driver)
        self.module = FakeTensorRT(version, self.driver)
        self.target = "tensorrt"

    def load(self, plan: Path, **arguments: Any) -> EngineSession:
        library = Library(self.target, self.module)
        return EngineSession(plan, library=library, gpu=Device(0, self.driver), **arguments)


def plan_writer(tmp_path: Path) -> Callable[..., Path]:
    """Returns what writes a plan and a sidecar that fits it, or the fields given."""

    def write(data: bytes = b"", **sidecar: Any) -> Path:
        plan = tmp_path / "model.plan"
        plan.write_bytes(data or plan_bytes())
        known = Sidecar(
            onnx=replace(identify(plan), name="model.onnx"),
            plan=identify(plan),
            target="tensorrt",
            precision="fp32",
            capabilities=(),
            versions={"tensorrt": "10.16.0.72"},
            profiles=(),
            inputs=(EngineTensor("x", (-1, 4), "float32"),),
            outputs=(EngineTensor("y", (-1, 4), "float32"),),
        )
        sidecar_path(plan).write_text(replace(known, **sidecar).to_json(), encoding="utf-8")
        return plan

    return write
