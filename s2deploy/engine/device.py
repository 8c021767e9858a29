"""The GPU of this machine as its driver describes it, asked through the driver's own library."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from s2deploy.sidecar import Device

_MAJOR_ATTRIBUTE, _MINOR_ATTRIBUTE = 75, 76
_NAME_BYTES = 256


def count_devices() -> int:
    """Returns how many NVIDIA GPUs the driver offers; 0 where there is no driver."""
    driver = _driver()
    count = ctypes.c_int(0)
    if driver is None or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def first_device() -> Device | None:
    """Returns the GPU that CUDA takes by default; None where there is none."""
    driver = _driver()
    handle = ctypes.c_int(0)
    if driver is None or driver.cuDeviceGet(ctypes.byref(handle), 0) != 0:
        return None
    name = ctypes.create_string_buffer(_NAME_BYTES)
    major, minor = ctypes.c_int(0), ctypes.c_int(0)
    driver.cuDeviceGetName(name, _NAME_BYTES, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR_ATTRIBUTE, handle)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR_ATTRIBUTE, handle)
    return Device(name.value.decode(errors="replace"), f"{major.value}.{minor.value}")


def _driver() -> Any:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return None
    return driver if driver.cuInit(0) == 0 else None
