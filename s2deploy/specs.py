"""The values that travel between stages: dimensions, tensors, tolerances, precisions, targets.

The grammar of an input specification is ``NAME:DIM,DIM,...[:DTYPE]``, parsed from the right because
names may hold colons (``input_1:0:1,3``). A DIM is ``96``, ``batch=1..64``, ``batch=1..8..64``
(min, opt, max), ``height=28..448/28`` (multiples only), or ``batch`` again once its range is given.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from s2deploy.errors import InputSpecError, UsageError

DTYPES = (
    "float32", "float64", "float16", "bfloat16",
    "int64", "int32", "int16", "int8", "uint8", "bool",
)  # fmt: skip

_DIM = re.compile(
    r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<min>\d+)(?:\.\.(?P<mid>\d+))?(?:\.\.(?P<max>\d+))?(?:/(?P<multiple>\d+))?"
)
_GRAMMAR = 'write it as NAME:DIM,DIM,...[:DTYPE], e.g. --input "x:batch=1..8..64,3,height=64..256,224:float32"'


@dataclass(frozen=True)
class Dim:
    """One dimension: a fixed size, or a named range of sizes.

    Attributes:
        name: Name of a dynamic dimension; None where the size is fixed.
        min: Smallest size.
        opt: Size engines are tuned for; `max` unless given.
        max: Largest size.
        multiple: Every size is a multiple of this.
    """

    name: str | None
    min: int
    opt: int
    max: int
    multiple: int = 1

    @staticmethod
    def fixed(size: int) -> Dim:
        """Returns a dimension of one size."""
        return Dim(None, size, size, size)

    @property
    def is_fixed(self) -> bool:
        """Whether only one size is possible."""
        return self.name is None

    def sizes(self) -> range:
        """Returns every size the dimension can take, ascending."""
        return range(self.min, self.max + 1, self.multiple)

    def __str__(self) -> str:
        if self.is_fixed:
            return str(self.opt)
        middle = "" if self.opt == self.max else f"{self.opt}.."
        multiple = "" if self.multiple == 1 else f"/{self.multiple}"
        return f"{self.name}={self.min}..{middle}{self.max}{multiple}"


@dataclass(frozen=True)
class TensorSpec:
    """One model input: its name, dimensions and, where given, dtype and the range its values are drawn from.

    Attributes:
        name: The ONNX input's name.
        dims: One `Dim` per axis; empty for a scalar.
        dtype: A name out of `DTYPES`; None means the model decides (float32 for PyTorch).
        value_range: Lowest and highest value of random data; None draws floats from N(0, 1) and integers from 0..1.
    """

    name: str
    dims: tuple[Dim, ...]
    dtype: str | None = None
    value_range: tuple[float, float] | None = None

    @property
    def dynamic(self) -> tuple[Dim, ...]:
        """The dimensions that are ranges."""
        return tuple(dim for dim in self.dims if not dim.is_fixed)

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Returns the shape at the given sizes of the named dimensions; opt where a name is not given."""
        return tuple(dim.opt if dim.name is None else sizes.get(dim.name, dim.opt) for dim in self.dims)

    def __str__(self) -> str:
        dtype = "" if self.dtype is None else f":{self.dtype}"
        return f"{self.name}:{','.join(map(str, self.dims))}{dtype}"


