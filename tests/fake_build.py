"""Carries out one build with `fake_builder` in a process of its own, as Polygraphy imports one TensorRT a process."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fake_builder import make


def main() -> None:
    """Builds as the request on standard input says, and prints the calls and the answer."""
    from s2deploy.engine import child
    from s2deploy.engine.progress import Progress
    from s2deploy.engine.request import Request
    from s2deploy.sidecar import Device

    asked = json.loads(sys.stdin.read())
    module = make(asked["version"], tuple(asked["stubborn"]))
    sys.modules["tensorrt"] = module
    child.first_device = lambda: Device("NVIDIA Fake", "9.0")
    asked_for = Request.from_json(asked["request"])
    told = Progress(Path(asked_for.model).with_suffix(".progress"))
    answer = child.parse(asked_for) if asked_for.plan is None else child.build(asked_for, Path(asked_for.plan), told)
    print(json.dumps({"calls": module.calls, "answer": answer.to_json()}))


if __name__ == "__main__":
    main()
