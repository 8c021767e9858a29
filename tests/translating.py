"""What the tests of the exporter share: translate a module, run it on onnxruntime, compare with clone semantics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch
from torch import nn
from torch.utils import _pytree as pytree

from s2deploy.exporter import capture, to_onnx
from s2deploy.feeds import interesting_sizes, random_feed
from s2deploy.overlap import reference
from s2deploy.specs import TensorSpec, parse_inputs


class All(nn.Module):
    """Returns what each of several functions makes of a copy of the input, under the function's name."""

    def __init__(self, *functions: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        return {function.__name__: function(x * 1) for function in self.functions}


def translate(module: nn.Module, texts: Sequence[str], **options: Any) -> tuple[ir.Model, tuple[TensorSpec, ...]]:
    specs = parse_inputs(texts)
    return to_onnx(capture(module.eval(), specs).program, specs, **options), specs


def compare(module: nn.Module, model: ir.Model, specs: Sequence[TensorSpec], tolerance: float = 0.0) -> None:
    """Asserts that onnxruntime and clone semantics agree in shape, dtype and value at every interesting size."""
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in model.graph.outputs]
    for sizes in interesting_sizes(specs).values():
        feed = random_feed(specs, sizes)
        expected = pytree.tree_leaves(reference(module, [torch.from_numpy(array.copy()) for array in feed.values()]))
        tensors = [leaf.detach().numpy() for leaf in expected if isinstance(leaf, torch.Tensor)]
        for name, actual, wanted in zip(names, session.run(None, feed), tensors, strict=True):
            assert actual.dtype == wanted.dtype, (name, sizes)
            np.testing.assert_allclose(actual, wanted, rtol=0, atol=tolerance, err_msg=f"{name} at {sizes}")


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)
