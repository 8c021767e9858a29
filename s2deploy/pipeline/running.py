"""`run`: an artifact on arrays from files, its outputs into files."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from s2deploy.artifacts import check_output, staged
from s2deploy.errors import S2DeployError, UsageError
from s2deploy.feeds import Array, Feed
from s2deploy.pipeline.arguments import AnyPath, require_list
from s2deploy.pipeline.batches import batch_sizes, batches, choose_size
from s2deploy.pipeline.samples import Samples, samples_for
from s2deploy.report import Reporter, Stage
from s2deploy.results import RunOutput, RunResult
from s2deploy.runtime import Session, load


def run(
    artifact: AnyPath,
    output: AnyPath | None = None,
    *,
    inputs: Sequence[str] = (),
    batch: int | None = None,
    provider: str | None = None,
    threads: int | None = None,
    device: int | None = None,
    cuda_graphs: bool = False,
    unchecked: str | None = None,
    reporter: Reporter | None = None,
) -> RunResult:
    """Runs an artifact.

    Args:
        artifact: An ``.onnx`` file or a plan.
        output: The ``.npz`` to write, or a folder that gets one ``.npz`` per file of the input folders; nothing is
            written unless given. In an ``.npz`` the outputs of all files are stacked, in the order of their names.
        inputs: ``NAME=FILE.npy``, ``NAME=FOLDER`` of ``.npy`` files, ``FILE.npz`` of arrays by name, or ``NAME:SIZES``
            for random values; random values of typical sizes for all if empty.
        batch: How many files of a folder share a call; what the model was tuned for unless given.
        provider: See `s2deploy.load`.
        threads: See `s2deploy.load`.
        device: See `s2deploy.load`.
        cuda_graphs: See `s2deploy.load`.
        unchecked: See `s2deploy.load`.
        reporter: Told about every stage.

    Raises:
        UsageError: The call is wrong, or the arrays do not fit the model.
        ArtifactError: A file is damaged, or the outputs cannot be written.
        TargetUnavailableError: The artifact does not run on this machine.
        S2DeployError: The runtime failed.
    """
    reporter = reporter or Reporter()
    require_list("inputs", inputs)
    artifact, target = Path(artifact), None if output is None else Path(output)
    if target is not None:
        _check_target(target, artifact)
    with ExitStack() as stack:
        with reporter.stage("load", "loading the model") as stage:
            session = stack.enter_context(
                load(
                    artifact,
                    provider=provider,
                    threads=threads,
                    device=device,
                    cuda_graphs=cuda_graphs,
                    unchecked=unchecked,
                )
            )
            stage.detail = session.backend
            stage.notes += session.remarks
        samples = samples_for(inputs, session)
        if len(samples.items) > 1 and target is not None and target.suffix != ".npz":
            target.mkdir(exist_ok=True)
        with reporter.stage("run", "running") as stage:
            started = time.perf_counter()
            sink = _Sink(target, samples)
            calls = _run_all(session, samples, batch, sink, stage)
            sink.finish()
            seconds = time.perf_counter() - started
            count = len(samples.items)
            stage.detail = samples.described
            if count > 1:
                stage.detail += f": {count} files in {calls} call{'s' * (calls > 1)}"
        return RunResult(
            artifact,
            session.backend,
            target,
            len(samples.items),
            calls,
            seconds,
            sink.summary(),
            tuple(reporter.stages),
        )


def _run_all(session: Session, samples: Samples, batch: int | None, sink: _Sink, stage: Stage) -> int:
    """Runs everything and returns the number of calls."""
    sizes = batch_sizes(session)
    size = choose_size(batch, sizes, session) if samples.are_folders or batch is not None else 1
    done = calls = 0
    for group in batches(_feeds(samples, session), session, sizes, size):
        try:
            outputs = session(group.feed)
        except UsageError as error:
            where = f"{group.labels[0]}.npy: " if samples.are_folders else ""
            raise UsageError(f"{where}{error.message}", hint=error.hint) from error
        for label, arrays in group.split(_arrays(outputs)):
            sink.take(label, arrays)
        done, calls = done + len(group.labels), calls + 1
        stage.count(done, len(samples.items))
    return calls


def _feeds(samples: Samples, session: Session) -> Iterator[tuple[str, Feed]]:
    for sample in samples.items:
        yield sample.label, sample.read(session.inputs)


def _arrays(outputs: Mapping[str, Any]) -> Feed:
    """Returns outputs as what an ``.npz`` can hold: bfloat16 becomes float32, text becomes numpy's own.

    Raises:
        S2DeployError: An output is no tensor.
    """
    arrays: Feed = {}
    for name, value in outputs.items():
        if not isinstance(value, np.ndarray):
            raise S2DeployError(
                f"output {name!r} is a {type(value).__name__}, which no .npz can hold",
                hint="call the model from Python: s2deploy.load(path)",
            )
        if value.dtype.name == "bfloat16":
            value = value.astype(np.float32)
        arrays[name] = value.astype(str) if value.dtype == object else value
    return arrays


class _Sink:
    """Takes the outputs of one sample after the other: into one file, a folder, or nowhere."""

    def __init__(self, target: Path | None, samples: Samples) -> None:
        self._target = target
        self._many = len(samples.items) > 1
        self._in_folder = target is not None and target.suffix != ".npz" and self._many
        self._kept: list[tuple[str, Feed]] = []
        self._statistics: dict[str, _Statistics] = {}

    def take(self, label: str, outputs: Feed) -> None:
        """Takes the outputs of a sample."""
        for name, array in outputs.items():
            self._statistics.setdefault(name, _Statistics()).add(array)
        if self._in_folder:
            assert self._target is not None
            _save(self._target / f"{label}.npz", outputs)
        elif self._target is not None:
            self._kept.append((label, outputs))
            self._check_shapes(label, outputs)

    def finish(self) -> None:
        """Writes what one file holds."""
        if self._target is None or self._in_folder:
            return
        if self._many:
            names = self._kept[0][1]
            _save(self._target, {name: _combined([outputs[name] for _, outputs in self._kept]) for name in names})
        else:
            target = self._target if self._target.suffix == ".npz" else self._target / f"{self._kept[0][0]}.npz"
            target.parent.mkdir(exist_ok=True)
            _save(target, self._kept[0][1])

    def summary(self) -> tuple[RunOutput, ...]:
        """Returns what came out, over all samples."""
        return tuple(statistics.result(name) for name, statistics in self._statistics.items())

    def _check_shapes(self, label: str, outputs: Feed) -> None:
        first, before = self._kept[0]
        for name, array in outputs.items():
            if array.shape != before[name].shape:
                raise UsageError(
                    f"output {name!r} has shape {before[name].shape} for {first} but {array.shape} for {label}: "
                    "one file cannot hold them stacked",
                    hint="write one file for each: -o FOLDER",
                )


def _combined(arrays: Sequence[Array]) -> Array:
    """Returns the samples' outputs as one array: joined where each has its own axis for samples, stacked otherwise."""
    if arrays[0].ndim and arrays[0].shape[0] == 1:
        return np.concatenate(arrays)
    return np.stack(arrays)


