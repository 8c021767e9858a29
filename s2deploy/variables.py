"""Variables of the Python modules that a model's code is in, put back after forward has run.

Public models keep grids and masks from call to call: ``if grid is None or grid.shape != x.shape: grid = ...`` in a
global variable, in a dictionary by size, behind `functools.lru_cache`. A run leaves tensors of its own sizes there,
which a trace would take for constants, and a trace leaves tensors without data.
"""

from __future__ import annotations

import functools
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from types import FunctionType, ModuleType
from typing import Any

_FOREIGN = frozenset({"torch", "torchvision", "numpy", "s2deploy", "__future__"}) | sys.stdlib_module_names
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("purelib", "platlib"))
_CONTAINERS = (dict, list)


class Variables:
    """What the variables are at one time.

    Args:
        owners: The parts of a model. The modules that their classes are in count, and those of the user's that
            functions, classes and modules in them come from; installed packages only where such a class is in one.
    """

    def __init__(self, owners: Iterable[object]) -> None:
        classes = {type(owner) for owner in owners}
        self._scopes = [(scope, dict(scope)) for scope in _scopes({cls.__module__ for cls in classes})]
        self._containers: list[tuple[Any, Any]] = []
        self._caches = [value for cls in classes for value in vars(cls).values() if _is_cache(value)]
        for _, scope in self._scopes:
            own = [value for name, value in scope.items() if not name.startswith("__")]  # __builtins__ is a dict
            self._caches += [value for value in own if _is_cache(value)]
            self._containers += [(value, value.copy()) for value in own if type(value) in _CONTAINERS]

    def restore(self) -> None:
        """Puts them back, and empties caches of functions."""
        for scope, before in self._scopes:
            for name in [name for name in scope if name not in before and _is_data(scope[name])]:
                del scope[name]
            scope.update((name, value) for name, value in before.items() if scope.get(name) is not value)
        for container, content in self._containers:
            container.clear()
            if isinstance(container, list):
                container.extend(content)
            else:
                container.update(content)
        for cache in self._caches:
            cache.cache_clear()


def _scopes(names: set[str]) -> Iterator[dict[str, Any]]:
    """Yields the variables of some modules, and of those of the user's that they take something from."""
    packages = {name.partition(".")[0] for name in names}
    pending, seen = list(names), set(names)
    while pending:
        module = sys.modules.get(pending.pop())
        if module is None or not _is_users(module, packages):
            continue
        yield vars(module)
        for value in list(vars(module).values()):
            origin = value.__name__ if isinstance(value, ModuleType) else _origin(value)
            if origin not in seen:
                seen.add(origin)
                pending.append(origin)


def _origin(value: object) -> str:
    code = getattr(value, "__wrapped__", value) if _is_cache(value) else value
    return code.__module__ if isinstance(code, (FunctionType, type)) else ""


def _is_users(module: ModuleType, packages: set[str]) -> bool:
    package = module.__name__.partition(".")[0]
    if package in _FOREIGN:
        return False
    return package in packages or not (getattr(module, "__file__", None) or _LIBRARIES[0]).startswith(_LIBRARIES)


def _is_cache(value: object) -> bool:
    return isinstance(value, functools._lru_cache_wrapper)


def _is_data(value: object) -> bool:
    return not isinstance(value, (FunctionType, ModuleType, type)) and not _is_cache(value)
