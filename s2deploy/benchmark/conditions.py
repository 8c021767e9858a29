"""What the machine was and did during a measurement: other programs, a hypervisor, throttling.

Linux tells it in ``/proc`` and ``/sys``; what a system does not tell is None.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from s2deploy.environment import usable_cores

_ROOT = Path("/")
_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ, _STOLEN = 0, 1, 2, 5, 6, 7
_BUSY = (_USER, _NICE, _SYSTEM, _IRQ, _SOFTIRQ)


@dataclass(frozen=True)
class Conditions:
    """The machine during a measurement.

    Attributes:
        processor: Its name.
        cores: How many cores this process may use.
        load_average: Programs that wanted to run, averaged over the minute before the measurement.
        others_cores: How many cores programs other than the measured ones kept busy, on average.
        stolen: The share of the machine's time that a hypervisor gave to others.
        throttled: How often the processor was slowed down for its temperature, or a container for its quota.
    """

    processor: str
    cores: int
    load_average: float | None
    others_cores: float | None
    stolen: float | None
    throttled: int | None


class Watch:
    """Observes the machine between its making and `conditions`.

    Args:
        pids: The processes that are measured; this one is always among them.
        root: Where the system's files are.
    """

    def __init__(self, pids: Iterable[int], root: Path = _ROOT) -> None:
        self._pids, self._root = (os.getpid(), *pids), root
        self._load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        self._before = self._counters()

    def conditions(self) -> Conditions:
        """Returns what has happened since, while the measured processes still live."""
        after = self._counters()
        others, stolen = _shares(self._before, after)
        throttled = None
        if self._before.throttled is not None and after.throttled is not None:
            throttled = after.throttled - self._before.throttled
        return Conditions(_processor(self._root), usable_cores(), self._load, others, stolen, throttled)

    def stolen(self) -> float:
        """Returns how many seconds a hypervisor has given to others since the system started; 0 if unknown."""
        ticks = _machine_ticks(self._root / "proc/stat")
        return 0.0 if ticks is None else ticks[_STOLEN] / os.sysconf("SC_CLK_TCK")

    def _counters(self) -> _Counters:
        ours = [_own_ticks(self._root / f"proc/{pid}/stat") for pid in self._pids]
        known = [ticks for ticks in ours if ticks is not None]
        return _Counters(_machine_ticks(self._root / "proc/stat"), sum(known), _throttled(self._root))


@dataclass(frozen=True)
class _Counters:
    """Counters of the system, in clock ticks since its start."""

    machine: tuple[int, ...] | None
    ours: int
    throttled: int | None


def _shares(before: _Counters, after: _Counters) -> tuple[float | None, float | None]:
    """Returns how many cores others kept busy, and the share of time that was stolen."""
    if before.machine is None or after.machine is None:
        return None, None
    passed = [late - early for early, late in zip(before.machine, after.machine, strict=True)]
    total = sum(passed[: _STOLEN + 1])
    if total <= 0:
        return None, None
    others = sum(passed[kind] for kind in _BUSY) - (after.ours - before.ours)
    return max(0.0, others / total * (os.cpu_count() or 1)), passed[_STOLEN] / total


def _machine_ticks(path: Path) -> tuple[int, ...] | None:
    """Returns the first line of ``/proc/stat``: user, nice, system, idle, iowait, irq, softirq, steal."""
    line = _read(path).partition("\n")[0].split()
    return tuple(map(int, line[1 : _STOLEN + 2])) if len(line) > _STOLEN + 1 else None


def _own_ticks(path: Path) -> int | None:
    """Returns the processor time of a process and of its children that have ended."""
    fields = _read(path).rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) if len(fields) >= 15 else None


def _throttled(root: Path) -> int | None:
    """Returns how often cores were throttled; all packages and the container's quota counted together."""
    counts = [_number(_read(path)) for path in root.glob("sys/devices/system/cpu/cpu*/thermal_throttle/*_count")]
    for line in _read(root / "sys/fs/cgroup/cpu.stat").splitlines():
        if line.startswith("nr_throttled "):
            counts.append(_number(line.split()[1]))
    return sum(counts) if counts else None


def _processor(root: Path) -> str:
    for line in _read(root / "proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _number(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
