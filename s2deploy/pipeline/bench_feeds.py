"""The inputs of `bench`: the same random values for everybody, under the names and types each has for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from s2deploy.errors import InputSpecError
from s2deploy.feeds import Feed, random_feed, sizes_at
from s2deploy.pipeline.bench_process import CandidateProcess
from s2deploy.runtime import TensorInfo
from s2deploy.runtime.tensors import numpy_dtype
from s2deploy.specs import Dim, TensorSpec, with_value_ranges


def random_inputs(
    specs: Sequence[TensorSpec], candidates: Sequence[CandidateProcess], value_ranges: Sequence[str], seed: int
) -> tuple[tuple[TensorSpec, ...], Feed]:
    """Returns the inputs and random values for them at their typical sizes.

    Args:
        specs: What the user asked for; what the first candidate that says so declares where it is empty.
        candidates: The candidates, opened.
        value_ranges: ``NAME=LO..HI``, for where `specs` is empty.
        seed: Of the values.

    Raises:
        InputSpecError: Nobody says what the inputs are.
    """
    chosen = tuple(specs) or with_value_ranges(_declared(candidates), value_ranges)
    typed = [_with_dtype(spec, number, candidates) for number, spec in enumerate(chosen)]
    return chosen, random_feed(typed, sizes_at(typed, "opt"), seed)


def feed_for(candidate: CandidateProcess, feed: Feed) -> Feed:
    """Returns the values by a candidate's own names, in its order and, for floating-point values, of its types.

    Names count where they are the same on both sides, otherwise the order does.

    Raises:
        InputSpecError: It has another number of inputs.
    """
    inputs = candidate.inputs
    if not inputs:
        return feed
    if len(inputs) != len(feed):
        raise InputSpecError(
            f"{candidate.way.label} has {len(inputs)} inputs ({', '.join(map(str, inputs))}), {len(feed)} are given",
            hint="measure artifacts of the same model, and give one --input for each input",
        )
    by_name = {info.name for info in inputs} == set(feed)
    arrays = [feed[info.name] for info in inputs] if by_name else list(feed.values())
    return {
        info.name: array.astype(numpy_dtype(info.dtype)) if _floats(info.dtype, str(array.dtype)) else array
        for info, array in zip(inputs, arrays, strict=True)
    }


def _declared(candidates: Sequence[CandidateProcess]) -> tuple[TensorSpec, ...]:
    for candidate in candidates:
        if candidate.specs:
            return candidate.specs
    for candidate in candidates:
        if candidate.inputs and all(isinstance(size, int) for info in candidate.inputs for size in info.shape):
            return tuple(map(_fixed, candidate.inputs))
    names = [info.name for candidate in candidates for info in candidate.inputs] or ["x"]
    raise InputSpecError(
        "no artifact says what sizes its inputs have",
        hint=f'say them, in the order of the model: --input "{names[0]}:1,3,224,224"',
    )


def _fixed(info: TensorInfo) -> TensorSpec:
    return TensorSpec(info.name, tuple(Dim.fixed(int(size or 0)) for size in info.shape), info.dtype)


def _with_dtype(spec: TensorSpec, number: int, candidates: Sequence[CandidateProcess]) -> TensorSpec:
    """Returns the spec with a dtype: its own, or that of the first candidate that has one for this input."""
    if spec.dtype is not None:
        return spec
    for candidate in candidates:
        inputs = {info.name: info for info in candidate.inputs}
        if spec.name in inputs:
            return replace(spec, dtype=inputs[spec.name].dtype)
        if number < len(candidate.inputs):
            return replace(spec, dtype=candidate.inputs[number].dtype)
    return spec


def _floats(*dtypes: str) -> bool:
    return len(set(dtypes)) > 1 and all("float" in dtype for dtype in dtypes)
