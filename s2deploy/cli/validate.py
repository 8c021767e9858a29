"""``s2deploy validate``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from s2deploy.cli.command import FILE, Command
from s2deploy.cli.parameters import parse_kwargs, reporter_for, source_options, tolerance_options


@click.command(cls=Command)
@click.argument("model")
@click.argument("artifact", type=FILE)
@source_options
@tolerance_options
@click.option("--data", type=FILE, help="Inputs to compare on, an .npz of arrays by input name.")
def validate(model: str, artifact: Path, as_json: bool, kwargs: str | None, **arguments: Any) -> None:
    """Compare an exported ARTIFACT with the MODEL it was made from.

    Inputs, factory arguments, weights and tolerances are those the artifact's metadata records, unless given here.
    PyTorch runs under clone semantics. Exit code 1 where an output differs by more than the tolerance.

    \b
    s2deploy validate model.py:Model model.onnx
    """  # noqa: D301 - click reads \b as "do not wrap"
    from s2deploy import pipeline, summary

    reporter = reporter_for(as_json=as_json)
    comparison = pipeline.validate(model, artifact, kwargs=parse_kwargs(kwargs), reporter=reporter, **arguments)
    summary.show(comparison, summary.validation_lines(comparison), reporter, as_json=as_json)
    sys.exit(0 if comparison.passed else 1)
