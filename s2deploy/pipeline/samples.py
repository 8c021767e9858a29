"""What a run is fed: arrays from files and folders, or random ones, one feed after the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from s2deploy.errors import ArtifactError, InputSpecError, S2DeployError, UsageError
from s2deploy.feeds import Array, Feed, load_feed, random_feed, sizes_at
from s2deploy.runtime import Session, TensorInfo
from s2deploy.specs import Dim, TensorSpec, parse_inputs

_FORMS = "write --input NAME=FILE.npy, --input NAME=FOLDER, --input FILE.npz, or --input NAME:SIZES for random values"


@dataclass(frozen=True)
class Sample:
    """The arrays of one call, read when they are needed.

    Attributes:
        label: What to call it: the name of its file without the suffix.
        files: Files by input name.
        arrays: Arrays by input name, of the inputs that have no file.
    """

    label: str
    files: Mapping[str, Path]
    arrays: Feed

    def read(self, inputs: Sequence[TensorInfo]) -> Feed:
        """Returns the arrays.

        Raises:
            ArtifactError: A file holds no plain array.
        """
        return self.arrays | {
            info.name: _read(self.files[info.name], info) for info in inputs if info.name in self.files
        }


@dataclass(frozen=True)
class Samples:
    """All that a run is fed.

    Attributes:
        items: One for each file of a folder, or a single one.
        described: Where the values come from, in a few words.
        are_folders: Whether every input comes from a folder, so that several files can share a call.
    """

    items: tuple[Sample, ...]
    described: str
    are_folders: bool


def samples_for(texts: Sequence[str], session: Session) -> Samples:
    """Returns what ``--input`` texts mean for a model.

    Args:
        texts: Any of the forms of ``--input``; none means random values of typical sizes.
        session: The loaded model.

    Raises:
        UsageError: A text cannot be meant, names no input or file, or inputs are missing.
    """
    names = [info.name for info in session.inputs]
    folders: dict[str, dict[str, Path]] = {}
    files: dict[str, Path] = {}
    arrays: Feed = {}
    random: list[TensorSpec] = []
    for text in texts:
        name, value = _split(text)
        feed = _load_npz(value) if not name and isinstance(value, Path) else {}
        for one in feed or [name]:
            _check_name(one, names, {*folders, *files, *arrays, *(spec.name for spec in random)})
        if isinstance(value, TensorSpec):
            random.append(value)
        elif feed:
            arrays |= feed
        elif value.is_dir():
            folders[name] = _files_of(value)
        else:
            files[name] = value
    if not texts:
        random = list(_typical_specs(session))
    arrays |= random_feed(_with_types(random, session), sizes_at(random, "opt"))
    known = {*folders, *files, *arrays}
    missing = [info for info in session.inputs if info.name not in known]
    if missing:
        raise UsageError(
            f"no --input for {', '.join(map(str, missing))}", hint=f"give one for every input, or none at all; {_FORMS}"
        )
    given = {name: next(iter(found.values())).parent for name, found in folders.items()} | files
    everywhere = bool(names) and set(folders) == set(names)
    return Samples(_samples(folders, files, arrays), _describe(given, arrays, random), everywhere)


def _split(text: str) -> tuple[str, Path | TensorSpec]:
    """Returns the input a text names, if it names one, and what it gives for it."""
    name, equals, path = text.partition("=")
    if equals and name:
        if not path or not Path(path).exists():
            raise UsageError(f"--input {text}: there is no file or folder {path or 'named'}", hint=_FORMS)
        if Path(path).suffix == ".npz":
            raise UsageError(f"--input {text}: an .npz holds its own names", hint=f"write --input {path}")
        return name, Path(path)
    if text.endswith(".npz"):
        return "", Path(text)
    if ":" not in text or Path(text).exists():
        raise UsageError(f"--input {text!r} names no input", hint=_FORMS)
    (spec,) = parse_inputs([text])
    return spec.name, spec


def _load_npz(path: Path) -> Feed:
    try:
        feed = load_feed(path)
    except S2DeployError as error:
        raise type(error)(error.message.replace("--data", "--input"), hint=error.hint) from error
    if not feed:
        raise UsageError(f"--input {path} holds no arrays", hint="save them with numpy.savez(path, x=array)")
    return feed


def _check_name(name: str, names: Sequence[str], known: Collection[str]) -> None:
    if name not in names:
        raise UsageError(f"there is no input {name!r}", hint=f"the inputs are {', '.join(names) or 'none'}")
    if name in known:
        raise UsageError(f"input {name!r} is given twice", hint="give every input one --input")


def _files_of(folder: Path) -> dict[str, Path]:
    files = {path.stem: path for path in sorted(folder.glob("*.npy"))}
    if not files:
        raise UsageError(f"the folder {folder} holds no .npy file", hint="save arrays there with numpy.save")
    return files


def _samples(folders: Mapping[str, Mapping[str, Path]], files: Mapping[str, Path], arrays: Feed) -> tuple[Sample, ...]:
    if not folders:
        label = next(iter(files.values())).stem if files else "outputs"
        return (Sample(label, files, arrays),)
    (first, labels), *others = folders.items()
    for name, found in others:
        different = sorted(set(labels) ^ set(found))
        if different:
            raise UsageError(
                f"the folders of inputs {first!r} and {name!r} hold different files, e.g. {different[0]}.npy",
                hint="give the files that belong together the same name",
            )
    return tuple(
        Sample(label, {**files, **{name: found[label] for name, found in folders.items()}}, arrays) for label in labels
    )


def _describe(given: Mapping[str, Path], arrays: Feed, random: Sequence[TensorSpec]) -> str:
    drawn = [f"{spec.name} {'x'.join(map(str, arrays[spec.name].shape)) or 'scalar'}" for spec in random]
    files = [f"{name} from {path}" for name, path in given.items()]
    others = [name for name in arrays if name not in {spec.name for spec in random}]
    return ", ".join([*files, *others, *([f"random values: {', '.join(drawn)}"] if drawn else [])]) or "no inputs"


def _typical_specs(session: Session) -> tuple[TensorSpec, ...]:
    if session.specs:
        return session.specs
    for info in session.inputs:
        if any(not isinstance(size, int) for size in info.shape):
            raise InputSpecError(
                f"input {info} is dynamic and the file does not say which sizes are usual",
                hint=f"say them for random values, e.g. --input {info.name}:"
                + ",".join(str(size) if isinstance(size, int) else "1" for size in info.shape),
            )
    return tuple(
        TensorSpec(info.name, tuple(Dim.fixed(int(size or 0)) for size in info.shape)) for info in session.inputs
    )


def _with_types(specs: Sequence[TensorSpec], session: Session) -> list[TensorSpec]:
    dtypes = {info.name: info.dtype for info in session.inputs}
    return [spec if spec.dtype else replace(spec, dtype=dtypes[spec.name]) for spec in specs]


def _read(path: Path, info: TensorInfo) -> Array:
    try:
        with path.open("rb") as stream:
            array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(
            f"{path} is not an .npy file of a plain array: {error}", hint="save it with numpy.save(path, array)"
        ) from error
    if info.dtype == "bfloat16" and array.dtype == np.float32:  # which no .npy file can hold
        import ml_dtypes

        return array.astype(ml_dtypes.bfloat16)
    return array
