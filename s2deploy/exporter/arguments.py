"""How input specifications become the arguments of a module's forward.

Specifications come in the order of forward's positional arguments; what is left over goes to keyword-only arguments,
in the order forward declares them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s2deploy.errors import UsageError
from s2deploy.specs import Dim, TensorSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Arguments:
    """What `torch.export.export` is called with.

    Attributes:
        args: Positional example tensors.
        kwargs: Keyword-only example tensors.
        dynamic_shapes: The dimensions of every argument, by parameter name; None where all sizes are fixed.
    """

    args: tuple[torch.Tensor, ...]
    kwargs: dict[str, torch.Tensor]
    dynamic_shapes: dict[str, Any] | None


def bind(
    module: torch.nn.Module,
    specs: Sequence[TensorSpec],
    sizes: Mapping[str, int],
    dim_for: Callable[[Dim], object],
) -> Arguments:
    """Builds the example arguments for a module.

    Args:
        module: The module to export.
        specs: Its inputs in order.
        sizes: The example size of every dynamic dimension.
        dim_for: Gives the object that stands for a dynamic dimension in `torch.export`.

    Raises:
        UsageError: forward takes another number of inputs.
    """
    import torch

    # Only shapes and dtypes matter to an export, and zeros cost nothing however large the example is.
    tensors = [torch.zeros(spec.shape(sizes), dtype=getattr(torch, spec.dtype or "float32")) for spec in specs]
    signature = inspect.signature(module.forward)
    positional, keywords = _split(signature, [spec.name for spec in specs])
    args = tuple(tensors[:positional])
    kwargs = dict(zip(keywords, tensors[positional:], strict=True))
    shapes = [{axis: dim_for(dim) for axis, dim in enumerate(spec.dims) if len(dim.sizes()) > 1} for spec in specs]
    if not any(shapes):
        return Arguments(args, kwargs, None)
    bound = signature.bind(*shapes[:positional], **dict(zip(keywords, shapes[positional:], strict=True)))
    return Arguments(args, kwargs, dict(bound.arguments))


def _split(signature: inspect.Signature, names: Sequence[str]) -> tuple[int, list[str]]:
    """Returns how many inputs are positional, and the keyword-only parameters the others go to."""
    parameters = list(signature.parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    required = [p.name for p in parameters if p.default is p.empty and p in (*positional, *keywords)]
    takes_any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    count = len(names) if takes_any_number else min(len(names), len(positional))
    keyword_names = [p.name for p in keywords[: len(names) - count]]
    filled = [p.name for p in positional[:count]] + keyword_names
    missing = [name for name in required if name not in filled]
    if missing or count + len(keyword_names) < len(names):
        takes = ", ".join(str(p) for p in parameters) or "no inputs"
        raise UsageError(
            f"{len(names)} input{'' if len(names) == 1 else 's'} given ({', '.join(names) or 'none'}), "
            f"but the model's forward takes ({takes})",
            hint=f"missing: {', '.join(missing)}; give one --input for each"
            if missing
            else "give one --input per argument of forward, in its order",
        )
    return count, keyword_names
