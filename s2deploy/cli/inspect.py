"""``s2deploy inspect``."""

from __future__ import annotations

from typing import Any

import click

from s2deploy.cli.command import Command
from s2deploy.cli.parameters import parse_kwargs, reporter_for, source_options


@click.command(cls=Command, short_help="Show what FILE is, takes, gives and was made from.")
@click.argument("file")
@source_options
def inspect(file: str, as_json: bool, kwargs: str | None, **arguments: Any) -> None:
    """Show what FILE is: an .onnx file, a plan, or a model as export takes it.

    A plan is told from its sidecar; neither TensorRT nor a GPU is needed.

    \b
    s2deploy inspect model.onnx
    s2deploy inspect model.plan --json
    """  # noqa: D301 - click reads \b as "do not wrap"
    from s2deploy import pipeline, summary, summary_artifacts

    inspection = pipeline.inspect(file, kwargs=parse_kwargs(kwargs), **arguments)
    lines = summary_artifacts.inspect_lines(inspection)
    summary.show(inspection, lines, reporter_for(as_json=as_json), as_json=as_json)
