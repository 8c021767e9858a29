"""What each operator of a TorchScript graph is in Python: aten overloads, and plain Python for everything else.

Sizes must stay symbolic under torch.export. Traces compute with them as zero-dimensional tensors
(``NumToTensor``, ``floor_divide``, ``Int``); here such values are Python numbers or SymInts all the way.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from s2deploy.errors import SourceError

_DTYPES = (
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.float32, torch.float64,
    torch.complex32, torch.complex64, torch.complex128, torch.bool, torch.qint8, torch.quint8, torch.qint32,
    torch.bfloat16,
)  # fmt: skip
_MEMORY_FORMATS = (torch.contiguous_format, torch.preserve_format, torch.channels_last, torch.channels_last_3d)
_sym_int: Callable[[Any], Any] = torch.sym_int
_sym_float: Callable[[Any], Any] = torch.sym_float
_SIDE_EFFECTS = frozenset({"aten::save", "aten::from_file"})


def _size(tensor: torch.Tensor, dim: int | None = None) -> Any:
    return list(tensor.shape) if dim is None else tensor.shape[dim]


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value


def _int(value: Any) -> Any:
    value = _number(value)
    return int(value) if isinstance(value, (str, bool)) else _sym_int(value)


def _float(value: Any) -> Any:
    value = _number(value)
    return float(value) if isinstance(value, (str, bool)) else _sym_float(value)


def _set_item(container: Any, key: Any, value: Any) -> Any:
    container[key] = value
    return container


def _append(values: list[Any], value: Any) -> list[Any]:
    values.append(value)
    return values


def _extend(values: list[Any], others: list[Any]) -> None:
    values.extend(others)


def _tensor(data: Any, dtype: int | None = None, device: Any = None, requires_grad: bool = False) -> torch.Tensor:
    code = None if dtype is None else _DTYPES[dtype]
    return data.to(code or data.dtype) if isinstance(data, torch.Tensor) else torch.tensor(data, dtype=code)


def _to(tensor: torch.Tensor, *options: Any) -> torch.Tensor:
    """``to`` with a dtype code or a device somewhere; devices are dropped, for everything runs on the CPU."""
    code = next((o for o in options if isinstance(o, int) and not isinstance(o, bool)), None)
    other = next((o.dtype for o in options if isinstance(o, torch.Tensor)), tensor.dtype)
    return tensor.to(other if code is None else _DTYPES[code])


def _divide(a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    if rounding_mode is None:
        return a / b
    return a // b if rounding_mode == "floor" else _sym_int(a / b)


def _convert(value: Any, code: int, *_: Any) -> Any:
    return _sym_float(value) if _DTYPES[code].is_floating_point else _sym_int(value)


def _slice(values: Any, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    return values[start:end:step]


_STRUCTURAL: Mapping[str, Callable[..., Any]] = {
    "size": _size, "dim": torch.Tensor.dim, "numel": torch.Tensor.numel, "len": len,
    "Int": _int, "IntImplicit": _int, "Float": _float, "FloatImplicit": _float, "item": _number,
    "ScalarImplicit": _number, "Bool": lambda value: bool(_number(value)),
    "__getitem__": operator.getitem, "__contains__": operator.contains, "_set_item": _set_item,
    "append": _append, "extend": _extend, "list": list, "copy": list, "keys": list, "dict": dict,
    "pop": lambda values, *key: values.pop(*key), "values": lambda values: list(values.values()),
    "items": lambda values: list(values.items()), "get": lambda values, *key: values.get(*key),
    "insert": lambda values, index, value: values.insert(index, value),
    "__is__": operator.is_, "__isnot__": operator.is_not, "__not__": operator.not_,
    "format": lambda text, *values: text.format(*values), "warn": lambda *_: None,
    "tensor": _tensor, "as_tensor": _tensor, "cpu": _to, "cuda": _to,
    "is_floating_point": torch.is_floating_point,
}  # fmt: skip
"""Sizes, containers and conversions: the same in Python whatever the overload."""

_ARITHMETIC: Mapping[str, Callable[..., Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv,
    "floordiv": operator.floordiv, "remainder": operator.mod, "neg": operator.neg, "pow": operator.pow,
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "__and__": operator.and_, "__or__": operator.or_, "__xor__": operator.xor, "abs": abs, "round": round,
    "floor": math.floor, "ceil": math.ceil, "sqrt": torch.sym_sqrt, "slice": _slice,
    "__range_length": lambda low, high, step: len(range(low, high, step)),
    "__derive_index": lambda index, start, step: start + index * step,
}  # fmt: skip
"""Operators over numbers, strings and lists, that is overloads without a tensor."""

_NUMERIC: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b, alpha=1: a + alpha * b, "sub": lambda a, b, alpha=1: a - alpha * b,
    "rsub": lambda a, b, alpha=1: b - alpha * a, "mul": operator.mul, "div": _divide,
    "floor_divide": operator.floordiv, "remainder": operator.mod, "neg": operator.neg, "pow": operator.pow,
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le, "gt": operator.gt, "ge": operator.ge,
    "maximum": torch.sym_max, "minimum": torch.sym_min, "floor": math.floor, "ceil": math.ceil,
    "detach": lambda a: a, "clone": lambda a, *_: a, "to.dtype": _convert,
}  # fmt: skip
"""Tensor overloads whose tensors are sizes: the values stay numbers."""

_PRIM: Mapping[str, Callable[..., Any]] = {
    "prim::ListConstruct": lambda *values: list(values), "prim::TupleConstruct": lambda *values: values,
    "prim::DictConstruct": lambda *values: dict(zip(values[::2], values[1::2], strict=True)),
    "prim::TupleIndex": operator.getitem, "prim::NumToTensor": lambda value: value,
    "prim::unchecked_cast": lambda value: value, "prim::unchecked_unwrap_optional": lambda value: value,
    "prim::data": torch.Tensor.detach, "prim::shape": _size,
    "prim::dtype": lambda tensor: _DTYPES.index(tensor.dtype), "prim::device": lambda tensor: tensor.device,
    "prim::type": lambda device: device.type, "prim::layout": lambda tensor: 0,
    "prim::is_cuda": lambda tensor: False, "prim::is_quantized": lambda tensor: False,
    "prim::requires_grad": lambda tensor: False, "prim::Uninitialized": lambda: None, "prim::Print": lambda *_: None,
    "prim::min": lambda *values: min(*values), "prim::max": lambda *values: max(*values),
    "prim::ListUnpack": lambda values: values, "prim::TupleUnpack": lambda values: values,
}  # fmt: skip
_UNPACK = frozenset({"prim::ListUnpack", "prim::TupleUnpack"})


def is_unpack(node: torch.Node) -> bool:
    """Returns whether the node spreads one container over its outputs."""
    return node.kind() in _UNPACK


def is_number(node: torch.Node, numbers: Sequence[bool]) -> bool:
    """Returns whether the node's tensor output is really a number computed from sizes.

    Args:
        node: Any node.
        numbers: For each input whether it is a number, or a constant that can stand for one.
    """
    if node.kind() == "prim::NumToTensor":
        return True
    if node.outputsSize() != 1 or node.output().type().kind() != "TensorType" or _numeric(node) is None:
        return False
    tensors = [number for value, number in zip(node.inputs(), numbers, strict=True) if _is_tensor(value)]
    return bool(tensors) and all(tensors)


def python_function(node: torch.Node, on_numbers: bool) -> Callable[..., Any] | None:
    """Returns the plain Python meaning of a node; None if it is an operator over tensors.

    Args:
        node: Any node but Constant, GetAttr, If and RaiseException.
        on_numbers: Whether its tensors are really numbers.
    """
    if on_numbers and (numeric := _numeric(node)) is not None:
        return numeric
    if (prim := _PRIM.get(node.kind())) is not None:
        return prim
    name = node.kind().removeprefix("aten::")
    if name in _STRUCTURAL:
        return _STRUCTURAL[name]
    if name == "to" and "to.prim_" in node.schema():
        return _to
    if name in _ARITHMETIC and not any(map(_is_tensor, node.inputs())):
        return _ARITHMETIC[name]
    return None


def tensor_function(node: torch.Node, numbers: Sequence[bool], place: str) -> Callable[..., Any]:
    """Returns a function of the node's inputs, in order, that calls the aten overload its schema names.

    Args:
        node: A node whose operator is registered with torch.
        numbers: For each input whether it is a number where the schema wants a tensor.
        place: Where the node came from, for the message.

    Raises:
        SourceError: torch has no such operator here, or it does more than compute.
    """
    kind = node.kind()
    namespace, _, name = kind.partition("::")
    packet: Any = getattr(getattr(torch.ops, namespace), name, None)
    if packet is None or namespace == "prim" or node.schema() == "(no schema)" or kind in _SIDE_EFFECTS:
        raise SourceError(
            f"the TorchScript operator {kind} at {place} cannot be replayed",
            hint="give the model as FILE.py:FACTORY --weights, or import the package that registers the operator",
        )
    schema = torch._C.parse_schema(node.schema())
    arguments = schema.arguments
    overload = getattr(packet, schema.overload_name or "default")
    as_scalar = sum(numbers) == 1 and "Scalar" in packet.overloads() and len(numbers) > 1 and numbers[1]

    def call(*values: Any) -> Any:
        positional, keywords = [], {}
        for argument, value, number in zip(arguments, values, numbers, strict=False):
            new = torch.scalar_tensor(value, dtype=_number_dtype(value)) if number and not as_scalar else value
            new = _decoded(new, str(argument.real_type))
            if argument.kwarg_only:
                keywords[argument.name] = new
            else:
                positional.append(new)
        return (packet if as_scalar else overload)(*positional, **keywords)

    return call


def _numeric(node: torch.Node) -> Callable[..., Any] | None:
    name = node.kind().removeprefix("aten::")
    return _NUMERIC.get(node.schema().partition("(")[0].removeprefix("aten::") if name == "to" else name)


def _is_tensor(value: torch.Value) -> bool:
    return value.type().kind() == "TensorType"


def _number_dtype(value: Any) -> torch.dtype:
    return torch.float32 if isinstance(value, (float, torch.SymFloat)) else torch.int64


def _decoded(value: Any, kind: str) -> Any:
    """Turns TorchScript's integer codes into torch's own objects."""
    if type(value) is not int:
        return value
    if "ScalarType" in kind:
        return _DTYPES[value]
    if "MemoryFormat" in kind:
        return _MEMORY_FORMATS[value]
    return torch.strided if "Layout" in kind else value
