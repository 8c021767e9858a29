"""Complex tensors computed by real and imaginary parts, in a decomposed program.

torch's exporter translates Fourier transforms and some arithmetic of complex tensors, and no writes into them, no
products but matmul, no masks. What it may lack is computed on the parts here:

    x[..., :k], y[..., :k] = x, cat, where  the operator on the real parts, and on the imaginary parts
    x * y, x @ y, einsum(x, y)              product(xr, yr) - product(xi, yi), product(xr, yi) + product(xi, yr)
    x / y                                   x * conj(y) / |y|^2
    exp(x), polar(r, a), complex(r, i)      exp(xr) * (cos(xi), sin(xi)), r * (cos(a), sin(a)), (r, i)
    abs(x), angle(x)                        sqrt(xr^2 + xi^2), atan2(xi, xr)
    irfft(x, n) of a dynamic n              ifft(x, then its mirror image), the real part

Of the last, ONNX's shape inference takes the length of what is read for the length of the result.

Requires: nothing
Refuses (leaves the operator to torch's exporter, its inputs put together again): Fourier transforms, which ONNX has on
        pairs, and operators that are not named here
Preserves: values up to the order of sums, types and names; the program stays executable
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from s2deploy.exporter.calls import call_for
from s2deploy.exporter.complex_parts import Parted, Parts, is_complex, is_number, is_zero

if TYPE_CHECKING:
    import torch
    from torch.fx import Node

_Rule = Callable[[Parted], "Parts | Node | None"]


def compute_by_parts(graph_module: torch.fx.GraphModule) -> None:
    """Rewrites what is computed of complex tensors, in place."""
    import torch

    graph, aten = graph_module.graph, torch.ops.aten
    if not any(map(is_complex, graph.nodes)):
        return
    known: dict[Node, Parts] = {}
    rules = _rules()
    for node in list(graph.nodes):
        if node.target is aten._neg_view.default:  # the imaginary part of a conjugate, as torch puts it off
            node.target = aten.neg.default
        rule = rules.get(node.target) if node.op == "call_function" else None
        if rule is None or not any(map(is_complex, (node, *node.all_input_nodes))):
            continue
        parted = Parted(node, known)
        result = rule(parted)
        if result is None:
            continue
        if isinstance(result, Parts):
            known[node] = result = parted.filled(result)
            if not isinstance(node.meta["val"], torch.Tensor):
                continue  # what splits return, read piece by piece
            result = parted.call(aten.view_as_complex.default, parted.call(aten.stack.default, list(result), -1))
        # The node itself becomes the last step: a program knows its outputs by name.
        node.target, node.args, node.kwargs = result.target, result.args, result.kwargs
        graph.erase_node(result)
    for node in reversed(known):
        unread = [node, *node.all_input_nodes] if node.target is aten.view_as_complex.default else [node]
        for each in unread:
            if not each.users and each.op == "call_function":
                graph.erase_node(each)


def _rules() -> Mapping[Any, _Rule]:
    """Returns how each operator is computed by parts."""
    import torch

    aten = torch.ops.aten
    moving = (
        (aten.alias, aten.clone, aten.detach, aten.expand, aten.reshape, aten.view, aten._unsafe_view, aten.permute),
        (aten.t, aten.unsqueeze, aten.squeeze, aten.flip, aten.roll, aten.repeat, aten.tile, aten.index_select),
        (aten.transpose.int, aten.select.int, aten.slice.Tensor, aten.squeeze.dim, aten.squeeze.dims, aten.gather),
        (aten.split.Tensor, aten.split_with_sizes, aten.unbind.int, aten.chunk, aten.index.Tensor, aten.unfold),
        (aten.tril, aten.triu, aten.diagonal, aten.mean, aten.mean.dim, aten.sum, aten.sum.dim_IntList, aten.cumsum),
        (aten.neg, aten.lift_fresh_copy, aten.diagonal_copy, aten.cat, aten.stack, operator.getitem),
    )
    rules: dict[Any, _Rule] = {_overload(each): _componentwise((0,)) for row in moving for each in row}
    rules |= {
        _overload(each): _componentwise(values)
        for each, values in (
            (aten.slice_scatter, (0, 1)),
            (aten.select_scatter, (0, 1)),
            (aten.copy, (0, 1)),
            (aten.fill.Tensor, (0, 1)),
            (aten.fill.Scalar, (0, 1)),
            (aten.where.self, (1, 2)),
            (aten.masked_fill.Tensor, (0, 2)),
            (aten.masked_fill.Scalar, (0, 2)),
            (aten.index_put, (0, 2)),
            (aten.constant_pad_nd, (0, 2)),
            (aten.pad, (0, 3)),
            (aten.full, (1,)),
            (aten.full_like, (0, 1)),
            (aten.new_full, (0, 2)),
            (aten.scalar_tensor, (0,)),
        )
    }
    created = (aten.zeros, aten.ones, aten.empty.memory_format, aten.zeros_like, aten.ones_like, aten.empty_like)
    rules |= {_overload(each): _created for each in (*created, aten.new_zeros, aten.new_ones, aten.new_empty)}
    rules |= dict.fromkeys((aten.add.Tensor, aten.add.Scalar, aten.sub.Tensor, aten.sub.Scalar), _sum)
    rules |= dict.fromkeys((aten.mul.Tensor, aten.mul.Scalar), _product)
    rules |= {each.default: _product for each in (aten.matmul, aten.mm, aten.bmm, aten.mv, aten.dot)}
    rules |= dict.fromkeys((aten.div.Tensor, aten.div.Scalar, aten.reciprocal.default), _quotient)
    rules |= {each.default: _conjugate for each in (aten.conj, aten._conj, aten.conj_physical, aten._conj_physical)}
    return rules | {
        aten._fft_c2r.default: _real_inverse,
        aten._to_copy.default: _copied,
        aten.einsum.default: _einsum,
        aten.linear.default: _linear,
        aten.exp.default: _exponential,
        aten.polar.default: lambda x: _polar(x, *x.arguments),
        aten.complex.default: lambda x: Parts(*x.arguments),
        aten.view_as_complex.default: _read,
        aten.view_as_real.default: lambda x: x.call(aten.stack.default, list(x.parts(x.arguments[0])), -1),
        aten.abs.default: lambda x: x.call(aten.sqrt.default, _squared(x, x.parts(x.arguments[0]))),
        aten.angle.default: lambda x: x.call(aten.atan2.default, *reversed(x.parts(x.arguments[0]))),
    }


def _componentwise(values: tuple[int, ...]) -> Callable[[Parted], Parts]:
    """Returns the rule of an operator that moves values: the arguments at these positions have parts."""
    import torch

    def rule(x: Parted) -> Parts:
        parts = range(2)
        like = torch.utils._pytree.tree_map(_as_part, x.node.meta["val"])
        return Parts(*(call_for(x.node, like, x.node.target, *_only(x, values, part), **x.options) for part in parts))

    return rule


def _only(x: Parted, values: tuple[int, ...], part: int) -> list[Any]:
    """Returns the arguments with one part of the values."""
    import torch

    def of(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [of(each) for each in value]
        if value is None:
            return None
        found = x.parts(value)[part]
        is_zeros = is_number(found) and not is_number(value)
        return x.call(torch.ops.aten.full_like.default, value, found) if is_zeros else found

    return [of(argument) if place in values else argument for place, argument in enumerate(x.arguments)]


def _read(x: Parted) -> Parts:
    """Pairs, as complex numbers."""
    import torch

    return Parts(*(x.call(torch.ops.aten.select.int, *x.arguments, -1, part) for part in range(2)))


def _as_part(result: torch.Tensor) -> torch.Tensor:
    """Returns what a part of a complex tensor is known by."""
    import torch

    return torch.empty_like(result, dtype=result.dtype.to_real())


def _created(x: Parted) -> Parts:
    """Zeros, ones and what is not set, of a size or like a tensor."""
    arguments = [x.parts(each).real if hasattr(each, "meta") else each for each in x.arguments]
    return Parts(x.call(x.node.target, *arguments, **x.options), 0)


def _copied(x: Parted) -> Parts | Node:
    """A cast; one to a type of real numbers drops the imaginary part."""
    if is_complex(x.node):
        return _componentwise((0,))(x)
    return x.call(x.node.target, x.parts(x.arguments[0]).real, **x.options)


def _sum(x: Parted) -> Parts:
    """Sums and differences, the second scaled by alpha."""
    import torch

    first, second, *alpha = x.arguments
    factor = alpha[0] if alpha else x.options.get("alpha", 1)
    if x.node.target in (torch.ops.aten.sub.Tensor, torch.ops.aten.sub.Scalar):
        factor = -factor
    scaled = x.multiplied(x.times, [second, factor])
    return Parts(*(x.add(one, other) for one, other in zip(x.parts(first), scaled, strict=True)))


def _product(x: Parted) -> Parts:
    """Products of elements or of matrices."""
    import torch

    elementwise = (torch.ops.aten.mul.Tensor, torch.ops.aten.mul.Scalar)
    target = x.node.target
    return x.multiplied(x.times if target in elementwise else lambda *parts: x.call(target, *parts), x.arguments)


def _einsum(x: Parted) -> Parts:
    """A sum of products by an equation."""
    equation, factors = x.arguments
    return x.multiplied(lambda *parts: x.call(x.node.target, equation, list(parts)), factors)


def _linear(x: Parted) -> Parts:
    """A product with the transposed weights, and a bias."""
    tensor, weight, *bias = x.arguments
    product = x.multiplied(lambda *parts: x.call(x.node.target, *parts), [tensor, weight])
    added = x.parts(bias[0]) if bias and bias[0] is not None else Parts(0, 0)
    return Parts(*(x.add(one, other) for one, other in zip(product, added, strict=True)))


def _quotient(x: Parted) -> Parts:
    """Quotients and reciprocals."""
    import torch

    divide = torch.ops.aten.div.Tensor
    first, second = (1.0, *x.arguments)[-2:]
    divisor = x.parts(second)
    if is_number(second) and not is_zero(divisor.imaginary):
        return x.multiplied(x.times, [first, 1 / second])
    if is_zero(divisor.imaginary):
        return Parts(*(part if is_zero(part) else x.call(divide, part, divisor.real) for part in x.parts(first)))
    above = x.multiplied(x.times, [first, Parts(divisor.real, x.negative(divisor.imaginary))])
    below = _squared(x, divisor)
    return Parts(*(x.call(divide, part, below) for part in above))


def _conjugate(x: Parted) -> Parts:
    real, imaginary = x.parts(x.arguments[0])
    return Parts(real, x.negative(imaginary))


def _exponential(x: Parted) -> Parts:
    import torch

    real, imaginary = x.parts(x.arguments[0])
    return _polar(x, x.call(torch.ops.aten.exp.default, real), imaginary)


def _polar(x: Parted, length: Any, angle: Any) -> Parts:
    """The numbers of these lengths and angles."""
    import torch

    return Parts(
        *(x.times(length, x.call(of, angle)) for of in (torch.ops.aten.cos.default, torch.ops.aten.sin.default))
    )


def _real_inverse(x: Parted) -> Node | None:
    """An inverse Fourier transform of one side of the frequencies, of a length that is known at run time."""
    import torch

    aten = torch.ops.aten
    spectrum, (*others, axis), norm, length = x.arguments
    if isinstance(length, int):
        return None
    if others:
        spectrum = _inverse(x, spectrum, others, norm)
    end = x.call(operator.floordiv, x.call(operator.add, length, 1), 2)
    mirrored = [
        x.call(aten.flip.default, x.call(aten.slice.Tensor, part, axis, 1, end), [axis]) for part in x.parts(spectrum)
    ]
    mirrored[1] = x.negative(mirrored[1])
    whole = [x.call(aten.cat.default, list(pair), axis) for pair in zip(x.parts(spectrum), mirrored, strict=True)]
    pairs = x.call(aten.view_as_complex.default, x.call(aten.stack.default, whole, -1))
    back = x.call(aten.view_as_real.default, _inverse(x, pairs, [axis], norm))
    return x.call(aten.select.int, back, -1, 0)


def _inverse(x: Parted, spectrum: Node, axes: Sequence[int], norm: int) -> Node:
    """An inverse Fourier transform of both sides, which would fix symbolic sizes if it were run on them."""
    import torch

    result = torch.empty_like(spectrum.meta["val"])
    return call_for(x.node, result, torch.ops.aten._fft_c2c.default, spectrum, list(axes), norm, False)


def _squared(x: Parted, parts: Parts) -> Any:
    """The squares of lengths."""
    return x.add(*(x.times(part, part) for part in parts))


def _overload(each: Any) -> Any:
    """Returns an operator's default overload, where only its name is given."""
    return getattr(each, "default", each) if hasattr(each, "overloads") else each
