"""What a user asks of a build, from the command line down to the building process."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

from s2deploy.specs import Precision, Target, TensorSpec


class Calibrator(enum.Enum):
    """How the range of an activation is chosen from what calibration saw."""

    ENTROPY = "entropy"
    MINMAX = "minmax"


@dataclass(frozen=True)
class PrecisionOptions:
    """What the graph computes in.

    Attributes:
        precision: The type of matrix products and convolutions.
        fp16_io: With a 16-bit precision, whether inputs and outputs have that type as well.
        tf32: Whether float32 products may round their factors to TF32.
        keep_fp32: Names of nodes, or operator types, that stay in float32.
        calibration: For int8: an ``.npz`` file of one feed, or a folder of such files.
        calibrator: For int8: how ranges are chosen.
        accept_loss: Whether outputs may differ from float32 by more than the tolerance on calibration data.
    """

    precision: Precision = Precision.FP32
    fp16_io: bool = False
    tf32: bool = True
    keep_fp32: tuple[str, ...] = ()
    calibration: Path | None = None
    calibrator: Calibrator = Calibrator.ENTROPY
    accept_loss: bool = False


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built.

    Attributes:
        target: Which TensorRT; None takes what the machine has.
        typing: What the graph computes in.
        profiles: Ranges of the dynamic inputs, one tuple per optimization profile; those of the export if empty.
        capabilities: Compute capabilities such as ``8.6``, for TensorRT-RTX; all that can if empty.
        workspace_bytes: Most memory a layer may use while it runs; TensorRT's default if None.
        optimization_level: How long the builder searches, 0 to 5; TensorRT's default if None.
        version_compatible: Whether newer versions of TensorRT may load the plan.
        hardware_compatible: Whether newer GPUs may load the plan.
        timing_cache: Folder in which the builder keeps its measurements, a file per version and GPU; none if None.
        plugins: Libraries of plugins that the model needs.
        kernels: The library of the plugins that compute the operators of `s2deploy.ops`; None writes the operators'
            functions out.
    """

    target: Target | None = None
    typing: PrecisionOptions = field(default_factory=PrecisionOptions)
    profiles: tuple[tuple[TensorSpec, ...], ...] = ()
    capabilities: tuple[str, ...] = ()
    workspace_bytes: int | None = None
    optimization_level: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    timing_cache: Path | None = None
    plugins: tuple[Path, ...] = ()
    kernels: Path | None = None

    @property
    def libraries(self) -> tuple[Path, ...]:
        """All libraries of plugins that the plan needs."""
        return self.plugins if self.kernels is None else (*self.plugins, self.kernels)
