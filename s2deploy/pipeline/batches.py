"""Which samples share a call: those of a folder are run in batches where the model has an axis for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from s2deploy.errors import UsageError
from s2deploy.feeds import Feed
from s2deploy.runtime import Session


@dataclass(frozen=True)
class Batch:
    """The feed of one call.

    Attributes:
        labels: The samples in it.
        feed: Their arrays, with the last sample repeated where the model takes more.
        axis: How the samples lie in the outputs: ``stacked`` along axis 0, ``joined`` along it, or None: the outputs
            are those of the one sample there is.
    """

    labels: tuple[str, ...]
    feed: Feed
    axis: str | None

    def split(self, outputs: Feed) -> Iterator[tuple[str, Feed]]:
        """Yields the outputs of each sample."""
        if self.axis is None:
            yield self.labels[0], outputs
            return
        for index, label in enumerate(self.labels):
            place = index if self.axis == "stacked" else slice(index, index + 1)
            yield label, {name: array[place] for name, array in outputs.items()}


def batch_sizes(session: Session) -> Sequence[int] | None:
    """Returns the sizes of the axis that holds the samples, ascending; None where the model has no such axis.

    It is axis 0, if all inputs and outputs have it with the same size or name.
    """
    shapes = [info.shape for info in (*session.inputs, *session.outputs)]
    firsts = {shape[0] if shape else 0 for shape in shapes}
    if len(firsts) != 1 or 0 in firsts:
        return None
    (first,) = firsts
    if isinstance(first, int):
        return (first,)
    ranges = {spec.dims[0].sizes() for spec in session.specs if spec.dims}
    return ranges.pop() if len(ranges) == 1 else range(1, 1 << 31)


def choose_size(asked: int | None, sizes: Sequence[int] | None, session: Session) -> int:
    """Returns how many samples go into one call.

    Args:
        asked: What the user wants; None takes what the model was tuned for.
        sizes: What `batch_sizes` returned.
        session: The loaded model.

    Raises:
        UsageError: The model does not take that many.
    """
    if asked is None:
        if sizes is None:
            return 1
        return session.specs[0].dims[0].opt if session.specs and len(sizes) > 1 else sizes[0]
    if asked != 1 and sizes is None:
        raise UsageError(
            "the model has no axis for several samples: not all inputs and outputs share axis 0", hint="drop --batch"
        )
    if asked < 1 or (sizes is not None and asked > sizes[-1]):
        raise UsageError(
            f"the model takes no batch of {asked}",
            hint=f"give --batch 1 to {sizes[-1] if sizes else 1}, or leave it out",
        )
    return asked


def batches(
    feeds: Iterable[tuple[str, Feed]], session: Session, sizes: Sequence[int] | None, size: int
) -> Iterator[Batch]:
    """Yields batches of samples that lie next to each other and have the same shapes.

    A sample either lacks axis 0 or has size 1 there; anything else is a batch of its own.

    Args:
        feeds: Labels and arrays of the samples.
        session: The loaded model.
        sizes: What `batch_sizes` returned.
        size: How many samples go into one call.
    """
    waiting: list[tuple[str, Feed]] = []
    kind: tuple[object, ...] = ()
    for label, feed in feeds:
        axis = _axis(feed, session, sizes)
        here = (axis, *((array.shape, array.dtype) for array in feed.values()))
        if waiting and (here != kind or len(waiting) >= size):
            yield _joined(waiting, kind[0], sizes)
            waiting = []
        if axis is None:
            yield Batch((label,), feed, None)
            continue
        waiting.append((label, feed))
        kind = here
    if waiting:
        yield _joined(waiting, kind[0], sizes)


def _axis(feed: Feed, session: Session, sizes: Sequence[int] | None) -> str | None:
    ranks = {len(info.shape) - feed[info.name].ndim for info in session.inputs}
    if sizes is None:
        return None
    if ranks == {1}:
        return "stacked"
    if ranks == {0} and all(array.shape[0] == 1 for array in feed.values()):
        return "joined"
    return None


def _joined(samples: Sequence[tuple[str, Feed]], axis: object, sizes: Sequence[int] | None) -> Batch:
    assert sizes is not None
    feeds = [feed for _, feed in samples]
    wanted = next(size for size in sizes if size >= len(feeds))
    feeds += [feeds[-1]] * (wanted - len(feeds))
    join = np.stack if axis == "stacked" else np.concatenate
    feed = {name: join([one[name] for one in feeds]) for name in feeds[0]}
    return Batch(tuple(label for label, _ in samples), feed, str(axis))
