"""Builds and tests `plugins/` with what is on this machine: a C++ compiler, nvcc, TensorRT's headers.

``make plugins-test`` runs this file with the folders of headers in the environment.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from s2deploy import ops
from s2deploy.engine.kernels import KernelLibrary, is_kernel_library, read_library

PLUGINS = Path(__file__).parents[1] / "plugins"
CAPABILITIES = "75-real;80-real;86-real;89-real;90-real;100-real;120-real"
HEADERS = {major: f"TENSORRT_{major}_INCLUDE" for major in (8, 10, 11)}
"""The environment variables that name folders of public TensorRT headers."""

IN_REGISTRY = """
import sys
import tensorrt_rtx
registry = tensorrt_rtx.get_plugin_registry()
assert registry.load_library(sys.argv[1]) is not None
for creator in registry.all_creators:
    if creator.plugin_namespace == "s2deploy":
        print(creator.name, creator.plugin_version, *(field.name for field in creator.field_names))
"""


def nvcc() -> str | None:
    return os.environ.get("CUDACXX") or shutil.which("nvcc")


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-8000:]}\n{done.stderr[-8000:]}"
    return done.stdout


def build(folder: Path, *options: str, targets: tuple[str, ...] = ("all",)) -> None:
    """Configures and builds; every warning is an error."""
    strict = "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON"
    run("cmake", "-S", PLUGINS, "-B", folder, f"-DPython3_EXECUTABLE={sys.executable}", strict, *options)
    run("cmake", "--build", folder, "--target", *targets, "--parallel", "2")


needs_cmake = pytest.mark.skipif(
    not (shutil.which("cmake") and shutil.which("c++")), reason="cmake or a C++ compiler is not on PATH"
)
needs_headers = pytest.mark.skipif(
    not any(os.environ.get(variable) for variable in HEADERS.values()),
    reason=f"set {', '.join(HEADERS.values())} to folders of TensorRT's headers, or use make plugins-test",
)
needs_nvcc = pytest.mark.skipif(not nvcc(), reason="nvcc is not on PATH and CUDACXX is not set")


@needs_cmake
def test_index_arithmetic_agrees_with_the_reference(tmp_path: Path) -> None:
    build(tmp_path, "-DCMAKE_CUDA_COMPILER=NOTFOUND", targets=("indexTest",))
    output = run("ctest", "--test-dir", tmp_path, "-R", "referenceCases|indexTest", "--verbose")
    assert "4400 cases" in output
    assert "100% tests passed, 0 tests failed out of 2" in output


@needs_cmake
@needs_nvcc
@needs_headers
def test_kernels_compile_for_every_capability(tmp_path: Path) -> None:
    build(tmp_path, f"-DCMAKE_CUDA_ARCHITECTURES={CAPABILITIES}", targets=("s2deploy_kernels", "s2deploy_kernels_c"))
    assert (tmp_path / "libs2deploy_kernels_c.so").exists()


@needs_cmake
@needs_nvcc
@pytest.mark.parametrize("major", HEADERS)
def test_plugins_of_every_tensorrt(major: int, tmp_path: Path) -> None:
    headers = os.environ.get(HEADERS[major])
    if not headers:
        pytest.skip(f"set {HEADERS[major]} to the folder of TensorRT {major}'s headers")
    build(tmp_path, f"-DTensorRT_INCLUDE_DIR={headers}", "-DCMAKE_CUDA_ARCHITECTURES=75")
    test = "pluginV2Test" if major < 10 else "pluginV3Test"
    output = run("ctest", "--test-dir", tmp_path, "--output-on-failure")
    assert f"{test} " in output
    assert "100% tests passed" in output
    library = tmp_path / "libs2deploy_plugins.so"
    assert is_kernel_library(library)
    assert read_library(library) == KernelLibrary(library, ops.VERSION, major)
    if major >= 10 and importlib.util.find_spec("tensorrt_rtx"):
        listed = run(sys.executable, "-c", IN_REGISTRY, library).splitlines()
        assert sorted(listed) == [
            "ShiftSum 1 groups channels_last branches",
            "ShiftSumPool 1 groups channels_last branches",
            "SpatialShift 1 groups channels_last border",
        ]
