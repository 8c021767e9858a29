"""Complex values in a decomposed program as their real and imaginary parts, and arithmetic on these."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from s2deploy.exporter.calls import call

if TYPE_CHECKING:
    import torch
    from torch.fx import Node


class Parts(NamedTuple):
    """The real and the imaginary part of a value: nodes, or numbers, where 0 stands for zeros of any size."""

    real: Any
    imaginary: Any


class Parted:
    """An operator whose arguments are read by parts."""

    def __init__(self, node: Node, known: dict[Node, Parts]) -> None:
        self.node, self._known = node, known
        self.arguments: tuple[Any, ...] = node.args
        self.options = {name: _real_type(value) for name, value in node.kwargs.items()}

    def call(self, target: Any, *args: Any, **kwargs: Any) -> Node:
        """Puts a call in front of the operator."""
        return call(self.node, target, *args, **kwargs)

    def parts(self, value: Any) -> Parts:
        """Returns the parts of an argument: a node, a number, or parts already."""
        import torch

        if isinstance(value, Parts):
            return value
        if is_number(value):
            return Parts(value.real, value.imag)
        if not is_complex(value):
            return Parts(value, 0)
        if value not in self._known:
            pair = self.call(torch.ops.aten.view_as_real.default, value)
            self._known[value] = Parts(*(self.call(torch.ops.aten.select.int, pair, -1, part) for part in range(2)))
        return self._known[value]

    def filled(self, parts: Parts) -> Parts:
        """Returns parts as tensors, both of the shape and the type of the operator's result."""
        import torch

        aten, result = torch.ops.aten, self.node.meta["val"]
        if not isinstance(result, torch.Tensor):
            return parts
        if all(map(is_number, parts)):  # a product with zero
            first = next(each for each in self.arguments if not is_number(each))
            parts = Parts(self.call(aten.full_like.default, self.parts(first).real, parts.real), parts.imaginary)
        shaped = []
        for part, other in (parts, parts[::-1]):
            if is_number(part):
                part = self.call(aten.full_like.default, other, part)
            if part.meta["val"].dim() != result.dim() or _sizes_differ(part.meta["val"], result):
                part = self.call(aten.add.Tensor, part, self.call(aten.full_like.default, other, 0))
            if part.meta["val"].dtype != result.dtype.to_real():
                part = self.call(aten._to_copy.default, part, dtype=result.dtype.to_real())
            shaped.append(part)
        return Parts(*shaped)

    def add(self, first: Any, second: Any) -> Any:
        """Returns the sum of two parts."""
        import torch

        if is_number(first):
            first, second = second, first
        if is_number(first):
            return first + second
        return first if is_zero(second) else self.call(torch.ops.aten.add.Tensor, first, second)

    def subtract(self, first: Any, second: Any) -> Any:
        """Returns the difference of two parts."""
        import torch

        if is_number(first) or is_number(second):
            return self.add(self.negative(second), first)
        return self.call(torch.ops.aten.sub.Tensor, first, second)

    def negative(self, part: Any) -> Any:
        """Returns a part with the other sign."""
        import torch

        return -part if is_number(part) else self.call(torch.ops.aten.neg.default, part)

    def times(self, *factors: Any) -> Any:
        """Returns the product of parts, elementwise."""
        import torch

        first, second = factors
        if is_number(first):
            first, second = second, first
        if is_number(first):
            return first * second
        if is_number(second) and second in (0, 1):
            return first if second else 0
        return self.call(torch.ops.aten.mul.Tensor, first, second)

    def multiplied(self, product: Callable[..., Any], factors: Sequence[Any]) -> Parts:
        """Returns a product that is linear in each of its factors, by parts."""
        sums: list[Any] = [0, 0]
        for chosen in itertools.product((0, 1), repeat=len(factors)):
            parts = [self.parts(factor)[which] for factor, which in zip(factors, chosen, strict=True)]
            if any(map(is_zero, parts)):
                continue
            power = sum(chosen) % 4  # of the imaginary unit
            term = product(*parts)
            sums[power % 2] = (self.subtract if power > 1 else self.add)(sums[power % 2], term)
        return Parts(*sums)


def is_complex(value: Any) -> bool:
    """Tells whether a node, or one of several that an operator returns, is a complex tensor."""
    import torch

    known = value.meta.get("val") if hasattr(value, "meta") else None
    several = known if isinstance(known, (list, tuple)) else [known]
    return any(isinstance(each, torch.Tensor) and each.is_complex() for each in several)


def is_number(part: Any) -> bool:
    """Tells whether an argument or a part is a number, not a node."""
    return isinstance(part, (int, float, complex))


def is_zero(part: Any) -> bool:
    """Tells whether a part is zero of any size."""
    return is_number(part) and part == 0


def _sizes_differ(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tells whether sizes are written differently; symbols are not asked for their values."""
    return any(str(size) != str(expected) for size, expected in zip(one.shape, other.shape, strict=True))


def _real_type(option: Any) -> Any:
    """Returns an option, a type of complex numbers as that of their parts."""
    import torch

    return option.to_real() if isinstance(option, torch.dtype) and option.is_complex else option
