"""Classifies a folder of images, or of raw samples: reads and copies the next batch while the model works on the last.

Usage: python main.py MODEL FOLDER [--batch N] [--top K] [--mean M,M,M] [--std S,S,S] [--scores FILE]

MODEL is a plan, or an .onnx, which needs no GPU. FOLDER holds images (.ppm, .pgm) of the model's size, or raw samples
(.bin, float32 in C order).
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

import s2deploy
from s2deploy.errors import UsageError

Floats = npt.NDArray[np.float32]
_HEADER = re.compile(rb"P([56])" + rb"(?:\s|#[^\n]*\n)+(\d+)" * 3 + rb"\s")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, help="samples of a batch; as many as the model was tuned for unless given")
    parser.add_argument("--top", type=int, default=5, help="classes printed for each sample")
    parser.add_argument("--mean", type=_floats, default=_floats("0"), help="subtracted from channels of 0 to 1")
    parser.add_argument("--std", type=_floats, default=_floats("1"), help="what they are divided by then")
    parser.add_argument("--scores", type=Path, help="where all scores go as float32, sample by sample")
    options = parser.parse_args(arguments)
    begin = time.perf_counter()
    try:
        classify(options)
    except s2deploy.S2DeployError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    print(f"{time.perf_counter() - begin:.2f} s, loading included", file=sys.stderr)
    return 0


def classify(options: argparse.Namespace) -> None:
    """Prints the best classes of every sample, in the order of their names."""
    samples = sorted(file for file in _listed(options.folder) if file.suffix in (".ppm", ".pgm", ".bin"))
    if not samples:
        raise UsageError(f"{options.folder} holds no .ppm, .pgm or .bin", hint="give a folder of images or samples")
    with s2deploy.load(options.model) as session, ThreadPoolExecutor(max_workers=2) as pool:
        print(session.backend, file=sys.stderr)
        smallest, typical, largest = _batches(session)
        size = options.batch or typical
        if not smallest <= size <= largest:
            raise UsageError(f"the model takes batches of {smallest} to {largest:g}", hint="give --batch in that range")
        shape = _sample_shape(samples[0], session)

        def run(batch: Sequence[Path]) -> Floats:
            values = np.zeros((max(len(batch), smallest), *shape), np.float32)
            for row, sample in zip(values, batch, strict=False):  # the rest stands in for samples there are not
                row[...] = read_sample(sample, shape, options.mean, options.std)
            outputs = session({session.inputs[0].name: values})
            return np.asarray(outputs[session.outputs[0].name])[: len(batch)].reshape(len(batch), -1)

        batches = [samples[first : first + size] for first in range(0, len(samples), size)]
        all_scores = []
        for batch, scores in zip(batches, pool.map(run, batches), strict=True):
            all_scores.append(scores)
            for sample, values in zip(batch, scores, strict=True):
                best = np.argsort(-values, kind="stable")[: options.top]
                print(sample.name, *(f"{index}:{values[index]:.6g}" for index in best), sep="  ")
    if options.scores is not None:
        np.concatenate(all_scores).astype(np.float32).tofile(options.scores)


def read_sample(sample: Path, shape: tuple[int, ...], mean: Floats, deviation: Floats) -> Floats:
    """Returns one sample.

    Args:
        sample: An image or a raw sample.
        shape: The shape it must have, C x H x W of an image.
        mean: Subtracted from an image's channels, which are 0 to 1; one number each, or one for all.
        deviation: What they are divided by then.

    Raises:
        UsageError: It is no such file, or of another shape.
    """
    if sample.suffix == ".bin":
        if sample.stat().st_size != 4 * np.prod(shape, dtype=int):
            raise UsageError(f"{sample} is not float32 of shape {shape}", hint="write one sample a file, in C order")
        return np.fromfile(sample, np.float32).reshape(shape)
    found, pixels = _image(sample)
    if found != shape:
        raise UsageError(
            f"{sample} is {found}, the first of the folder is {shape}",
            hint="give images of one size, e.g. magick IN -resize 224x224! OUT.ppm",
        )
    for numbers in (mean, deviation):
        if numbers.size not in (1, shape[0]):
            raise UsageError(
                f"--mean or --std has {numbers.size} numbers, images have {shape[0]} channels",
                hint="give one for each channel, or one for all",
            )
    values = np.frombuffer(pixels, np.uint8).reshape(*shape[1:], shape[0]).transpose(2, 0, 1)
    return (values.astype(np.float32) / np.float32(255) - mean[:, None, None]) / deviation[:, None, None]


def _image(path: Path) -> tuple[tuple[int, int, int], bytes]:
    """Returns shape and pixels, channels innermost, of a binary PPM or PGM of 8 bits."""
    content = path.read_bytes()
    header = _HEADER.match(content)
    if header is None or header[4] != b"255":
        raise UsageError(f"{path} is no binary PPM or PGM of 8 bits", hint="convert it: magick IN -depth 8 OUT.ppm")
    channels = 3 if header[1] == b"6" else 1
    width, height = int(header[2]), int(header[3])
    pixels = content[header.end() : header.end() + channels * height * width]
    if len(pixels) < channels * height * width:
        raise UsageError(f"{path} is cut off", hint="copy it again")
    return (channels, height, width), pixels


def _sample_shape(sample: Path, session: s2deploy.Session) -> tuple[int, ...]:
    if sample.suffix != ".bin":
        return _image(sample)[0]
    if session.specs:
        return tuple(dim.opt for dim in session.specs[0].dims[1:])
    sizes = session.inputs[0].shape[1:]
    if not all(isinstance(size, int) for size in sizes):
        raise UsageError("raw samples tell no shape, and neither does the model", hint="give images")
    return tuple(int(size) for size in sizes if size is not None)


def _batches(session: s2deploy.Session) -> tuple[int, int, float]:
    """Returns the smallest, typical and largest batch of a model that classifies."""
    infos = (*session.inputs, *session.outputs)
    if len(infos) != 2 or any(info.dtype != "float32" or len(info.shape) < 1 for info in infos):
        raise UsageError(
            "the model does not classify: one float32 input N x ... and one float32 output N x classes",
            hint="call s2deploy.load(...) as your model needs it",
        )
    if session.specs:
        dim = session.specs[0].dims[0]
        return dim.min, dim.opt, dim.max
    size = session.inputs[0].shape[0]
    return (size, size, size) if isinstance(size, int) else (1, 8, float("inf"))


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _floats(text: str) -> Floats:
    return np.array([float(part) for part in text.split(",")], np.float32)


if __name__ == "__main__":
    sys.exit(main())
