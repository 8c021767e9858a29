"""Vets the JSON of an exported program: parts of it become Python code when torch opens it.

Size expressions go through ``sympify`` (eval), guards and node names into generated source (exec), operator targets are
any attribute path below ``torch`` (``torch.os.system``), and enum contexts import modules. Each is checked against what
torch itself writes; whatever else is refused.
"""

from __future__ import annotations

import ast
import json
import math
import operator
import re
from typing import Any

from s2deploy.errors import UntrustedPickleError

_NAME = re.compile(r"[A-Za-z_]\w*|")
_PLAIN = re.compile(r"[\w.,:/@\-\[\] ]*")
_NAME_KEYS = frozenset({"name", "as_name", "forward_arg_names"})
_PLAIN_KEYS = frozenset({"parameter_name", "buffer_name", "tensor_constant_name", "user_input_name", "fqn"})
_NAMED_TABLES = frozenset({
    "tensor_values", "sym_int_values", "sym_bool_values", "sym_float_values", "custom_obj_values",
    "as_string_to_argument",
})  # fmt: skip
_OPERATORS = frozenset({
    "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "neg", "pos", "abs", "eq", "ne", "lt", "le", "gt",
    "ge", "and_", "or_", "xor", "not_", "lshift", "rshift", "getitem",
})  # fmt: skip
_SYMBOLIC = frozenset({
    "sym_not", "sym_int", "sym_float", "sym_ite", "sym_max", "sym_min", "sym_sqrt", "_sym_sqrt",
})  # fmt: skip
_FUNCTIONS = frozenset({
    "Symbol", "Dummy", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Tuple", "ExprCondPair", "Equality",
    "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan", "FloorDiv",
    "ModularIndexing", "Where", "PythonMod", "Mod", "CleanDiv", "CeilToInt", "FloorToInt", "CeilDiv", "LShift",
    "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv", "IsNonOverlappingAndDenseIndicator",
    "TruncToFloat", "TruncToInt", "RoundToInt", "RoundDecimal", "ToFloat", "Identity", "Max", "Min", "Abs",
    "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "Piecewise", "floor", "ceiling", "sqrt",
    "OpaqueUnaryFn_sqrt", "OpaqueUnaryFn_log2", "max", "min", "abs", "int", "float", "round", "bool",
})  # fmt: skip
_METHODS = frozenset({
    "size", "stride", "storage_offset", "dim", "numel", "item", "floor", "ceil", "trunc", "sqrt", "pow",
})  # fmt: skip
_SYNTAX = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Call, ast.Name, ast.Constant,
    ast.keyword, ast.Attribute, ast.Subscript, ast.Tuple, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
    ast.expr_context,
)  # fmt: skip


def check_program(serialized: Any) -> None:
    """Checks the parsed JSON of an exported program.

    Args:
        serialized: What ``json.loads`` returned.

    Raises:
        UntrustedPickleError: Something in it could run code, or is a custom object.
    """
    if isinstance(serialized, list):
        for item in serialized:
            check_program(item)
    elif isinstance(serialized, dict):
        for key, value in serialized.items():
            _check_entry(key, value)


def _check_entry(key: str, value: Any) -> None:
    if key == "metadata":
        return  # texts for people: stack traces and module names, never evaluated
    if key == "as_custom_obj":
        raise _refusal("it holds a custom object (torchbind)")
    if key in ("target", "as_operator") and isinstance(value, str):
        _check_target(value)
    elif key == "expr_str":
        _check_expression(value)
    elif key == "guards_code":
        for guard in value:
            _check_expression(guard)
    elif key in ("in_spec", "out_spec"):
        _check_structure(json.loads(value))
    elif key in _NAME_KEYS:
        _require(_NAME, value, "the name")
    elif key in _PLAIN_KEYS:
        _require(_PLAIN, value, "the name")
    elif key in _NAMED_TABLES and isinstance(value, dict):
        _require(_PLAIN if key == "as_string_to_argument" else _NAME, list(value), "the name")
        check_program(list(value.values()))
    elif key == "range_constraints":
        for symbol in value:
            _check_expression(symbol)
    else:
        check_program(value)


