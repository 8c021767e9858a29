"""Random PyTorch functions that move data by views and in-place writes, as readable source.

A program is written line by line. Every line is run on real tensors at several sizes of the dynamic dimensions at once,
under clone semantics, and stays only where all of them accept it: what comes out is valid by construction. Exporting
costs the same for one function as for several, so that a batch of them is one module.
"""

from __future__ import annotations

import linecache
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from hypothesis import strategies as st

from s2deploy.feeds import interesting_sizes
from s2deploy.overlap import clone_semantics
from s2deploy.specs import TensorSpec, parse_inputs

Size = tuple[int, ...]
"""What an axis measures at each assignment of sizes to the dynamic dimensions."""

Shape = tuple[Size, ...]

DYNAMIC = {"batch": "batch=1..2..3", "height": "height=5..6..9", "width": "width=6..8..12"}
"""Ranges in which no two axes have the same size by accident, however they are sliced."""

_MOST_ELEMENTS = 20_000
_LEAST_DYNAMIC = 2
_LIBRARY = {"torch": torch, "F": torch.nn.functional}
_RAISED_BY_A_BAD_LINE = (RuntimeError, IndexError, TypeError, ValueError, NotImplementedError, UserWarning)


@dataclass
class Program:
    """One function.

    Attributes:
        parameters: The names of the inputs.
        lines: The body without the return.
        returned: The names of the tensors it returns.
        movement: Whether it only moves data, so that NaN and the sign of zero survive too.
        removable: Whether no scatter may be left of it: the positions it writes to do not depend on data, nor on half a
            dynamic size, which the algebra of regions cannot order.
    """

    parameters: tuple[str, ...]
    lines: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    movement: bool = True
    removable: bool = True

    def source(self, name: str, indent: str = "") -> str:
        """Returns the definition of the function; ``self`` is its first parameter where it is indented."""
        parameters = ", ".join(["self"] * bool(indent) + list(self.parameters))
        body = [*self.lines, f"return {', '.join(self.returned)}"]
        return "\n".join([f"{indent}def {name}({parameters}):", *(f"{indent}    {line}" for line in body)])


