"""A module that looks like ``tensorrt`` of a version and records what is done to it.

What it has is listed in ``data/tensorrt_api.json``: touching a name the real module lacks raises AttributeError, so a
build that passes here uses nothing a version does not have. Its parser reads the ONNX file and makes layers of the
operators that matter; its engine tells the inspector what the layers were asked to compute in.
"""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import onnx
from guarded import Guarded, Numbered

API = Path(__file__).parent / "data" / "tensorrt_api.json"
_LAYERS = {
    "MatMul": "MATRIX_MULTIPLY", "Gemm": "MATRIX_MULTIPLY", "Conv": "CONVOLUTION", "Einsum": "EINSUM",
    "Add": "ELEMENTWISE", "Gelu": "ACTIVATION", "ReduceMean": "REDUCE", "Cast": "CAST", "QuantizeLinear": "QUANTIZE",
    "DequantizeLinear": "DEQUANTIZE", "Softmax": "SOFTMAX",
}  # fmt: skip
_WORDS = {"FLOAT": "FP32", "HALF": "FP16", "BF16": "BFloat16", "INT8": "Int8"}
_ALIASES = {
    "float32": "FLOAT", "float16": "HALF", "bfloat16": "BF16", "int8": "INT8", "int32": "INT32", "int64": "INT64",
    "bool": "BOOL", "uint8": "UINT8", "fp8": "FP8", "int4": "INT4",
}  # fmt: skip
_ONNX_TYPES = {1: "FLOAT", 10: "HALF", 16: "BF16", 3: "INT8", 6: "INT32", 7: "INT32"}


