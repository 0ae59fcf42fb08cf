"""Counters of one moment, and the watch over the engine: what a gateway spent between two moments is a subtraction.

Everything is handed over as the kernel wrote it; the caller's pure parsers make numbers of it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from wiretune_agent import control, engines, kernel_wireguard
from wiretune_agent.command import attempt
from wiretune_agent.errors import AgentError
from wiretune_agent.lease import SYSTEMD


class EngineWatch:
    """Notices that the data plane has died."""

    def __init__(self, state_folder: Path) -> None:
        self._folder = state_folder
        self._in_kernel = all(process.of_kernel for process in engines.recorded(state_folder))
        self.processes = engines.recorded(state_folder)
        if not engines.lanes_of(state_folder):
            raise AgentError("no candidate is applied on this gateway", hint="apply one before measuring")

    def check(self) -> None:
        """Raises AgentError that blames the candidate as soon as one of the engine's processes or lanes is gone."""
        fault = engines.fault(self._folder)
        if fault:
            raise _death(fault, engines.log_tail(self._folder))

    def moment(self) -> dict[str, Any]:
        """The counters of now."""
        return {
            "monotonic_s": time.monotonic(),
            "unix_time_s": time.time(),
            "ticks_per_s": os.sysconf("SC_CLK_TCK"),
            "proc_stat": _cpu_lines(),
            "process_stats": [_stat(process.pid) for process in self.processes],
            "kernel_worker_ticks": kernel_wireguard.worker_ticks() if self._in_kernel else {},
            "net_dev": Path("/proc/net/dev").read_text(),
            **self._inside(),
        }

    def _inside(self) -> dict[str, Any]:
        """CPU time of each data-plane thread and the drops and bytes so far, as wirelane tells them; others do not. One
        question takes it a millisecond of a thread that forwards nothing."""
        threads: list[dict[str, Any]] = []
        drops: dict[str, int] = {}
        received: list[int] = []
        if (self._folder / control.NAME).exists():
            stats = control.ask(self._folder, "stats")
            received = [lane["rx"]["bytes"] for lane in stats["lanes"]]
            for lane in [*stats["lanes"], *([stats["bond"]] if "bond" in stats else [])]:
                threads += [{name: thread[name] for name in ("tid", "stage", "cpu_s")} for thread in lane["threads"]]
                for reason, count in lane["drops"].items():
                    drops[reason] = drops.get(reason, 0) + count
        return {"threads": threads, "drops": drops, "lane_received_bytes": received}


class NoEngine(EngineWatch):
    """In place of the watch where nothing is applied."""

    def __init__(self) -> None:
        """Nothing is looked for."""

    def check(self) -> None:
        """Nothing can die."""


def _cpu_lines() -> str:
    text = Path("/proc/stat").read_text()
    return "".join(line for line in text.splitlines(keepends=True) if line.startswith("cpu"))


def _stat(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError as error:
        raise _death(f"process {pid} is gone", "") from error


def _death(fault: str, detail: str) -> AgentError:
    message = f"the data plane died during the measurement: {fault}"
    if _is_shutting_down():
        return AgentError(f"the host is shutting down ({message})", detail=detail)
    return AgentError(message, blame="candidate", detail=detail)


def _is_shutting_down() -> bool:
    if not SYSTEMD.exists():
        return False
    return attempt(["systemctl", "is-system-running"], timeout_s=5).stdout.strip() == "stopping"
