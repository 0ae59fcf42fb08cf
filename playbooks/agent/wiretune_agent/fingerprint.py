"""A gateway's fingerprint: hardware, firmware, kernel and programs that decide what can be measured here.

Nothing that moves by itself (load, temperature, frequency, counters) and nothing that a candidate changes: equal
fingerprints mean that two results may be compared. Every text is cut, since a host may say anything.
"""

from __future__ import annotations

import functools
import os
import platform
import re
import select
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wiretune_agent.command import attempt, die_with_parent
from wiretune_agent.errors import AgentError

CPUS = Path("/sys/devices/system/cpu")
NETWORK = Path("/sys/class/net")
CPU_FLAGS = ("aes", "avx2", "avx512f", "avx512ifma", "vaes", "gfni", "neon", "asimd")
SETTINGS = (
    "net.core.rmem_max",
    "net.core.wmem_max",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.core.default_qdisc",
)
SHORT, LONG = 200, 1500
"""Characters that are kept of a value, and of the kernel's command line."""
VERSION_TIMEOUT_S = 5.0
SECRET_PARAMETER = re.compile(r"^([^=]*(?:pass|secret|token|key|cred|auth)[^=]*)=.*$", re.IGNORECASE)


def gather(interface: str, programs: Mapping[str, str | None]) -> dict[str, Any]:
    """`interface`: that of the underlay; `programs`: an engine's program by its name, None where there is none."""
    return {
        "cpu": cpu(),
        "mitigations": mitigations(),
        "nic": nic(interface),
        "kernel": platform.release(),
        "kernel_build": platform.version()[:SHORT],
        "kernel_command_line": command_line(text_of(Path("/proc/cmdline"), 4 * LONG)),
        "machine": platform.machine(),
        "distribution": distribution(),
        "memory_mib": memory_mib(),
        "settings": settings(),
        "programs": versions(programs),
        "python": platform.python_version(),
    }


def text_of(path: Path, limit: int = SHORT) -> str:
    """The file's text up to `limit` characters, whitespace collapsed; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            return " ".join(file.read(limit).decode(errors="replace").split())
    except OSError:
        return ""


def cpu() -> dict[str, Any]:
    """Model, microcode, SMT, how the frequency is chosen, and the instruction sets that matter to the AEAD."""
    with Path("/proc/cpuinfo").open(errors="replace") as file:
        first = file.read(1 << 16)  # All CPUs say the same of what is asked here.
    flags = _line(first, "flags|Features")
    present = set(flags.split())
    frequency = sorted(CPUS.glob("cpufreq/policy*"))
    return {
        "model": _line(first, "model name|Model|cpu model")[:SHORT],
        "microcode": _line(first, "microcode|CPU revision")[:SHORT],
        "flags": [flag for flag in CPU_FLAGS if flag in present],
        "hypervisor": "hypervisor" in present,
        "smt": text_of(CPUS / "smt/control"),
        "governor": sorted({text_of(policy / "scaling_governor") for policy in frequency}),
        "frequency_driver": sorted({text_of(policy / "scaling_driver") for policy in frequency}),
        "boost": text_of(CPUS / "cpufreq/boost") or _turbo(),
    }


def is_emulated() -> bool:
    """Whether the CPUs are software: QEMU without the hardware's help, which systemd knows as "qemu"."""
    return cpu()["model"].startswith("QEMU TCG") or _output(["systemd-detect-virt", "--vm"]).strip() == "qemu"


def mitigations() -> dict[str, str]:
    """What the kernel does about each weakness of the CPU; those that the CPU does not have are left out."""
    found = {path.name: text_of(path) for path in sorted((CPUS / "vulnerabilities").glob("*"))[:64]}
    return {name: value for name, value in found.items() if value and value != "Not affected"}


