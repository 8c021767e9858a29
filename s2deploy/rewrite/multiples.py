"""Sizes declared as multiples, ``height=32..1024/32``: that many times a smaller size while a graph is rewritten.

Before: a dimension ``h`` of which every size is a multiple of 2. After: ``2*k``, so that both ``h // 2`` and
``(h + 1) // 2`` are ``k`` and an assignment with a step of 2 has a known place. In the end every size is written in
``h`` again.
Requires: the declared multiple holds. Preserves every value where it does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx_ir as ir

from s2deploy.rewrite.coordinates import Coord, dimension, floor_divide, names, parse, substituted


@contextmanager
def factored(graph: ir.Graph, multiples: Mapping[str, int]) -> Iterator[None]:
    """Names the sizes of a graph's values as multiples for the time being.

    Args:
        graph: The graph; the values it has now get their shapes back afterwards, new ones get names like those.
        multiples: What every size of a named dimension is a multiple of.
    """
    if not multiples:
        yield
        return
    sizes = {name: dimension(part_of(name, multiple)) * multiple for name, multiple in multiples.items()}
    kept = {value: value.shape for value in _values(graph) if value.shape is not None}
    for value, shape in kept.items():
        value.shape = ir.Shape([_text(size, sizes) for size in shape])
    try:
        yield
    finally:
        for value in _values(graph):
            if value in kept:
                value.shape = kept[value]
            elif value.shape is not None:
                value.shape = ir.Shape([_restored(size, multiples) for size in value.shape])


def part_of(name: str, multiple: int) -> str:
    """Returns the name of the size that a dimension is so many times."""
    (part,) = names(floor_divide(dimension(name), multiple))
    return part


def _text(size: int | ir.SymbolicDim, sizes: Mapping[str, Coord]) -> int | str | None:
    if isinstance(size, int) or size.value is None:
        return size if isinstance(size, int) else None
    known = substituted(parse(size.value), sizes)
    return known if isinstance(known, int) else str(known)


def _restored(size: int | ir.SymbolicDim, multiples: Mapping[str, int]) -> int | str | None:
    """Returns a size in terms of the dimensions themselves, as far as they divide."""
    if isinstance(size, int) or size.value is None:
        return size if isinstance(size, int) else None
    known = parse(size.value)
    for name, multiple in multiples.items():
        known = _in_terms_of(name, multiple, known)
    return known if isinstance(known, int) else str(known)


def _in_terms_of(name: str, multiple: int, coord: Coord) -> Coord:
    if isinstance(coord, int):
        return coord
    part = part_of(name, multiple)
    total: Coord = 0
    for monomial, factor in coord.terms:
        share = multiple ** monomial.count(part)
        divides = factor % share == 0
        term: Coord = factor // share if divides else factor
        for other in monomial:
            term = term * dimension(name if divides and other == part else other)
        total = total + term
    return total


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph.all_nodes():
        yield from node.outputs
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from attribute.as_graph().inputs
