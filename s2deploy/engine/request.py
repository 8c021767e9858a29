"""What the building process is asked, and what it answers: plain values that travel as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from s2deploy.sidecar import EngineTensor, ProfileShapes


@dataclass(frozen=True)
class Request:
    """One build.

    Attributes:
        model: Path of the ONNX file.
        plan: Path the plan is written to.
        rtx: Whether to build with TensorRT-RTX.
        capabilities: Compute capabilities, for TensorRT-RTX.
        strongly_typed: Whether the network takes its types from the graph.
        fp16_flag: Whether fp16 is allowed by a builder flag.
        profile: Shapes of the dynamic inputs.
    """

    model: str
    plan: str
    rtx: bool
    capabilities: tuple[tuple[int, int], ...]
    strongly_typed: bool
    fp16_flag: bool
    profile: dict[str, ProfileShapes]

    def to_json(self) -> str:
        """Returns the request as text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Request:
        """Reads a request back."""
        data: dict[str, Any] = json.loads(text)
        data["capabilities"] = tuple((major, minor) for major, minor in data["capabilities"])
        data["profile"] = {
            name: ProfileShapes(*(tuple(shapes[key]) for key in ("min", "opt", "max")))
            for name, shapes in data["profile"].items()
        }
        return Request(**data)


@dataclass(frozen=True)
class Answer:
    """What came of it.

    Attributes:
        error: Why there is no plan; None where there is one.
        version: Version of the TensorRT that ran.
        inputs: The network's inputs.
        outputs: The network's outputs.
        tf32: Whether float32 matrix products may round their factors to TF32.
        seconds: Time from parsing to the serialized plan.
    """

    error: str | None = None
    version: str = ""
    inputs: tuple[EngineTensor, ...] = ()
    outputs: tuple[EngineTensor, ...] = ()
    tf32: bool = False
    seconds: float = 0.0

    def to_json(self) -> str:
        """Returns the answer as text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Answer:
        """Reads an answer back."""
        data: dict[str, Any] = json.loads(text)
        for key in ("inputs", "outputs"):
            data[key] = tuple(EngineTensor(item["name"], tuple(item["shape"]), item["dtype"]) for item in data[key])
        return Answer(**data)
