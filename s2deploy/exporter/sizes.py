"""Example sizes that specialise nothing.

torch.export bakes a size in when the example's size is 0 or 1, and can take two dimensions for one when their example
sizes agree by accident. Sizes stay near `Dim.opt`: tiny ones collapse to 1 somewhere inside a network that halves its
resolution, and the size of an example costs nothing because only its shape is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from s2deploy.specs import Dim, TensorSpec, named_dims


def attempts(specs: Sequence[TensorSpec], taken: Iterable[int] = ()) -> Iterator[dict[str, int]]:
    """Yields example sizes to try in turn, for a model that raises at some.

    All different ones come first; then opt, which a model is sure to be meant for; then one size for all dimensions of
    the same range, for a model that wants them equal.

    Args:
        specs: The model's inputs.
        taken: Sizes that occur in the model, so that no dimension is mistaken for one of them.
    """
    dims = named_dims(specs)
    distinct = distinct_sizes(specs, taken)
    opt = {
        name: dim.opt if dim.opt // dim.multiple > 1 and dim.opt > 2 else distinct[name] for name, dim in dims.items()
    }
    largest: dict[range, int] = {}
    for name, dim in dims.items():
        largest[dim.sizes()] = max(opt[name], largest.get(dim.sizes(), 0))
    equal = {name: largest[dim.sizes()] for name, dim in dims.items()}
    tried: list[dict[str, int]] = []
    for sizes in (distinct, opt, equal):
        if sizes not in tried:
            tried.append(sizes)
            yield sizes


def distinct_sizes(specs: Sequence[TensorSpec], taken: Iterable[int] = ()) -> dict[str, int]:
    """Returns one size above 1 for each dynamic dimension, different from every other size as far as ranges allow."""
    used = {dim.opt for spec in specs for dim in spec.dims if dim.is_fixed}
    known = set(taken)
    sizes: dict[str, int] = {}
    # Narrow ranges choose first: a wide one always finds another size.
    for name, dim in sorted(named_dims(specs).items(), key=lambda item: len(item[1].sizes())):
        sizes[name] = _pick(dim, used, known)
        used.add(sizes[name])
    return sizes


def _pick(dim: Dim, used: set[int], known: set[int]) -> int:
    def drawbacks(size: int) -> tuple[bool, bool, bool, bool, int]:
        # A part that a shift moves is one smaller, and torch.export specialises what has size 1; so it does with what
        # counts the multiples.
        count = size // dim.multiple
        return (count <= 1, count <= 2, size in used, size in known, abs(size - dim.opt))

    return min(dim.sizes(), key=drawbacks)