def make(version: str, stubborn: tuple[str, ...] = (), entry: str = "measured") -> types.ModuleType:
    """Returns the module.

    Args:
        version: Which TensorRT: a key of the API file.
        stubborn: Layers whose kernels compute in float32 whatever they were asked.
        entry: What a build adds to the timing cache.
    """
    api = json.loads(API.read_text(encoding="utf-8"))[version]
    module = types.ModuleType("tensorrt")
    module.__version__ = f"{version}.0"
    module.calls = calls = []
    for name, members in api["enums"].items():
        setattr(module, name, Numbered(name, members, start=0))
    for alias, name in _ALIASES.items():
        if name in module.DataType.__members__:
            setattr(module, alias, module.DataType[name])

    def guarded(cls: type) -> type:
        cls._allowed, cls._calls = frozenset(api["classes"][cls.__name__]), calls
        setattr(module, cls.__name__, cls)
        return cls

    @guarded
    class ITensor(Guarded):
        def __init__(self, name: str, dtype: Any, shape: tuple[int, ...]) -> None:
            self._name = name
            object.__setattr__(self, "name", name)
            object.__setattr__(self, "dtype", dtype)
            object.__setattr__(self, "shape", shape)
            object.__setattr__(self, "is_shape_tensor", False)

    @guarded
    class ILayer(Guarded):
        def __init__(self, node: onnx.NodeProto, kind: Any, inputs: list[ITensor], outputs: list[ITensor]) -> None:
            self._name, self._inputs, self._outputs = node.name, inputs, outputs
            for key, value in (
                ("name", node.name), ("type", kind), ("num_inputs", len(inputs)), ("num_outputs", len(outputs)),
                ("metadata", f"[ONNX Layer: {node.name}]"), ("precision_is_set", False),
            ):  # fmt: skip
                object.__setattr__(self, key, value)

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "precision":
                object.__setattr__(self, "precision_is_set", True)

        def get_input(self, index: int) -> ITensor:
            return self._inputs[index]

        def get_output(self, index: int) -> ITensor:
            return self._outputs[index]

    @guarded
    class INetworkDefinition(Guarded):
        def __init__(self, flags: int) -> None:
            self._layers, self._inputs, self._outputs, self._flags = [], [], [], flags
            object.__setattr__(self, "name", "network")

        num_layers = property(lambda self: len(self._layers))
        num_inputs = property(lambda self: len(self._inputs))
        num_outputs = property(lambda self: len(self._outputs))
        has_implicit_batch_dimension = False

        def __len__(self) -> int:
            return len(self._layers)

        def __getitem__(self, index: int) -> ILayer:
            return self._layers[index]

        get_layer = __getitem__

        def get_input(self, index: int) -> ITensor:
            return self._inputs[index]

        def get_output(self, index: int) -> ITensor:
            return self._outputs[index]

    @guarded
    class OnnxParser(Guarded):
        num_errors = 0

        def __init__(self, network: INetworkDefinition, logger: Any) -> None:
            self._network = network

        def parse_from_file(self, path: str) -> bool:
            graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
            tensors = {
                info.name: ITensor(
                    info.name,
                    module.DataType[_ONNX_TYPES[info.type.tensor_type.elem_type]],
                    tuple(dim.dim_value or -1 for dim in info.type.tensor_type.shape.dim),
                )
                for info in (*graph.input, *graph.value_info, *graph.output)
            }
            for weight in graph.initializer:
                tensors[weight.name] = ITensor(
                    weight.name, module.DataType[_ONNX_TYPES[weight.data_type]], tuple(weight.dims)
                )
            assert not onnx.load(path).functions
            for node in graph.node:
                wanted = _LAYERS.get(node.op_type, "IDENTITY")
                if node.domain:
                    wanted = _plugin_layer(node, version)
                kind = module.LayerType[wanted if wanted in module.LayerType.__members__ else "IDENTITY"]
                inputs = [tensors[name] for name in node.input if name]
                self._network._layers.append(ILayer(node, kind, inputs, [tensors[name] for name in node.output]))
            self._network._inputs += [tensors[info.name] for info in graph.input]
            self._network._outputs += [tensors[info.name] for info in graph.output]
            return True

    @guarded
    class IOptimizationProfile(Guarded):
        def set_shape(self, *shapes: Any) -> None:
            self._record("set_shape", *shapes)

        def get_shape(self, name: str) -> list[tuple[int, ...]]:
            return []

        def __bool__(self) -> bool:
            return True

    @guarded
    class ITimingCache(Guarded):
        def __init__(self, entries: set[str]) -> None:
            self._entries = entries

        def combine(self, other: ITimingCache, ignore_mismatch: bool) -> bool:
            self._entries |= other._entries
            return True

        def serialize(self) -> Any:
            return memoryview(" ".join(sorted(self._entries)).encode())

    @guarded
    class IBuilderConfig(Guarded):
        default_device_type, DLA_core, engine_capability, num_optimization_profiles = 0, -1, 0, 1
        profiling_verbosity = builder_optimization_level = hardware_compatibility_level = 0

        def __init__(self) -> None:
            self._set = {module.BuilderFlag.TF32}
            self._cache = None

        def set_flag(self, flag: Any) -> None:
            self._record("set_flag", flag.name)
            self._set.add(flag)

        def clear_flag(self, flag: Any) -> None:
            self._record("clear_flag", flag.name)
            self._set.discard(flag)

        def get_flag(self, flag: Any) -> bool:
            return flag in self._set

        def get_preview_feature(self, feature: Any) -> bool:
            return False

        def get_tactic_sources(self) -> int:
            return 0

        def set_tactic_sources(self, flags: int) -> bool:
            self._record("set_tactic_sources", flags)
            return True

        def set_memory_pool_limit(self, pool: Any, limit: int) -> None:
            self._record("set_memory_pool_limit", pool.name, limit)

        def get_memory_pool_limit(self, pool: Any) -> int:
            return 0

        def add_optimization_profile(self, profile: Any) -> int:
            self._record("add_optimization_profile")
            return 0

        def create_timing_cache(self, data: bytes) -> ITimingCache:
            return ITimingCache(set(bytes(data).decode().split()))

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            self._record("set_timing_cache", " ".join(sorted(cache._entries)))
            self._cache = cache
            return True

        def get_timing_cache(self) -> ITimingCache | None:
            return self._cache

    @guarded
    class Builder(Guarded):
        def __init__(self, logger: Any) -> None:
            pass

        def create_network(self, flags: int = 0) -> INetworkDefinition:
            kinds = module.NetworkDefinitionCreationFlag
            self._record("create_network", *sorted(kind.name for kind in kinds if flags & 1 << int(kind)))
            return INetworkDefinition(flags)

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes:
            if config._cache is not None:
                config._cache._entries.add(entry)
            monitor = config.__dict__.get("progress_monitor")
            if monitor is not None:
                monitor.phase_start("Building engine", None, 2)
                monitor.phase_start("Timing tactics", "Building engine", 1)
                going = monitor.step_complete("Timing tactics", 0)
                monitor.phase_finish("Timing tactics")
                monitor.phase_finish("Building engine")
                if not going:
                    return None
            return json.dumps(_inspection(network, version, stubborn)).encode()

    @guarded
    class IHostMemory(Guarded):
        pass

    if "IProgressMonitor" in api["classes"]:

        class IProgressMonitor:
            pass

        module.IProgressMonitor = IProgressMonitor

    @guarded
    class EngineInspector(Guarded):
        def __init__(self, plan: bytes) -> None:
            self._plan = plan

        def get_engine_information(self, format: Any) -> str:
            assert format == module.LayerInformationFormat.JSON
            return self._plan.decode()

    @guarded
    class ICudaEngine(Guarded):
        def __init__(self, plan: bytes) -> None:
            self._plan = plan

        def create_engine_inspector(self) -> EngineInspector:
            return EngineInspector(self._plan)

    @guarded
    class Runtime(Guarded):
        def __init__(self, logger: Any) -> None:
            pass

        def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine:
            return ICudaEngine(bytes(plan))

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    module.ILogger, module.Logger = ILogger, ILogger
    module.init_libnvinfer_plugins = lambda logger, namespace: True

    @guarded
    class IPluginRegistry(Guarded):
        def load_library(self, plugin_path: str) -> object:
            self._record("load_library", Path(plugin_path).name)
            return None if "broken" in plugin_path else object()

        def _find(self, call: str, *asked: str) -> object:
            self._record(call, *asked)
            loaded = [call[1] for call in calls if call[0] == "IPluginRegistry.load_library"]
            known = any("plugins" in name for name in loaded) and asked[1:] == ("1", "s2deploy")
            return object() if known else None

        def get_creator(self, type: str, version: str, plugin_namespace: str = "") -> object:
            return self._find("get_creator", type, version, plugin_namespace)

        def get_plugin_creator(self, type: str, version: str, plugin_namespace: str = "") -> object:
            return self._find("get_plugin_creator", type, version, plugin_namespace)

    module.get_plugin_registry = IPluginRegistry
    return module


