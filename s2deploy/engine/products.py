"""The proof of a precision: which type every matrix product and convolution computes in, read back after the build.

Two sources, both read in the building process: the parsed network, whose tensors have types in a strongly typed
network and whose layers have demanded types in a weakly typed one; and the engine inspector, where the engine can be
loaded. Fused layers can hide a product from the inspector, so the network's word counts as well.

The inspector's JSON calls the engine's inputs and outputs ``Bindings`` before TensorRT 11 and ``I/O Tensors`` since.
A tensor's type is part of a sentence such as "Channel major FP16 format where channel % 8 == 0", or a word: "Half".
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from s2deploy.specs import Precision

_HEAVY_LAYERS = ("MATRIX_MULTIPLY", "CONVOLUTION", "DECONVOLUTION", "EINSUM", "FULLY_CONNECTED")
# these move or copy what they are given, so that a quantized tensor stays one
_MOVING_LAYERS = ("SHUFFLE", "SQUEEZE", "UNSQUEEZE", "IDENTITY", "SLICE", "CONCATENATION")
_HEAVY_INSPECTED = re.compile(r"conv|gemm|matrix_?multiply|matmul|fully_?connected|einsum|correlation", re.IGNORECASE)
_ONNX_LAYER = re.compile(r"\[ONNX Layer: (.*?)\]")
# BFloat16 ends like Float, so the order matters
_WORDS = (
    ("bfloat16", re.compile(r"BFloat16|BF16", re.IGNORECASE)),
    ("float16", re.compile(r"FP16|Half|Float16", re.IGNORECASE)),
    ("float8", re.compile(r"FP8|Float8", re.IGNORECASE)),
    ("int8", re.compile(r"\bInt8|S8\b", re.IGNORECASE)),
    ("float32", re.compile(r"FP32|Float32|\bFloat\b", re.IGNORECASE)),
)
_BITS = {"float64": 64, "float32": 32, "float16": 16, "bfloat16": 16, "float8": 8, "int8": 8}
_ALLOWED_BITS = {Precision.FP32: 32, Precision.FP16: 16, Precision.BF16: 16, Precision.INT8: 8}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Product:
    """A matrix product or convolution as it was built.

    Attributes:
        node: The ONNX node it came from; several, joined by `` + ``, where they were fused.
        kind: TensorRT's word for the layer.
        dtype: The type it multiplies in; ``unknown`` where TensorRT does not say.
    """

    node: str
    kind: str
    dtype: str


def network_products(network: Any, *, demanded: bool) -> tuple[Product, ...]:
    """Returns the products of a parsed network.

    Args:
        network: A ``tensorrt.INetworkDefinition``.
        demanded: Whether layers have demanded precisions, as in a weakly typed network.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    nodes = onnx_nodes(layers)
    makers = {
        layer.get_output(index).name: layer
        for layer in layers
        for index in range(layer.num_outputs)
        if layer.get_output(index) is not None
    }
    return tuple(
        Product(node, layer.type.name.lower(), _computes_in(layer, makers, demanded=demanded))
        for node, layer in zip(nodes, layers, strict=True)
        if layer.type.name in _HEAVY_LAYERS
    )


def is_heavy(layer: Any) -> bool:
    """Returns whether a network's layer is a matrix product or convolution."""
    return layer.type.name in _HEAVY_LAYERS


def onnx_nodes(layers: Sequence[Any]) -> list[str]:
    """Returns the name of the ONNX node each of a network's layers was made from.

    The parser makes layers node by node and names some of the many it needs for an LSTM, GRU or RNN. A nameless layer
    belongs to the node of the loop it lies in, or else to the one that the named layers before and behind it agree on.
    TensorRT 8.5 tells the name of a layer alone.
    """
    told = [_told_node(layer) for layer in layers]
    before, behind = list(_last_known(told)), list(_last_known(told[::-1]))[::-1]
    nodes, loop = [], None
    for layer, name, first, second in zip(layers, told, before, behind, strict=True):
        if layer.type.name == "RECURRENCE":
            loop = name or loop
        elif layer.type.name == "LOOP_OUTPUT":
            loop = None
        agreed = first if first == second else None
        nodes.append(name or loop or agreed or str(layer.name))
    return nodes


