"""Processes by identity: a pid together with its start time, so that a reused pid is never mistaken for ours."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

POLL_S = 0.005
KTHREADD = 2


class Process(NamedTuple):
    """A process that cannot be confused with a later one of the same pid."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The living process with this pid; None where there is none, or nothing is left of it but its exit status.

        The first thread of a process may be a zombie while its others still end; until then its sockets stay open.
        """
        fields = stat_fields(pid)
        if not fields or (fields[0] in "ZX" and int(fields[17]) <= 1):
            return None
        return cls(pid, int(fields[19]))

    @property
    def of_kernel(self) -> bool:
        """Whether it is a kernel thread: those descend from kthreadd, which is process 2."""
        fields = stat_fields(self.pid)
        return fields is not None and int(fields[1]) == KTHREADD

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return Process.of(self.pid) == self


def stat_fields(pid: int) -> list[str] | None:
    """Fields 3 and up of /proc/PID/stat (proc(5)); None where the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def ancestors() -> set[int]:
    """This process and all it descends from."""
    found, pid = set(), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        fields = stat_fields(pid)
        pid = int(fields[1]) if fields else 0
    return found


def stop(processes: Iterable[Process], *, grace_s: float = 1.5) -> None:
    """End processes: SIGTERM, then SIGKILL to those still there after the grace time. Returns when all are gone."""
    left = [process for process in processes if process.alive]
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        for process in left:
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                continue  # It ended by itself in between, which is what we want.
        deadline = time.monotonic() + patience_s
        while left and time.monotonic() < deadline:
            left = [process for process in left if process.alive]
            time.sleep(POLL_S if left else 0)
        if not left:
            return
