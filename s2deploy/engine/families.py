"""What differs between TensorRT versions, all of it: a class per family, behind one interface.

===========================  ==============  ===============  ============  ==================
                             8.5 to 9        10               11            RTX
===========================  ==============  ===============  ============  ==================
types come from              flags and       the graph        the graph     the graph
                             demands on
                             layers
newest opset read            17              any              any           any
bf16                         from 9.0        yes              yes           yes
optimization level           from 8.6        yes              yes           no effect
version compatible           from 8.6        yes              yes           no lean runtime
hardware compatible          from 8.6        yes              yes           by capabilities
timing cache                 yes             yes              yes           no effect
compute capabilities         no              no               no            yes
plugin libraries             yes, by ctypes  yes              yes           no
                             before 8.6
===========================  ==============  ===============  ============  ==================

Source: the public headers and Python bindings of TensorRT 8.5, 8.6, 9.3, 10.16 and 11.1; for TensorRT-RTX 1.7.1 what it
was measured to do: a plan is the same at every optimization level, `setHardwareCompatibilityLevel() is unsupported`,
a version-compatible plan needs libnvinfer_lean, which the package lacks, and while its registry loads a library of
IPluginV3 and its parser makes the plugin, adding the layer aborts the process.
"""

from __future__ import annotations

import ctypes
import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from s2deploy.engine import products
from s2deploy.engine.request import Request
from s2deploy.errors import CapabilityError, UsageError
from s2deploy.ops import DOMAIN, OPS, VERSION
from s2deploy.options import BuildOptions
from s2deploy.specs import Precision, Target

# builder, network and parser, which must live as long as the network
Loaded = tuple[Any, Any, Any]
MODULES = {Target.RTX: "tensorrt_rtx", Target.TENSORRT: "tensorrt"}
_BUILDER_FLAGS = {Precision.FP16: "fp16", Precision.BF16: "bf16", Precision.INT8: "int8"}
_DTYPES = {Precision.FP16: "HALF", Precision.BF16: "BF16"}


class PluginLoadError(Exception):
    """A library holds no plugin that TensorRT can use."""


