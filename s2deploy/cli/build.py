"""``s2deploy build``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from s2deploy.cli.command import FILE, Command, options
from s2deploy.cli.parameters import reporter_for
from s2deploy.errors import UsageError

_INPUT_HELP = "Sizes of a dynamic input, as in export. Default: those the file was exported with."
_PROFILE_HELP = "An optimization profile: all its inputs in one text, separated by blanks. Repeat for several."
_CALIBRATION_HELP = "Typical inputs: an .npz file of one feed, or a folder of such files."
_KEEP_HELP = "A node, or all of an operator type, that stays in float32. Repeat for several."
_PLUGIN_HELP = (
    "A library of plugins, copied beside the plan (not rtx); repeatable. Kernels of the s2deploy library are used "
    "where they are faster; auto looks for it, always insists on them."
)
_ACCEPT_HELP = "Build although outputs miss the tolerance on calibration data."

_precision_options = options(
    click.option("--fp16", is_flag=True, help="Compute in half precision; inputs and outputs stay float32."),
    click.option("--bf16", is_flag=True, help="Compute in bfloat16."),
    click.option("--int8", is_flag=True, help="Compute in 8-bit integers; needs --calibration."),
    click.option("--fp16-io", is_flag=True, help="16-bit inputs and outputs too."),
    click.option("--calibration", type=FILE, metavar="DIR_OR_NPZ", help=_CALIBRATION_HELP),
    click.option("--calibrator", type=click.Choice(["entropy", "minmax"]), default="entropy", show_default=True),
    click.option("--keep-fp32", metavar="NODE_OR_OP_TYPE", multiple=True, help=_KEEP_HELP),
    click.option("--accept-loss", is_flag=True, help=_ACCEPT_HELP),
    click.option("--no-tf32", "tf32", is_flag=True, flag_value=False, default=True, help="Full float32 products."),
)
_builder_options = options(
    click.option("--workspace", metavar="SIZE", help="Most memory a layer may use, e.g. 4GiB."),
    click.option("--optimization-level", type=int, metavar="0..5", help="How long to search (not rtx)."),
    click.option("--version-compatible", is_flag=True, help="Newer TensorRT may load the plan (not rtx)."),
    click.option("--hardware-compatible", is_flag=True, help="Newer GPUs may load the plan (not rtx)."),
    click.option("--timing-cache", type=FILE, metavar="FOLDER", help="Keep the builder's measurements (not rtx)."),
    click.option("--plugin", "plugins", metavar="LIBRARY|auto|always", multiple=True, help=_PLUGIN_HELP),
)


@click.command(cls=Command)
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, help="The plan to write; its sidecar is OUTPUT.json.")
@click.option("--dry-run", is_flag=True, help="Say what would be built, and write nothing; needs no GPU.")
@click.option("--input", "inputs", metavar="NAME:DIM,...", multiple=True, help=_INPUT_HELP)
@click.option("--profile", "profiles", metavar='"NAME:DIM,... ..."', multiple=True, help=_PROFILE_HELP)
@click.option("--target", type=click.Choice(["rtx", "tensorrt"]), help="Default: what this machine has.")
@_precision_options
@click.option(
    "--compute-capability",
    "capabilities",
    metavar="X.Y",
    multiple=True,
    help="GPU generation to build for, e.g. 8.6 (rtx). Repeat for several in one plan. Default: all that fit.",
)
@_builder_options
def build(model: Path, output: Path | None, as_json: bool, dry_run: bool, **arguments: Any) -> None:
    """Build a TensorRT engine from MODEL, an .onnx file.

    TensorRT-RTX (--target rtx) needs no GPU to build. Dynamic inputs get the ranges the file was exported with.
    The engine is read back: a matrix product or convolution in a wider type than asked for is an error.
    What a precision costs is measured on onnxruntime, on calibration data or else on random inputs: values lost to
    overflow are an error; a missed tolerance is one on calibration data, and a warning on random inputs.

    \b
    s2deploy build model.onnx --fp16 -o model.plan
    s2deploy build model.onnx --fp16 --dry-run
    s2deploy build model.onnx --target rtx --compute-capability 8.0 --compute-capability 8.9 -o model.plan
    s2deploy build model.onnx --profile x:n=1..1..4,3,224,224 --profile x:n=8..32..64,3,224,224 -o model.plan
    """  # noqa: D301 - click reads \b as "do not wrap"
    from s2deploy import pipeline, summary, summary_dry_run

    reporter = reporter_for(as_json=as_json)
    if dry_run:
        outlook = pipeline.dry_run(model, reporter=reporter, **arguments)
        summary.show(outlook, summary_dry_run.dry_run_lines(outlook), reporter, as_json=as_json)
        sys.exit(0 if outlook.builds else 1)
    if output is None:
        raise UsageError("no plan to write is named", hint="name it with -o model.plan, or add --dry-run")
    result = pipeline.build(model, output, reporter=reporter, **arguments)
    summary.show(result, summary.build_lines(result), reporter, as_json=as_json)
