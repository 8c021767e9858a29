"""The ways to run a model that `bench` measures, each alone in a process: PyTorch eager and compiled, ONNX, plans.

Every call starts from arrays in the processor's memory and ends with its results there, copies to a GPU and back
included, so that all ways do the same work.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2deploy.errors import InputSpecError, S2DeployError, TargetUnavailableError, ValidationError
from s2deploy.feeds import Array, Feed
from s2deploy.runtime import OnnxSession, Session, TensorInfo, load
from s2deploy.runtime.binding import check
from s2deploy.runtime.tensors import from_torch, to_torch
from s2deploy.specs import TensorSpec

if TYPE_CHECKING:
    import torch

    from s2deploy.model import Loaded

EAGER, COMPILE, ONNXRUNTIME, PLAN = "eager", "compile", "onnxruntime", "plan"
IN_TORCH = (EAGER, COMPILE)
_PLANS = (".plan", ".engine", ".trt")


@dataclass(frozen=True)
class Way:
    """How an artifact is run; travels to the process that does it.

    Attributes:
        label: What it is called; unique.
        artifact: The file or factory.
        runner: ``eager``, ``compile``, ``onnxruntime`` or ``plan``.
        threads: Threads per operator.
        device: ``cpu``, ``cuda`` or ``cuda:N``, for PyTorch and onnxruntime; its number, for plans.
        kwargs: Arguments of a factory.
        weights: A state_dict for a factory's module.
        trust_pickle: Whether code inside files may run.
        cuda_graphs: Whether a plan's kernels are launched as one CUDA graph.
    """

    label: str
    artifact: str
    runner: str
    threads: int
    device: str = "cpu"
    kwargs: dict[str, Any] | None = None
    weights: str | None = None
    trust_pickle: bool = False
    cuda_graphs: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return asdict(self)

    @property
    def gpu(self) -> int:
        """The number of the GPU."""
        return int(self.device.partition(":")[2] or 0)


def runners_for(artifact: str, *, compiled: bool) -> tuple[str, ...]:
    """Returns how an artifact is run, told from its name."""
    suffix = Path(artifact).suffix
    if suffix == ".onnx":
        return (ONNXRUNTIME,)
    if suffix in _PLANS:
        return (PLAN,)
    return IN_TORCH if compiled else (EAGER,)


class Runner(ABC):
    """A way to run a model, opened."""

    backend: str
    device_ms: float | None = None
    """How long the GPU's work took in the last call."""

    @property
    @abstractmethod
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The model's inputs; empty where it does not say."""

    @property
    @abstractmethod
    def specs(self) -> tuple[TensorSpec, ...]:
        """The inputs with the ranges the artifact declares; empty where it declares none."""

    @property
    def state(self) -> tuple[str, ...]:
        """Outputs that are new values of buffers, which forward itself does not return."""
        return ()

    @abstractmethod
    def prepare(self, feed: Feed) -> Callable[[], Any]:
        """Returns a call on these inputs, given in the model's order."""

    @abstractmethod
    def outputs(self, made: Any) -> Feed:
        """Returns what a call gave as arrays by name, in the model's order."""


