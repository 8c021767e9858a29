"""A compiled TorchScript graph as an ordinary ``torch.nn.Module`` that torch.export can capture."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

Env = dict[str, Any]


@dataclass
class Step:
    """One operator: a function of named values that names its results.

    Attributes:
        function: Takes the values of `inputs` in order.
        inputs: Names of values.
        outputs: Names given to the result, or to its items if `unpack`.
        unpack: Whether the result is a container spread over `outputs`.
        dead: Values nobody reads afterwards.
    """

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    unpack: bool = False
    dead: tuple[str, ...] = ()


@dataclass
class Branch:
    """A ``prim::If`` whose condition is a plain bool at run time, never a tensor's content."""

    condition: str
    blocks: tuple[Block, Block]
    outputs: tuple[str, ...]
    dead: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every value that the condition and both blocks read."""
        return (self.condition, *(name for block in self.blocks for name in block.reads()))


@dataclass
class Block:
    """Steps in order, and the names of the results."""

    steps: list[Step | Branch] = field(default_factory=list)
    results: tuple[str, ...] = ()

    def reads(self) -> Iterator[str]:
        """Yields every name the block reads, its own values included."""
        for step in self.steps:
            yield from step.inputs
        yield from self.results

    def free_early(self) -> None:
        """Notes where each value is read last, to keep a run's memory at the model's own need."""
        seen = set(self.results)
        for step in reversed(self.steps):
            step.dead = tuple({*step.inputs, *step.outputs} - seen)
            seen.update(step.inputs)


class Replay(torch.nn.Module):
    """Runs a block of `torch.ops` calls; its own class per model, so that forward has the model's signature.

    Args:
        block: What forward runs; reads the module itself under the name `self_name`.
        constants: Plain values the block reads.
        inputs: The names the block knows forward's arguments by.
        self_name: The name the block knows the module by.
    """

    def __init__(self, block: Block, constants: Env, inputs: Sequence[str], self_name: str) -> None:
        super().__init__()
        block.free_early()
        self._block, self._constants, self._inputs, self._self_name = block, constants, tuple(inputs), self_name

    def run(self, *args: Any) -> Any:
        """Returns what the graph returns; tuples and dicts as they were."""
        env = {**self._constants, self._self_name: self, **dict(zip(self._inputs, args, strict=True))}
        _run_block(self._block, env)
        results = tuple(env[name] for name in self._block.results)
        return results[0] if len(results) == 1 else results


def replay_class(name: str, parameters: Sequence[inspect.Parameter]) -> type[Replay]:
    """Returns a `Replay` whose forward takes the given parameters, as torch.export wants to see them."""
    myself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature([myself, *parameters])

    def forward(self: Replay, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        return self.run(*bound.args[1:])

    forward.__signature__ = signature  # type: ignore[attr-defined]
    return type(name, (Replay,), {"forward": forward})


def register(module: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Registers parameters and buffers under their dotted names, creating the modules in between."""
    for path, tensor in state.items():
        owner, (*parents, name) = module, path.split(".")
        for parent in parents:
            if parent not in owner._modules:
                owner.add_module(parent, torch.nn.Module())
            owner = owner.get_submodule(parent)
        if isinstance(tensor, torch.nn.Parameter):
            owner.register_parameter(name, tensor)
        else:
            owner.register_buffer(name, tensor)


def _run_block(block: Block, env: Env) -> None:
    for step in block.steps:
        if isinstance(step, Branch):
            taken = step.blocks[0 if env[step.condition] else 1]
            _run_block(taken, env)
            env.update(zip(step.outputs, [env[name] for name in taken.results], strict=True))
        else:
            result = step.function(*[env[name] for name in step.inputs])
            if step.unpack:
                env.update(zip(step.outputs, result, strict=True))
            elif step.outputs:
                env[step.outputs[0]] = result
        for name in step.dead:
            env.pop(name, None)
