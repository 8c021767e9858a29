"""The building process: runs TensorRT through Polygraphy's loaders, once, and ends.

TensorRT keeps global state, and can abort the process it runs in. It is started by `s2deploy.engine.process`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from s2deploy.child_process import end_with_parent
from s2deploy.engine import products
from s2deploy.engine.device import first_device
from s2deploy.engine.families import Family, Loaded, family_of
from s2deploy.engine.parsing import refused
from s2deploy.engine.progress import PROGRESS, Progress
from s2deploy.engine.request import Answer, Request
from s2deploy.engine.timing_cache import TimingCache
from s2deploy.sidecar import EngineTensor
from s2deploy.specs import Target

ANSWER = "answer.json"
ENV_RTX = "POLYGRAPHY_USE_TENSORRT_RTX"


class ShapeInputError(Exception):
    """An input's values are sizes, for which a profile of shapes says nothing."""


class EngineLoadError(Exception):
    """What was built cannot be read back."""


def main(folder: str) -> None:
    """Carries out ``request.json`` of a folder and leaves ``answer.json`` there; the log goes to stdout.

    Args:
        folder: The folder the parent prepared.
    """
    progress = Progress(Path(folder, PROGRESS))
    end_with_parent(progress.stop)
    request = Request.from_json(Path(folder, "request.json").read_text(encoding="utf-8"))
    # Polygraphy chooses the TensorRT it imports when it is imported itself
    os.environ[ENV_RTX] = "1" if request.target is Target.RTX else "0"
    try:
        answer = parse(request) if request.plan is None else build(request, Path(request.plan), progress)
    except (Exception, SystemExit) as error:  # whatever it is, the parent puts it into words
        if request.plan is not None:  # half a plan may be what fills the disk, and the answer needs room
            Path(request.plan).unlink(missing_ok=True)
        answer = Answer(error=f"{type(error).__name__}: {error}")
    Path(folder, ANSWER).write_text(answer.to_json(), encoding="utf-8")


def parse(request: Request) -> Answer:
    """Parses the model and builds nothing.

    Raises:
        polygraphy.exception.PolygraphyException: TensorRT refused the model and blames no node.
        ShapeInputError: The model needs the values of an input to know its shapes.
        PluginLoadError: A plugin library cannot be loaded.
    """
    from polygraphy.exception import PolygraphyException

    family = _family(request)
    version = str(family.module().__version__)
    try:
        _, network, _ = _parsed(family, request)
    except PolygraphyException:
        nodes = refused(family, request)
        if not nodes:
            raise
        return Answer(version=version, refusals=nodes)
    return Answer(version=version, products=family.products(network))


def build(request: Request, plan_path: Path, progress: Progress) -> Answer:
    """Builds and writes the plan, and reads back what its products compute in.

    Args:
        request: What to build.
        plan_path: The plan.
        progress: Told how far the builder is, where it tells; stops it.

    Raises:
        polygraphy.exception.PolygraphyException: TensorRT refused; its reasons are in the log.
        ShapeInputError: The model needs the values of an input to know its shapes.
        PluginLoadError: A plugin library cannot be loaded.
        EngineLoadError: The engine cannot be loaded.
        OSError: The plan cannot be written.
    """
    from polygraphy.backend.trt import EngineBytesFromNetwork

    start = time.perf_counter()
    family = _family(request)
    builder, network, parser = _parsed(family, request)
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    config = family.config(request, _profiles(request))(builder, network)
    version = str(family.module().__version__)
    device = first_device() if family.target is Target.TENSORRT else None
    cache = None
    if request.timing_cache is not None and device is not None:
        cache = TimingCache(Path(request.timing_cache), version, f"{device.name}-{device.capability}")
        cache.load(config)
    monitor = progress.monitor(family.module())
    if monitor is not None:
        config.progress_monitor = monitor
    try:
        plan = EngineBytesFromNetwork((builder, network, parser), config=config)()
    finally:  # a build that was stopped has measured something, too
        if cache is not None:
            cache.save(config)
    seconds = time.perf_counter() - start
    inspected = () if device is None else _inspect(family, request, plan)
    plan_path.write_bytes(plan)
    return Answer(
        version=version,
        inputs=tuple(map(_tensor, inputs)),
        outputs=tuple(map(_tensor, outputs)),
        tf32=bool(config.get_flag(family.module().BuilderFlag.TF32)),
        seconds=seconds,
        products=family.products(network),
        inspected=inspected,
        device=device,
        remarks=() if cache is None else tuple(cache.remarks),
    )


def _family(request: Request) -> Family:
    from polygraphy.logger import G_LOGGER

    G_LOGGER.module_severity = G_LOGGER.WARNING
    return family_of(request.target, request.version)


def _parsed(family: Family, request: Request) -> Loaded:
    if request.plugins or request.kernels is not None:
        family.load_plugins(request.plugins, request.kernels)
    loaded = family.network(request)
    network = loaded[1]
    inputs = (network.get_input(index) for index in range(network.num_inputs))
    shape_input = next((tensor.name for tensor in inputs if tensor.is_shape_tensor), None)
    if shape_input is not None:
        raise ShapeInputError(f"input {shape_input!r} holds sizes")
    return loaded


def _profiles(request: Request) -> list[Any] | None:
    from polygraphy.backend.trt import Profile

    profiles = []
    for shapes_by_name in request.profiles:
        profile = Profile()
        for name, shapes in shapes_by_name.items():
            profile.add(name, shapes.min, shapes.opt, shapes.max)
        profiles.append(profile)
    return profiles or None


def _inspect(family: Family, request: Request, plan: Any) -> tuple[products.Product, ...]:
    """Loads the engine once and returns what its inspector tells."""
    from polygraphy.backend.trt import get_trt_logger

    trt = family.module()
    # Polygraphy's own loader would let any engine run code of its own on the host
    runtime = trt.Runtime(get_trt_logger())
    if request.version_compatible:
        runtime.engine_host_code_allowed = True
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise EngineLoadError("the engine cannot be loaded on the GPU it was built on")
    inspector = engine.create_engine_inspector()
    return products.inspected_products(inspector.get_engine_information(trt.LayerInformationFormat.JSON))


def _tensor(tensor: Any) -> EngineTensor:
    from polygraphy.datatype import DataType

    return EngineTensor(tensor.name, tuple(tensor.shape), str(DataType.from_dtype(tensor.dtype)))
