"""What the GPU measurements run: which models, their inputs, and the shapes they are compared at."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = "cases.json"


@dataclass(frozen=True)
class Case:
    """One model with one declaration of its input.

    Attributes:
        name: Its name, and that of its files.
        file: The Python file that defines it, from the root of the repository.
        factory: What to call there.
        arguments: With which keyword arguments.
        spec: Its input as ``s2deploy export --input`` takes it.
        shapes: Input shapes to compare at.
    """

    name: str
    file: str
    factory: str
    arguments: dict[str, Any]
    spec: str
    shapes: tuple[tuple[int, ...], ...]

    @property
    def model(self) -> str:
        """Name of its ONNX file."""
        return f"{self.name}.onnx"

    def feed(self, index: int) -> str:
        """Returns the name of the file with the input and the outputs of a shape."""
        return f"{self.name}-{index}.npz"


def cases(example: str) -> list[Case]:
    """Returns the block and the example model, static and dynamic.

    Args:
        example: Which factory of ``examples/s2mlpv2.py``.
    """
    block = ("benchmarks/blocks.py", "S2Attention", {"channels": 512})
    whole = ("examples/s2mlpv2.py", example, {})
    sizes = "x:batch=1..2..4,512,height=7..14..28,width=7..14..28"
    return [
        Case("block_static", *block, "x:4,512,14,14", ((4, 512, 14, 14),)),
        Case("block_dynamic", *block, sizes, ((1, 512, 7, 7), (2, 512, 14, 14), (3, 512, 9, 27), (4, 512, 28, 28))),
        Case("example_static", *whole, "x:4,3,224,224", ((4, 3, 224, 224),)),
        Case("example_dynamic", *whole, "x:batch=1..4..8,3,224,224", ((1, 3, 224, 224), (5, 3, 224, 224))),
    ]


def write(folder: Path, chosen: list[Case], about: dict[str, Any]) -> None:
    """Writes the cases a folder holds files of, and what is to be known about them."""
    document = about | {"cases": [asdict(case) for case in chosen]}
    (folder / MANIFEST).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def read(folder: Path) -> list[Case]:
    """Returns the cases a folder holds files of."""
    entries = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["cases"]
    return [Case(**entry | {"shapes": tuple(map(tuple, entry["shapes"]))}) for entry in entries]


def module_of(case: Case) -> Any:
    """Returns the PyTorch module, whose weights depend on a seed alone, in eval mode."""
    import runpy

    import torch

    torch.manual_seed(0)
    return runpy.run_path(str(ROOT / case.file))[case.factory](**case.arguments).eval()