class Precision(enum.Enum):
    """The floating-point type the heavy operators of an engine compute in."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


class Target(enum.Enum):
    """A TensorRT family: `RTX` builds without a GPU, `TENSORRT` needs one."""

    RTX = "rtx"
    TENSORRT = "tensorrt"


class Runtime(enum.Enum):
    """What an exported file is to be fast on."""

    ONNXRUNTIME_CPU = "onnxruntime-cpu"
    TENSORRT = "tensorrt"
    PORTABLE = "portable"


@dataclass(frozen=True)
class Tolerance:
    """When an output passes: ``|out - ref| <= atol * max|ref| + rtol * |ref|`` and NaN and Inf coincide.

    Attributes:
        atol: Absolute tolerance as a share of the reference's largest finite magnitude.
        rtol: Relative tolerance, element by element.
    """

    atol: float = 1e-4
    rtol: float = 1e-3

    def __post_init__(self) -> None:
        if not (0 <= self.atol < float("inf") and 0 <= self.rtol < float("inf")):
            raise UsageError(
                f"tolerances must be finite and not negative, got atol={self.atol}, rtol={self.rtol}",
                hint="use e.g. --atol 1e-4 --rtol 1e-3",
            )


def parse_inputs(texts: Iterable[str], value_ranges: Iterable[str] = ()) -> tuple[TensorSpec, ...]:
    """Parses ``--input`` and ``--value-range`` texts, which belong together because names are shared.

    Args:
        texts: One ``NAME:DIM,...[:DTYPE]`` per input, in the order of forward's arguments.
        value_ranges: ``NAME=LO..HI`` for inputs that need special values.

    Raises:
        InputSpecError: A text does not follow the grammar, a name is used twice, a dimension has two ranges,
            or a value range names no input.
    """
    specs: list[TensorSpec] = []
    known: dict[str, Dim] = {}
    for text in texts:
        spec = _parse_tensor(text, known)
        if any(spec.name == other.name for other in specs):
            raise InputSpecError(f"input {spec.name!r} is given twice", hint="give every input one --input")
        specs.append(spec)
    specs = [replace(spec, dims=tuple(_resolve(dim, known, spec.name) for dim in spec.dims)) for spec in specs]
    return with_value_ranges(specs, value_ranges)


def with_value_ranges(specs: Sequence[TensorSpec], texts: Iterable[str]) -> tuple[TensorSpec, ...]:
    """Returns the specs with the ``NAME=LO..HI`` value ranges applied.

    Raises:
        InputSpecError: A text does not follow the grammar or names no input.
    """
    by_name = {spec.name: spec for spec in specs}
    for text in texts:
        name, low, high = _parse_value_range(text)
        if name not in by_name:
            raise InputSpecError(
                f"--value-range {text!r}: there is no input {name!r}",
                hint=f"the inputs are {', '.join(by_name) or 'none'}",
            )
        by_name[name] = replace(by_name[name], value_range=(low, high))
    return tuple(by_name.values())


def named_dims(specs: Iterable[TensorSpec]) -> dict[str, Dim]:
    """Returns the dynamic dimensions of all inputs by name, in order of first use."""
    return {dim.name: dim for spec in specs for dim in spec.dims if dim.name is not None}


def _parse_tensor(text: str, known: dict[str, Dim]) -> TensorSpec:
    head, colon, last = text.rpartition(":")
    dtype = None
    if last.strip() in DTYPES:
        dtype = last.strip()
        head, colon, last = head.rpartition(":")
    if not colon or not head:
        raise InputSpecError(f"--input {text!r} has no name or no dimensions", hint=_GRAMMAR)
    last = last.strip()
    if re.fullmatch(r"\d+(x\d+)+", last):
        last = last.replace("x", ",")
    parts = [part.strip() for part in last.split(",")] if last else []
    return TensorSpec(head, tuple(_parse_dim(part, text, known) for part in parts), dtype)


def _parse_dim(part: str, text: str, known: dict[str, Dim]) -> Dim:
    if re.fullmatch(r"[A-Za-z_]\w*", part) and part not in DTYPES:
        return Dim(part, -1, -1, -1)
    match = _DIM.fullmatch(part)
    if match is None:
        raise InputSpecError(f"--input {text!r}: {part!r} is neither a dimension nor a dtype", hint=_GRAMMAR)
    name = match["name"]
    numbers = [int(match[key]) for key in ("min", "mid", "max") if match[key] is not None]
    multiple = int(match["multiple"] or 1)
    if name is None:
        if len(numbers) > 1 or match["multiple"]:
            raise InputSpecError(f"--input {text!r}: the range {part!r} has no name", hint=f"name it: height={part}")
        return Dim.fixed(numbers[0])
    low, high = numbers[0], numbers[-1]
    opt = numbers[1] if len(numbers) == 3 else high
    dim = Dim(name, low, opt, high, multiple)
    _check_range(dim, part, text)
    if known.setdefault(name, dim) != dim:
        raise InputSpecError(
            f"--input {text!r}: {name!r} has two ranges, {known[name]} and {dim}",
            hint="one name means one range; use another name for the other dimension",
        )
    return dim


def _check_range(dim: Dim, part: str, text: str) -> None:
    if not 1 <= dim.min <= dim.opt <= dim.max:
        raise InputSpecError(
            f"--input {text!r}: {part!r} is not min <= opt <= max with min at least 1",
            hint=f"write e.g. {dim.name}=1..8..64",
        )
    if dim.multiple < 1 or any(size % dim.multiple for size in (dim.min, dim.opt, dim.max)):
        raise InputSpecError(
            f"--input {text!r}: the bounds of {part!r} are not multiples of {dim.multiple}",
            hint=f"write e.g. {dim.name}=28..448/28",
        )


def _resolve(dim: Dim, known: Mapping[str, Dim], tensor: str) -> Dim:
    if dim.name is None or dim.min >= 0:
        return dim
    if dim.name not in known:
        raise InputSpecError(
            f"input {tensor!r}: dimension {dim.name!r} has no range",
            hint=f"write e.g. {dim.name}=1..8..64; if a dtype was meant: {', '.join(DTYPES)}",
        )
    return known[dim.name]


def _parse_value_range(text: str) -> tuple[str, float, float]:
    name, equals, bounds = text.rpartition("=")
    low, dots, high = bounds.partition("..")
    try:
        if not (name and equals and dots):
            raise ValueError
        first, last = float(low), float(high)
        if not first <= last or float("inf") in (abs(first), abs(last)):
            raise ValueError
    except ValueError:
        raise InputSpecError(
            f"--value-range {text!r} is not NAME=LO..HI with finite LO <= HI", hint="write e.g. tokens=0..31999"
        ) from None
    return name, first, last
