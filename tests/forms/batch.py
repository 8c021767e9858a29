"""Many forms exported at once: what an export costs is mostly fixed, so that a hundred cost little more than one."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch

from forms.form import Form
from s2deploy.exporter import capture, to_onnx
from s2deploy.feeds import random_feed
from s2deploy.overlap import reference
from s2deploy.specs import Dim, TensorSpec, named_dims

MANY = "__"


class Batch(torch.nn.Module):
    """Runs many modules, each on its own inputs."""

    def __init__(self, forms: Sequence[Form]) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(form.module() for form in forms)
        self.counts = [len(form.texts) for form in forms]

    def forward(self, *inputs: torch.Tensor) -> tuple[Any, ...]:
        waiting = list(inputs)
        outputs: list[Any] = []
        for part, count in zip(self.parts, self.counts, strict=True):
            found = part(*waiting[:count])
            outputs.append(found if isinstance(found, tuple) else (found,))
            del waiting[:count]
        return tuple(outputs)


def exported(forms: Sequence[Form], *, dynamic: bool) -> dict[str, onnx.ModelProto]:
    """Returns a model per form, translated from torch but not rewritten.

    The inputs and the dynamic dimensions are those of `own_specs`.
    """
    specs = [spec for form in forms for spec in own_specs(form, dynamic=dynamic)]
    batch = Batch(forms).eval()
    whole = ir.to_proto(to_onnx(capture(batch, specs).program, specs))
    extractor = onnx.utils.Extractor(whole)
    outputs = [value.name for value in whole.graph.output]
    models = {}
    for form in forms:
        inputs = [spec.name for spec in own_specs(form, dynamic=dynamic)]
        count = len(meant(form, random_feed(form.specs(dynamic=False), {})))
        models[form.name] = extractor.extract_model(inputs, outputs[:count])
        del outputs[:count]
    return models


def own_specs(form: Form, *, dynamic: bool) -> tuple[TensorSpec, ...]:
    """Returns the inputs of a form, with the form's name before the names of inputs and dimensions."""

    def own(dim: Dim) -> Dim:
        return dim if dim.name is None else replace(dim, name=f"{form.name}{MANY}{dim.name}")

    return tuple(
        replace(spec, name=f"{form.name}{MANY}{spec.name}", dims=tuple(map(own, spec.dims)))
        for spec in form.specs(dynamic=dynamic)
    )


def meant(form: Form, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Returns the outputs of a form under clone semantics."""
    outputs = reference(form.module(), [torch.from_numpy(array) for array in feed.values()])
    return [output.numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def traced(form: Form) -> onnx.ModelProto:
    """Returns the file that torch's TorchScript exporter makes of a form, with dynamic dimensions.

    Raises:
        Exception: Whatever the exporter raises.
    """
    specs = form.specs(dynamic=True)
    sizes = {name: max(dim.opt, 2) for name, dim in named_dims(specs).items()}
    arguments = tuple(torch.from_numpy(array) for array in random_feed(specs, sizes).values())
    axes = {s.name: {i: dim.name for i, dim in enumerate(s.dims) if dim.name is not None} for s in specs}
    file = io.BytesIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            form.module(), arguments, file, dynamo=False, input_names=[s.name for s in specs], dynamic_axes=axes
        )
    return onnx.load_from_string(file.getvalue())
