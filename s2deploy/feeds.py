"""Feeds: named numpy arrays for a model's inputs, random or from a file, at chosen sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from s2deploy.errors import ArtifactError, InputSpecError, ValidationError
from s2deploy.specs import Dim, TensorSpec, named_dims

Array = npt.NDArray[Any]
Feed = dict[str, Array]


def sizes_at(specs: Sequence[TensorSpec], which: str) -> dict[str, int]:
    """Returns one size per named dimension.

    Args:
        specs: The model's inputs.
        which: ``min``, ``opt``, ``max``, or ``odd``: an odd size inside the range, different for every
            dimension where the ranges allow it, to expose sizes that were baked in.
    """
    dims = named_dims(specs)
    if which != "odd":
        return {name: int(getattr(dim, which)) for name, dim in dims.items()}
    taken = {dim.opt for spec in specs for dim in spec.dims if dim.is_fixed}
    sizes: dict[str, int] = {}
    for name, dim in dims.items():
        sizes[name] = _odd_size(dim, taken)
        taken.add(sizes[name])
    return sizes


def interesting_sizes(specs: Sequence[TensorSpec]) -> dict[str, dict[str, int]]:
    """Returns the sizes a dynamic model is validated at, by label: min, opt, max and an odd one, each once."""
    chosen: dict[str, dict[str, int]] = {}
    for which in ("min", "opt", "max", "odd"):
        sizes = sizes_at(specs, which)
        if sizes not in chosen.values():
            chosen[which] = sizes
    return chosen


def random_feed(specs: Sequence[TensorSpec], sizes: Mapping[str, int], seed: int = 0) -> Feed:
    """Returns random arrays for every input, the same ones for the same arguments.

    Floats come from N(0, 1), integers from 0..1, booleans are fair; `TensorSpec.value_range` replaces the first two.

    Raises:
        ValidationError: Arrays of these sizes do not fit into memory.
    """
    generator = np.random.default_rng(seed)
    try:
        return {spec.name: _random_array(spec, spec.shape(sizes), generator) for spec in specs}
    except (MemoryError, ValueError) as error:  # numpy has both for what is too large
        raise ValidationError(
            f"inputs of these sizes do not fit into memory: {error}", hint="lower the largest sizes of --input"
        ) from error


def load_feed(path: Path) -> Feed:
    """Reads an ``.npz`` of arrays by input name, never unpickling.

    Raises:
        InputSpecError: There is no such file.
        ArtifactError: The file is not a readable ``.npz`` of plain arrays.
    """
    if not path.is_file():
        raise InputSpecError(f"--data {path}: no such file", hint="save one with numpy.savez(path, x=array)")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # numpy raises ValueError, OSError, BadZipFile, AttributeError on foreign files
        raise ArtifactError(
            f"--data {path} is not an .npz of plain arrays: {error}", hint="save it with numpy.savez(path, x=array)"
        ) from error


def specs_from_feed(feed: Mapping[str, Array]) -> tuple[TensorSpec, ...]:
    """Returns static specs that fit a feed, for when only ``--data`` is given."""
    return tuple(
        TensorSpec(name, tuple(Dim.fixed(size) for size in array.shape), str(array.dtype))
        for name, array in feed.items()
    )


def check_feed(feed: Mapping[str, Array], specs: Sequence[TensorSpec]) -> dict[str, int]:
    """Checks that a feed fits the specs, and returns the sizes of the named dimensions in it.

    Raises:
        InputSpecError: A name is missing or unknown, or a rank, size or dtype differs.
    """
    names = [spec.name for spec in specs]
    if set(feed) != set(names):
        raise InputSpecError(
            f"the data holds {', '.join(feed) or 'nothing'} but the inputs are {', '.join(names) or 'none'}",
            hint="name the arrays after the inputs: numpy.savez(path, x=array)",
        )
    sizes: dict[str, int] = {}
    for spec in specs:
        array = feed[spec.name]
        if array.ndim != len(spec.dims):
            raise InputSpecError(
                f"input {spec.name!r} has rank {len(spec.dims)} ({spec}) but the data has shape {array.shape}",
                hint="give data of the declared rank",
            )
        if spec.dtype is not None and str(array.dtype) != spec.dtype:
            raise InputSpecError(
                f"input {spec.name!r} is {spec.dtype} but the data is {array.dtype}",
                hint=f"convert it: array.astype('{spec.dtype}')",
            )
        for dim, size in zip(spec.dims, array.shape, strict=True):
            if size not in dim.sizes() or (dim.name and sizes.setdefault(dim.name, size) != size):
                raise InputSpecError(
                    f"input {spec.name!r}: size {size} does not fit dimension {dim}",
                    hint="widen the range with --input or give other data",
                )
    return sizes


def _odd_size(dim: Dim, taken: set[int]) -> int:
    """Returns an odd, unused size inside the range, above one where that is possible."""

    def drawbacks(size: int) -> tuple[bool, bool, bool, bool]:
        return (size in taken, size in (dim.min, dim.max), size % 2 == 0, size == 1)

    least = min(map(drawbacks, dim.sizes()))
    best = [size for size in dim.sizes() if drawbacks(size) == least]
    return best[len(best) // 3]


def _random_array(spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    dtype = spec.dtype or "float32"
    if dtype == "bool":
        return generator.integers(0, 2, shape).astype(bool)
    if dtype.startswith(("int", "uint")):
        low, high = spec.value_range or (0, 1)
        return generator.integers(int(low), int(high), shape, endpoint=True).astype(dtype)
    if spec.value_range is None:
        values = generator.standard_normal(shape)
    else:
        values = generator.uniform(*spec.value_range, shape)
    if dtype == "bfloat16":
        import ml_dtypes

        return np.asarray(values).astype(ml_dtypes.bfloat16)
    try:
        return np.asarray(values).astype(dtype)
    except TypeError as error:  # text, for example
        raise InputSpecError(
            f"input {spec.name!r} takes {dtype}, of which there are no random values",
            hint="give arrays for every input",
        ) from error
