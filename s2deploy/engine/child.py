"""The building process: runs TensorRT through Polygraphy's loaders, once, and ends.

TensorRT keeps global state, and can abort the process it runs in. It is started by `s2deploy.engine.process`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from s2deploy.child_process import end_with_parent
from s2deploy.engine.request import Answer, Request
from s2deploy.sidecar import EngineTensor

ANSWER = "answer.json"
ENV_RTX = "POLYGRAPHY_USE_TENSORRT_RTX"


class ShapeInputError(Exception):
    """An input's values are sizes, for which a profile of shapes says nothing."""


def main(folder: str) -> None:
    """Carries out ``request.json`` of a folder and leaves ``answer.json`` there; the log goes to stdout.

    Args:
        folder: The folder the parent prepared.
    """
    end_with_parent()
    request = Request.from_json(Path(folder, "request.json").read_text(encoding="utf-8"))
    # Polygraphy chooses the TensorRT it imports when it is imported itself
    os.environ[ENV_RTX] = "1" if request.rtx else "0"
    try:
        answer = build(request)
    except (Exception, SystemExit) as error:  # whatever it is, the parent puts it into words
        answer = Answer(error=f"{type(error).__name__}: {error}")
    Path(folder, ANSWER).write_text(answer.to_json(), encoding="utf-8")


def build(request: Request) -> Answer:
    """Builds and writes the plan.

    Raises:
        polygraphy.exception.PolygraphyException: TensorRT refused; its reasons are in the log.
        ShapeInputError: The model needs the values of an input to know its shapes.
        OSError: The plan cannot be written.
    """
    from polygraphy.backend.trt import EngineBytesFromNetwork, NetworkFromOnnxPath, Profile
    from polygraphy.logger import G_LOGGER

    G_LOGGER.module_severity = G_LOGGER.WARNING
    start = time.perf_counter()
    profile = Profile()
    for name, shapes in request.profile.items():
        profile.add(name, shapes.min, shapes.opt, shapes.max)
    configure = _configure(request, [profile] if request.profile else None)
    builder, network, parser = NetworkFromOnnxPath(request.model, strongly_typed=request.strongly_typed)()
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    shape_input = next((tensor.name for tensor in inputs if tensor.is_shape_tensor), None)
    if shape_input is not None:
        raise ShapeInputError(f"input {shape_input!r} holds sizes")
    config = configure(builder, network)
    plan = EngineBytesFromNetwork((builder, network, parser), config=config)()
    Path(request.plan).write_bytes(plan)
    seconds = time.perf_counter() - start
    return Answer(None, _version(), tuple(map(_tensor, inputs)), tuple(map(_tensor, outputs)), _tf32(config), seconds)


def _configure(request: Request, profiles: Any) -> Any:
    if request.rtx:
        from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

        return CreateConfigRTX(compute_capabilities=list(request.capabilities), profiles=profiles)
    from polygraphy.backend.trt import CreateConfig

    return CreateConfig(fp16=request.fp16_flag, profiles=profiles)


def _tensor(tensor: Any) -> EngineTensor:
    from polygraphy.datatype import DataType

    return EngineTensor(tensor.name, tuple(tensor.shape), str(DataType.from_dtype(tensor.dtype)))


def _module() -> Any:
    if os.environ[ENV_RTX] == "1":
        import tensorrt_rtx

        return tensorrt_rtx
    import tensorrt

    return tensorrt


def _version() -> str:
    return str(_module().__version__)


def _tf32(config: Any) -> bool:
    flag = getattr(_module().BuilderFlag, "TF32", None)
    return flag is not None and bool(config.get_flag(flag))
