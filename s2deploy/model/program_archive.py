"""Vets a ``.pt2`` archive before torch opens it.

``torch.export.load`` unpickles sample inputs, legacy weights and constants with full pickle when the restricted way
fails, unpickles whatever the payload tables mark, and loads native code below ``data/aotinductor``. Records are
read here with the very readers torch uses, so that both see the same bytes.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable
from typing import Any

from s2deploy.errors import ArtifactError, UntrustedPickleError
from s2deploy.model.program_text import check_program

_RAW = re.compile(r"data/(weights/weight|constants/tensor)_\d+")
_TABLE = re.compile(r"data/(weights|constants)/.*_config\.json")
_TEXTS = frozenset({
    "archive_format", "archive_version", "byteorder", "version", ".data/version", ".data/serialization_id",
})  # fmt: skip
_OLD_PICKLES = ("serialized_state_dict", "serialized_constants", "serialized_example_inputs")
_DAMAGED = "it may be truncated, or written by another version of torch; save it again with torch.export.save"


def vet(content: bytes) -> None:
    """Checks that opening an archive cannot run code from it.

    torch tries the layout of 2.8 first and the older plain zip if that fails, so both are vetted where both exist.

    Args:
        content: The whole file.

    Raises:
        UntrustedPickleError: A part of it could run code.
        ArtifactError: It is no archive torch wrote.
    """
    try:
        reader = _reader(content)
        if reader is not None:
            _vet_records(reader)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_names(archive.namelist())
            if "version" in archive.namelist():
                _vet_old_layout(archive)
            elif reader is None:
                raise ArtifactError("the archive lacks torch's format marker", hint=_DAMAGED)
    except (ArtifactError, UntrustedPickleError):
        raise
    except Exception as error:  # a hostile or damaged file breaks any assumption about its structure
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ArtifactError(f"the archive is damaged: {reason}", hint=_DAMAGED) from error


def _reader(content: bytes) -> Any:
    """Returns torch's reader of the archive, None where torch would take it for the old layout."""
    import torch

    try:
        reader: Any = torch._C.PyTorchFileReader(io.BytesIO(content))
        marker: bytes = reader.get_record("archive_format")
    except RuntimeError:
        return None
    return reader if marker == b"pt2" else None


def _check_names(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen or name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise UntrustedPickleError(f"the archive's member {name!r} is twice there or leads out of it")
        seen.add(name)


def _vet_records(reader: Any) -> None:
    """Vets the layout of torch 2.8 and later."""
    records: list[str] = reader.get_all_records()
    _check_names(records)
    tables = [_parse(reader.get_record(name), name) for name in records if _TABLE.fullmatch(name)]
    pickled = {path for table in tables for path in _pickled_payloads(table)}
    for name in records:
        if name.startswith("data/aotinductor/"):
            raise UntrustedPickleError("the archive holds compiled native code (AOTInductor)")
        if name.startswith("extra/") or name in _TEXTS or _TABLE.fullmatch(name):
            continue
        if _RAW.fullmatch(name) and name.rpartition("/")[2] not in pickled:
            continue
        record = reader.get_record(name)
        if name.startswith("models/"):
            check_program(_parse(record, name))
        else:
            _check_pickle(record, name)


def _vet_old_layout(archive: zipfile.ZipFile) -> None:
    """Vets the layout of torch 2.1 to 2.7, a plain zip."""
    for name in archive.namelist():
        if name.startswith(_OLD_PICKLES):
            _check_pickle(archive.read(name), name)
        elif name == "serialized_exported_program.json":
            check_program(_parse(archive.read(name), name))


def _pickled_payloads(table: Any) -> Iterable[str]:
    """Yields the payloads a table marks as pickled; refuses those that are no tensors."""
    for name, entry in table["config"].items():
        path = entry["path_name"]
        if re.fullmatch(r"(weight|tensor)_\d+", path) is None:
            raise UntrustedPickleError(f"the constant {name!r} is a pickled or torchbind object")
        if entry["use_pickle"] is not False:
            yield path


def _parse(record: bytes, name: str) -> Any:
    try:
        return json.loads(record)
    except ValueError as error:
        raise ArtifactError(f"the archive's {name} is no JSON: {error}", hint=_DAMAGED) from error


def _check_pickle(record: bytes, name: str) -> None:
    import torch

    if not record:
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.load(io.BytesIO(record), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UntrustedPickleError(f"the archive's {name} is a pickle that could run code") from error
    except Exception as error:  # torch raises many types on foreign bytes; torch.export.load would then fully unpickle
        raise UntrustedPickleError(f"the archive's {name} cannot be read without full unpickling") from error