def nic(interface: str) -> dict[str, Any]:
    """Model, driver, firmware, queues and NUMA node of the interface that carries the tunnels."""
    folder = NETWORK / interface
    about = ethtool_driver(_output(["ethtool", "-i", interface]))
    node = text_of(folder / "device/numa_node")
    return {
        "name": interface,
        "model": _model(folder / "device", about.get("bus-info", "")),
        "driver": about.get("driver", ""),
        "driver_version": about.get("version", ""),
        "firmware": about.get("firmware-version", ""),
        "bus": about.get("bus-info", ""),
        "rx_queues": len(list(folder.glob("queues/rx-*"))),
        "tx_queues": len(list(folder.glob("queues/tx-*"))),
        "numa_node": int(node) if node.isascii() and node.isdigit() else None,
    }


def ethtool_driver(text: str) -> dict[str, str]:
    """`ethtool -i` by its own names."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip()[:SHORT] for name, _, value in pairs if value.strip()}


def lspci_model(text: str) -> str:
    """Vendor and device of one line of `lspci -mm`; empty for other text."""
    try:
        words = shlex.split(text.partition("\n")[0])
    except ValueError:  # A quotation mark without its partner.
        return ""
    return " ".join(words[2:4])[:SHORT] if len(words) >= 4 else ""


def command_line(text: str) -> str:
    """The kernel's command line, cut, with the value of every parameter that might be a secret left out."""
    words = (SECRET_PARAMETER.sub(r"\1=(hidden)", word) for word in text.split())
    return " ".join(words)[:LONG]


def distribution() -> str:
    """The distribution's own name of itself."""
    found = re.search(r'(?:^|\s)PRETTY_NAME="?([^"]*)', text_of(Path("/etc/os-release"), 4096))
    return found.group(1)[:SHORT] if found else ""


def memory_mib() -> int:
    """Total memory."""
    found = re.search(r"MemTotal: (\d+) kB", text_of(Path("/proc/meminfo")))
    return int(found.group(1)) // 1024 if found else 0


def settings() -> dict[str, str]:
    """Kernel settings that change what TCP and sockets can do; those that the kernel lacks are left out."""
    found = {name: text_of(Path("/proc/sys", *name.split("."))) for name in SETTINGS}
    return {name: value for name, value in found.items() if value}


def versions(programs: Mapping[str, str | None]) -> dict[str, str]:
    """First line of each program's version; programs that are missing are left out."""
    argvs = {
        "iperf3": ["iperf3", "--version"],
        "wg": ["wg", "--version"],
        "ip": ["ip", "-V"],
        "ethtool": ["ethtool", "--version"],
        "dpdk-testpmd": ["dpkg-query", "-W", "-f", "dpdk ${Version}", "dpdk-dev"],
    }
    argvs |= {engine: [program, "--version"] for engine, program in programs.items() if program}
    found = {name: first_line(argv) for name, argv in argvs.items()}
    return {name: line for name, line in found.items() if line}


def first_line(argv: Sequence[str]) -> str:
    """The first line of a program's output, cut; empty where it fails. What floods us is not read to its end."""
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=functools.partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - system calls only
        )
    except OSError:
        return ""
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    output, deadline = b"", time.monotonic() + VERSION_TIMEOUT_S
    with process.stdout as pipe:
        while b"\n" not in output and len(output) < SHORT:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
                break
            part = os.read(pipe.fileno(), SHORT)
            if not part:
                break
            output += part
        # One that has said its line may still be writing the rest of it.
        try:
            process.wait(timeout=0.2 if output else max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return ""
    line = output.decode(errors="replace").partition("\n")[0].strip()
    return line[:SHORT] if process.returncode == 0 else ""


def _output(argv: Sequence[str]) -> str:
    try:
        result = attempt(argv, timeout_s=VERSION_TIMEOUT_S)
    except AgentError:
        return ""  # Not installed: what it would tell stays unknown.
    return result.stdout if result.returncode == 0 else ""


def _model(device: Path, bus: str) -> str:
    if bus and (model := lspci_model(_output(["lspci", "-mm", "-s", bus]))):
        return model
    ids = [text_of(device / name).removeprefix("0x") for name in ("vendor", "device")]
    return ":".join(ids) if all(ids) else ""


def _turbo() -> str:
    return {"0": "1", "1": "0"}.get(text_of(CPUS / "intel_pstate/no_turbo"), "")


def _line(cpuinfo: str, names: str) -> str:
    found = re.search(rf"^(?:{names})\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return found.group(1).strip() if found else ""
