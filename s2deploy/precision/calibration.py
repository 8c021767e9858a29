"""Calibration data: feeds from an ``.npz``, or from a folder, checked against the model before anything runs.

A folder holds one feed a file: ``.npz`` files of arrays by input name, or ``.npy`` files where the model has one input.
Files are taken in the order of their names and read when they are needed, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from s2deploy.errors import ArtifactError, InputSpecError, UsageError
from s2deploy.feeds import Feed

if TYPE_CHECKING:
    import onnx_ir as ir

_HOW = "save one feed a file with numpy.savez('folder/0.npz', {arrays})"


class Calibration:
    """The feeds of an ``.npz`` file or a folder; iterating reads them one by one.

    Args:
        path: The file or folder.
        model: The model they are for.

    Raises:
        UsageError: There is no such path, or a folder has no feed in it.
    """

    def __init__(self, path: Path, model: ir.Model) -> None:
        inputs = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
        self._inputs = {str(value.name): value for value in inputs}
        self._hint = _HOW.format(arrays=", ".join(f"{name}=array" for name in self._inputs))
        self._files = self._found(path)

    def first(self, count: int) -> Calibration:
        """Returns the first feeds alone."""
        few = copy(self)
        few._files = self._files[:count]
        return few

    def __iter__(self) -> Iterator[Feed]:
        """Yields the feeds.

        Raises:
            ArtifactError: A file is not readable.
            InputSpecError: A feed does not fit the model, or has an element that is not finite.
        """
        for file in self._files:
            feed = self._read(file)
            self._check(file, feed)
            yield {name: np.ascontiguousarray(array) for name, array in feed.items()}

    def _found(self, path: Path) -> list[Path]:
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise UsageError(f"--calibration {path}: no such file or folder", hint=self._hint)
        files = sorted(file for file in path.iterdir() if file.suffix in (".npz", ".npy"))
        if not files:
            raise UsageError(f"--calibration {path}: the folder holds neither .npz nor .npy files", hint=self._hint)
        return files

    def _read(self, file: Path) -> Feed:
        try:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {self._only_input(file): loaded}
            with loaded as archive:
                return {name: archive[name] for name in archive.files}
        except InputSpecError:
            raise
        except Exception as error:  # numpy raises ValueError, OSError, BadZipFile, EOFError on foreign files
            raise ArtifactError(
                f"{file} does not hold plain arrays: {error or type(error).__name__}", hint=self._hint
            ) from error

    def _only_input(self, file: Path) -> str:
        if len(self._inputs) != 1:
            raise InputSpecError(
                f"{file} holds one array, but the model has the inputs {', '.join(self._inputs)}", hint=self._hint
            )
        return next(iter(self._inputs))

    def _check(self, file: Path, feed: Feed) -> None:
        if set(feed) != set(self._inputs):
            raise InputSpecError(
                f"{file} holds {', '.join(feed) or 'nothing'}, but the inputs are {', '.join(self._inputs) or 'none'}",
                hint=self._hint,
            )
        sizes: dict[str, tuple[str, int]] = {}
        for name, array in feed.items():
            value = self._inputs[name]
            if value.dtype is not None and array.dtype != value.dtype.numpy():
                wanted = value.dtype.numpy()
                raise InputSpecError(
                    f"{file}: {name!r} is {array.dtype}, but the input is {wanted}",
                    hint=f"convert it: array.astype('{wanted}')",
                )
            self._check_shape(file, name, array.shape, sizes)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise InputSpecError(
                    f"{file}: {name!r} has elements that are infinite or not a number",
                    hint="remove that file, or find out where they come from",
                )

    def _check_shape(self, file: Path, name: str, shape: tuple[int, ...], sizes: dict[str, tuple[str, int]]) -> None:
        dims = self._inputs[name].shape
        if dims is None:
            return
        wanted = "x".join(map(str, dims)) or "scalar"
        given = "x".join(map(str, shape)) or "scalar"
        fits = len(shape) == len(dims)
        for dim, size in zip(dims, shape, strict=False):
            symbol = None if isinstance(dim, int) else dim.value
            fits = fits and (not isinstance(dim, int) or dim == size) and size > 0
            if symbol is not None and sizes.setdefault(symbol, (name, size))[1] != size:
                other, taken = sizes[symbol]
                raise InputSpecError(
                    f"{file}: {symbol!r} is {size} in {name!r} but {taken} in {other!r}",
                    hint="give arrays of one feed the same size there",
                )
        if not fits:
            raise InputSpecError(
                f"{file}: {name!r} has shape {given}, but the input has {wanted}",
                hint="one file is one feed, of the model's own batch size",
            )
