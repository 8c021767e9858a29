"""Arrays between processes: one file of plain bytes each, read back as memory maps.

Mapped arrays take no memory of their own. Their files are removed once they are mapped: the system keeps the bytes as
long as an array needs them, and nothing is left behind however the process ends.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from s2deploy.feeds import Array, Feed

_INDEX = "index.json"


def write_arrays(arrays: Mapping[str, Array], folder: Path) -> None:
    """Writes named arrays into a new folder.

    Raises:
        OSError: They cannot be written.
    """
    folder.mkdir()
    index = []
    for number, (name, array) in enumerate(arrays.items()):
        is_text = array.dtype.kind in "OUS"
        index.append({"name": name, "dtype": "object" if is_text else array.dtype.name, "shape": array.shape})
        with (folder / str(number)).open("wb") as stream:
            if is_text:
                stream.write(json.dumps(array.reshape(-1).tolist()).encode())
            else:
                np.require(array, requirements="C").reshape(-1).view(np.uint8).tofile(stream)
    (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")


def read_arrays(folder: Path) -> Feed:
    """Reads named arrays and removes their folder."""
    arrays = {}
    for number, entry in enumerate(json.loads((folder / _INDEX).read_text(encoding="utf-8"))):
        arrays[entry["name"]] = _read(folder / str(number), entry["dtype"], tuple(entry["shape"]))
    shutil.rmtree(folder)
    return arrays


def on_disk(arrays: Mapping[str, Array], folder: Path) -> Feed:
    """Returns the same arrays, held on the disk of a folder instead of in memory.

    Args:
        arrays: Named arrays.
        folder: A path that does not exist yet.
    """
    write_arrays(arrays, folder)
    return read_arrays(folder)


def _read(path: Path, dtype: str, shape: tuple[int, ...]) -> Array:
    if dtype == "object":
        values = np.empty(shape, dtype=object)
        values.reshape(-1)[:] = json.loads(path.read_bytes())
        return values
    if 0 in shape:
        return np.empty(shape, _dtype(dtype))
    return np.memmap(path, _dtype(dtype), mode="r", shape=shape)


def _dtype(name: str) -> np.dtype[np.generic]:
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name, name))
