"""`int()` of a size in the user's code, without fixing the size.

Python's `int` must return an integer, so torch.export fixes every size that goes through it:
``int(windows.shape[0] / (h * w / 7 / 7))`` of Swin's window_reverse fixes the batch. While such a model is captured,
`int` in the files concerned stands for a class that leaves sizes symbolic and is `int` in everything else.

A quotient of sizes is taken exactly, as a fraction: ``int(64 * b / (56 * 56 / 7 / 7))`` is ``b``, and so is
``int(b * (h // 7) * (w // 7) / (h * w / 7 / 7))`` where h and w are multiples of 7. What that takes for granted is
noted, for `sampling` to check on the declared sizes.
"""

from __future__ import annotations

import builtins
import functools
import operator
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

Assumption = tuple[Any, Any]
"""What the model computes, and what the program computes in its place, as expressions."""

_NAME = "int"
_FINEST = 1 << 10
"""Largest denominator of a floating-point factor that counts as a fraction, as 0.5 does and 0.7 does not."""


@contextmanager
def sizes_stay_symbolic(files: Collection[str]) -> Iterator[list[Assumption]]:
    """Replaces `int` in the modules that were loaded from some files.

    Args:
        files: Paths of Python sources; those of no loaded module are passed over.

    Returns:
        What was taken for granted, filled while the model is traced.
    """
    assumptions: list[Assumption] = []
    stand_in = _integer_class(assumptions)
    # One module may be loaded under two names: multiprocessing calls __main__ __mp_main__ as well.
    scopes = {
        id(vars(module)): vars(module)
        for module in list(sys.modules.values())
        if getattr(module, "__file__", None) in files and _NAME not in vars(module)
    }
    for scope in scopes.values():
        scope[_NAME] = stand_in
    try:
        yield assumptions
    finally:
        for scope in scopes.values():
            del scope[_NAME]


def _integer_class(assumptions: list[Assumption]) -> Any:
    import torch

    class Meta(type):
        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            if len(args) == 1 and not kwargs and isinstance(args[0], (torch.SymInt, torch.SymFloat)):
                return _truncated(args[0], assumptions)
            return builtins.int(*args, **kwargs)

        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, builtins.int)

        def __subclasscheck__(cls, subclass: Any) -> bool:
            return issubclass(subclass, builtins.int)

    return Meta(_NAME, (builtins.int,), {})


def _truncated(size: Any, assumptions: list[Assumption]) -> Any:
    """Returns a symbolic number without its fraction, as a symbolic integer."""
    import torch

    if isinstance(size, torch.SymInt):
        return size
    meant = size.node.expr
    exact = _quotient(meant, size.node.shape_env)
    if exact is None:
        return torch.sym_int(size)  # type: ignore[no-untyped-call]
    assumptions.append((meant, exact))
    return _computed(exact, size.node.shape_env)


def _quotient(expression: Any, environment: Any) -> Any:
    """Returns the integer part of a fraction of sizes that is never negative; None for what is no such fraction."""
    from torch.utils._sympy.functions import FloorDiv

    fraction = _fraction(expression)
    if fraction is None:
        return None
    whole = fraction.replace(FloorDiv, operator.truediv).cancel()  # without remainders, where that gives an integer
    numerator, denominator = (whole if whole.is_integer else fraction.cancel()).as_numer_denom()
    if not all(environment.bound_sympy(part).lower >= least for part, least in ((numerator, 0), (denominator, 1))):
        return None
    return FloorDiv(numerator, denominator)


def _computed(expression: Any, environment: Any) -> Any:
    """Returns an expression as the symbolic integer that operators on its symbols give, so that torch traces them."""
    from torch.utils._sympy.functions import FloorDiv

    if expression.is_Integer:
        return int(expression)
    operators = {"Add": operator.add, "Mul": operator.mul, FloorDiv.__name__: operator.floordiv}
    function = operators.get(expression.func.__name__)
    if function is None:
        hint = expression.xreplace(environment.backed_var_to_val)
        return environment.create_symintnode(expression, hint=int(hint))
    return functools.reduce(function, (_computed(part, environment) for part in expression.args))


def _fraction(expression: Any) -> Any:
    """Returns an expression of torch's floating-point functions as a fraction of integers, None where it is none."""
    import sympy  # type: ignore[import-untyped]
    from torch.utils._sympy.functions import FloatTrueDiv, IntTrueDiv, ToFloat

    if expression.is_Float:
        exact = sympy.Rational(float(expression))
        return exact if exact.q <= _FINEST else None
    if expression.is_integer:
        return expression
    parts = [_fraction(part) for part in expression.args]
    if not parts or None in parts:
        return None
    if isinstance(expression, ToFloat):
        return parts[0]
    if isinstance(expression, (IntTrueDiv, FloatTrueDiv)):
        return parts[0] / parts[1]
    return expression.func(*parts) if expression.is_Add or expression.is_Mul else None
