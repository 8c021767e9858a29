"""Prepares the GPU measurements on a machine without a GPU: ONNX files, inputs, and what PyTorch makes of them.

Run: python benchmarks/gpu/prepare.py --output out/gpu
References are computed in float32 on the CPU under clone semantics. Weights and inputs depend on seeds alone. With the
default example model it takes minutes and 210 MB; ``--example s2mlpv2_tiny`` takes seconds and 16 MB.
"""

from __future__ import annotations

import argparse
import datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from cases import Case, cases, module_of, write

import s2deploy
from s2deploy import onnx_file
from s2deploy.overlap import reference


def main() -> None:
    """Writes everything into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="a folder; made if it is missing")
    parser.add_argument("--example", default="s2mlpv2_small_7", help="factory of examples/s2mlpv2.py")
    parser.add_argument("--case", action="append", help="prepare this case alone; repeat for several")
    asked = parser.parse_args()
    chosen = [case for case in cases(asked.example) if asked.case is None or case.name in asked.case]
    if not chosen:
        parser.error(f"the cases are {', '.join(case.name for case in cases(asked.example))}")
    asked.output.mkdir(parents=True, exist_ok=True)
    for case in chosen:
        prepare(case, asked.output)
        print(f"{case.name}: {len(case.shapes)} shapes", flush=True)
    about = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "versions": {name: metadata.version(name) for name in ("s2deploy", "torch", "onnx")},
    }
    write(asked.output, chosen, about)


def prepare(case: Case, folder: Path) -> None:
    """Writes the ONNX file of a case, and an ``.npz`` of input and outputs for each of its shapes."""
    module = module_of(case)
    path = folder / case.model
    s2deploy.export(module, path, inputs=[case.spec])
    names = [str(value.name) for value in onnx_file.read(path).graph.outputs]
    for index, shape in enumerate(case.shapes):
        x = np.random.default_rng(index).standard_normal(shape).astype(np.float32)
        with torch.no_grad():
            outputs = reference(module, [torch.from_numpy(x)])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        arrays = {f"out.{name}": output.numpy() for name, output in zip(names, outputs, strict=True)}
        np.savez(folder / case.feed(index), **{"in.x": x}, **arrays)


if __name__ == "__main__":
    main()
