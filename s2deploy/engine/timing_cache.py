"""The builder's measurements, kept from build to build: a folder with one file per TensorRT version and GPU.

A file starts with the SHA-256 of the rest, so that TensorRT never sees a damaged one; it is replaced as a whole, under
a lock, after merging what parallel builds have added meanwhile. Whatever is wrong with it costs time, never a build.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

_DIGEST_BYTES = 32


class TimingCache:
    """One file of measurements, used in the building process.

    Args:
        folder: Where the files are; made if it is missing.
        version: Version of TensorRT.
        device: The GPU's name and compute capability.

    Attributes:
        remarks: What went wrong with it, for the user.
    """

    def __init__(self, folder: Path, version: str, device: str) -> None:
        self.path = folder / (re.sub(r"[^\w.]+", "-", f"{version}-{device}").strip("-") + ".timings")
        self.remarks: list[str] = []

    def load(self, config: Any) -> None:
        """Gives a builder's configuration the measurements made so far.

        Args:
            config: A ``tensorrt.IBuilderConfig``.
        """
        known = self._read()
        if known is None:
            return
        cache = config.create_timing_cache(known)
        if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
            self._tell("is from another TensorRT or GPU, so it starts anew")
            config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)

    def save(self, config: Any) -> None:
        """Merges the measurements of a finished build into the file."""
        from polygraphy.util import LockFile

        cache = config.get_timing_cache()
        if cache is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with LockFile(str(self.path)):
                others = self._read()
                previous = None if others is None else config.create_timing_cache(others)
                if previous is not None:
                    cache.combine(previous, ignore_mismatch=False)
                with cache.serialize() as data:
                    self._write(bytes(data))
        except OSError as error:
            self._tell(f"was not saved: {error.strerror or error}")

    def _read(self) -> bytes | None:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._tell(f"cannot be read: {error.strerror}")
            return None
        digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != digest:
            self._tell("is damaged, so it starts anew")
            return None
        return data

    def _write(self, data: bytes) -> None:
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(hashlib.sha256(data).digest() + data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(name, self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _tell(self, what: str) -> None:
        remark = f"the timing cache {self.path} {what}"
        if remark not in self.remarks:
            self.remarks.append(remark)
