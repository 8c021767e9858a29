"""What the building process is asked, and what it answers: plain values that travel as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from s2deploy.engine.products import Product
from s2deploy.sidecar import Device, EngineTensor, ProfileShapes
from s2deploy.specs import Precision, Target


@dataclass(frozen=True)
class Request:
    """One build.

    Attributes:
        model: Path of the ONNX file.
        plan: Path the plan is written to; None to parse the model and build nothing.
        target: Which TensorRT builds.
        version: Its version.
        precision: What matrix products and convolutions compute in.
        io_16bit: Whether float inputs and outputs have the precision's type as well.
        tf32: Whether float32 products may round their factors to TF32.
        kept: Names of the nodes that stay in float32.
        profiles: Shapes of the dynamic inputs, one mapping per optimization profile; none for a static model.
        capabilities: Compute capabilities, for TensorRT-RTX.
        workspace_bytes: Most memory a layer may use; TensorRT's default if None.
        optimization_level: How long the builder searches; TensorRT's default if None.
        version_compatible: Whether newer versions may load the plan.
        hardware_compatible: Whether newer GPUs may load the plan.
        timing_cache: Folder of the builder's measurements; None for none.
        plugins: Paths of the plugin libraries to load first.
        kernels: Path of the library of the operators' plugins, loaded as well; None where their functions are written
            out.
    """

    model: str
    plan: str | None
    target: Target
    version: str
    precision: Precision = Precision.FP32
    io_16bit: bool = False
    tf32: bool = True
    kept: tuple[str, ...] = ()
    profiles: tuple[dict[str, ProfileShapes], ...] = ()
    capabilities: tuple[tuple[int, int], ...] = ()
    workspace_bytes: int | None = None
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    timing_cache: str | None = None
    plugins: tuple[str, ...] = ()
    kernels: str | None = None

    def to_json(self) -> str:
        """Returns the request as text."""
        return json.dumps(asdict(self) | {"target": self.target.value, "precision": self.precision.value})

    @staticmethod
    def from_json(text: str) -> Request:
        """Reads a request back."""
        data: dict[str, Any] = json.loads(text)
        data["target"], data["precision"] = Target(data["target"]), Precision(data["precision"])
        data["kept"], data["plugins"] = tuple(data["kept"]), tuple(data["plugins"])
        data["capabilities"] = tuple((major, minor) for major, minor in data["capabilities"])
        data["profiles"] = tuple(
            {
                name: ProfileShapes(**{key: tuple(value) for key, value in shapes.items()})
                for name, shapes in one.items()
            }
            for one in data["profiles"]
        )
        return Request(**data)


@dataclass(frozen=True)
class Refusal:
    """A node the parser does not take.

    Attributes:
        node: Its name; may be empty.
        operator: Its operator.
        output: What it makes.
        words: The parser's reason, as it logs it.
    """

    node: str
    operator: str
    output: str
    words: str


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
        products: Every matrix product and convolution of the network, with the type it computes in.
        inspected: The same as the loaded engine tells it, where it is loaded; fusion hides some.
        device: The GPU it was built on; None where it needs none.
        remarks: What else the user should know.
        refusals: The nodes that the parser does not take, where the model was parsed alone.
    """

    error: str | None = None
    version: str = ""
    inputs: tuple[EngineTensor, ...] = ()
    outputs: tuple[EngineTensor, ...] = ()
    tf32: bool = False
    seconds: float = 0.0
    products: tuple[Product, ...] = ()
    inspected: tuple[Product, ...] = ()
    device: Device | None = None
    remarks: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    def to_json(self) -> str:
        """Returns the answer as text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Answer:
        """Reads an answer back."""
        data: dict[str, Any] = json.loads(text)
        for key in ("inputs", "outputs"):
            data[key] = tuple(EngineTensor(item["name"], tuple(item["shape"]), item["dtype"]) for item in data[key])
        for key in ("products", "inspected"):
            data[key] = tuple(Product(**item) for item in data[key])
        data["device"] = None if data["device"] is None else Device(**data["device"])
        data["remarks"] = tuple(data["remarks"])
        data["refusals"] = tuple(Refusal(**item) for item in data["refusals"])
        return Answer(**data)