@dataclass(frozen=True)
class Family(ABC):
    """One family of TensorRT versions.

    Attributes:
        version: Major and minor version.
    """

    version: tuple[int, int]

    title: ClassVar[str] = "TensorRT"
    target: ClassVar[Target] = Target.TENSORRT
    strongly_typed: ClassVar[bool] = True
    runs_plugins: ClassVar[bool] = True
    newest_opset: ClassVar[int | None] = None
    """The newest opset the parser reads; None where it reads all that exist."""

    @property
    def name(self) -> str:
        """What people call it, e.g. ``TensorRT 8.5``."""
        return f"{self.title} {self.version[0]}.{self.version[1]}"

    def check(self, options: BuildOptions) -> None:
        """Refuses what this family lacks, by the option's name.

        Raises:
            CapabilityError: Compute capabilities are asked of a family that builds for this machine's GPU.
            UsageError: Another option that the family lacks is asked for.
        """
        for option, reason, remedy in self._lacking(options):
            kind = CapabilityError if option == "--compute-capability" else UsageError
            raise kind(f"{self.name} takes no {option}: {reason}", hint=remedy)

    def flags(self, options: BuildOptions) -> tuple[str, ...]:
        """Returns the names of the builder's flags and settings the options become, for people."""
        typing = options.typing
        settings = {
            "STRONGLY_TYPED": self.strongly_typed,
            "TF32": typing.tf32,
            f"workspace {options.workspace_bytes} bytes": options.workspace_bytes is not None,
            f"builder_optimization_level {options.optimization_level}": options.optimization_level is not None,
            "VERSION_COMPATIBLE": options.version_compatible,
            "HardwareCompatibilityLevel.AMPERE_PLUS": options.hardware_compatible,
        }
        return tuple(name for name, wanted in settings.items() if wanted)

    def module(self) -> Any:
        """Returns the Python module, in the building process only: importing it loads TensorRT's libraries."""
        return importlib.import_module(MODULES[self.target])

    def load_plugins(self, paths: Sequence[str], kernels: str | None = None) -> None:
        """Loads TensorRT's own plugins and libraries of others, so that the parser finds them.

        Args:
            paths: Libraries of any plugins.
            kernels: The library of the plugins of `s2deploy.ops`.

        Raises:
            PluginLoadError: A library cannot be loaded or holds no plugin, or `kernels` lacks an operator.
        """
        from polygraphy.backend.trt import get_trt_logger

        trt = self.module()
        trt.init_libnvinfer_plugins(get_trt_logger(), "")
        registry = trt.get_plugin_registry()
        for path in (*paths, *([] if kernels is None else [kernels])):
            try:
                if hasattr(registry, "load_library"):
                    loaded = registry.load_library(path)
                else:
                    loaded = ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
            except Exception as error:  # the registry's errors have no class of their own
                raise PluginLoadError(f"{path} cannot be loaded: {error}") from error
            if loaded is None:
                raise PluginLoadError(f"{path} cannot be loaded")
        for op in OPS if kernels is not None else ():
            # TensorRT 11 has the one, before 10 there was the other
            find = registry.get_creator if hasattr(registry, "get_creator") else registry.get_plugin_creator
            if find(op.name, str(VERSION), DOMAIN) is None:
                raise PluginLoadError(f"{kernels} was loaded, and {self.name} knows no plugin {op.name} all the same")

    def network(self, request: Request) -> Loaded:
        """Parses the model."""
        from polygraphy.backend.trt import NetworkFromOnnxPath

        loaded: Loaded = NetworkFromOnnxPath(request.model, **self._network_settings(request))()
        return loaded

    def parser(self, request: Request) -> Loaded:
        """Returns a parser with nothing parsed yet, whose errors can be asked for, as Polygraphy's loader has none."""
        from polygraphy.backend.trt import CreateNetwork, get_trt_logger

        settings = self._network_settings(request)
        flags = settings.pop("flags", ())
        builder, network = CreateNetwork(**settings)()
        parser = self.module().OnnxParser(network, get_trt_logger())
        for flag in flags:
            parser.set_flag(flag)
        return builder, network, parser

    def config(self, request: Request, profiles: Sequence[Any] | None) -> Callable[[Any, Any], Any]:
        """Returns Polygraphy's loader of the builder's configuration.

        Args:
            request: What to build.
            profiles: Polygraphy's optimization profiles; None for a static model.
        """
        from polygraphy.backend.trt import CreateConfig

        loader: Callable[[Any, Any], Any] = CreateConfig(
            tf32=request.tf32, profiles=profiles, **self._config_settings(request)
        )
        return loader

    def products(self, network: Any) -> tuple[products.Product, ...]:
        """Returns the products of a parsed network with the types they compute in."""
        return products.network_products(network, demanded=not self.strongly_typed)

    @abstractmethod
    def _lacking(self, options: BuildOptions) -> Iterator[tuple[str, str, str]]:
        """Yields what is asked for and lacking: the option, the reason, the remedy."""

    @abstractmethod
    def _network_settings(self, request: Request) -> dict[str, Any]: ...

    def _config_settings(self, request: Request) -> dict[str, Any]:
        trt = self.module()
        settings: dict[str, Any] = {}
        if request.workspace_bytes is not None:
            settings["memory_pool_limits"] = {trt.MemoryPoolType.WORKSPACE: request.workspace_bytes}
        if request.optimization_level is not None:
            settings["builder_optimization_level"] = request.optimization_level
        if request.version_compatible:
            settings["version_compatible"] = True
        if request.hardware_compatible:
            settings["hardware_compatibility_level"] = trt.HardwareCompatibilityLevel.AMPERE_PLUS
        return settings


class WeaklyTyped(Family):
    """TensorRT 8.5 to 9: the graph stays float32, flags allow a precision and layers are held to it."""

    strongly_typed = False
    newest_opset = 17

    def flags(self, options: BuildOptions) -> tuple[str, ...]:
        """Returns what every family has, and the flags of the precision."""
        flag = _BUILDER_FLAGS.get(options.typing.precision)
        own = () if flag is None else (flag.upper(), "OBEY_PRECISION_CONSTRAINTS")
        return (*own, *super().flags(options))

    def network(self, request: Request) -> Loaded:
        """Parses the model and demands of every product and every kept node the type it shall compute in.

        A builder flag alone is a permission: TensorRT takes float32 where that is faster. Sums are held to float32,
        which they need; the strongly typed families get that from the graph.
        """
        from polygraphy.backend.trt import SetLayerPrecisions, SetTensorDatatypes

        loaded = super().network(request)
        if request.precision not in _DTYPES:
            return loaded
        trt = self.module()
        narrow = getattr(trt.DataType, _DTYPES[request.precision])
        network = loaded[1]
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        demands = {}
        for node, layer in zip(products.onnx_nodes(layers), layers, strict=True):
            if layer.num_outputs == 0 or layer.get_output(0).dtype != trt.DataType.FLOAT:
                continue
            kept = node in request.kept
            if products.is_heavy(layer):
                demands[layer.name] = trt.DataType.FLOAT if kept else narrow
            elif layer.type == trt.LayerType.REDUCE or (kept and layer.type != trt.LayerType.CONSTANT):
                demands[layer.name] = trt.DataType.FLOAT
        loaded = (loaded[0], *SetLayerPrecisions(loaded, demands)()[1:])
        if request.io_16bit:
            ends = [network.get_input(index) for index in range(network.num_inputs)]
            ends += [network.get_output(index) for index in range(network.num_outputs)]
            types = {end.name: narrow for end in ends if end.dtype == trt.DataType.FLOAT}
            loaded = (loaded[0], *SetTensorDatatypes(loaded, types)()[1:])
        return loaded

    def _lacking(self, options: BuildOptions) -> Iterator[tuple[str, str, str]]:
        yield from _no_capabilities(options)
        if options.typing.precision is Precision.BF16 and self.version < (9, 0):
            yield "--bf16", "that type came with TensorRT 9", "use --fp16, or a newer TensorRT"
        if self.version < (8, 6):
            newer = "it came with TensorRT 8.6"
            if options.optimization_level is not None:
                yield "--optimization-level", newer, "leave it out, or use a newer TensorRT"
            if options.version_compatible:
                yield "--version-compatible", newer, "leave it out, or use a newer TensorRT"
            if options.hardware_compatible:
                yield "--hardware-compatible", newer, "leave it out, or use a newer TensorRT"

    def _network_settings(self, request: Request) -> dict[str, Any]:
        if request.version_compatible or request.hardware_compatible:
            # such a plan cannot hold the plugin that 8.6 and 9 make of an InstanceNormalization by default
            return {"flags": [self.module().OnnxParserFlag.NATIVE_INSTANCENORM]}
        return {}

    def _config_settings(self, request: Request) -> dict[str, Any]:
        settings = super()._config_settings(request)
        flag = _BUILDER_FLAGS.get(request.precision)
        if flag is not None:
            settings |= {flag: True, "precision_constraints": "obey"}
        return settings


