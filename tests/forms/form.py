"""One form of data movement: a function or module as people write it, its inputs, and what must become of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import torch

from s2deploy.specs import Dim, TensorSpec, parse_inputs

Source = Callable[..., Any] | type[torch.nn.Module]


@dataclass(frozen=True, eq=False)
class Form:
    """A form.

    Attributes:
        name: Its name, unique over all topics.
        topic: The file it is in.
        title: What is written, in a line.
        source: A function of tensors, or a class of modules that takes no arguments.
        texts: The inputs with the ranges of their dynamic dimensions, as `s2deploy export --input` takes them.
        values: Ranges of random values, as `--value-range` takes them.
        dtypes: Further types of the floating inputs for which the form makes sense.
        refused: What the reason must match by route, where scatters stay; "" is every route.
        empty: Whether the rewritten file is right for a batch of 0, too, although ranges start at 1.
    """

    name: str
    topic: str
    title: str
    source: Source
    texts: tuple[str, ...]
    values: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    empty: bool = False

    def module(self) -> torch.nn.Module:
        """Returns a new module in eval mode, the same every time."""
        torch.manual_seed(0)
        source = self.source
        if not isinstance(source, type):
            source = type(self.name, (torch.nn.Module,), {"forward": staticmethod(source)})
        module: torch.nn.Module = source()
        return module.eval()

    def as_type(self, dtype: str) -> Form:
        """Returns the same form with inputs of another type."""
        return replace(self, name=f"{self.name}_{dtype}", texts=tuple(f"{text}:{dtype}" for text in self.texts))

    def specs(self, *, dynamic: bool) -> tuple[TensorSpec, ...]:
        """Returns the inputs, with their ranges or at their typical sizes."""
        specs = parse_inputs(self.texts, self.values)
        if dynamic:
            return specs
        return tuple(replace(spec, dims=tuple(Dim.fixed(dim.opt) for dim in spec.dims)) for spec in specs)

    def refusal(self, route: str) -> str | None:
        """Returns what the reason must match on a route; None where nothing may be refused."""
        return next((reason for start, reason in self.refused.items() if route.startswith(start)), None)


def form(
    *texts: str,
    values: tuple[str, ...] = (),
    dtypes: tuple[str, ...] = (),
    refused: str | Mapping[str, str] | None = None,
    empty: bool = False,
) -> Callable[[Source], Form]:
    """Returns a decorator that makes a function or a class of modules a `Form`."""
    reasons = {"": refused} if isinstance(refused, str) else dict(refused or {})

    def decorate(source: Source) -> Form:
        title = (inspect.getdoc(source) or "").partition("\n\n")[0].replace("\n", " ")
        topic = source.__module__.rpartition(".")[2]
        return Form(source.__name__, topic, title, source, texts, values, dtypes, reasons, empty)

    return decorate


def forms_of(module: ModuleType) -> tuple[Form, ...]:
    """Returns the forms of a topic in the order they are written."""
    return tuple(value for value in vars(module).values() if isinstance(value, Form))
