"""Measures one form on one route; `coverage.py` runs this file as its worker process.

A worker reads ``form source mode`` from each line of its input and answers with a line of JSON, so that a crash of an
exporter costs one result. The sources: ``torch`` is the module itself; ``dynamo`` and ``torchscript`` are the files
that plain ``torch.onnx.export`` makes of it with ``dynamo=True`` and ``dynamo=False``. The modes: ``static``, with the
typical size of every dimension, and ``dynamic``, with all ranges.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import torch
from forms import FORMS, Form

import s2deploy
from s2deploy import onnx_file
from s2deploy.accuracy import compare, lazy_feeds, record
from s2deploy.errors import S2DeployError
from s2deploy.feeds import Feed, random_feed
from s2deploy.overlap import reference
from s2deploy.rewrite import count_nodes, count_scatters
from s2deploy.specs import Dim, TensorSpec, named_dims

SOURCES = ("torch", "dynamo", "torchscript")
MODES = ("static", "dynamic")
CLEAN, REFUSED, NO_FILE, FAILED = "clean", "refused", "no file", "FAILED"
BROKEN_FILE = "the exporter's file "


@dataclass
class Measurement:
    """One form on one route.

    Attributes:
        form: The form's name.
        source: One of `SOURCES`.
        mode: One of `MODES`.
        verdict: `CLEAN` (no scatter is left), `REFUSED` (as the form expects, with the reason), `NO_FILE` (the plain
            exporter has made no file to start from), or `FAILED`.
        scatters: Before and after; before is the plain export with ``dynamo=True``, or the file.
        nodes: The same of nodes that are not Constant.
        worst: Largest absolute difference, from clone-semantics PyTorch or from the original file.
        remark: The reason of a refusal or a failure, and what else is worth a word.
    """

    form: str
    source: str
    mode: str
    verdict: str = FAILED
    scatters: tuple[int | None, int | None] = (None, None)
    nodes: tuple[int | None, int | None] = (None, None)
    worst: float | None = None
    remark: str = ""


def measure(form: Form, source: str, mode: str, files: Path) -> Measurement:
    """Measures one form on one route.

    Args:
        form: The form.
        source: One of `SOURCES`.
        mode: One of `MODES`.
        files: Where plain exports are kept and found again.
    """
    found = Measurement(form.name, source, mode)
    specs = form.specs(dynamic=mode == "dynamic")
    plain = files / f"{form.name}.{'dynamo' if source == 'torch' else source}.{mode}.onnx"
    failure = export_plainly(form, specs, plain)
    if failure is None:
        original = onnx_file.read(plain)
        found.scatters, found.nodes = (count_scatters(original), None), (count_nodes(original), None)
    elif source != "torch":
        found.verdict, found.remark = NO_FILE, failure
        return found
    remarks = [] if source == "torch" else [remark_on_file(form, specs, plain)]
    result = None
    try:
        given = form.module() if source == "torch" else plain
        result = s2deploy.export(given, files / f"{form.name}.{source}.{mode}.out.onnx", inputs=specs)
    except S2DeployError as error:
        reasons = [str(error)]
    else:
        report = result.rewrites
        found.scatters, found.nodes = (found.scatters[0], report.scatters_after), (found.nodes[0], report.nodes_after)
        found.worst = None if result.comparison is None else result.comparison.worst_absolute
        reasons = list(dict.fromkeys(refusal.reason for refusal in report.refusals)) if report.scatters_after else []
        remarks += result.remarks
    found.verdict = verdict(form, source, mode, result, reasons)
    if found.verdict == FAILED and result is None and remarks[:1] and remarks[0].startswith(BROKEN_FILE):
        found.verdict, reasons = NO_FILE, []
    found.remark = "; ".join(filter(None, [*reasons, *remarks]))
    return found


def verdict(form: Form, source: str, mode: str, result: s2deploy.ExportResult | None, reasons: Sequence[str]) -> str:
    """Returns what a result is worth; a refusal counts only where the form expects it and the words say why."""
    if result is not None and (not result.passed or any("please report" in remark for remark in result.remarks)):
        return FAILED
    if result is not None and result.rewrites.scatters_after == 0:
        return CLEAN
    expected = form.refusal(f"{source} {mode}")
    named = expected is not None and any(re.search(expected, reason) for reason in reasons)
    return REFUSED if named else FAILED


def export_plainly(form: Form, specs: Sequence[TensorSpec], path: Path) -> str | None:
    """Exports a form with torch's own exporter, unless that has been done before, and returns why it failed."""
    excuse = path.with_suffix(".txt")
    if excuse.exists():
        return excuse.read_text(encoding="utf-8")
    if path.exists():
        return None
    sizes = {name: max(dim.opt, 2) for name, dim in named_dims(specs).items()}
    arguments = tuple(torch.from_numpy(array) for array in random_feed(specs, sizes).values())
    names = [spec.name for spec in specs]
    dynamic: dict[str, Any] = {}
    if ".dynamo." in path.name:
        known = {name: dimension(dim) for name, dim in named_dims(specs).items()}
        shapes = {s.name: {i: known[d.name] for i, d in enumerate(s.dims) if d.name is not None} for s in specs}
        dynamic = {
            "dynamo": True,
            "verbose": False,
            "external_data": False,
            "dynamic_shapes": shapes if known else None,
        }
    else:
        axes = {s.name: {i: d.name for i, d in enumerate(s.dims) if d.name is not None} for s in specs}
        dynamic = {"dynamo": False, "dynamic_axes": axes if named_dims(specs) else None}
    unfinished = path.with_suffix(".part")
    try:
        torch.onnx.export(form.module(), arguments, unfinished, input_names=names, **dynamic)
    except Exception as error:  # whatever the exporter raises is the answer
        reason = f"{type(error).__name__}: {first_line(error)}"
        excuse.write_text(reason, encoding="utf-8")
        return reason
    unfinished.replace(path)
    return None