class SessionRunner(Runner):
    """An ONNX file or a plan."""

    def __init__(self, session: Session) -> None:
        self._session, self.backend = session, session.backend

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """The model's inputs."""
        return self._session.inputs

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The declared ranges."""
        return self._session.specs

    @property
    def state(self) -> tuple[str, ...]:
        """Outputs that are new values of buffers."""
        return tuple(self._session.state)

    def prepare(self, feed: Feed) -> Callable[[], Any]:
        """Checks the arrays once, and returns a call that takes and gives arrays."""
        ranges = self._session.specs if isinstance(self._session, OnnxSession) else ()  # of a plan, profiles decide
        check(feed, self._session.inputs, ranges)
        timed = getattr(self._session, "timed", None)
        if timed is None:
            return lambda: self._session.run(feed)

        def call() -> Feed:
            outputs: Feed
            outputs, self.device_ms = timed(feed)
            return outputs

        return call

    def outputs(self, made: Any) -> Feed:
        """Returns the outputs."""
        return dict(made)


class TorchRunner(Runner):
    """A module in PyTorch, as a user would run it: under ``torch.inference_mode``, and nothing else."""

    def __init__(self, way: Way) -> None:
        torch = _torch(way)
        from s2deploy import model as sources

        self._way = way
        self.loaded = sources.load(way.artifact, kwargs=way.kwargs, weights=way.weights, trust_pickle=way.trust_pickle)
        self._module = _as_the_user_runs_it(self.loaded, way).to(way.device)
        self._cuda = way.device != "cpu"
        name = "torch.compile" if way.runner == COMPILE else "torch eager"
        place = torch.cuda.get_device_name(way.device) if self._cuda else "CPU"
        self.backend = f"{name} {torch.__version__}, {place}"

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """Nothing: forward's arguments are told apart by their order."""
        return ()

    @property
    def specs(self) -> tuple[TensorSpec, ...]:
        """The inputs of an exported program; of others nothing is known."""
        from s2deploy.pipeline.program_inputs import specs_of_program

        try:
            return () if self.loaded.program is None else specs_of_program(self.loaded.program)
        except InputSpecError:  # sizes without bounds: the user says which
            return ()

    def prepare(self, feed: Feed) -> Callable[[], Any]:
        """Returns a call of the module on tensors of the processor, whose results are there too."""
        import torch

        arguments = [to_torch(array.copy(), "cpu") for array in feed.values()]
        module = torch.compile(self._module) if self._way.runner == COMPILE else self._module

        def on_the_processor() -> Any:
            with torch.inference_mode():
                return module(*arguments)

        def on_the_gpu() -> Any:
            with torch.inference_mode():
                moved = [argument.to(self._way.device) for argument in arguments]
                before, after = _event(), _event()
                before.record()
                made = module(*moved)
                after.record()
                made = torch.utils._pytree.tree_map_only(torch.Tensor, lambda tensor: tensor.cpu(), made)
                after.synchronize()
                self.device_ms = before.elapsed_time(after)
                return made

        return self._translated(on_the_gpu if self._cuda else on_the_processor)

    def outputs(self, made: Any) -> Feed:
        """Returns the tensors in what forward returned, numbered."""
        from torch.utils import _pytree as pytree

        leaves = [leaf for leaf in pytree.tree_leaves(made) if hasattr(leaf, "detach")]
        return {f"output {number}": from_torch(leaf) for number, leaf in enumerate(leaves)}

    def reference(self, feed: Sequence[Array]) -> tuple[Feed, int]:
        """Returns the outputs under clone semantics, and how many in-place operations overlap in a run."""
        from s2deploy.overlap import find_overlaps, reference

        module = self.loaded.module
        assert module is not None  # a file of another kind is another runner's
        arguments = [to_torch(array.copy(), "cpu") for array in feed]
        overlaps = find_overlaps(module, arguments)
        return self.outputs(reference(module, arguments)), sum(overlap.count for overlap in overlaps)

    def _translated(self, call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            try:
                return call()
            except Exception as error:  # whatever the user's forward, or the compiler, raises
                said = str(error).strip().partition("\n")[0]
                if self._way.runner == COMPILE:
                    raise S2DeployError(
                        f"torch.compile failed: {type(error).__name__}: {said}",
                        hint="it needs a C++ compiler, e.g. g++; without one leave --compile out",
                    ) from error
                raise ValidationError(
                    f"the model raised in forward: {type(error).__name__}: {said}",
                    hint="check number, sizes and dtypes of the inputs: --input",
                ) from error

        return run


def open_runner(way: Way) -> Runner:
    """Opens an artifact.

    Raises:
        S2DeployError: It cannot be loaded, or not run here.
    """
    if way.runner in IN_TORCH:
        return TorchRunner(way)
    if way.runner == PLAN:
        return SessionRunner(load(way.artifact, device=way.gpu, cuda_graphs=way.cuda_graphs))
    provider = "cpu" if way.device == "cpu" else "cuda"
    return SessionRunner(OnnxSession(Path(way.artifact), provider=provider, threads=way.threads))


def _torch(way: Way) -> Any:
    """Returns torch with its threads fixed, which must happen before it computes anything."""
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # a pool of compilers would outlive the first call
    import torch

    torch.set_num_threads(way.threads)
    torch.set_num_interop_threads(1)
    if way.device != "cpu" and not torch.cuda.is_available():
        raise TargetUnavailableError(
            f"this machine's PyTorch finds no GPU for {way.device}",
            hint="install a CUDA build of torch and check nvidia-smi, or leave --device out",
        )
    return torch


def _event() -> Any:
    import torch

    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def _as_the_user_runs_it(loaded: Loaded, way: Way) -> torch.nn.Module:
    """Returns the module; a TorchScript archive is run by TorchScript, not by the replay that is exported."""
    import torch

    if loaded.kind == "torchscript" and way.runner == EAGER:
        script: torch.nn.Module = torch.jit.load(way.artifact, map_location="cpu")  # type: ignore[no-untyped-call]
        return script.eval()
    assert loaded.module is not None
    return loaded.module