def _told_node(layer: Any) -> str | None:
    if not hasattr(layer, "metadata"):
        return str(layer.name)
    return " + ".join(_ONNX_LAYER.findall(layer.metadata or "")) or None


def _last_known(names: Iterable[str | None]) -> Iterator[str | None]:
    known = None
    for name in names:
        known = name or known
        yield known


def inspected_products(text: str) -> tuple[Product, ...]:
    """Returns the products an engine inspector tells of.

    Args:
        text: What ``EngineInspector.get_engine_information`` returned as JSON.
    """
    layers = json.loads(text).get("Layers", [])
    return tuple(_inspected(layer) for layer in layers if isinstance(layer, dict) and _inspected_heavy(layer))


def wider(products: Iterable[Product], precision: Precision, kept: Collection[str]) -> tuple[Product, ...]:
    """Returns the products that compute in a wider type than asked for, but for the nodes meant to.

    Args:
        products: What was read back.
        precision: What was asked for.
        kept: Names of the nodes that stay in float32.
    """
    allowed = _ALLOWED_BITS[precision]
    return tuple(
        product
        for product in products
        if _BITS.get(product.dtype, 0) > allowed and not any(name in kept for name in product.node.split(" + "))
    )


def dtype_word(text: str) -> str:
    """Returns the type an inspector's description of a tensor names."""
    return next((name for name, pattern in _WORDS if pattern.search(text)), UNKNOWN)


def _computes_in(layer: Any, makers: dict[str, Any], *, demanded: bool) -> str:
    factors = [layer.get_input(index) for index in range(layer.num_inputs)]
    # a third input is a bias
    factors = [tensor for tensor in factors if tensor is not None][:2]
    if factors and all(_is_quantized(tensor, makers) for tensor in factors):
        return "int8"
    if demanded and layer.precision_is_set:
        return _dtype(layer.precision)
    return _widest(_dtype(tensor.dtype) for tensor in factors)


def _is_quantized(tensor: Any, makers: dict[str, Any]) -> bool:
    maker = makers.get(tensor.name)
    while maker is not None and maker.type.name in _MOVING_LAYERS and maker.get_input(0) is not None:
        maker = makers.get(maker.get_input(0).name)
    return maker is not None and maker.type.name == "DEQUANTIZE" and _dtype(maker.get_input(0).dtype) == "int8"


def _dtype(dtype: Any) -> str:
    name = str(dtype.name)
    return {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "FP8": "float8"}.get(name, name.lower())


def _widest(dtypes: Iterable[str]) -> str:
    return max(dtypes, key=lambda dtype: _BITS.get(dtype, 0), default=UNKNOWN)


def _inspected_heavy(layer: dict[str, Any]) -> bool:
    kinds = (str(layer.get("LayerType", "")), str(layer.get("ParameterType", "")))
    return any(_HEAVY_INSPECTED.search(kind) for kind in kinds)


def _inspected(layer: dict[str, Any]) -> Product:
    nodes = _ONNX_LAYER.findall(str(layer.get("Metadata", "")))
    kind = str(layer.get("ParameterType") or layer.get("LayerType"))
    name = " + ".join(nodes) if nodes else str(layer.get("Name", ""))
    return Product(name, kind.lower(), _widest(_inspected_types(layer)))


def _inspected_types(layer: dict[str, Any]) -> Iterator[str]:
    inputs = [dtype_word(str(tensor.get("Format/Datatype", tensor.get("Datatype", "")))) for tensor in layer["Inputs"]]
    weights = layer.get("Weights")
    if isinstance(weights, dict) and weights.get("Count"):
        yield dtype_word(str(weights.get("Type", "")))
        yield from inputs[:1]
    else:
        yield from inputs[:2]