def _plugin_layer(node: onnx.NodeProto, version: str) -> str:
    """Returns the kind of layer of a plugin, which parsers before 10.2 find by the attributes alone."""
    told = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    assert (told["plugin_namespace"], told["plugin_version"]) == (b"s2deploy", b"1")
    assert not node.overload
    return "PLUGIN_V2" if int(version.partition(".")[0]) < 10 else "PLUGIN_V3"


def _inspection(network: Any, version: str, stubborn: tuple[str, ...]) -> dict[str, Any]:
    """Returns what the inspector tells, in the shape of the version."""
    layers = []
    for layer in network._layers:
        demanded = layer.__dict__.get("precision")
        dtypes = [_WORDS.get((demanded or tensor.dtype).name, "FP32") for tensor in layer._inputs]
        if layer.name in stubborn:
            dtypes = ["FP32" for _ in dtypes]
        described = [{"Name": "t", "Format/Datatype": f"Row major linear {word} format"} for word in dtypes]
        layers.append({"Name": layer.name, "LayerType": layer.type.name, "Inputs": described, "Outputs": []})
        if "metadata" in type(layer)._allowed:
            layers[-1]["Metadata"] = layer.metadata
    ends = "I/O Tensors" if version.startswith("11") else "Bindings"
    return {"Layers": layers, ends: [tensor.name for tensor in (*network._inputs, *network._outputs)]}
