"""Looking at this machine for the doctor: facts only, no judgement. Slow parts are short commands with a timeout."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shutil
import socket
import struct
import subprocess
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from app.lab.engine_programs import EnginePrograms

COMMAND_TIMEOUT_S = 5
TUN = Path("/dev/net/tun")
# linux/if_tun.h
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_USO4, TUN_F_USO6 = 0x01, 0x02, 0x04, 0x20, 0x40
# linux/udp.h
UDP_SEGMENT, UDP_GRO = 103, 104
AEAD_FLAGS = ("avx512ifma", "avx512f", "avx2", "neon", "asimd")


class Probes(BaseModel):
    """What was found on this machine. A version is None where the program is missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: bool
    kernel: str
    cpus: int = Field(ge=1)
    numa_nodes: int = Field(ge=1)
    cpu_flags: frozenset[str]
    kernel_wireguard: bool
    kernel_pktgen: bool
    network_namespaces: bool
    tun_error: str | None = Field(description="why /dev/net/tun cannot be used; null: it can")
    tun_tso: bool | None = Field(description="null: could not be tried, for lack of root or of TUN")
    tun_uso: bool | None
    udp_gso: bool
    udp_gro: bool
    programs: dict[str, str | None] = Field(description="iperf3, wg, ip, wireguard-go, wirelane, dpdk-testpmd")
    aead_backends: tuple[str, ...] = Field(description="as wirelane reports them, best first")
    packages: dict[str, str | None] = Field(description="ansible-core and ansible-runner")


def probe(programs: EnginePrograms | None = None) -> Probes:
    """Look at this machine. Never raises for something that is missing."""
    engines = programs or EnginePrograms()
    wirelane, wireguard_go = _which(engines.wirelane), _which(engines.wireguard_go)
    tun_error = _tun_error()
    tso, uso = _tun_offloads() if tun_error is None else (None, None)
    return Probes(
        root=os.geteuid() == 0,
        kernel=platform.release(),
        cpus=len(os.sched_getaffinity(0)),
        numa_nodes=max(1, len(list(Path("/sys/devices/system/node").glob("node[0-9]*")))),
        cpu_flags=_cpu_flags(),
        kernel_wireguard=_has_module("wireguard"),
        kernel_pktgen=_has_module("pktgen"),
        network_namespaces=Path("/proc/self/ns/net").exists(),
        tun_error=tun_error,
        tun_tso=tso,
        tun_uso=uso,
        udp_gso=_udp_option(UDP_SEGMENT, 1400),
        udp_gro=_udp_option(UDP_GRO, 1),
        programs={
            "ip": _version(shutil.which("ip"), "-V"),
            "iperf3": _version(shutil.which("iperf3"), "--version"),
            "wg": _version(shutil.which("wg"), "--version"),
            "wireguard-go": _version(wireguard_go, "--version"),
            "wirelane": _version(wirelane, "--version"),
            "dpdk-testpmd": shutil.which("dpdk-testpmd"),
        },
        aead_backends=_aead_backends(wirelane),
        packages={name: _package(name) for name in ("ansible-core", "ansible-runner")},
    )


def _which(names: tuple[str, ...]) -> str | None:
    return next((found for name in names if (found := shutil.which(name))), None)


def _output(argv: list[str]) -> str | None:
    try:
        result = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (result.stdout or result.stderr).strip() if result.returncode == 0 else None


def _version(program: str | None, flag: str) -> str | None:
    output = _output([program, flag]) if program else None
    return output.splitlines()[0][:120] if output else None


def _has_module(name: str) -> bool:
    """Whether the kernel has it loaded, built in or as a module that could be loaded; loads nothing."""
    if Path("/sys/module", name).exists():
        return True
    modprobe = shutil.which("modprobe", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    return modprobe is not None and _output([modprobe, "--dry-run", "--quiet", name]) is not None


def _tun_error() -> str | None:
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        return error.strerror or str(error)
    return None


def _tun_offloads() -> tuple[bool | None, bool | None]:
    """TCP and UDP segmentation offload, tried on a device that vanishes as it is closed."""
    descriptor = os.open(TUN, os.O_RDWR)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", b"wtprobe%d", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
        tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
        return _offload(descriptor, tso), _offload(descriptor, tso | TUN_F_USO4 | TUN_F_USO6)
    except OSError:
        return None, None  # No right to make a device: nothing can be said.
    finally:
        os.close(descriptor)


def _offload(descriptor: int, flags: int) -> bool:
    try:
        fcntl.ioctl(descriptor, TUNSETOFFLOAD, flags)
    except OSError:
        return False
    return True


def _udp_option(option: int, value: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe_socket:
        try:
            probe_socket.setsockopt(socket.IPPROTO_UDP, option, value)
        except OSError:
            return False
    return True


def _cpu_flags() -> frozenset[str]:
    text = Path("/proc/cpuinfo").read_text(errors="replace")
    found = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    return frozenset(found.group(1).split() if found else ()) & frozenset(AEAD_FLAGS)


def _aead_backends(wirelane: str | None) -> tuple[str, ...]:
    output = _output([wirelane, "doctor", "--json"]) if wirelane else None
    try:
        names = json.loads(output or "{}").get("aead", [])
        return tuple(str(name)[:64] for name in names)[:16]
    except (ValueError, TypeError, AttributeError):
        return ()  # An older wirelane, or none that answers: the doctor then says what is unknown.


def _package(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
