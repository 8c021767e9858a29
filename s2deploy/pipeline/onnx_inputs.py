"""The inputs of an ONNX file as specs: its own shapes, what the user declared, and sizes found where neither says.

The user's dimension names replace the file's in the whole graph, so that a range is known by one name everywhere.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import onnx_ir as ir

from s2deploy.errors import InputSpecError, SourceError
from s2deploy.feeds import Array
from s2deploy.rewrite.coordinates import dimension, parse, substituted
from s2deploy.specs import DTYPES, Dim, TensorSpec, named_dims

_BATCHES = (2, 1)
_SIZES = (8, 16, 32, 64, 128, 224, 256, 512)
_MOST_ELEMENTS = 1 << 24  # of all inputs at a size that is only tried

Runs = Callable[[Sequence[TensorSpec], Mapping[str, int]], bool]
"""Tells whether the original model runs at the given sizes of its named dimensions."""

Size = int | ir.SymbolicDim


@dataclass(frozen=True)
class OnnxInputs:
    """The inputs of an ONNX file.

    Attributes:
        specs: One per input; every dynamic dimension has a range to validate.
        declared: The ranges the user gave, which rewrites may rely on; of an undeclared dimension is only known
            that it is at least 1.
        open_dims: The dimensions without a declared range.
    """

    specs: tuple[TensorSpec, ...]
    declared: dict[str, Dim]
    open_dims: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the user should know about the open dimensions."""
        dims = named_dims(self.specs)
        return tuple(
            f"dimension {name} has no range: validated at {' and '.join(map(str, dims[name].sizes()))}; "
            f"give --input with {name}=MIN..MAX for the sizes you need"
            for name in self.open_dims
        )


def resolve_inputs(
    model: ir.Model,
    given: Sequence[TensorSpec],
    runs: Runs,
    data: Mapping[str, Array] | None = None,
    open_dims: Collection[str] = (),
) -> OnnxInputs:
    """Settles the inputs and writes the user's sizes and names into the model.

    Args:
        model: The model; the shapes of its values change in place.
        given: Specs of some or all inputs.
        runs: Tries the original model at sizes for dimensions without a range.
        data: The arrays it will be validated on, whose sizes are then those of dimensions without a range.
        open_dims: Dimensions of the specs that were once validated in their range, which nobody declared.

    Raises:
        InputSpecError: A spec names no input or contradicts the file, or the file does not tell a rank.
        SourceError: An input is no tensor, or no size tried for the dimensions without a range runs.
    """
    weights = model.graph.initializers  # old files list their weights among the inputs
    inputs = {str(value.name): value for value in model.graph.inputs if value.name not in weights}
    by_name = {spec.name: spec for spec in given}
    unknown = [name for name in by_name if name not in inputs]
    if unknown:
        raise InputSpecError(
            f"the model has no input {', '.join(map(repr, unknown))}",
            hint=f"its inputs are {', '.join(inputs) or 'none'}",
        )
    dtypes = {name: _dtype(value, by_name.get(name)) for name, value in inputs.items()}
    dims = _settle_dims(inputs, by_name)
    _write_shapes(model, inputs, dims)
    declared = {name: dim for name, dim in named_dims(given).items() if name not in open_dims}
    specs = tuple(
        TensorSpec(name, dims.of_input[name], dtypes[name], by_name[name].value_range if name in by_name else None)
        for name in inputs
    )
    names = [name for name in named_dims(specs) if name not in declared]
    untried = [name for name in names if name not in open_dims]
    known = {name: dim for name, dim in named_dims(specs).items() if name not in untried}
    found = _sizes_of(specs, names, data) if data else _find_sizes(specs, untried, known, runs)
    return OnnxInputs(_with_ranges(specs, found), declared, tuple(names))


@dataclass(frozen=True)
class _Dims:
    """The dimensions of every input, and what each symbol of the file has become."""

    of_input: dict[str, tuple[Dim, ...]]
    of_symbol: dict[str, Dim]


