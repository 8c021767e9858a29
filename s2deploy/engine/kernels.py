"""The library of the plugins that compute the operators of `s2deploy.ops`: where it lies, what it was built for.

A library tells both itself, through functions that take nothing and touch neither TensorRT nor a GPU. They are called
in a process of its own: loading a library runs code of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from s2deploy.engine.targets import Toolchain
from s2deploy.errors import UsageError
from s2deploy.ops import VERSION

LIBRARY = "libs2deploy_plugins.so"
ENVIRONMENT = "S2DEPLOY_PLUGIN"
_MARK = b"s2deployOperatorVersion"
_SECONDS = 60
_PROGRAM = (
    "import ctypes, sys; library = ctypes.CDLL(sys.argv[1]); "
    "print(library.s2deployOperatorVersion(), library.s2deployTensorRtMajor())"
)
_HINT = "build plugins/ for this machine's TensorRT: plugins/README.md"


@dataclass(frozen=True)
class KernelLibrary:
    """A library of the operators' plugins.

    Attributes:
        path: The file.
        operators: Version of the operators it computes.
        tensorrt: Major version of the TensorRT it was built for.
    """

    path: Path
    operators: int
    tensorrt: int

    def unfit(self, toolchain: Toolchain | None) -> str | None:
        """Returns why it cannot be used; None where nothing is known against it.

        Args:
            toolchain: The TensorRT that would load it; None where it is not known yet.
        """
        if self.operators != VERSION:
            return f"{self.path} computes version {self.operators} of the operators, not version {VERSION}"
        if toolchain is not None and self.tensorrt != toolchain.family.version[0]:
            return f"{self.path} was built for TensorRT {self.tensorrt}, this is TensorRT {toolchain.version}"
        return None


def is_kernel_library(path: Path) -> bool:
    """Whether a file is a library of the operators' plugins, rather than of others; the file is not loaded."""
    try:
        return _MARK in path.read_bytes()
    except OSError:
        return False


def read_library(path: Path) -> KernelLibrary:
    """Asks a library what it was built for.

    Raises:
        UsageError: It cannot be loaded, or does not answer.
    """
    command = [sys.executable, "-I", "-c", _PROGRAM, str(path.absolute())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
        operators, tensorrt = map(int, done.stdout.split())
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{path} does not load within {_SECONDS} s", hint=_HINT) from error
    except ValueError as error:
        said = done.stderr.strip().splitlines()[-1:] or [f"the process ended with code {done.returncode}"]
        raise UsageError(f"{path} cannot be loaded: {said[0]}", hint=_HINT) from error
    return KernelLibrary(path, operators, tensorrt)


def places(model: Path) -> list[Path]:
    """Returns where the library of a machine may lie, first come first served.

    That is what the environment variable names and nothing else, or else: beside the model; in the package, or the
    Python environment, as the prefix it was installed to; where the loader looks for libraries first.

    Args:
        model: The model it is for.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        return [Path(named)]
    return list(dict.fromkeys(folder / LIBRARY for folder in _folders(model)))


def find_library(model: Path, toolchain: Toolchain | None) -> tuple[KernelLibrary | None, list[str]]:
    """Returns the first library that can be used, and why those before it cannot.

    Args:
        model: The model it is for.
        toolchain: The TensorRT that would load it; None where it is not known yet.
    """
    against: list[str] = []
    for path in places(model):
        if not path.is_file():
            continue
        try:
            library = read_library(path)
        except UsageError as error:
            against.append(error.message)
            continue
        reason = library.unfit(toolchain)
        if reason is None:
            return library, against
        against.append(reason)
    return None, against


def _folders(model: Path) -> Iterator[Path]:
    yield model.parent
    for prefix in (Path(__file__).parents[1], Path(sys.prefix)):
        yield prefix / "lib"
        yield prefix / "lib64"
    for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
        if folder:
            yield Path(folder)
