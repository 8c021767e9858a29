"""Every error s2deploy raises on purpose.

::

    S2DeployError                      exit code 1: the work failed
    |-- UsageError                     exit code 2: the command or call was wrong
    |   |-- InputSpecError             an --input, --data or --value-range cannot be meant
    |   |-- UntrustedPickleError       loading would run code from the file
    |   `-- CapabilityError            a compute capability is unknown or lacks the precision
    |-- SourceError                    the model could not be loaded
    |   |-- FactoryError               user code raised while building the model
    |   `-- WeightsError               the weights do not fit the model
    |-- ExportError                    the model could not be captured or translated
    |-- RewriteError                   a graph could not be rewritten correctly
    |-- ValidationError                the two sides of a comparison could not be run
    |-- BuildError                     the engine could not be built
    |   `-- TargetUnavailableError     the target's package or device is not on this machine
    `-- ArtifactError                  a file on disk is unreadable, damaged, or cannot be written

A message says what happened; `hint` says what to do next. Errors of torch, onnxruntime, Polygraphy and
TensorRT are translated where they enter and stay reachable as `__cause__`.
"""

from __future__ import annotations


class S2DeployError(Exception):
    """The root of the tree.

    Args:
        message: What happened, naming the file, input or operator concerned.
        hint: The next step for the user, as an imperative sentence.
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class UsageError(S2DeployError):
    """The command or call was wrong; nothing was started."""

    exit_code = 2


class InputSpecError(UsageError):
    """An input specification, data file or value range cannot be meant."""


class UntrustedPickleError(UsageError):
    """Loading the file would run code from it and nobody said it is trusted."""


class CapabilityError(UsageError):
    """A compute capability is unknown, or the precision asked for does not exist there."""


class SourceError(S2DeployError):
    """The model could not be loaded."""


class FactoryError(SourceError):
    """The user's factory, or a module it imports, raised."""


class WeightsError(SourceError):
    """The weights do not fit the model."""


class ExportError(S2DeployError):
    """The model could not be captured by torch.export or translated to ONNX."""


class RewriteError(S2DeployError):
    """A graph could not be rewritten, or the rewritten graph is not valid."""


class ValidationError(S2DeployError):
    """A comparison could not be carried out (a difference is a result, not an error)."""


class BuildError(S2DeployError):
    """The engine could not be built."""


class TargetUnavailableError(BuildError):
    """The target's package, driver or device is not on this machine."""


class ArtifactError(S2DeployError):
    """A file is unreadable, damaged, or cannot be written."""