class StronglyTyped(Family):
    """TensorRT 10: the network takes its types from the graph when it is created so."""

    def _lacking(self, options: BuildOptions) -> Iterator[tuple[str, str, str]]:
        yield from _no_capabilities(options)

    def _network_settings(self, request: Request) -> dict[str, Any]:
        return {"strongly_typed": True}


class AlwaysTyped(StronglyTyped):
    """TensorRT 11: there are no other networks, and neither precision flags nor demands on layers."""

    def flags(self, options: BuildOptions) -> tuple[str, ...]:
        """Returns what every family has, but for the flag that says nothing here."""
        return tuple(name for name in super().flags(options) if name != "STRONGLY_TYPED")

    def _network_settings(self, request: Request) -> dict[str, Any]:
        return {}


class RTX(Family):
    """TensorRT-RTX: strongly typed, built for compute capabilities, without a GPU."""

    title = "TensorRT-RTX"
    target = Target.RTX
    runs_plugins = False

    def config(self, request: Request, profiles: Sequence[Any] | None) -> Callable[[Any, Any], Any]:
        """Returns Polygraphy's loader, which has no setting of TF32 for this family."""
        from polygraphy.backend.tensorrt_rtx import CreateConfigRTX
        from polygraphy.backend.trt import PostprocessConfig

        create = CreateConfigRTX(
            compute_capabilities=list(request.capabilities), profiles=profiles, **self._config_settings(request)
        )
        if request.tf32:
            chosen: Callable[[Any, Any], Any] = create
        else:
            tf32 = self.module().BuilderFlag.TF32
            chosen = PostprocessConfig(create, lambda builder, network, config: config.clear_flag(tf32))
        return chosen

    def _lacking(self, options: BuildOptions) -> Iterator[tuple[str, str, str]]:
        if options.plugins:
            yield "--plugin", "it runs no plugins", "use full TensorRT, or a model of operators of the ONNX standard"
        if options.timing_cache is not None:
            yield "--timing-cache", "it measures nothing while it builds", "leave it out"
        if options.optimization_level is not None:
            yield "--optimization-level", "it builds the same plan at every level", "leave it out"
        if options.version_compatible:
            yield "--version-compatible", "its package has no lean runtime to put into a plan", "leave it out"
        if options.hardware_compatible:
            reason = "a plan runs on the compute capabilities it was built for"
            yield "--hardware-compatible", reason, "name several with --compute-capability, or none for all"

    def _network_settings(self, request: Request) -> dict[str, Any]:
        return {"strongly_typed": True}


def family_of(target: Target, version: str) -> Family:
    """Returns the family of a TensorRT.

    Args:
        target: TensorRT or TensorRT-RTX.
        version: Its version, e.g. ``10.16.0``.
    """
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]] + [0, 0]
    major_minor = (numbers[0], numbers[1])
    if target is Target.RTX:
        return RTX(major_minor)
    if major_minor < (10, 0):
        return WeaklyTyped(major_minor)
    return StronglyTyped(major_minor) if major_minor < (11, 0) else AlwaysTyped(major_minor)


def _no_capabilities(options: BuildOptions) -> Iterator[tuple[str, str, str]]:
    if options.capabilities:
        yield "--compute-capability", "it builds for the GPU of this machine", "leave it out, or use --target rtx"
