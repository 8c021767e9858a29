"""Opens a model on onnxruntime as it is written: node by node, nothing fused or folded.

Weights lie in a temporary file that onnxruntime maps, so that they are in memory once at most, however it reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from s2deploy.artifacts import temporary
from s2deploy.environment import usable_cores
from s2deploy.errors import ValidationError

if TYPE_CHECKING:
    import onnx_ir as ir

HINT = "the comparison with float32 runs on a CPU: check that onnxruntime runs the model at these sizes"


@contextmanager
def opened(model: ir.Model) -> Iterator[Any]:
    """Yields an ``onnxruntime.InferenceSession`` of a model on the CPU.

    Raises:
        ValidationError: onnxruntime cannot load the model.
        ArtifactError: The folder for temporary files is full.
    """
    import onnx_ir as ir
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # optimised, it would compute fewer and other values than the graph names
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.disable_prepacking", "1")  # a second copy of the weights
    options.log_severity_level = 4
    options.intra_op_num_threads = usable_cores()  # onnxruntime counts the machine's, those withheld as well
    with temporary() as folder:
        path = folder / "model.onnx"
        ir.save(model, path, external_data="weights")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise ValidationError(f"onnxruntime cannot load the model: {error}", hint=HINT) from error
        yield session
