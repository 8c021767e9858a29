"""Prepares the comparison of whole blocks on a machine with PyTorch: ONNX files, inputs, and what they should give.

Every file is held against clone semantics on onnxruntime before it is written down, so that only right ones are timed.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from block_cases import EXAMPLE, WAYS, file_of
from cases import ROOT, Case, module_of, write

import s2deploy
from s2deploy.overlap import reference

_OPSET = 17  # the newest that TensorRT 8.5 reads
_MOST_DIFFERENCE = 1e-4
_SAMPLES = 2


def prepare(chosen: list[Case], folder: Path, example: str) -> None:
    """Writes everything into a folder, which is made if it is missing.

    Args:
        chosen: The blocks.
        folder: Where to.
        example: Factory of ``examples/s2mlpv2.py`` for the C++ pipeline.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for case in chosen:
        print(f"{case.name}: batches {', '.join(str(shape[0]) for shape in case.shapes)}", flush=True)
        module = module_of(case)
        _export(module, case, folder)
        x = np.random.default_rng(0).standard_normal((_SAMPLES, *case.shapes[0][1:])).astype(np.float32)
        with torch.no_grad():
            wanted = reference(module, [torch.from_numpy(x)]).numpy()
        np.savez(folder / case.feed(0), **{"in.x": x, "out.y": wanted})
        for way in WAYS:
            _check(case, way, folder)
    source = f"{ROOT / 'examples' / 's2mlpv2.py'}:{example}"
    s2deploy.export(source, folder / EXAMPLE, inputs=["x:batch=1..4..8,3,224,224"], plugin=True)
    write(folder, chosen, {})


def _export(module: torch.nn.Module, case: Case, folder: Path) -> None:
    x = torch.zeros(2, *case.shapes[0][1:])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of this exporter, which is what most people have used
        torch.onnx.export(
            module, (x,), str(folder / file_of(case, "scatter")), dynamo=False, opset_version=_OPSET,
            input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}},
        )  # fmt: skip
    for way, plugin in (("slices", False), ("plugin", True)):
        path = folder / file_of(case, way)
        s2deploy.export(module, path, inputs=[case.spec], target_runtime="tensorrt", plugin=plugin)


def _check(case: Case, way: str, folder: Path) -> None:
    session = onnxruntime.InferenceSession(str(folder / file_of(case, way)), providers=["CPUExecutionProvider"])
    with np.load(folder / case.feed(0)) as archive:
        x, wanted = archive["in.x"], archive["out.y"]
    for batch in (1, _SAMPLES):
        given = session.run(None, {"x": x[:batch]})[0]
        off = float(np.abs(given - wanted[:batch]).max()) / float(np.abs(wanted).max())
        if not off <= _MOST_DIFFERENCE:
            raise SystemExit(f"{file_of(case, way)} is off by {off:.1e} at batch {batch}: there is nothing to time")
