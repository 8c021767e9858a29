"""TorchScript graph -> `Block`: what stays of it once attributes, sizes and constants are known.

``prim::If`` stays only where its condition is decided by ranks, dtypes or None, or guards a raise; every other If and
every Loop is refused with its line, because an exported graph would silently hold one path.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NoReturn

import torch

from s2deploy.errors import SourceError
from s2deploy.model.replay import Block, Branch, Env, Step
from s2deploy.model.script_lines import calling_from, source_line
from s2deploy.model.script_operators import is_number, is_unpack, python_function, tensor_function

_STATIC, _SIZE, _DATA = range(3)
_STATIC_OF_TENSORS = frozenset({
    "aten::dim", "prim::dtype", "prim::device", "prim::layout", "prim::is_cuda", "prim::is_quantized",
    "prim::requires_grad", "aten::is_floating_point", "aten::__is__", "aten::__isnot__",
})  # fmt: skip
_SIZES = frozenset({"aten::size", "aten::numel", "prim::shape"})


class Compiler:
    """Compiles one graph; afterwards `block`, `constants` and `state` are what a `Replay` needs.

    Args:
        module: The module the graph belongs to.
        graph: Its graph, inlined.

    Raises:
        SourceError: Something in the graph cannot be replayed.
    """

    def __init__(self, module: torch.jit.ScriptModule, graph: torch.Graph) -> None:
        self.constants: Env = {}
        self.state: dict[str, torch.Tensor] = {}
        self._module = module
        self._parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
        self._self, *_ = (value.debugName() for value in graph.inputs())
        self._paths = {self._self: ""}
        self._literals: dict[str, Any] = {}  # zero-dimensional constants, by the number they hold
        self._sizes: set[str] = set()  # values TorchScript calls tensors that are numbers computed from sizes
        self._by_memory: dict[Any, torch.Tensor] = {}
        self.block = self._compile_block(graph)

    def _compile_block(self, block: torch.Graph | torch.Block) -> Block:
        steps: list[Step | Branch] = []
        for node in block.nodes():
            kind = node.kind()
            if kind == "prim::Constant":
                steps += self._constant(node)
            elif kind == "prim::GetAttr":
                steps += self._attribute(node)
            elif kind == "prim::If":
                steps.append(self._branch(node))
            elif kind == "prim::RaiseException":
                steps.append(Step(_raiser(str(source_line(node))), _inputs(node)[:1], ()))
            else:
                steps.append(self._operator(node))
        results = tuple(value.debugName() for value in block.outputs())
        steps += [
            Step(_as_tensor, (name,), (name,))
            for value, name in zip(block.outputs(), results, strict=True)
            if name in self._sizes and value.type().kind() == "TensorType"
        ]
        return Block(steps, results)

    def _constant(self, node: torch.Node) -> list[Step | Branch]:
        output = node.output()
        name = output.debugName()
        if output.type().kind() == "FunctionType":
            return []
        value = output.toIValue()
        if isinstance(value, torch.Tensor):
            if value.dim() == 0 and not value.is_complex():
                self._literals[name] = value.item()
            return [self._read(name, f"constant_{len(self.state)}", value)]
        # A device is where the model was saved from; here it is always the CPU.
        self.constants[name] = torch.device("cpu") if isinstance(value, torch.device) else value
        return []

    def _attribute(self, node: torch.Node) -> list[Step | Branch]:
        owner = self._paths[node.input().debugName()]
        path = f"{owner}.{node.s('name')}".lstrip(".")
        name = node.output().debugName()
        if node.output().type().kind() == "ClassType":
            self._paths[name] = path
            return []
        value = operator.attrgetter(path)(self._module)
        if isinstance(value, torch.Tensor):
            return [self._read(name, path, value)]
        if not isinstance(value, (int, float, str, bool, list, tuple, type(None))):
            _refuse(node, f"reads the attribute {path!r} of type {type(value).__name__}")
        self.constants[name] = value
        return []

    def _read(self, name: str, path: str, tensor: torch.Tensor) -> Step:
        if path not in self.state:
            tensor = tensor.detach()
            if path in self._parameters:
                tensor = torch.nn.Parameter(tensor, requires_grad=False)
            # A tied weight is one tensor under two names, and stays one.
            place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            self.state[path] = self._by_memory.setdefault(place, tensor) if tensor.numel() else tensor
        return Step(operator.attrgetter(path), (self._self,), (name,))

    def _branch(self, node: torch.Node) -> Branch:
        first, second = node.blocks()
        level = _level(node.input())
        guards = any(inner.kind() == "prim::RaiseException" for block in (first, second) for inner in block.nodes())
        if level == _DATA or (level == _SIZE and not guards):
            cause = "a tensor's values" if level == _DATA else "a size"
            _refuse(node, f"branches on {cause}, and an exported graph has one path only")
        return Branch(
            node.input().debugName(), (self._compile_block(first), self._compile_block(second)), _outputs(node)
        )

    def _operator(self, node: torch.Node) -> Step:
        if list(node.blocks()) or node.kind() in ("prim::CallFunction", "prim::CallMethod", "prim::SetAttr"):
            _refuse(node, "is control flow or state that an exported graph cannot hold")
        names = _inputs(node)
        if any(name in self._paths for name in names):
            _refuse(node, "takes a TorchScript object, such as packed quantized weights, which no ONNX graph can hold")
        sizes = [name in self._sizes for name in names]
        numbers = [size or name in self._literals for size, name in zip(sizes, names, strict=True)]
        starts = node.kind() == "prim::NumToTensor"
        on_numbers = (starts or any(sizes)) and is_number(node, numbers)
        line = source_line(node)
        function = python_function(node, on_numbers)
        if function is None:
            function = tensor_function(node, sizes, str(line))
        elif on_numbers:
            self._sizes.update(_outputs(node))
            function = _with_literals(function, [self._literals.get(name) for name in names])
        return Step(calling_from(function, line), names, _outputs(node), is_unpack(node))


def _with_literals(function: Callable[..., Any], literals: list[Any]) -> Callable[..., Any]:
    """Returns the function with constant tensors replaced by the numbers they hold."""

    def call(*values: Any) -> Any:
        return function(*(v if n is None else n for v, n in zip(values, literals, strict=True)))

    return call


def _level(value: torch.Value) -> int:
    """Returns what a condition depends on: nothing that varies, sizes, or the contents of tensors."""
    node = value.node()
    kind = node.kind()
    if kind in _STATIC_OF_TENSORS:
        return _STATIC
    if kind in _SIZES:
        return _SIZE
    if kind == "aten::len":
        return _SIZE if node.input().type().kind() == "TensorType" else _STATIC
    if kind in ("prim::Param", "prim::Loop") or value.type().kind() == "TensorType":
        return _DATA
    inner = [output for block in node.blocks() for output in block.outputs()]
    return max([_level(other) for other in [*node.inputs(), *inner]], default=_STATIC)


def _inputs(node: torch.Node) -> tuple[str, ...]:
    return tuple(value.debugName() for value in node.inputs())


def _outputs(node: torch.Node) -> tuple[str, ...]:
    return tuple(value.debugName() for value in node.outputs())


def _as_tensor(value: Any) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.scalar_tensor(value, dtype=torch.int64)


def _raiser(place: str) -> Callable[[str], NoReturn]:
    def raise_it(message: str) -> NoReturn:
        raise RuntimeError(f"{message} (raised at {place})")

    return raise_it


def _refuse(node: torch.Node, why: str) -> NoReturn:
    raise SourceError(
        f"the TorchScript operator {node.kind()} at {source_line(node) or 'an unrecorded line'} {why}",
        hint="trace the model at an example input, or give it as FILE.py:FACTORY --weights STATE_DICT",
    )