def dimension(dim: Dim) -> object:
    """Returns a dimension for torch.export; multiples are multiples of a hidden one."""
    if dim.multiple == 1:
        return torch.export.Dim(dim.name or "", min=dim.min, max=dim.max)
    return dim.multiple * torch.export.Dim(f"_{dim.name}", min=dim.min // dim.multiple, max=dim.max // dim.multiple)


def remark_on_file(form: Form, specs: Sequence[TensorSpec], path: Path) -> str:
    """Says so if a file of the exporter does not compute what the form means."""
    try:
        with s2deploy.load(path) as session:
            names = [str(value.name) for value in onnx_file.read(path).graph.outputs]
            comparison = compare(record(lambda feed: meant(form, feed, names), lazy_feeds(specs)), session)
    except (S2DeployError, ValueError) as error:
        return f"{BROKEN_FILE}does not run ({first_line(error)})"
    if comparison.passed:
        return ""
    labels = ", ".join(dict.fromkeys(feed.label for feed, _ in comparison.failures))
    return f"{BROKEN_FILE}differs from PyTorch under clone semantics (at {labels} sizes)"


def meant(form: Form, feed: Feed, names: Sequence[str]) -> Feed:
    """Returns what a form means: its outputs under clone semantics."""
    outputs = reference(form.module(), [torch.from_numpy(array) for array in feed.values()])
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return {name: output.numpy() for name, output in zip(names, outputs, strict=False)}


def first_line(error: BaseException) -> str:
    """Returns the first line of a message without colours and folders, shortened."""
    lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines() if line.strip()]
    return re.sub(r"(/[\w.+-]+)+/", "", lines[0])[:200] if lines else ""


def remember_operators() -> None:
    """Lets torch's exporter read its library of operators once, not once per export, which halves the run."""
    from torch.onnx._internal.exporter import _registration

    library = _registration.onnxscript_apis
    library.get_torchlib_ops = functools.cache(library.get_torchlib_ops)


def main() -> None:
    """Answers until the input ends; what torch and its exporters print goes nowhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    remember_operators()
    forms = {form.name: form for form in FORMS}
    for line in sys.stdin:
        name, source, mode = line.split()
        try:
            with contextlib.redirect_stdout(None):
                answer = measure(forms[name], source, mode, Path(sys.argv[1]))
        except Exception as error:  # a defect is a failed row, not the end of the run
            answer = Measurement(name, source, mode, remark=f"{type(error).__name__}: {first_line(error)}")
        print(json.dumps(asdict(answer)), file=answers, flush=True)


if __name__ == "__main__":
    main()
