"""What fakes of an API are made of, so that touching a name that the real one lacks fails."""

from __future__ import annotations

import enum
from typing import Any, ClassVar


class Numbered(enum.Enum):
    """As pybind makes them: no numbers, but convertible to one."""

    def __int__(self) -> int:
        return int(self.value)


class Guarded:
    """An object of an API class: only its listed names can be touched; names with an underscore are the fake's own."""

    _allowed: ClassVar[frozenset[str]] = frozenset()
    _calls: ClassVar[list[list[Any]]] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in type(self)._allowed:
            raise AttributeError(f"{type(self).__name__} of this version has no {name}")
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            if name not in type(self)._allowed:
                raise AttributeError(f"{type(self).__name__} of this version has no {name}")
            type(self)._calls.append([f"{type(self).__name__}.{name}", getattr(self, "_name", ""), str(value)])
        object.__setattr__(self, name, value)

    def _record(self, call: str, *arguments: Any) -> None:
        type(self)._calls.append([f"{type(self).__name__}.{call}", *map(str, arguments)])
