"""What `bench` was asked for, checked before anything starts: which artifacts, run how, against which baseline."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from s2deploy.artifacts import check_output
from s2deploy.errors import UsageError
from s2deploy.pipeline.arguments import AnyPath, require_list
from s2deploy.pipeline.bench_runners import EAGER, IN_TORCH, Way, runners_for


def check_numbers(
    threads: int, rounds: int | None, seconds: float | None, patience: float, seed: int, device: str
) -> None:
    """Checks how much is to be measured, on which values, and where.

    Raises:
        UsageError: A value cannot be meant, or two exclude each other.
    """
    for name, value in (("threads", threads), ("rounds", rounds)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}", hint=f"leave --{name} out for the default")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise UsageError(f"seconds must be above 0, got {seconds}", hint="leave --seconds out for the default")
    if not 0 <= patience < float("inf"):
        raise UsageError(f"patience must be at least 0, got {patience}", hint="leave --patience out for the default")
    if rounds is not None and seconds is not None:
        raise UsageError("rounds and seconds are both given", hint="give --rounds or --seconds")
    if seed < 0:
        raise UsageError(f"seed must be at least 0, got {seed}", hint="leave --seed out for the default")
    kind, _, number = device.partition(":")
    if device != "cpu" and (kind != "cuda" or (":" in device and not number.isdigit())):
        raise UsageError(f"there is no device {device!r}", hint="give --device cpu, cuda or cuda:1")


def check_kwargs(kwargs: Mapping[str, Any] | None) -> None:
    """Checks that arguments of factories can be told to other processes.

    Raises:
        UsageError: They cannot.
    """
    try:
        json.dumps(kwargs)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"kwargs cannot be told to the processes that run the models: {error}",
            hint="give numbers, texts, lists and dictionaries, or write a factory that makes the rest of them",
        ) from error


def ways_of(
    artifacts: Sequence[AnyPath] | Mapping[str, AnyPath], *, compiled: bool | Collection[str], **options: Any
) -> tuple[Way, ...]:
    """Returns every way to run every artifact, with labels that tell them apart.

    Raises:
        UsageError: There is no artifact, one is given twice, a file does not exist, or `compiled` names no such model.
    """
    if isinstance(artifacts, Mapping):
        named = [(label, os.fspath(artifact)) for label, artifact in artifacts.items()]
    else:
        require_list("artifacts", artifacts)
        names = [os.fspath(artifact) for artifact in artifacts]
        short = Counter(Path(name).name for name in names)
        named = [(Path(name).name if short[Path(name).name] == 1 else name, name) for name in names]
    if not named:
        raise UsageError("there is nothing to measure", hint="name .onnx files, plans or PyTorch models")
    for name, count in Counter(name for _, name in named).items():
        if count > 1:
            raise UsageError(f"{name} is given {count} times", hint="name every artifact once")
    if not isinstance(compiled, bool):
        models = [label for label, artifact in named if runners_for(artifact, compiled=False) == (EAGER,)]
        _check_compiled(compiled, models)
    ways = []
    for label, artifact in named:
        runners = runners_for(artifact, compiled=compiled if isinstance(compiled, bool) else label in compiled)
        for runner in runners:
            _check_exists(artifact)
            full = f"{label} {runner}" if runner in IN_TORCH else label
            ways.append(Way(full, artifact, runner, **options))
    return tuple(ways)


def _check_compiled(labels: Collection[str], known: Sequence[str]) -> None:
    require_list("compiled", labels)
    unknown = [label for label in labels if label not in known]
    if unknown:
        raise UsageError(
            f"compiled names {unknown[0]!r}, which is no PyTorch model that is measured",
            hint=f"name some of {', '.join(known)}" if known else "leave compiled out: there is none",
        )


def _check_exists(artifact: str) -> None:
    """Checks what can be told without loading anything: a file exists unless the artifact is a factory."""
    location, colon, _ = artifact.rpartition(":")
    is_module = colon and not location.endswith(".py")
    if is_module or Path(location if colon else artifact).is_file():
        return
    raise UsageError(
        f"{artifact}: no such file", hint="give .onnx files, plans, or models such as model.pt2 or model.py:Model"
    )


def baseline_of(ways: Sequence[Way], asked: str | None) -> str:
    """Returns the label of the baseline: of the first candidate unless one is asked for by label or artifact.

    Raises:
        UsageError: There is no such candidate.
    """
    if asked is None:
        return ways[0].label
    for way in ways:
        if asked in (way.label, way.artifact):
            return way.label
    raise UsageError(
        f"the baseline {asked!r} is not measured", hint=f"name one of {', '.join(way.label for way in ways)}"
    )


def check_plot(target: Path, ways: Sequence[Way]) -> None:
    """Checks that the plot can be written.

    Raises:
        UsageError: It is no ``.svg``, or as for `check_output`.
        ArtifactError: Its folder cannot be written to.
    """
    if target.suffix != ".svg":
        raise UsageError(f"the plot {target} is no .svg", hint="name it e.g. --plot latency.svg")
    check_output(target, [Path(way.artifact) for way in ways])
