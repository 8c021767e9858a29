"""Modules built by the user's own code: ``path/file.py:factory`` and ``pkg.mod:factory``."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from s2deploy.errors import FactoryError, UsageError
from s2deploy.model.formats import require_file

if TYPE_CHECKING:
    import torch


def build(reference: str, kwargs: Mapping[str, Any]) -> tuple[torch.nn.Module, Path | None]:
    """Imports the user's file or module and calls its factory under ``torch.manual_seed(0)``.

    Args:
        reference: ``path/file.py:NAME`` or ``pkg.mod:NAME``; NAME is a class, a function or a built module.
        kwargs: Keyword arguments of the factory.

    Returns:
        The module as the factory left it, and the source file where there is one.

    Raises:
        UsageError: The file or module does not exist, or the keyword arguments do not fit.
        FactoryError: The user's code raised, has no such name, or returned something else than a module.
    """
    import torch

    location, _, name = reference.rpartition(":")
    module = _import_file(Path(location)) if location.endswith(".py") else _import_dotted(location)
    factory = _find(module, name, location)
    if isinstance(factory, torch.nn.Module):
        if kwargs:
            raise UsageError(f"{reference} is a built module and takes no keyword arguments", hint="drop --kwargs")
        built: Any = factory
    else:
        _check_kwargs(factory, kwargs, reference)
        torch.manual_seed(0)
        with _user_code(f"{reference} raised"):
            built = factory(**kwargs)
    if not isinstance(built, torch.nn.Module):
        raise FactoryError(
            f"{reference} returned {type(built).__name__}, not a torch.nn.Module",
            hint="name a class derived from torch.nn.Module, or a function that returns one",
        )
    file = getattr(module, "__file__", None)
    return built, Path(file).resolve() if file else None


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Makes a folder importable: first in line inside the block, last in line afterwards.

    It stays reachable because models import lazily, in ``forward``; it stays last so that it shadows nothing.
    A module that another folder provided under a name this folder has too is forgotten, or two models
    loaded in one process would share their ``layers.py``.
    """
    entry = str(folder.resolve())
    for name, module in list(sys.modules.items()):
        if _is_shadowed(name, getattr(module, "__file__", None), folder.resolve()):
            del sys.modules[name]
    sys.path[:] = [entry, *(other for other in sys.path if other != entry)]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = [*(other for other in sys.path if other != entry), entry]


def _is_shadowed(name: str, file: str | None, folder: Path) -> bool:
    top = name.partition(".")[0]
    if file is None or not ((folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file()):
        return False
    found = Path(file)
    if folder in found.parents or "site-packages" in found.parts or top in sys.stdlib_module_names:
        return False
    return top not in ("__main__", "s2deploy")


def _import_file(path: Path) -> ModuleType:
    require_file(path, "model source")
    path = path.resolve()
    with _user_code(f"{path} could not be imported"):
        uses_package = _has_relative_import(path)
        root = path.parent
        parts = [path.stem]
        while uses_package and (root / "__init__.py").is_file():
            parts.insert(0, root.name)
            root = root.parent
        with importable(path.parent), importable(root):
            if len(parts) > 1:
                return importlib.import_module(".".join(parts))
            # A name of its own: the user's file may be called like an installed package.
            spec = importlib.util.spec_from_file_location(f"s2deploy_source_{path.stem}", path)
            if spec is None or spec.loader is None:
                raise ImportError(f"{path} cannot be imported")
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[spec.name]
                raise
            return module


def _has_relative_import(path: Path) -> bool:
    tree = ast.parse(path.read_bytes(), str(path))
    return any(isinstance(node, ast.ImportFrom) and node.level > 0 for node in ast.walk(tree))


def _import_dotted(location: str) -> ModuleType:
    if Path(location).exists():
        raise UsageError(f"{location} is no Python file", hint="write path/file.py:FACTORY, or name the file alone")
    if not all(part.isidentifier() for part in location.split(".")):
        raise UsageError(
            f"{location!r} is neither a .py file nor a dotted module name",
            hint="write path/file.py:FACTORY or package.module:FACTORY",
        )
    with importable(Path.cwd()), _user_code(f"{location} could not be imported"):
        try:
            return importlib.import_module(location)
        except ModuleNotFoundError as error:
            if error.name is None or not (location + ".").startswith(error.name + "."):
                raise
            raise UsageError(
                f"there is no module {error.name!r} to import {location!r} from",
                hint="run from the folder that holds the package, or write path/file.py:FACTORY",
            ) from error


def _find(module: ModuleType, name: str, location: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            candidates = _candidates(module)
            raise FactoryError(
                f"{location} has no {name!r}",
                hint=f"it defines {', '.join(candidates)}" if candidates else "it defines no module class or function",
            )
    if not callable(found):
        raise FactoryError(
            f"{location}:{name} is a {type(found).__name__}, which cannot be called",
            hint="name a class derived from torch.nn.Module, or a function that returns one",
        )
    return found


def _candidates(module: ModuleType) -> list[str]:
    import torch

    return [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
        and (inspect.isfunction(value) or (inspect.isclass(value) and issubclass(value, torch.nn.Module)))
        and not name.startswith("_")
    ]


def _check_kwargs(factory: Callable[..., Any], kwargs: Mapping[str, Any], reference: str) -> None:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # a callable without a signature: calling it will tell
        return
    keywords = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    names = [p.name for p in keywords]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    unknown = [name for name in kwargs if name not in names and not takes_any]
    missing = [p.name for p in keywords if p.default is p.empty and p.name not in kwargs]
    if unknown or missing:
        problems = [f"does not take {', '.join(map(repr, unknown))}"] if unknown else []
        problems += [f"needs {', '.join(map(repr, missing))}"] if missing else []
        raise UsageError(
            f"{reference} {' and '.join(problems)}",
            hint=f"give --kwargs as JSON; it takes {', '.join(names) or 'no keyword arguments'}",
        )


@contextmanager
def _user_code(what: str) -> Iterator[None]:
    """Turns whatever the user's code raises into a `FactoryError` that names their line."""
    try:
        yield
    except UsageError:
        raise
    except (Exception, SystemExit) as error:
        _raise_factory_error(what, error)


def _raise_factory_error(what: str, error: BaseException) -> NoReturn:
    kind = type(error).__name__
    hint = "fix the model's code; --debug shows the whole traceback"
    place = _user_line(error.__traceback__)
    text = str(error) or "no message"
    if isinstance(error, SyntaxError):
        place, text = f"{error.filename}:{error.lineno}", error.msg
    elif isinstance(error, ModuleNotFoundError):
        hint = f"install the package that provides {error.name!r} into the environment s2deploy runs in"
    elif isinstance(error, SystemExit):
        text = f"it called sys.exit({error.code!r})"
        hint = "move code that runs as a script under: if __name__ == '__main__'"
    raise FactoryError(f"{what}: {kind}: {text}" + (f" ({place})" if place else ""), hint=hint) from error


def _user_line(trace: TracebackType | None) -> str | None:
    """Returns ``file:line`` of the innermost frame that is the user's own, not a library's or ours."""
    frames = traceback.extract_tb(trace)
    ours = str(Path(__file__).resolve().parent)
    for frame in reversed(frames):
        if not frame.filename.startswith((ours, "<")) and not _is_library(frame.filename):
            return f"{frame.filename}:{frame.lineno}"
    return None


def _is_library(file: str) -> bool:
    return "site-packages" in Path(file).parts or file.startswith(str(Path(inspect.__file__).parent))
