"""``s2deploy bench``."""

from __future__ import annotations

import sys
from typing import Any

import click

from s2deploy.cli.command import FILE, Command, options
from s2deploy.cli.parameters import parse_kwargs, reporter_for, source_options, tolerance_options

_INPUT_HELP = "An input, as in export; its typical size is run. Default: what the first artifact declares."
_COMPILE_HELP = "Run PyTorch models through torch.compile as well."
_VALUE_RANGE_HELP = "Range of an input's random values, e.g. tokens=0..31999."
_DEVICE_HELP = "Where PyTorch and onnxruntime run: cpu, cuda or cuda:1; plans run on the GPU of that number."
_SECONDS_HELP = "How long to measure. Default: 5 for each candidate."
_PATIENCE_HELP = "Seconds to wait, in all, until a hypervisor leaves a shared machine alone."


@click.command(cls=Command, short_help="Measure how long ARTIFACTs take, side by side.")
@click.argument("artifacts", metavar="ARTIFACT...", nargs=-1, required=True)
@options(
    click.option("--input", "inputs", metavar="NAME:DIM,...[:DTYPE]", multiple=True, help=_INPUT_HELP),
    click.option("--value-range", "value_ranges", metavar="NAME=LO..HI", multiple=True, help=_VALUE_RANGE_HELP),
    click.option("--baseline", metavar="ARTIFACT", help="What ratios refer to. Default: the first."),
    click.option("--compile", "compiled", is_flag=True, help=_COMPILE_HELP),
    click.option("--threads", type=int, help="Threads per operator, for all alike. Default: all cores."),
    click.option("--device", default="cpu", show_default=True, help=_DEVICE_HELP),
    click.option("--cuda-graphs", is_flag=True, help="For plans: launch all kernels as one CUDA graph."),
    click.option("--rounds", type=int, help="How often each has its turn. Default: as often as time allows."),
    click.option("--seconds", type=float, help=_SECONDS_HELP),
    click.option("--patience", type=float, default=0.0, show_default=True, help=_PATIENCE_HELP),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the inputs and of the order."),
)
@source_options
@tolerance_options
@click.option("--plot", type=FILE, metavar="FILE.svg", help="Draw the medians.")
def bench(artifacts: tuple[str, ...], as_json: bool, kwargs: str | None, **arguments: Any) -> None:
    """Measure how long ARTIFACTs take for a call: .onnx files, plans, and models as export takes them.

    Each runs in a process of its own; all take turns on the same inputs, one at a time, so that ratios hold on a
    machine that is not quiet. Outputs are compared too. PyTorch runs as you would run it, eagerly. Exit code 1 where
    one could not be measured or computes something else.

    \b
    s2deploy bench model.onnx plain.onnx
    s2deploy bench model.onnx model.py:Model --compile --threads 1 --plot latency.svg
    s2deploy bench fp32.plan fp16.plan --cuda-graphs
    """  # noqa: D301 - click reads \b as "do not wrap"
    from s2deploy import pipeline, summary, summary_bench

    reporter = reporter_for(as_json=as_json)
    result = pipeline.bench(artifacts, kwargs=parse_kwargs(kwargs), reporter=reporter, **arguments)
    summary.show(result, summary_bench.bench_lines(result), reporter, as_json=as_json)
    sys.exit(0 if result.passed else 1)
