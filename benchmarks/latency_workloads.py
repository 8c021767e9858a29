"""What `latency.py` measures: models, sizes, and what is exported of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BLOCKS = HERE / "blocks.py"
EXAMPLE = HERE.parent / "examples" / "s2mlpv2.py"


@dataclass(frozen=True)
class Workload:
    """A model at one size.

    Attributes:
        name: Names it in files and tables.
        title: What people read.
        group: ``block``, ``example`` or ``style``.
        source: A factory, as s2deploy takes it.
        kwargs: Its arguments.
        shape: The input that is measured.
        dynamic: The same input with ranges; "" where only fixed sizes are exported.
        seconds: How long to measure with one thread.
    """

    name: str
    title: str
    group: str
    source: str
    shape: tuple[int, ...]
    dynamic: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    seconds: float = 18.0

    @property
    def fixed(self) -> str:
        """The input with its sizes alone."""
        return f"x:{','.join(map(str, self.shape))}"


def _block(channels: int, side: int, batch: int) -> Workload:
    largest = 2 * side
    return Workload(
        name=f"s2_{channels}_{side}_{batch}",
        title=f"S2 block, {channels} channels, {side} × {side}, batch {batch}",
        group="block",
        source=f"{BLOCKS}:S2Attention",
        shape=(batch, channels, side, side),
        dynamic=f"x:batch=1..{batch}..8,{channels},height=3..{side}..{largest},width=3..{side}..{largest}",
        kwargs={"channels": channels},
    )


def _example(batch: int) -> Workload:
    return Workload(
        name=f"s2mlpv2_{batch}",
        title=f"S2-MLPv2 Small/7, 224 × 224, batch {batch}",
        group="example",
        source=f"{EXAMPLE}:s2mlpv2_small_7",
        shape=(batch, 3, 224, 224),
        dynamic=f"x:batch=1..{batch}..8,3,224,224",
        seconds=30.0,
    )


WORKLOADS = (
    _block(96, 56, 1),
    _block(384, 14, 1),
    _block(512, 7, 1),
    _block(192, 32, 4),
    _example(1),
    _example(8),
    Workload(
        name="shiftvit_96_56_1",
        title="ShiftViT-style block, 96 channels, 56 × 56",
        group="style",
        source=f"{BLOCKS}:ShiftMlp",
        shape=(1, 96, 56, 56),
        dynamic="x:batch=1..1..8,96,height=4..56..112,width=4..56..112",
        kwargs={"channels": 96},
        seconds=12.0,
    ),
    Workload(
        name="tsm_64_28_8",
        title="TSM-style block, 64 channels, 28 × 28, 8 frames",
        group="style",
        source=f"{BLOCKS}:TemporalShift",
        shape=(8, 64, 28, 28),
        dynamic="x:frames=8..8..32/8,64,height=4..28..56,width=4..28..56",
        kwargs={"channels": 64},
        seconds=12.0,
    ),
    Workload(
        name="swin_96_56_1",
        title="Swin-style block, 96 channels, 56 × 56",
        group="style",
        source=f"{BLOCKS}:ShiftedWindows",
        shape=(1, 96, 56, 56),
        dynamic="x:batch=1..1..8,96,56,56",
        kwargs={"channels": 96},
        seconds=12.0,
    ),
)
QUICK = (_block(96, 14, 1),)

OURS, DYNAMIC, FOR_CPU = "s2deploy", "s2deploy, dynamic", "s2deploy, onnxruntime-cpu"
RUNTIMES = {OURS: "portable", DYNAMIC: "portable", FOR_CPU: "onnxruntime-cpu"}
"""What each of ours is exported for; a CPU is what all of them are measured on."""
EAGER, COMPILE = "torch eager", "torch compile"
DYNAMO, SCRIPT = "torch.onnx dynamo", "torch.onnx TorchScript"
SLIM = " + onnxslim"
FLOORS = {
    "products, torch rows": "ProductsOfRows eager",
    "products, torch maps": "ProductsOfMaps eager",
    "products, ORT rows": "ProductsOfRows.onnx",
    "products, ORT maps": "ProductsOfMaps.onnx",
}
EXPORTED_PEERS = (DYNAMO, DYNAMO + SLIM, SCRIPT, SCRIPT + SLIM)
PEERS = (EAGER, COMPILE, *EXPORTED_PEERS)
