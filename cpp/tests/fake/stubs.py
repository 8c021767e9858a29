"""Writes C++ classes that override every pure function of TensorRT's interfaces and stop the test when one is called.

The stand-in for TensorRT derives from them and overrides what the runtime is expected to use, whatever else a version
of the headers declares.

Usage: stubs.py INCLUDE_DIR OUTPUT
"""

import re
import sys
from pathlib import Path

INTERFACES = {
    "apiv::VRuntime": "StubRuntime",
    "apiv::VCudaEngine": "StubEngine",
    "apiv::VExecutionContext": "StubContext",
    "IPluginRegistry": "StubRegistry",
}
_PURE = re.compile(r"virtual\s+([^;{}]*?)\s*=\s*0\s*;", re.DOTALL)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def _body(text: str, name: str) -> str:
    """Returns what is between the braces of a class."""
    start = re.search(rf"\bclass {name}\b[^;{{]*{{", text)
    if start is None:
        raise SystemExit(f"stubs.py: no class {name} in these headers")
    depth, end = 1, start.end()
    while depth:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    return text[start.end() : end - 1]


def _stub(text: str, interface: str, stub: str) -> str:
    lines = [f"class {stub} : public {interface}", "{", "public:"]
    for declaration in _PURE.findall(_body(text, interface.rpartition(":")[2])):
        flat = " ".join(declaration.split())
        name = re.search(r"(~?\w+)\s*\(", flat)
        if name is None or name[1].startswith("~"):
            continue
        lines.append(f'    {flat} override {{ fake::broken("{interface}::{name[1]} is not expected to be called"); }}')
    return "\n".join([*lines, "};", ""])


def main() -> None:
    """Writes the header."""
    include, output = Path(sys.argv[1]), Path(sys.argv[2])
    headers = [include / name for name in ("NvInferImpl.h", "NvInferRuntimeCommon.h")]
    text = _COMMENT.sub("", "".join(header.read_text(encoding="utf-8") for header in headers))
    stubs = [_stub(text, interface, stub) for interface, stub in INTERFACES.items()]
    output.write_text(
        '#pragma once\n#include "fakeCuda.h"\n#include <NvInferRuntime.h>\nnamespace nvinfer1\n{\n'
        + "\n".join(stubs)
        + "} // namespace nvinfer1\n"
    )


if __name__ == "__main__":
    main()