def _settle_dims(inputs: Mapping[str, ir.Value], given: Mapping[str, TensorSpec]) -> _Dims:
    of_symbol: dict[str, Dim] = {}
    for name, spec in given.items():
        for axis, (size, dim) in enumerate(zip(_sizes(inputs[name], spec), spec.dims, strict=True)):
            _check_axis(name, axis, size, dim, of_symbol)
    taken = {dim.name for spec in given.values() for dim in spec.dims}
    of_input = {}
    for name, value in inputs.items():
        if name in given:
            of_input[name] = given[name].dims
            continue
        dims = []
        for axis, size in enumerate(_sizes(value)):
            symbol = size.value if isinstance(size, ir.SymbolicDim) else None
            if isinstance(size, int):
                dims.append(Dim.fixed(size))
            elif symbol is not None and symbol in of_symbol:
                dims.append(of_symbol[symbol])
            else:
                dims.append(_open_dim(symbol or f"{name}_dim{axis}", taken))
                if symbol is not None:
                    of_symbol[symbol] = dims[-1]
        of_input[name] = tuple(dims)
    return _Dims(of_input, of_symbol)


def _sizes(value: ir.Value, spec: TensorSpec | None = None) -> list[Size]:
    """Returns the file's shape of an input, checked against the rank of a spec."""
    if value.shape is None:
        if spec is None:
            raise InputSpecError(
                f"the file does not tell the rank of input {value.name!r}",
                hint=f'give it, e.g. --input "{value.name}:1,3,224,224"',
            )
        return [ir.SymbolicDim(None) for _ in spec.dims]
    if spec is not None and len(value.shape) != len(spec.dims):
        raise InputSpecError(
            f"input {value.name!r} has rank {len(value.shape)} in the file ({_text(value)}), "
            f"--input gives {len(spec.dims)} dimensions",
            hint="declare every axis of the file's input",
        )
    # some files write -1 for a size they do not know
    return [ir.SymbolicDim(None) if isinstance(size, int) and size < 0 else size for size in value.shape]


def _check_axis(name: str, axis: int, size: Size, dim: Dim, of_symbol: dict[str, Dim]) -> None:
    if isinstance(size, int):
        if not (dim.is_fixed and dim.opt == size):
            raise InputSpecError(
                f"input {name!r}: axis {axis} is {size} in the file, --input says {dim}",
                hint="keep its size, or export the file with that axis dynamic from its framework",
            )
    elif size.value is not None and of_symbol.setdefault(size.value, dim) != dim:
        raise InputSpecError(
            f"input {name!r}: axis {axis} has the file's size {size.value!r} of another axis, "
            f"--input says {of_symbol[size.value]} there and {dim} here",
            hint="give both the same name and range",
        )


def _open_dim(symbol: str, taken: set[str | None]) -> Dim:
    """Returns a dimension without a range under a name the spec grammar has and nobody else uses."""
    name = base = re.sub(r"\W", "_", symbol, flags=re.ASCII)
    if not re.match(r"[A-Za-z_]", name) or name in DTYPES:
        name = base = f"n_{name}"
    number = 1
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    taken.add(name)
    return Dim(name, 1, 1, 1)


def _write_shapes(model: ir.Model, inputs: Mapping[str, ir.Value], dims: _Dims) -> None:
    used = {dim.name for shape in dims.of_input.values() for dim in shape}
    for graph in model.graphs():
        for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
            if value.shape is not None:
                value.shape = ir.Shape([_renamed(size, dims.of_symbol, used) for size in value.shape])
    for name, value in inputs.items():
        value.shape = ir.Shape([_size(dim) for dim in dims.of_input[name]])


