"""The command line: parses, calls one function of the pipeline, prints."""

from __future__ import annotations

import sys

import click

from s2deploy.cli.bench import bench
from s2deploy.cli.build import build
from s2deploy.cli.export import export
from s2deploy.cli.inspect import inspect
from s2deploy.cli.run import run
from s2deploy.cli.validate import validate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="s2deploy", prog_name="s2deploy")
def cli() -> None:
    """Export PyTorch models with in-place shifts to clean ONNX graphs, prove them, and build TensorRT engines.

    \b
    s2deploy export model.py:Model --input "x:batch=1..8..64,3,224,224" -o model.onnx
    s2deploy validate model.py:Model model.onnx
    s2deploy build model.onnx --fp16 -o model.plan
    s2deploy run model.onnx --input x=image.npy -o outputs.npz
    s2deploy inspect model.plan
    s2deploy bench model.onnx model.py:Model
    """  # noqa: D301 - click reads \b as "do not wrap"


cli.add_command(export)
cli.add_command(validate)
cli.add_command(build)
cli.add_command(run)
cli.add_command(inspect)
cli.add_command(bench)


def main() -> None:
    """Runs the command line; every character prints on every terminal, if need be as a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    cli(prog_name="s2deploy")
