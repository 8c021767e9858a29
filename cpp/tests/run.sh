#!/usr/bin/env bash
# Builds the runtime and the C++ example with warnings as errors against the headers given, runs the tests on stand-ins
# for TensorRT and CUDA, installs the package, and builds and runs a project outside the tree that uses it.
#
# usage: TensorRT_INCLUDE_DIR=... CUDA_INCLUDE_DIR=... cpp/tests/run.sh [BUILD_FOLDER]
#
# nlohmann_json_DIR and BUILD_SHARED_LIBS go to CMake as well. Ends with status 77 and the reason where something that it
# needs is not there.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
build=${1:-build/cpp}

skip() {
  echo "skipped: $1"
  exit 77
}

for tool in cmake c++ python3; do
  command -v "$tool" >/dev/null || skip "there is no $tool"
done
test -f "${TensorRT_INCLUDE_DIR:-}/NvInferRuntime.h" ||
  skip "TensorRT_INCLUDE_DIR names no folder with NvInferRuntime.h (the public headers, include/ of NVIDIA/TensorRT)"
test -f "${CUDA_INCLUDE_DIR:-}/cuda_runtime_api.h" || skip "CUDA_INCLUDE_DIR names no folder with cuda_runtime_api.h"

mkdir -p "$build"
build=$(cd "$build" && pwd)
log=$build/log
step() { # COMMAND
  "$@" >"$log" 2>&1 || { cat "$log"; exit 1; }
}
strict=(-DCMAKE_BUILD_TYPE=Debug -DCMAKE_COMPILE_WARNING_AS_ERROR=ON ${nlohmann_json_DIR:+-Dnlohmann_json_DIR="$nlohmann_json_DIR"})

if ! cmake -S "$here/fake" -B "$build/fake" "${strict[@]}" -DTensorRT_INCLUDE_DIR="$TensorRT_INCLUDE_DIR" \
  -DCUDA_INCLUDE_DIR="$CUDA_INCLUDE_DIR" -DCMAKE_INSTALL_PREFIX="$build/sdk" >"$log" 2>&1; then
  grep -q "or higher is required" "$log" && skip "CMake 3.24 is needed"
  grep -q nlohmann_json "$log" && skip "CMake finds no nlohmann_json: nlohmann_json_DIR names the folder of its package"
  cat "$log"
  exit 1
fi
step cmake --build "$build/fake" --parallel 2 --target install

sdk=(-DTENSORRT_ROOT="$build/sdk/tensorrt" -DCUDAToolkit_ROOT="$build/sdk/cuda")
step cmake -S "$here/.." -B "$build/runtime" "${strict[@]}" "${sdk[@]}" -DS2DEPLOY_BUILD_TESTS=ON \
  -DCMAKE_INSTALL_PREFIX="$build/installed" ${BUILD_SHARED_LIBS:+-DBUILD_SHARED_LIBS="$BUILD_SHARED_LIBS"}
step cmake --build "$build/runtime" --parallel 2
ctest --test-dir "$build/runtime" --output-on-failure
step cmake --install "$build/runtime"

# Users of the package, in a folder that knows nothing of this tree.
outside=$(mktemp -d)
trap 'rm -rf "$outside"' EXIT
for user in "$here/consumer" "$here/../../examples/cpp_pipeline"; do
  name=$(basename "$user")
  cp -r "$user" "$outside/"
  step cmake -S "$outside/$name" -B "$outside/$name/build" -DCMAKE_COMPILE_WARNING_AS_ERROR=ON "${sdk[@]}" \
    -DCMAKE_PREFIX_PATH="$build/installed"
  step cmake --build "$outside/$name/build"
  cp "$outside/$name/build/$name" "$build/"
done
echo "built $build/consumer and $build/cpp_pipeline"
