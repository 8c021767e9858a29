"""Measures how the time of a rewrite grows with the length of a chain of ScatterND assignments.

Run it with ``python benchmarks/rewrite_scale.py``. Two chains, at 5,000 and 10,000 assignments: every row of a tensor
written once in a random order, and one small tensor shifted over and over. The seconds are those of `rewrite` alone,
on a model in memory; the ratio is that of twice the length to the length.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir

from s2deploy.rewrite import rewrite

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from scatter_chains import rows, shifts

CHAINS: dict[str, Callable[[int], onnx.ModelProto]] = {"distinct rows": rows, "the same shift": shifts}


def main() -> None:
    """Runs every chain at the given length and at twice that, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--length", type=int, default=5000, help="assignments of the shorter chain (default 5000)")
    length = parser.parse_args().length
    print(f"{'chain':<16} {length:>9,} {2 * length:>9,}     ratio  scatters left")
    for name, chain in CHAINS.items():
        (short, first), (long, second) = timed(chain(length)), timed(chain(2 * length))
        print(f"{name:<16} {short:>7.2f} s {long:>7.2f} s {long / short:>9.2f}  {first + second}")


def timed(model: onnx.ModelProto) -> tuple[float, int]:
    """Returns the seconds of one rewrite and the scatters that are left."""
    graph = ir.from_proto(model)
    start = time.perf_counter()
    report = rewrite(graph)
    return time.perf_counter() - start, report.scatters_after


if __name__ == "__main__":
    main()
