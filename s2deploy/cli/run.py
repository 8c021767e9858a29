"""``s2deploy run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from s2deploy.cli.command import FILE, Command
from s2deploy.cli.parameters import reporter_for

_INPUT_HELP = (
    "Repeat for every input. FILE.npy holds one array, a FOLDER many, one a sample; without NAME, FILE.npz holds all "
    "inputs by name; NAME:SIZES, e.g. x:1,3,224,224, means random values. Default: random values of typical sizes."
)
_BATCH_HELP = "Files of a folder that share a call. Default: what the model was tuned for."


@click.command(cls=Command, short_help="Run ARTIFACT on arrays from files.")
@click.argument("artifact", type=FILE)
@click.option("--input", "inputs", metavar="NAME=FILE|FOLDER", multiple=True, help=_INPUT_HELP)
@click.option("-o", "--output", type=FILE, help="An .npz of all outputs, or a folder of one .npz per input file.")
@click.option("--batch", type=int, help=_BATCH_HELP)
@click.option("--provider", help="For .onnx: where onnxruntime runs it, e.g. cuda. Default: cpu.")
@click.option("--threads", type=int, help="For .onnx: threads per operator. Default: all cores.")
@click.option("--device", type=int, help="For plans: the number of the GPU. Default: 0.")
@click.option("--cuda-graphs", is_flag=True, help="For plans: launch all kernels of a shape as one CUDA graph.")
@click.option("--unchecked", metavar="FAMILY", help="For plans without a sidecar: tensorrt or rtx, at your own risk.")
def run(artifact: Path, as_json: bool, **arguments: Any) -> None:
    """Run ARTIFACT, an .onnx file or a plan, and show or write its outputs.

    Arrays of a folder run in batches if all inputs and outputs of the model share axis 0; an array may lack that axis.
    A plan is checked against its sidecar first.

    \b
    s2deploy run model.onnx
    s2deploy run model.onnx --input x=image.npy -o outputs.npz
    s2deploy run model.plan --input x=images/ -o outputs/ --batch 16
    """  # noqa: D301 - click reads \b as "do not wrap"
    from s2deploy import pipeline, summary, summary_artifacts

    reporter = reporter_for(as_json=as_json)
    result = pipeline.run(artifact, reporter=reporter, **arguments)
    summary.show(result, summary_artifacts.run_lines(result), reporter, as_json=as_json)