def _renamed(size: Size, of_symbol: Mapping[str, Dim], used: set[str | None]) -> Size:
    if isinstance(size, int) or size.value is None:
        return size
    if size.value in of_symbol:
        return _size(of_symbol[size.value])
    symbols = set(re.findall(r"[^\W\d]\w*", size.value))
    if (symbols - set(of_symbol)) & used:  # a name of the file that now means something else
        return ir.SymbolicDim(None)
    if all(_size(of_symbol[name]) == ir.SymbolicDim(name) for name in symbols & set(of_symbol)):
        return size
    sizes = {name: dim.opt if dim.is_fixed else dimension(str(dim.name)) for name, dim in of_symbol.items()}
    renamed = substituted(parse(size.value), sizes)
    return renamed if isinstance(renamed, int) else ir.SymbolicDim(str(renamed))


def _size(dim: Dim) -> Size:
    return dim.opt if dim.is_fixed else ir.SymbolicDim(dim.name)


def _sizes_of(specs: Sequence[TensorSpec], names: Sequence[str], data: Mapping[str, Array]) -> dict[str, Dim]:
    """Returns the dimensions at the one size they have in the data."""
    sizes: dict[str, int] = {}
    for spec in specs:
        if spec.name in data and data[spec.name].ndim == len(spec.dims):
            sizes |= {str(dim.name): n for dim, n in zip(spec.dims, data[spec.name].shape, strict=True)}
    return {name: Dim(name, size, size, size) for name, size in sizes.items() if name in names}


def _find_sizes(
    specs: Sequence[TensorSpec], names: Sequence[str], declared: Mapping[str, Dim], runs: Runs
) -> dict[str, Dim]:
    """Returns a range for every dimension without one: small sizes at which the original model runs."""
    leading = {spec.dims[0].name for spec in specs if spec.dims}
    if not names:
        return {}

    def sizes(batch: int, other: int) -> dict[str, int]:
        return {name: batch if name in leading else other for name in names}

    known = {name: dim.opt for name, dim in declared.items()}

    def elements(at: Mapping[str, int]) -> int:
        return sum(math.prod(at.get(str(dim.name), dim.opt) for dim in spec.dims) for spec in specs)

    for batch, other in product(_BATCHES, _SIZES):
        if other > _SIZES[0] and elements(known | sizes(batch, other)) > _MOST_ELEMENTS:
            continue
        if runs(specs, known | sizes(batch, other)):
            steps = sizes(1, other) if runs(specs, known | sizes(batch + 1, 2 * other)) else dict.fromkeys(names, 0)
            return {
                name: Dim(name, size, size, size + steps[name], steps[name] or 1)
                for name, size in sizes(batch, other).items()
            }
    raise SourceError(
        f"the model ran at none of the sizes tried for {', '.join(names)}",
        hint=f"give ranges with --input, e.g. {names[0]}=1..8, or inputs it accepts with --data",
    )


def _with_ranges(specs: Iterable[TensorSpec], ranges: Mapping[str, Dim]) -> tuple[TensorSpec, ...]:
    return tuple(replace(spec, dims=tuple(ranges.get(dim.name or "", dim) for dim in spec.dims)) for spec in specs)


def _dtype(value: ir.Value, spec: TensorSpec | None) -> str:
    dtype = None if value.dtype is None else _NAMES.get(value.dtype)
    if dtype is None or not isinstance(value.type, ir.TensorType):
        raise SourceError(
            f"input {value.name!r} is {value.type}, which s2deploy cannot feed", hint=f"it feeds {', '.join(DTYPES)}"
        )
    if spec is not None and spec.dtype not in (None, dtype):
        raise InputSpecError(
            f"input {value.name!r} is {dtype} in the file, --input says {spec.dtype}", hint="leave the dtype out"
        )
    return dtype


def _text(value: ir.Value) -> str:
    sizes = (size if isinstance(size, int) else size.value for size in value.shape or ())
    return ",".join("?" if size is None else str(size) for size in sizes)


_NAMES = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.DOUBLE: "float64",
} | {ir.DataType[name.upper()]: name for name in DTYPES if name not in ("float32", "float64")}
