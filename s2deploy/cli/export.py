"""``s2deploy export``."""

from __future__ import annotations

import sys
from typing import Any

import click

from s2deploy.cli.command import FILE, Command, options
from s2deploy.cli.parameters import parse_kwargs, reporter_for, source_options, tolerance_options
from s2deploy.specs import Runtime

_INPUT_HELP = (
    "An input, in forward's order. A DIM is 96, batch=1..64, batch=1..8..64 (min, opt, max), height=28..448/28 "
    "(multiples), or batch again. Repeat for every input. An .onnx MODEL has its own shapes by default."
)
_VALUE_RANGE_HELP = "Range of an input's random values, e.g. tokens=0..31999. Integers default to 0..1."

_PLUGIN_HELP = "Use the operators of the s2deploy plugins, which run on onnxruntime as well."
_RUNTIME_HELP = "What the file is to be fast on; it runs anywhere. Default: portable."


@click.command(cls=Command, short_help="Export MODEL to a clean ONNX file and prove it.")
@click.argument("model")
@click.option("-o", "--output", type=FILE, required=True, help="The ONNX file to write.")
@click.option("--input", "inputs", metavar="NAME:DIM,...[:DTYPE]", multiple=True, help=_INPUT_HELP)
@source_options
@options(
    click.option("--data", type=FILE, help="Inputs to prove the file on, an .npz of arrays by input name."),
    click.option("--value-range", "value_ranges", metavar="NAME=LO..HI", multiple=True, help=_VALUE_RANGE_HELP),
    click.option("--opset", type=int, help="ONNX opset of a PyTorch MODEL, default 20; an .onnx MODEL keeps its own."),
    click.option(
        "--target-runtime",
        type=click.Choice([r.value for r in Runtime]),
        default=Runtime.PORTABLE.value,
        help=_RUNTIME_HELP,
    ),
    click.option("--plugin", is_flag=True, help=_PLUGIN_HELP),
)
@tolerance_options
@options(
    click.option("--no-validate", "validate", flag_value=False, default=True, help="Write without proving."),
    click.option("--explain", is_flag=True, help="List every rewrite, and every refusal with its reason."),
)
def export(model: str, as_json: bool, kwargs: str | None, explain: bool, **arguments: Any) -> None:
    """Export MODEL to a clean ONNX file and prove it against PyTorch under clone semantics.

    MODEL is path/file.py:factory, pkg.mod:factory, an exported program .pt2, a TorchScript archive, a pickled module
    (with --trust-pickle), or an .onnx file of any framework. Where the outputs differ, nothing is written.

    \b
    s2deploy export model.py:Model --input x:2,3,224,224 -o model.onnx
    s2deploy export model.py:Model --weights best.safetensors --kwargs '{"depth": 4}' \\
        --input "x:batch=1..8..64,3,height=28..448/28,width=28..448/28" -o model.onnx
    s2deploy export other.onnx -o clean.onnx --explain
    """  # noqa: D301 - click reads \b as "do not wrap"
    from s2deploy import pipeline, summary

    reporter = reporter_for(as_json=as_json)
    result = pipeline.export(model, kwargs=parse_kwargs(kwargs), reporter=reporter, **arguments)
    summary.show(result, summary.export_lines(result, model, explain=explain), reporter, as_json=as_json)
    sys.exit(0 if result.passed else 1)
