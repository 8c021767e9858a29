"""Variables of the Python code that a model consists of, put back after forward has run.

Public models keep grids and masks from call to call: ``if grid is None or grid.shape != x.shape: grid = ...`` in a
global variable, in a dictionary by size, in an attribute of a class, a function or an object of theirs, behind
`functools.lru_cache`. A run leaves tensors of its own sizes there, which a trace would take for constants, and a trace
leaves tensors without data.

Everything else stays as a run leaves it, because its effect does too: the flag that says an operator is registered
remains set. What is set along with a tensor is put back with it, such as the size that a grid was made for.
"""

from __future__ import annotations

import dis
import functools
import gc
import sys
import sysconfig
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

CONTAINERS = (dict, OrderedDict, defaultdict, list, deque, set)
"""Types of the containers whose content can be put back."""

_FOREIGN = frozenset({"torch", "torchvision", "numpy", "s2deploy", "__future__"}) | sys.stdlib_module_names
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib"))
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_LARGEST = 4096
"""Containers of more items are tables and data sets, which are not searched."""
_MISSING = object()


@dataclass(frozen=True, eq=False)
class _Change:
    """A variable or attribute that has another value than before, or a container that holds something else.

    Attributes:
        name: Its name, or that of the variable in which the container was found.
        values: What it was and is, or what was and is in it.
        undo: Puts it back.
        is_rebound: Whether the name stands for another value.
    """

    name: str
    values: list[Any]
    undo: Callable[[], None]
    is_rebound: bool


class Content:
    """What a container holds at one time.

    Args:
        container: Of one of the types `CONTAINERS`.
    """

    def __init__(self, container: Any) -> None:
        self._container = container
        self._before = list(container.items()) if isinstance(container, dict) else list(container)
        self._held = _held(container)

    def restore(self) -> None:
        """Puts it back, into the same container."""
        self._container.clear()
        fill = getattr(self._container, "extend", None) or self._container.update
        fill(self._before)

    def changes(self, name: str) -> list[_Change]:
        """Returns the one change there is, if there is one, of a container found under a name."""
        now = _held(self._container)
        if [*map(id, now)] == [*map(id, self._held)]:
            return []
        return [_Change(name, [*self._held, *now], self.restore, is_rebound=False)]


