"""In-place operators whose source and destination overlap: found, explained, and run as they are meant.

`reference` runs a module under clone semantics, which is this project's definition of what such a line means;
`find_overlaps` names the lines; `eager_difference` measures how far plain eager PyTorch is off on this machine.
Every run leaves the module, its inputs and the random state as they were.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from s2deploy.errors import ValidationError
from s2deploy.overlap.locate import UNKNOWN, Line, LocatingInterpreter, from_error, from_stack
from s2deploy.overlap.semantics import CloneSemantics
from s2deploy.overlap.state import Snapshot

__all__ = [
    "EagerDifference",
    "Overlap",
    "clone_semantics",
    "eager_difference",
    "find_overlaps",
    "reference",
    "reference_with_state",
]


@dataclass(frozen=True)
class Overlap:
    """One line of the user's code with an overlapping in-place operator.

    Attributes:
        file: The source file as Python or the archive recorded it.
        line: Line number, from 1; 0 where nothing was recorded.
        source: The text of the line, "" where it is not known.
        operator: The operator without namespace, e.g. ``copy_``.
        count: How often it ran in one forward pass.
    """

    file: str
    line: int
    source: str
    operator: str
    count: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class EagerDifference:
    """How far plain eager PyTorch is from clone semantics, on one machine.

    Attributes:
        max_abs: Largest absolute difference over all floating outputs; ``inf`` where only one side is NaN or Inf,
            where shapes differ, or where eager refuses to run at all.
        threads: Threads torch used; the difference may depend on them.
        failure: What eager raised, if it did.
    """

    max_abs: float
    threads: int
    failure: str | None = None


def clone_semantics() -> AbstractContextManager[Any]:
    """Returns a context in which in-place operators read all their operands before they write.

    Only operands that share memory with what is written are cloned.
    """
    return CloneSemantics()


def reference(module: torch.nn.Module, args: Sequence[Any]) -> Any:
    """Returns a module's outputs under clone semantics, without gradients.

    Args:
        module: A module in eval mode; its buffers and attributes are the same afterwards.
        args: Positional arguments of forward, tensors or nested containers of them; not modified.

    Raises:
        ValidationError: The module raised.
    """
    return _run(module, args, CloneSemantics)[0]


def reference_with_state(
    module: torch.nn.Module, args: Sequence[Any], names: Sequence[str]
) -> tuple[Any, list[torch.Tensor]]:
    """Returns a module's outputs under clone semantics, and what some of its tensors are after the run.

    Args:
        module: As for `reference`; its buffers are the same afterwards, so every run starts from the same state.
        args: Positional arguments of forward; not modified.
        names: Qualified names of buffers or parameters.

    Raises:
        ValidationError: The module raised.
    """

    def call(*inputs: Any) -> tuple[Any, list[torch.Tensor]]:
        outputs = module(*inputs)
        return outputs, [_tensor(module, name).detach() for name in names]

    outputs: tuple[Any, list[torch.Tensor]] = _run(module, args, CloneSemantics, call)[0]
    return outputs


def find_overlaps(module: torch.nn.Module, args: Sequence[Any]) -> tuple[Overlap, ...]:
    """Returns every line with an in-place operator whose operands really overlap what it writes.

    Lines come from the Python stack, or from what torch.export recorded where the module is an exported one.
    Operands that are the very elements being written, in order (``x += x``, ``y[a].mul_(2)``), and disjoint
    regions of one tensor are no overlap. What overlaps may depend on the sizes of `args`.

    Args:
        module: A module in eval mode, unchanged afterwards.
        args: Positional arguments of forward; not modified.

    Returns:
        The overlaps sorted by file, line and operator.

    Raises:
        ValidationError: The module raised.
    """
    found: collections.Counter[tuple[Line, str]] = collections.Counter()
    locate, call = _tracked(module)

    def note(operator: torch._ops.OpOverload) -> None:
        found[locate(), operator._schema.name.partition("::")[2]] += 1

    _run(module, args, lambda on_write: CloneSemantics(on_write, note), call)
    overlaps = (Overlap(*line, operator, count) for (line, operator), count in found.items())
    return tuple(sorted(overlaps, key=lambda o: (o.file, o.line, o.operator)))


def eager_difference(module: torch.nn.Module, args: Sequence[Any]) -> EagerDifference:
    """Measures how far plain eager PyTorch is from clone semantics, here and now.

    Args:
        module: A module in eval mode, unchanged afterwards.
        args: Positional arguments of forward; not modified.

    Raises:
        ValidationError: The module raised under clone semantics.
    """
    meant, written = _run(module, args, CloneSemantics)
    snapshot = Snapshot(module)
    snapshot.save_like(written)
    threads = torch.get_num_threads()
    try:
        with torch.no_grad(), _seeded():
            eager = snapshot.detached(module(*_copied(args)))
    except RuntimeError as error:  # torch refuses the overlaps it notices
        return EagerDifference(float("inf"), threads, str(error).partition("\n")[0])
    finally:
        snapshot.restore()
    return EagerDifference(_max_abs(eager, meant), threads)


def _run(
    module: torch.nn.Module,
    args: Sequence[Any],
    mode: Callable[[Callable[[torch.Tensor], None]], CloneSemantics],
    call: Callable[..., Any] | None = None,
) -> tuple[Any, Snapshot]:
    """Runs a module once under a mode that is given what to call before each write."""
    snapshot = Snapshot(module)
    try:
        with torch.no_grad(), _seeded(), mode(snapshot.before_write):
            outputs = (call or module)(*_copied(args))
        return snapshot.detached(outputs), snapshot
    except Exception as error:  # whatever the user's forward raises
        raise ValidationError(
            f"the model raised in forward{_at(from_error(error))}: {type(error).__name__}: {error}",
            hint=f"it was given {_describe(args)}: check number, sizes and dtypes of the inputs; "
            "--debug shows the whole traceback",
        ) from error
    finally:
        snapshot.restore()


def _tensor(module: torch.nn.Module, name: str) -> torch.Tensor:
    owner, _, attribute = name.rpartition(".")
    tensor: torch.Tensor = getattr(module.get_submodule(owner), attribute)
    return tensor


def _tracked(module: torch.nn.Module) -> tuple[Callable[[], Line], Callable[..., Any]]:
    """Returns how to find the running line, and how to run the module so that it can be found."""
    if isinstance(module, torch.fx.GraphModule) and any("stack_trace" in node.meta for node in module.graph.nodes):
        interpreter = LocatingInterpreter(module)
        return lambda: interpreter.line, interpreter.run
    return from_stack, module


@contextmanager
def _seeded() -> Iterator[None]:
    """The same random numbers every time, the caller's generator untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _at(line: Line) -> str:
    return "" if line == UNKNOWN else f" ({Path(line.file).name}:{line.number})"


def _describe(args: Sequence[Any]) -> str:
    tensors = [leaf for leaf in pytree.tree_leaves(args) if isinstance(leaf, torch.Tensor)]
    shown = (f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}" for tensor in tensors)
    return ", ".join(shown) or "no tensor"


def _copied(args: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(pytree.tree_map_only(torch.Tensor, torch.clone, tuple(args)))


def _max_abs(outputs: Any, expected: Any) -> float:
    worst = 0.0
    for out, ref in zip(pytree.tree_leaves(outputs), pytree.tree_leaves(expected), strict=True):
        if isinstance(ref, torch.Tensor) and (ref.is_floating_point() or ref.is_complex()):
            worst = max(worst, _max_abs_tensor(out, ref))
    return worst


def _max_abs_tensor(out: torch.Tensor, ref: torch.Tensor) -> float:
    if out.shape != ref.shape:
        return float("inf")
    if ref.numel() == 0:
        return 0.0
    wide = torch.complex128 if ref.is_complex() else torch.float64
    out, ref = out.to(wide), ref.to(wide)
    difference = torch.where((out == ref) | (out.isnan() & ref.isnan()), 0.0, (out - ref).abs())
    return float(difference.nan_to_num(nan=float("inf"), posinf=float("inf")).max())
