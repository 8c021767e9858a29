"""What a file on disk is, decided by its content and never by unpickling it."""

from __future__ import annotations

import enum
import zipfile
from pathlib import Path

from s2deploy.errors import ArtifactError, UsageError

_LFS = b"version https://git-lfs"
_LEGACY_TORCH_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"


class Format(enum.Enum):
    """The kinds of file a model or its weights can come in."""

    EXPORTED_PROGRAM = "exported program"
    TORCHSCRIPT = "TorchScript archive"
    PICKLE = "pickle"
    SAFETENSORS = "safetensors file"
    ONNX = "ONNX model"


def require_file(path: Path, what: str) -> None:
    """Checks that a path names a readable file with something in it.

    Args:
        path: The path as the user gave it.
        what: What the file should be, for the message, e.g. ``model``.

    Raises:
        UsageError: There is no such file, or it is a folder.
        ArtifactError: The file is empty, unreadable, or a Git LFS pointer.
    """
    if path.is_dir():
        raise UsageError(f"{what} {path} is a folder", hint=f"name the {what} file inside it")
    if not path.exists():
        raise UsageError(f"{what} {path}: no such file", hint="check the path; it is relative to the working folder")
    try:
        with path.open("rb") as file:
            head = file.read(len(_LFS))
    except OSError as error:
        raise ArtifactError(f"{what} {path} cannot be read: {error.strerror}", hint="check its permissions") from error
    if not head:
        raise ArtifactError(f"{what} {path} is empty", hint="save or download it again")
    if head == _LFS:
        raise ArtifactError(
            f"{what} {path} is a Git LFS pointer, not the file itself", hint="fetch it with: git lfs pull"
        )


def detect(path: Path) -> Format:
    """Returns what an existing file holds.

    The suffix decides for ``.onnx`` and ``.safetensors`` only; torch's own formats share ``.pt`` and are told
    apart by what is inside.

    Raises:
        ArtifactError: The file is truncated, or is none of the formats.
    """
    if path.suffix == ".onnx":
        return Format.ONNX
    if path.suffix == ".safetensors":
        return Format.SAFETENSORS
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"PK"):
        return _detect_zip(path)
    if path.suffix == ".pt2":
        raise ArtifactError(f"{path} is not an exported program: it is no zip archive", hint=_PT2_HINT)
    if head[0] == 0x80 and (_LEGACY_TORCH_MAGIC in head or head[1] in range(2, 6)):
        return Format.PICKLE
    kind = "a text file" if _is_text(head) else "no file torch writes"
    raise ArtifactError(f"{path} is {kind}", hint=_MODEL_HINT)


_PT2_HINT = "it may be truncated; write it with torch.export.save(program, 'model.pt2')"
_MODEL_HINT = (
    "give FILE.py:FACTORY, a .pt2 exported program, a TorchScript archive, an .onnx file, or download the file again"
)


def _detect_zip(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ArtifactError(
            f"{path} is a damaged zip archive: {error}", hint="it may be truncated; save or download it again"
        ) from error
    inner = {name.partition("/")[2] for name in names}
    if inner & {"archive_format"} or "serialized_exported_program.json" in names:
        return Format.EXPORTED_PROGRAM
    if path.suffix == ".pt2":
        raise ArtifactError(f"{path} is a zip archive but not an exported program", hint=_PT2_HINT)
    if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
        return Format.TORCHSCRIPT
    if "data.pkl" in inner:
        return Format.PICKLE
    raise ArtifactError(f"{path} is a zip archive that torch did not write", hint=_MODEL_HINT)


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in head)