@dataclass
class Batch:
    """Functions of the same inputs.

    Attributes:
        inputs: The inputs as the command line takes them.
        programs: The functions; all but the last get copies of the inputs, which any of them may write.
    """

    inputs: tuple[str, ...]
    programs: list[Program]

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The inputs."""
        return parse_inputs(self.inputs, [f"{text.partition(':')[0]}=-9..9" for text in self.inputs if "int" in text])

    def module(self) -> torch.nn.Module:
        """Returns a module that returns what each function returns, under its number."""
        text = "\n\n".join(program.source(f"program_{i}") for i, program in enumerate(self.programs))
        file = f"random_programs_{abs(hash(text))}.py"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        space = dict(_LIBRARY)
        exec(compile(text, file, "exec"), space)
        return _Several([space[f"program_{i}"] for i in range(len(self.programs))]).eval()

    def alone(self, number: int) -> Batch:
        """Returns one of the functions."""
        return Batch(self.inputs, [self.programs[number]])

    def shortened(self, fails: Callable[[Batch], bool]) -> Batch:
        """Returns the first function with as few lines and outputs as still fail."""
        batch = self.alone(0)
        progress = True
        while progress:
            progress = False
            for smaller in batch._smaller():
                if fails(smaller):
                    batch, progress = smaller, True
                    break
        return batch

    def _smaller(self) -> Iterator[Batch]:
        """Yields the first function without one of its lines or outputs."""
        program = self.programs[0]
        for i in reversed(range(len(program.lines))):
            yield Batch(self.inputs, [replace(program, lines=program.lines[:i] + program.lines[i + 1 :])])
        for i in reversed(range(len(program.returned) if len(program.returned) > 1 else 0)):
            yield Batch(self.inputs, [replace(program, returned=program.returned[:i] + program.returned[i + 1 :])])

    def __repr__(self) -> str:
        """Returns a file for ``s2deploy export`` with one class per function."""
        inputs = " ".join(f"--input {text}" for text in self.inputs)
        classes = (
            f"class Program{i}(torch.nn.Module):  # {inputs}\n{program.source('forward', '    ')}"
            for i, program in enumerate(self.programs)
        )
        return "\n\n".join(["", "import torch\nimport torch.nn.functional as F", *classes, ""])


class _Several(torch.nn.Module):
    def __init__(self, functions: Sequence[Callable[..., Any]]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, *inputs: torch.Tensor) -> dict[str, Any]:
        *copied, last = self.functions
        results = [function(*(tensor.clone() for tensor in inputs)) for function in copied]
        return {str(number): result for number, result in enumerate([*results, last(*inputs)])}


class Writer:
    """A program under construction.

    Attributes:
        draw: Draws from a strategy.
        program: What was written so far.
        spaces: The variables by name, one dict per assignment of sizes.
        bases: The variable that a view is a view of, by name.
        written: Variables that were written in place.
    """

    def __init__(self, draw: Any, specs: Sequence[TensorSpec]) -> None:
        self.draw = draw
        self.program = Program(tuple(spec.name for spec in specs))
        self.spaces: list[dict[str, Any]] = [
            {spec.name: torch.zeros(spec.shape(sizes), dtype=getattr(torch, spec.dtype or "float32")) for spec in specs}
            for sizes in interesting_sizes(specs).values()
        ]
        self.bases = {spec.name: spec.name for spec in specs}
        self.written: list[str] = []

    def number(self, low: int, high: int) -> int:
        """Draws an integer."""
        return int(self.draw(st.integers(low, high)))

    def choice(self, options: Sequence[Any]) -> Any:
        """Draws one of several options; the first is the simplest."""
        return self.draw(st.sampled_from(options))

    def order(self, count: int) -> list[int]:
        """Draws a permutation of the first integers."""
        return list(self.draw(st.permutations(range(count))))

    def sometimes(self, once_in: int) -> bool:
        """Draws whether to do something rare."""
        return self.number(0, once_in - 1) == once_in - 1

    def variable(self) -> str:
        """Draws a variable, a late one more often than an early one."""
        names = list(self.bases)
        return str(self.choice(names[::-1] if self.sometimes(2) else names[-3:][::-1]))

    def tensors(self, expression: str) -> list[torch.Tensor] | None:
        """Returns what an expression is at each assignment, or None where it is no tensor or too large a one."""
        values = []
        try:
            with _run():
                for space in self.spaces:
                    values.append(eval(expression, dict(_LIBRARY), space))
        except _RAISED_BY_A_BAD_LINE:
            return None
        if not all(isinstance(value, torch.Tensor) and value.numel() <= _MOST_ELEMENTS for value in values):
            return None
        if len({value.dim() for value in values}) > 1 or values[0].dtype.is_complex:
            return None
        return values

    def shape(self, expression: str) -> Shape | None:
        """Returns the shape of an expression, or None where it has none."""
        values = self.tensors(expression)
        return None if values is None else tuple(zip(*(value.shape for value in values), strict=True))

    def dtype(self, name: str) -> torch.dtype:
        """Returns the dtype of a variable."""
        return self.spaces[0][name].dtype  # type: ignore[no-any-return]

    def define(self, expression: str, base: str | None = None) -> str | None:
        """Adds a variable, unless its expression fails or has a dynamic size that torch.export takes for a fixed one.

        Args:
            expression: What it is.
            base: The variable it is a view of.
        """
        values = self.tensors(expression)
        if values is None or values[0].dim() > 7:
            return None
        if any(is_dynamic(s) and min(s) < _LEAST_DYNAMIC and s != (1, 2, 3, 2) for s in _sizes(values)):
            return None
        name = f"t{len(self.bases) - len(self.program.parameters)}"
        for space, value in zip(self.spaces, values, strict=True):
            space[name] = value
        self.bases[name] = name if base is None else self.bases[base]
        self.program.lines.append(f"{name} = {expression}")
        self.program.removable &= "//" not in expression
        return name

    def write(self, line: str, name: str, movement: bool = True) -> bool:
        """Adds a line that writes into a variable, unless it fails at some sizes."""
        if any(_repeats(space[name]) for space in self.spaces):
            return False  # refused by torch unless nothing is written
        try:
            with _run():
                for space in self.spaces:
                    exec(line, dict(_LIBRARY), space)
        except _RAISED_BY_A_BAD_LINE:
            return False
        self.program.lines.append(line)
        self.program.movement &= movement
        self.program.removable &= "//" not in line
        self.written.append(name)
        return True

    def join_lines(self) -> None:
        """Makes the last two lines one, so that they stay together."""
        *lines, last, latest = self.program.lines
        self.program.lines = [*lines, f"{last}; {latest}"]

    def finish(self) -> Program:
        """Chooses what to return: what was written last and all memory that was written are always among it."""
        last = self.written[-1:] or list(self.bases)[-1:]
        more = [self.variable() for _ in range(self.number(0, 2))]
        self.program.returned = list(dict.fromkeys([*last, *(self.bases[name] for name in self.written), *more]))
        return self.program


@contextmanager
def _run() -> Iterator[None]:
    """Clone semantics, in which what torch only warns of, such as a write into an expanded tensor, is an error."""
    with warnings.catch_warnings(), torch.no_grad(), clone_semantics():
        warnings.simplefilter("error", UserWarning)
        yield


def _repeats(tensor: torch.Tensor) -> bool:
    """Whether a tensor has the same element at several positions, as expand leaves it."""
    return any(step == 0 and size > 1 for size, step in zip(tensor.shape, tensor.stride(), strict=True))


def is_dynamic(size: Size) -> bool:
    """Whether a size differs between assignments."""
    return len(set(size)) > 1


def _sizes(values: Sequence[torch.Tensor]) -> list[Size]:
    return list(zip(*(value.shape for value in values), strict=True))


def _dims(draw: Any) -> tuple[str, ...]:
    """Draws the dimensions of the first input."""
    rank = draw(st.sampled_from([2, 3, 3, 4, 4, 5, 6, 1]))
    largest = {1: 9, 2: 7, 3: 6, 4: 5}.get(rank, 3)
    dims = [str(draw(st.integers(2, largest) if i else st.integers(1, largest))) for i in range(rank)]
    if draw(st.booleans()):
        axes = draw(st.permutations(range(rank)))
        for axis, name in zip(axes, draw(st.permutations(list(DYNAMIC)))[: draw(st.integers(1, 2))], strict=False):
            dims[axis] = DYNAMIC[name]
    return tuple(dims)


@st.composite
def batches(draw: st.DrawFn, count: int) -> Batch:
    """Draws a batch of that many functions."""
    from random_statements import write_program

    dims = _dims(draw)
    names = [dim.partition("=")[0] for dim in dims]
    dtype = draw(st.sampled_from(["float32", "float32", "float32", "int64", "int32", "bool", "float64"]))
    grown = [str(int(name) + draw(st.integers(0, 2))) if name.isdigit() else name for name in names]
    second = draw(st.sampled_from([grown, draw(st.permutations(names)), names[1:] or names]))
    inputs = (
        f"x:{','.join(dims)}:{dtype}",
        f"y:{','.join(second)}:{draw(st.sampled_from(['float32', dtype, 'int64']))}",
        f"m:{','.join(names)}:bool",
    )
    specs = Batch(inputs, []).specs
    dependent = draw(st.integers(0, 7)) == 7
    return Batch(inputs, [write_program(Writer(draw, specs), dependent) for _ in range(count)])
