"""In-tree WireGuard: one device a lane, and with threaded NAPI one kernel thread a lane that can be pinned.

A device receives in softirq on whatever CPU its decryption ended; `/sys/class/net/<if>/threaded` moves that into a
kernel thread a peer (Linux 5.12 or later for WireGuard's NAPI), which is an ordinary task to the scheduler.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wiretune_agent.command import attempt
from wiretune_agent.errors import AgentError
from wiretune_agent.processes import Process, stat_fields

NETWORK = Path("/sys/class/net")
LOCKED = Path("/run/wiretune")
THREAD_TIMEOUT_S = 5.0


def present() -> bool:
    """Whether this kernel makes WireGuard devices, or has a module that would."""
    if Path("/sys/module/wireguard").exists():
        return True
    modprobe = shutil.which("modprobe", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    return modprobe is not None and attempt([modprobe, "--dry-run", "--quiet", "wireguard"]).returncode == 0


def make_devices(lanes: Sequence[Mapping[str, Any]]) -> None:
    """One WireGuard device a lane. Raises AgentError where the kernel has none."""
    for lane in lanes:
        result = attempt(["ip", "link", "add", "dev", lane["interface"], "type", "wireguard"])
        if result.returncode != 0:
            raise AgentError(
                f"the kernel makes no WireGuard device {lane['interface']}: {result.stderr.strip()[:300]}",
                hint="modprobe wireguard; some cloud kernels leave the module out",
            )


def thread_receivers(lanes: Sequence[Mapping[str, Any]], cpus: Sequence[int]) -> Iterator[Process]:
    """Turn threaded NAPI on and pin the thread of lane k to CPU number k mod |cpus|; no CPUs: any.

    Yields each lane's kernel thread. Their names hold the device's name only, and gateways in two namespaces of one
    machine use the same names: what is new after the switch is ours, and a lock keeps others from switching meanwhile.
    """
    LOCKED.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(LOCKED, os.O_RDONLY | os.O_DIRECTORY)  # The folder itself: no file of ours is left.
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number, lane in enumerate(lanes):
            before = set(_threads(lane["interface"]))
            _switch_on(lane["interface"])
            thread = _new_thread(lane["interface"], before)
            if cpus:
                with contextlib.suppress(OSError):  # The read-back says where it really may run.
                    os.sched_setaffinity(thread.pid, {cpus[number % len(cpus)]})
            yield thread
    finally:
        os.close(lock)


def worker_ticks() -> dict[str, int]:
    """CPU time of every kernel worker in clock ticks, by pid: encryption and decryption run there."""
    return {
        str(worker.pid): int(fields[11]) + int(fields[12])
        for worker in _kernel_threads("kworker/")
        if (fields := stat_fields(worker.pid))
    }


def _switch_on(interface: str) -> None:
    try:
        (NETWORK / interface / "threaded").write_text("1")
    except OSError as error:
        raise AgentError(
            f"the kernel does not receive on {interface} in a thread: {error.strerror}",
            blame="candidate",
            hint="threaded NAPI needs Linux 5.12 or later",
        ) from error


def _new_thread(interface: str, before: set[Process]) -> Process:
    deadline = time.monotonic() + THREAD_TIMEOUT_S
    while time.monotonic() < deadline:
        new = [thread for thread in _threads(interface) if thread not in before]
        if new:
            return new[0]
        time.sleep(0.01)
    raise AgentError(f"the kernel made no thread for {interface} within {THREAD_TIMEOUT_S:g} s", blame="candidate")


def _threads(interface: str) -> Iterator[Process]:
    return _kernel_threads(f"napi/{interface}-")


def _kernel_threads(prefix: str) -> Iterator[Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It ended while we looked.
            if (folder / "comm").read_text().startswith(prefix) and (process := Process.of(int(folder.name))):
                yield process
