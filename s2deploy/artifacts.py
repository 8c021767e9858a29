"""Files on disk: outputs checked before the work starts, written whole or not at all, and their digests."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from s2deploy.errors import ArtifactError, UsageError

_staging: set[Path] = set()


def check_output(output: Path, sources: Iterable[Path] = (), needed_bytes: int = 0) -> None:
    """Checks that `output` can be written, so that a long job does not fail at its end.

    Args:
        output: The file to be written.
        sources: Files the work reads, none of which may be overwritten.
        needed_bytes: A lower bound of the size of what will be written.

    Raises:
        UsageError: The folder does not exist, `output` is a folder or a device, or it is one of the sources.
        ArtifactError: The folder cannot be written to, or its disk is too full.
    """
    folder = output.parent
    if output.is_dir():
        raise UsageError(f"{output} is a folder", hint=f"name a file in it: -o {output / 'model.onnx'}")
    if not folder.is_dir():
        problem, hint = "does not exist", f"create it: mkdir -p {folder}"
        if folder.exists():
            problem, hint = "is a file", "name a file in a folder"
        raise UsageError(f"the output folder {folder} {problem}", hint=hint)
    if output.exists() and not output.is_file():
        raise UsageError(f"{output} is no ordinary file", hint="name a file to write with -o")
    for source in sources:
        if source.resolve() == output.resolve():
            raise UsageError(f"the output {output} would overwrite what it is made from", hint="give -o another name")
    with _translated(output):
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"s2deploy")
        free_bytes = shutil.disk_usage(folder).free
    if free_bytes < needed_bytes:
        raise ArtifactError(
            f"{folder} has {free_bytes / 1e6:.3f} MB free, {output.name} needs at least {needed_bytes / 1e6:.3f} MB",
            hint="free some space or write to another disk",
        )


@contextmanager
def scratch(output: Path) -> Iterator[Path]:
    """Yields an empty hidden folder on the disk of `output`, which is gone afterwards, an interrupt included.

    Raises:
        ArtifactError: The folder cannot be made.
    """
    with _translated(output):
        folder = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    _staging.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _staging.discard(folder)


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """Yields a path of the same name in a hidden folder beside `output`; on success its files take their final place.

    Companions written beside the yielded path (external data, a sidecar) are published with it, `output` itself
    last. Whatever goes wrong, an interrupt included, nothing is left behind and an older `output` stays as it was.

    Raises:
        ArtifactError: The disk is full or the folder cannot be written to.
    """
    with scratch(output) as folder, _translated(output):
        yield folder / output.name
        written = sorted(folder.iterdir(), key=lambda path: path.name == output.name)
        for file in written:
            _flush(file)
        for file in written:
            file.replace(output.parent / file.name)


def discard_staged() -> None:
    """Removes what unfinished writes have left so far, for a process that ends without unwinding."""
    for folder in tuple(_staging):
        shutil.rmtree(folder, ignore_errors=True)


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file as hexadecimal digits.

    Raises:
        ArtifactError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror}", hint="check the path") from error
    return digest.hexdigest()


def _flush(path: Path) -> None:
    """Brings a file to the disk and gives it the permissions an ordinary new file would have."""
    umask = os.umask(0)
    os.umask(umask)
    with path.open("rb+") as stream:
        os.fsync(stream.fileno())
    path.chmod(0o666 & ~umask)


@contextmanager
def _translated(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(output, error) from error


def cannot_write(output: Path, error: OSError) -> ArtifactError:
    """Returns what an error of the system means for a file that should be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ArtifactError(
            f"cannot write {output}: the disk is full", hint="free some space or write to another disk"
        )
    return ArtifactError(
        f"cannot write {output}: {error.strerror or error}", hint="choose a folder you may write to with -o"
    )
