"""What all tests share: one thread per process, so that parallel tests do not fight for two cores, and no deadlines."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("s2deploy", deadline=None)
settings.load_profile("s2deploy")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the number of random modules to export."""
    parser.addoption("--programs", type=int, default=100, help="random modules to export in test_random_modules.py")