def _check_target(target: str) -> None:
    """Allows registered operators and arithmetic; a name torch cannot resolve is for torch to complain about."""
    import torch

    root, _, rest = target.partition(".")
    names = rest.split(".")
    if root == "_operator" and len(names) == 1 and rest in _OPERATORS:
        return
    if root == "math" and len(names) == 1 and not rest.startswith("_") and hasattr(math, rest):
        return
    if root == "torch" and len(names) == 1 and rest in _SYMBOLIC:
        return
    if root == "torch" and names[0] == "ops" and len(names) in (3, 4):
        found: Any = torch.ops
        try:
            found = operator.attrgetter(".".join(names[1:]))(found)
        except (AttributeError, RuntimeError):  # not registered here
            return
        if isinstance(found, (torch._ops.OpOverload, torch._ops.HigherOrderOperator)):
            return
    raise _refusal(f"its graph calls {target!r}, which is no operator")


def _check_expression(text: Any) -> None:
    """Allows arithmetic over symbols and sizes, with the functions torch writes."""
    if not isinstance(text, str):
        raise _refusal(f"the expression {text!r} is no text")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _refusal(f"the expression {text[:80]!r} is not one torch writes") from error
    if not _is_arithmetic(tree, named=False):
        raise _refusal(f"the expression {text[:80]!r} is not one torch writes")


def _is_arithmetic(node: ast.AST, named: bool) -> bool:
    """Returns whether a tree is arithmetic; texts count only as names, because sympy evaluates any other."""
    allowed = isinstance(node, _SYNTAX)
    if isinstance(node, ast.Call):
        function = node.func
        allowed = isinstance(function, ast.Attribute) or (isinstance(function, ast.Name) and function.id in _FUNCTIONS)
        named = isinstance(function, ast.Name) and function.id in ("Symbol", "Dummy", "Float")
    elif isinstance(node, ast.Subscript):
        return _is_arithmetic(node.value, False) and _is_arithmetic(node.slice, True)
    elif isinstance(node, ast.Attribute):
        allowed = node.attr in _METHODS
    elif isinstance(node, ast.Name):
        allowed = not node.id.startswith("__")
    elif isinstance(node, ast.Constant) and isinstance(node.value, (str, bytes)):
        allowed = named and isinstance(node.value, str) and _PLAIN.fullmatch(node.value) is not None
    return allowed and all(_is_arithmetic(child, named) for child in ast.iter_child_nodes(node))


def _check_structure(spec: Any) -> None:
    """Checks a serialised pytree: container types and keys, with contexts that are JSON inside JSON."""
    if isinstance(spec, list):
        for item in spec:
            _check_structure(item)
    elif isinstance(spec, dict):
        if "__enum__" in spec or spec.get("default_factory_module", "builtins") != "builtins":
            raise _refusal("its inputs or outputs name Python objects to import")
        _check_structure([*spec.keys(), *spec.values()])
    elif isinstance(spec, str) and _PLAIN.fullmatch(spec) is None:
        try:
            inner = json.loads(spec)
        except ValueError as error:
            raise _refusal(f"the key {spec[:80]!r} of its inputs or outputs is not plain") from error
        if isinstance(inner, str):
            raise _refusal(f"the key {spec[:80]!r} of its inputs or outputs is not plain")
        _check_structure(inner)


def _require(pattern: re.Pattern[str], names: Any, what: str) -> None:
    for name in names if isinstance(names, list) else [names]:
        if name is not None and (not isinstance(name, str) or pattern.fullmatch(name) is None):
            raise _refusal(f"{what} {str(name)[:80]!r} is not one torch writes")


def _refusal(why: str) -> UntrustedPickleError:
    return UntrustedPickleError(f"opening the exported program could run code: {why}")
