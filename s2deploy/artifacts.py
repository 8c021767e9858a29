"""Files on disk: outputs checked before the work starts, written whole or not at all, and their digests.

Work goes to a hidden folder beside the output, which its process holds locked. What a killed process has left is
therefore known by its lock being free, and removed by the next one that writes the same output. Files that belong
together take their place under a lock of the folder they go to, so that two processes never mix theirs.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from s2deploy.errors import ArtifactError, UsageError

_staging: set[Path] = set()
_SUFFIX = ".s2deploy"
_YOUNG_SECONDS = 60.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ROOM = "free some space there, or name another folder in the environment variable TMPDIR"


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
    prefix = f".{output.name}."
    with _translated(output):
        _remove_abandoned(output.parent, prefix)
        folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=_SUFFIX, dir=output.parent))
    _staging.add(folder)
    try:
        with _locked(folder):
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
        with _locked(output.parent):
            for file in written:
                file.replace(output.parent / file.name)


@contextmanager
def temporary() -> Iterator[Path]:
    """Yields an empty folder for temporary files, which is gone afterwards.

    Raises:
        ArtifactError: It cannot be made, or its disk is full.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix="s2deploy-")
    except OSError as error:  # a full disk, too, is told as there being no usable folder
        raise ArtifactError(f"there is no folder for temporary files: {error.strerror or error}", hint=_ROOM) from error
    with made as name:
        try:
            yield Path(name)
        except OSError as error:
            if not (_is_full(error) or error.errno == errno.EFBIG):
                raise
            raise cannot_write_temporary(Path(name), error) from error


def cannot_write_temporary(folder: Path, error: OSError) -> ArtifactError:
    """Returns what an error of the system means that came up while a file in a temporary folder was written."""
    reason = error.strerror or "the disk is full"
    return ArtifactError(f"cannot write temporary files to {folder.parent}: {reason}", hint=_ROOM)


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


def _remove_abandoned(parent: Path, prefix: str) -> None:
    """Removes the folders that killed processes have left; a young one may not have been locked yet."""
    for folder in parent.glob(f"{glob.escape(prefix)}*{_SUFFIX}"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _YOUNG_SECONDS:
                with _locked(folder, wait=False) as ours:
                    if ours:
                        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Locks a folder against other processes that lock it, and yields whether that was possible.

    Network disks and Windows know no such locks, so nothing is kept apart there.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            ours = True
        except OSError:
            ours = False
        yield ours
    finally:
        os.close(descriptor)


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
    if _is_full(error):
        return ArtifactError(
            f"cannot write {output}: the disk is full", hint="free some space or write to another disk"
        )
    return ArtifactError(
        f"cannot write {output}: {error.strerror or error}", hint="choose a folder you may write to with -o"
    )


def _is_full(error: OSError) -> bool:
    # numpy tells of a write that fell short by its counts alone
    return error.errno in _FULL or (error.errno is None and "requested and" in str(error))