class _Names:
    """The variables of a Python module, or the attributes of a class, a function or an object."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._before = dict(vars(owner))

    def changes(self, _: str) -> list[_Change]:
        now = dict(vars(self._owner))
        found = []
        for name in {**self._before, **now}:
            values = [self._before.get(name, _MISSING), now.get(name, _MISSING)]
            if values[0] is not values[1] and not name.startswith("__"):
                found.append(_Change(name, values, functools.partial(self._put_back, name), is_rebound=True))
        return found

    def _put_back(self, name: str) -> None:
        if isinstance(self._owner, type):
            if name in self._before:
                type.__setattr__(self._owner, name, self._before[name])
            else:
                type.__delattr__(self._owner, name)
        elif name in self._before:
            vars(self._owner)[name] = self._before[name]
        else:
            del vars(self._owner)[name]


class Variables:
    """What the variables are at one time.

    Args:
        owners: The parts of a model. The modules that their classes are in count, and those of the user's that
            functions, classes and modules in them come from, with what their variables and the attributes of classes,
            functions and objects hold; installed packages only where such a class is in one.
    """

    def __init__(self, owners: Iterable[object]) -> None:
        parts = list(owners)
        self._packages = {type(part).__module__.partition(".")[0] for part in parts}
        self._kept: list[tuple[str, _Names | Content]] = []
        self._caches: list[Any] = []
        self._codes: list[CodeType] = []
        self._find(parts)

    def restore(self) -> None:
        """Puts back what holds tensors or held some, and what is set along with it; empties caches of tensors."""
        changes = [change for name, kept in self._kept for change in kept.changes(name)]
        due = [change for change in changes if self._hold_data(change.values)]
        if 0 < len(due) < len(changes):
            names = _set_together({change.name for change in due}, changes, self._codes)
            due += [change for change in changes if change.name in names and change not in due]
        for change in due:
            change.undo()
        for cache in self._caches:
            if self._hold_data(value for value in gc.get_referents(cache) if value is not cache.__wrapped__):
                cache.cache_clear()

    def _find(self, parts: list[object]) -> None:
        """Notes all that can be put back."""
        pending: list[tuple[str, Any]] = [("", part) for part in parts]
        seen: dict[int, object] = {}
        while pending:
            name, value = pending.pop()
            if type(value) in _PLAIN or id(value) in seen:
                continue
            seen[id(value)] = value
            if type(value) in CONTAINERS and len(value) <= _LARGEST:
                self._kept.append((name, Content(value)))
            elif _is_cache(value):
                self._caches.append(value)
            elif self._is_users(value):
                self._kept.append(("", _Names(value)))
                pending += [("", origin) for origin in _origins(value)]
                if type(value) is FunctionType:
                    self._codes.append(value.__code__)
            pending += [(inner or name, part) for inner, part in self._parts(value)]

    def _parts(self, value: Any) -> list[tuple[str, Any]]:
        """Returns what a value consists of, each part with its name where it has one."""
        kind = type(value)
        if issubclass(kind, (dict, list, tuple, set, frozenset, deque)):
            return [("", part) for part in _held(value)] if len(value) <= _LARGEST else []
        if _is_cache(value):
            return [("", value.__wrapped__)]
        if issubclass(kind, (staticmethod, classmethod, property)):
            return [("", value.fget if issubclass(kind, property) else value.__func__)]
        if not self._is_users(value):
            return []
        parts = [(name, part) for name, part in dict(vars(value)).items() if not name.startswith("__")]
        if kind is FunctionType:
            cells = [cell.cell_contents for cell in value.__closure__ or () if _is_filled(cell)]
            defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
            parts += [("", part) for part in (*cells, *defaults)]
        return parts

    def _is_users(self, value: Any) -> bool:
        """Whether a Python module, a class, a function or an object with attributes is the user's."""
        kind = type(value)
        if issubclass(kind, ModuleType):
            module = value
        else:
            module = sys.modules.get(str((value if issubclass(kind, (type, FunctionType)) else kind).__module__))
        package = module.__name__.partition(".")[0] if module is not None else "torch"
        if package in _FOREIGN or not hasattr(value, "__dict__"):
            return False
        file = getattr(module, "__file__", None) or _LIBRARIES[0]
        return package in self._packages or not file.startswith(_LIBRARIES)

    def _hold_data(self, values: Iterable[Any]) -> bool:
        """Whether there is anything that a run computes, sizes included, in some values."""
        import numpy as np
        import torch

        data = (torch.Tensor, torch.nn.Module, torch.Size, torch.SymInt, torch.SymFloat, torch.SymBool, np.ndarray)
        pending = list(values)
        seen: dict[int, object] = {}
        while pending:
            value = pending.pop()
            if isinstance(value, data):
                return True
            if id(value) not in seen and not isinstance(value, (*_PLAIN, ModuleType, type)):
                seen[id(value)] = value
                pending += [part for _, part in self._parts(value)]
        return False


def _set_together(due: set[str], changes: list[_Change], codes: list[CodeType]) -> set[str]:
    """Returns names, and those that a function which uses one of them sets, or fills where they are containers."""
    uses = []
    for code in _all_codes(codes):
        sets = {step.argval for step in dis.get_instructions(code) if step.opname in ("STORE_GLOBAL", "STORE_ATTR")}
        belong = {change.name for change in changes if change.name in (sets if change.is_rebound else code.co_names)}
        uses.append((set(code.co_names), belong))
    names, count = due - {""}, -1
    while count < len(names):
        count = len(names)
        names.update(*(belong for used, belong in uses if used & names))
    return names


def _all_codes(codes: Iterable[CodeType]) -> Iterator[CodeType]:
    for code in codes:
        yield code
        yield from _all_codes(constant for constant in code.co_consts if isinstance(constant, CodeType))


def _origins(value: Any) -> list[Any]:
    """Returns the Python module of a function or class, the bases of a class, and the class of an object."""
    if isinstance(value, ModuleType):
        return []
    if isinstance(value, (type, FunctionType)):
        return [*getattr(value, "__bases__", ()), sys.modules.get(value.__module__)]
    return [type(value)]


def _held(container: Any) -> list[Any]:
    return [*container, *container.values()] if isinstance(container, dict) else [*container]


def _is_cache(value: object) -> bool:
    return isinstance(value, functools._lru_cache_wrapper)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not _MISSING
    except ValueError:
        return False
