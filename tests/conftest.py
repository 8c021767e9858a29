"""What all tests share: one thread per process, so that parallel tests do not fight for two cores."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
