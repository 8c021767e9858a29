"""Einsum as the operators that it stands for.

Before: ``Einsum(a)`` and ``Einsum(a, b)``, with letters for axes.
After: a Transpose; a ReduceSum over letters that neither the other tensor nor the result has; a Mul where no letter is
summed over together; and else a MatMul, of which the letters that both tensors and the result have are the batch:

    (shared, letters of a, summed) x (shared, summed, letters of b), or the same with a and b exchanged

Requires: known ranks, and that a letter means one size. An axis of size 1 that meets a longer one is taken away first.
Refuses, with the reason: diagonals, three tensors or more, and what would take arithmetic on sizes.
Preserves shape, dtype and names. A permutation is movement alone; sums may be added up in another order.
Bodies of If, Loop and Scan come before the graph around them, so that what is written out of them has no Einsum left.
Movement on both sides then composes, and constants are put in the order of the product once, where onnxruntime's Einsum
transposes both tensors at every call (`benchmarks/contractions.py`).
Source: the ONNX specification of Einsum.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import onnx_ir as ir

from s2deploy.rewrite.bodies import bodies, understood_body
from s2deploy.rewrite.coordinates import Coord, Interval
from s2deploy.rewrite.facts import Interpretation
from s2deploy.rewrite.layout_nodes import is_constant
from s2deploy.rewrite.lower import CannotLowerError
from s2deploy.rewrite.movement import Rewrite
from s2deploy.rewrite.refusals import NotMovementError, Refusal
from s2deploy.rewrite.reshape_targets import is_plain
from s2deploy.rewrite.rules import RULES
from s2deploy.rewrite.rules_movement import int_attribute
from s2deploy.rewrite.terms import (
    Applied,
    Leaf,
    Part,
    Permuted,
    Term,
    View,
    applied,
    part,
    permuted,
    reduced,
    viewed,
    walk,
)
from s2deploy.rewrite.terms_lower import TermLowering
from s2deploy.rewrite.views import size_of, without

_TYPES = frozenset({"FLOAT", "DOUBLE", "FLOAT16", "INT32", "INT64"})
_EQUATION = re.compile(r"((?:[a-zA-Z]|\.\.\.|,)*)(?:->((?:[a-zA-Z]|\.\.\.)*))?")

Letters: TypeAlias = "tuple[str, ...]"
"""A letter for each axis; those that an ellipsis stands for are numbered from the last one."""


def expand_einsums(
    graph: ir.Graph,
    ranges: Mapping[str, Interval],
    allow: Callable[[str], bool] = lambda name: True,
    *,
    computing: bool = True,
) -> tuple[list[Rewrite], list[Refusal]]:
    """Replaces Einsum in place, in bodies too; nodes that nothing reads any more are left for a clean-up.

    Args:
        graph: The graph, in topological order.
        ranges: Smallest and largest size of named dimensions.
        allow: Asked with the name of an output right before it is replaced.
        computing: Whether to replace those that compute as well, and not the permutations alone.
    """
    done: list[Rewrite] = []
    refusals: list[Refusal] = []
    if any(map(_is_einsum, graph.all_nodes())):
        _expand(Interpretation(graph, ranges, RULES), allow, computing, done, refusals)
    return done, refusals if computing else []


def _is_einsum(node: ir.Node) -> bool:
    return node.op_type == "Einsum" and node.domain == ""


def _expand(
    facts: Interpretation,
    allow: Callable[[str], bool],
    computing: bool,
    done: list[Rewrite],
    refusals: list[Refusal],
) -> None:
    for node in facts.graph:
        for body in bodies(node):
            if any(map(_is_einsum, body.all_nodes())):
                inner = understood_body(node, body, facts, RULES, frozenset())
                _expand(inner, allow, computing, done, refusals)
    lowering = TermLowering(facts)
    for node in [one for one in facts.graph if _is_einsum(one)]:
        count, name = len(lowering.added), node.outputs[0].name or ""
        try:
            term, computes = _understood(facts, node)
            if computes > computing or not allow(name):
                continue
            new = lowering.lower(term, node)
        except (NotMovementError, CannotLowerError) as reason:
            refusals.append(Refusal.of(node, f"an Einsum stays: {reason}"))
            continue
        lowering.substitute(node.outputs[0], new, node)
        source = node.metadata_props.get("s2deploy.source")
        done.append(Rewrite(name, {"Einsum": 1}, dict(Counter(lowering.added[count:])), source))


def _understood(facts: Interpretation, node: ir.Node) -> tuple[Term, bool]:
    """Returns what a node gives, and whether it computes: a sum of one number is that number, but for a sign of zero.

    Raises:
        NotMovementError: It stays, for the reason given.
    """
    dtype = node.outputs[0].dtype
    if dtype is None:
        raise NotMovementError("elements of unknown type")
    shapes = [facts.shape(value) for value in node.inputs]
    letters, result = _letters(node, [len(shape) for shape in shapes])
    if len(letters) > 2:
        raise NotMovementError(f"{len(letters)} tensors")
    if any(len(set(own)) < len(own) for own in (*letters, result)):
        raise NotMovementError("a letter names two axes of one tensor")
    sizes = _sizes(letters, shapes)
    operands: list[tuple[Letters, Term]] = []
    for value, own, shape in zip(node.inputs, letters, shapes, strict=True):
        assert value is not None
        single = [axis for axis, letter in enumerate(own) if shape[axis] == 1 and sizes[letter] != 1]
        term = viewed(_read(facts, value, dtype), without(shape, single))
        operands.append((without(own, single), term))
    operands = [_alone_summed(operands, index, result) for index in range(len(operands))]
    missing = set(result) - {letter for own, _ in operands for letter in own}
    if missing:
        raise NotMovementError(f"no tensor has {', '.join(sorted(missing))}")
    if len(operands) == 1:
        terms = [_in_order(*operands[0], result)]
    elif all(letter in result for own, _ in operands for letter in own):
        terms = [_multiplied(operands, result, sizes, dtype)]
    else:
        terms = [_product(pair, result, sizes, dtype) for pair in (operands, operands[::-1])]
    plain = [term for term in terms if _is_plain(facts, term)]
    if not plain:
        raise NotMovementError("it would take arithmetic on sizes")
    computes = len(letters) > 1 or set(letters[0]) != set(result)
    if computes and dtype.name not in _TYPES:
        raise NotMovementError(f"elements of type {dtype.name}, of which onnxruntime has no products")
    return min(plain, key=_transposed), computes


def _read(facts: Interpretation, value: ir.Value, dtype: ir.DataType) -> Term:
    """Returns what a value is; one of the slices of a constant, such as the real parts of weights, as a part of it."""
    shape, node = facts.shape(value), value.producer()
    leaf = Leaf(value, shape, dtype)
    if node is None or node.op_type != "Gather" or node.domain != "" or not all(map(is_constant, node.inputs)):
        return leaf
    source, index = node.inputs
    assert source is not None
    whole = Leaf(source, facts.shape(source), dtype)
    axis = int_attribute(node, "axis", 0) % max(1, len(whole.shape))
    if len(whole.shape) != len(shape) + 1:
        return leaf
    count, (place,) = whole.shape[axis], facts.integers(index)
    if not (isinstance(count, int) and isinstance(place, int) and -count <= place < count):
        return leaf
    return viewed(part(whole, axis, place % count, (1,) * count), shape)


def _letters(node: ir.Node, ranks: Sequence[int]) -> tuple[list[Letters], Letters]:
    """Returns the letters of the axes of every input and of the output, of which an equation may say nothing."""
    equation = "".join(node.attributes.get_string("equation", "").split())
    match = _EQUATION.fullmatch(equation)
    parts = [] if match is None else match[1].split(",")
    if match is None or len(parts) != len(ranks):
        raise NotMovementError(f"the equation is {equation!r}")
    letters = [_of_axes(part, rank) for part, rank in zip(parts, ranks, strict=True)]
    ellipsis = max((one for one in map(_numbered, letters)), key=len)
    if match[2] is not None:
        before, dots, after = match[2].partition("...")
        if ellipsis and not dots:
            raise NotMovementError("the result has no axes for those of the ellipsis")
        return letters, (*before, *(ellipsis if dots else ()), *after)
    once = Counter(letter for part in parts for letter in part.replace("...", ""))
    return letters, (*ellipsis, *sorted(letter for letter, count in once.items() if count == 1))


def _of_axes(part: str, rank: int) -> Letters:
    before, dots, after = part.partition("...")
    count = rank - len(before) - len(after)
    if count < 0 or (count and not dots) or "." in after:
        raise NotMovementError(f"{part!r} stands for {rank} axes")
    return (*before, *(str(number) for number in reversed(range(count))), *after)


def _numbered(letters: Letters) -> Letters:
    return tuple(letter for letter in letters if letter.isdigit())


def _sizes(letters: Iterable[Letters], shapes: Iterable[Sequence[Coord]]) -> dict[str, Coord]:
    """Returns the size of every letter: the one that is not 1."""
    sizes: dict[str, Coord] = {}
    for own, shape in zip(letters, shapes, strict=True):
        for letter, size in zip(own, shape, strict=True):
            if sizes.get(letter, 1) not in (1, size) and size != 1:
                raise NotMovementError(f"{letter} is {sizes[letter]} and {size}")
            if size != 1 or letter not in sizes:
                sizes[letter] = size
    return sizes


def _alone_summed(operands: Sequence[tuple[Letters, Term]], index: int, result: Letters) -> tuple[Letters, Term]:
    """Returns a tensor summed over the letters that nothing else has."""
    own, term = operands[index]
    others = {letter for place, (letters, _) in enumerate(operands) if place != index for letter in letters}
    alone = [axis for axis, letter in enumerate(own) if letter not in others and letter not in result]
    return (without(own, alone), reduced("ReduceSum", term, alone)) if alone else (own, term)


def _in_order(own: Letters, term: Term, order: Iterable[str]) -> Term:
    """Returns a tensor with its axes in the order of letters, those that it does not have left out."""
    return permuted(term, [own.index(letter) for letter in order if letter in own])


def _multiplied(
    operands: Sequence[tuple[Letters, Term]], result: Letters, sizes: Mapping[str, Coord], dtype: ir.DataType
) -> Term:
    """Returns an elementwise product."""
    aligned = [
        viewed(_in_order(own, term, result), tuple(sizes[one] if one in own else 1 for one in result))
        for own, term in operands
    ]
    term = applied("Mul", aligned, dtype)
    if term is None:
        raise NotMovementError("it would take arithmetic on sizes")
    return term


def _product(
    operands: Sequence[tuple[Letters, Term]], result: Letters, sizes: Mapping[str, Coord], dtype: ir.DataType
) -> Term:
    """Returns a matrix product, of the first operand's rows and the second operand's columns."""
    (first, a), (second, b) = operands
    shared = [letter for letter in result if letter in first and letter in second]
    summed = [letter for letter in first if letter in second and letter not in result]
    rows = [letter for letter in result if letter in first and letter not in second]
    columns = [letter for letter in result if letter in second and letter not in first]
    batch, depth, width = (tuple(sizes[letter] for letter in letters) for letters in (shared, summed, columns))
    height = tuple(sizes[letter] for letter in rows)
    # Without a batch the rows need not be one axis.
    lines = (size_of(height),) if batch or not height else height
    left = viewed(_in_order(first, a, (*shared, *rows, *summed)), (*batch, *lines, size_of(depth)))
    right = viewed(_in_order(second, b, (*shared, *summed, *columns)), (*batch, size_of(depth), size_of(width)))
    product = Applied("MatMul", (left, right), (*batch, *lines, size_of(width)), dtype)
    return _in_order((*shared, *rows, *columns), viewed(product, (*batch, *height, *width)), result)


def _transposed(term: Term) -> int:
    """Returns how many tensors that are no constants a product transposes."""
    return sum(isinstance(one, Permuted) and not _is_constant(one.of) for one in walk(term, set()))


def _is_constant(term: Term) -> bool:
    while isinstance(term, (View, Part)):
        term = term.of
    return isinstance(term, Leaf) and is_constant(term.value)


def _is_plain(facts: Interpretation, term: Term) -> bool:
    """Whether the views in a term need no arithmetic on sizes."""
    views = (one for one in walk(term, set()) if isinstance(one, View))
    return all(is_plain(facts.bounds, view.of.shape, view.shape) for view in views)
