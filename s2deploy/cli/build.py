"""``s2deploy build``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from s2deploy.cli.command import FILE, Command
from s2deploy.cli.parameters import reporter_for

_INPUT_HELP = "Sizes of a dynamic input, as in export. Default: those the file was exported with."


@click.command(cls=Command)
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="The plan to write; its sidecar is OUTPUT.json.")
@click.option("--input", "inputs", metavar="NAME:DIM,...", multiple=True, help=_INPUT_HELP)
@click.option("--target", type=click.Choice(["rtx", "tensorrt"]), help="Default: what this machine has.")
@click.option("--fp16", is_flag=True, help="Compute in half precision; inputs and outputs stay float32.")
@click.option("--fp16-io", is_flag=True, help="Half-precision inputs and outputs too.")
@click.option(
    "--compute-capability",
    "capabilities",
    metavar="X.Y",
    multiple=True,
    help="GPU generation to build for, e.g. 8.6 (rtx). Repeat for several in one plan. Default: all that fit.",
)
def build(model: Path, as_json: bool, **arguments: Any) -> None:
    """Build a TensorRT engine from MODEL, an .onnx file.

    TensorRT-RTX (--target rtx) needs no GPU to build. Dynamic inputs get the ranges the file was exported with.

    \b
    s2deploy build model.onnx --fp16 -o model.plan
    s2deploy build model.onnx --target rtx --compute-capability 8.0 --compute-capability 8.9 -o model.plan
    """  # noqa: D301 - click reads \b as "do not wrap"
    from s2deploy import pipeline, summary

    reporter = reporter_for(as_json=as_json)
    result = pipeline.build(model, reporter=reporter, **arguments)
    summary.show(result, summary.build_lines(result), reporter, as_json=as_json)
