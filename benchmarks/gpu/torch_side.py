"""PyTorch on the GPU: the prepared models under clone semantics, and how often eager in-place shifts differ from it.

Run by `run.py` in an interpreter with torch; TensorRT is not needed. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import platform
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import ROOT, Case, module_of, read

from s2deploy.overlap import clone_semantics

SIZES = ((1, 4, 4, 8), (1, 7, 7, 64), (1, 14, 14, 384), (1, 32, 32, 192), (4, 56, 56, 96), (8, 112, 112, 256))
"""``N x H x W x C`` of the shifts."""


def main() -> None:
    """Prints what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what prepare.py wrote")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--repeats", type=int, default=20, help="runs of each size (default 20)")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    shifts = list(eager_shifts(asked.device, asked.repeats))
    models = [row for case in read(asked.folder) for row in compared(case, asked.folder, asked.device)]
    document = {
        "python": platform.python_version(),
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda},
        "device": torch.cuda.get_device_name() if asked.device == "cuda" else asked.device,
        "eager_shifts": shifts,
        "models": models,
    }
    print(json.dumps(document))


def eager_shifts(device: str, repeats: int) -> Iterator[dict[str, Any]]:
    """Yields, for each size, how often eager in-place shifts differ from clone semantics, and from themselves."""
    example = runpy.run_path(str(ROOT / "examples" / "s2mlpv2.py"))
    for size in SIZES:
        for name in ("spatial_shift", "transposed_spatial_shift"):
            row = eager_shift(example[name], size, device, repeats)
            print(f"{name} {size}: {row['runs_that_differ']} of {repeats} differ", file=sys.stderr, flush=True)
            yield {"shift": name, "size": list(size)} | row


def eager_shift(
    shift: Callable[[torch.Tensor], torch.Tensor], size: tuple[int, ...], device: str, repeats: int
) -> dict[str, Any]:
    """Runs one shift on the same input several times."""
    x = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        with clone_semantics():
            wanted = shift(x.clone())
        runs = [shift(x.clone()) for _ in range(repeats)]
        again = sum(not torch.equal(run, runs[0]) for run in runs)
        wrong = [int((run != wanted).sum()) for run in runs]
    return {
        "runs": repeats,
        "runs_that_differ": sum(count > 0 for count in wrong),
        "most_elements_that_differ": max(wrong),
        "elements": wanted.numel(),
        "runs_unlike_the_first": again,
    }


def compared(case: Case, folder: Path, device: str) -> Iterator[dict[str, Any]]:
    """Yields how far the module on the device is from the reference, under clone semantics and eager."""
    module = module_of(case).to(device)
    for index, shape in enumerate(case.shapes):
        with np.load(folder / case.feed(index)) as archive:
            x = torch.from_numpy(archive["in.x"]).to(device)
            wanted = next(archive[name] for name in archive.files if name.startswith("out."))
        with torch.no_grad():
            with clone_semantics():
                cloned = module(x)
            eager = module(x)
        worst = [float(np.abs(output.cpu().numpy() - wanted).max(initial=0.0)) for output in (cloned, eager)]
        print(f"{case.name} {shape}: {worst[0]:.2g}, eager {worst[1]:.2g}", file=sys.stderr, flush=True)
        yield {
            "case": case.name,
            "shape": list(shape),
            "largest": float(np.abs(wanted).max(initial=0.0)),
            "clone_semantics_differs_by": worst[0],
            "eager_differs_by": worst[1],
        }


if __name__ == "__main__":
    main()