class _Statistics:
    """The range of an output's values over all samples."""

    def __init__(self) -> None:
        self._shapes: list[tuple[int, ...]] = []
        self._dtype = ""
        self._count = self._not_finite = 0
        self._total = 0.0
        self._low, self._high = np.inf, -np.inf

    def add(self, array: Array) -> None:
        self._dtype = "string" if array.dtype.kind in "US" else str(array.dtype)
        if array.shape not in self._shapes:
            self._shapes.append(array.shape)
        if array.dtype.kind not in "biuf":
            return
        values = array.astype(np.float64)
        finite = values[np.isfinite(values)]
        self._not_finite += values.size - finite.size
        if finite.size:
            self._count += finite.size
            self._total += float(finite.sum())
            self._low = min(self._low, float(finite.min()))
            self._high = max(self._high, float(finite.max()))

    def result(self, name: str) -> RunOutput:
        known = self._count > 0
        return RunOutput(
            name,
            self._dtype,
            tuple(self._shapes),
            self._low if known else None,
            self._total / self._count if known else None,
            self._high if known else None,
            self._not_finite,
        )


def _check_target(target: Path, artifact: Path) -> None:
    if target.suffix == ".npz":
        check_output(target, [artifact])
    elif target.exists() and not target.is_dir():
        raise UsageError(f"the output {target} is neither an .npz nor a folder", hint="name it -o outputs.npz")
    else:
        check_output(target / "outputs.npz" if target.is_dir() else target)


def _save(path: Path, arrays: Feed) -> None:
    with staged(path) as draft, zipfile.ZipFile(draft, "w") as archive:
        for name, array in arrays.items():  # numpy.savez takes names as arguments, which "file" cannot be
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
