"""Times whole blocks in PyTorch, eager and compiled, in float32 without TF32 and in float16.

Run by `gpu_blocks.py` in an interpreter with torch; TensorRT is not needed. Prints one JSON document. What is timed is
the module as it is written, whose overlapping assignments nothing defines: how far it is from clone semantics is told.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from block_cases import PRECISIONS, of_batch
from cases import Case, module_of, read


def main() -> None:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what was prepared")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: both")
    asked = parser.parse_args()
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    precisions = asked.precision or PRECISIONS
    rows = [row for case in read(asked.folder) for row in measured(case, asked.folder, asked.device, precisions)]
    place = torch.cuda.get_device_name() if asked.device == "cuda" else asked.device
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda}
    print(json.dumps({"versions": versions, "device": place, "rows": rows}))


def measured(case: Case, folder: Path, device: str, precisions: Sequence[str] = PRECISIONS) -> Iterator[dict[str, Any]]:
    """Yields a row for each way, precision and batch of a block."""
    for precision in precisions:
        dtype = torch.float16 if precision == "fp16" else torch.float32
        module = module_of(case).to(device, dtype)
        with np.load(folder / case.feed(0)) as archive:
            samples, results = archive["in.x"], archive["out.y"]
        for shape in case.shapes:
            torch._dynamo.reset()  # every batch is compiled for itself
            x = torch.from_numpy(of_batch(samples, shape[0])).to(device, dtype)
            wanted = of_batch(results, shape[0])
            row = {"block": case.name, "precision": precision, "batch": shape[0]}
            calls: dict[str, Callable[[], object]] = {}
            off: dict[str, float] = {}
            for way, run in (("eager", module), ("compile", torch.compile(module, dynamic=False))):
                try:
                    with torch.no_grad():
                        for _ in range(3):
                            given = run(x).float().cpu().numpy()
                except Exception as error:
                    yield row | {"way": way, "error": f"{type(error).__name__}: {error}"[:300]}
                    continue
                off[way] = float(np.abs(given - wanted).max()) / float(np.abs(wanted).max())
                calls[way] = partial(run, x)
            for way, milliseconds in timed(calls, device).items():
                yield row | {"way": way, "median_ms": milliseconds, "off": off[way]}
            print(f"{case.name} {precision} batch {shape[0]} torch", file=sys.stderr, flush=True)


def timed(calls: dict[str, Callable[[], object]], device: str) -> dict[str, float]:
    """Returns the milliseconds of each call, all in turns: on a GPU out of CUDA graphs, elsewhere by the clock."""
    with torch.no_grad():
        if device.startswith("cuda"):
            from clock import time_together

            return {way: microseconds / 1000 for way, microseconds in time_together(calls).items()}
        found: dict[str, float] = {}
        for way, call in calls.items():
            started = time.perf_counter()
            call()
            found[way] = (time.perf_counter() - started) * 1000
        return found


if __name__ == "__main__":
    main()
