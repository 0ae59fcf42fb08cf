"""What this machine can and cannot do for Wiretune, and what to do about it. Pure over probes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.lab.engine_programs import EnginePrograms
from app.lab.probes import Probes, probe

Status = Literal["ok", "degraded", "missing"]
MULTITHREADED_IPERF3 = (3, 16)
HONEST_UDP_LOSS_IPERF3 = (3, 21)


class Check(BaseModel):
    """One thing that Wiretune can use. `missing` where it cannot work without, `degraded` where it works around it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(examples=["iperf3"])
    status: Status
    found: str = Field(description="what is there", examples=["iperf 3.12"])
    means: str = Field(description="what follows from it")
    advice: str = Field("", description="what to install or to do; empty where nothing is to be done")


class Capabilities(BaseModel):
    """The doctor's list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """The worst of all checks."""
        found = {check.status for check in self.checks}
        return "missing" if "missing" in found else "degraded" if "degraded" in found else "ok"


def examine(programs: EnginePrograms | None = None) -> Capabilities:
    """Look at this machine and judge it."""
    return diagnose(probe(programs))


def diagnose(probes: Probes) -> Capabilities:
    """The checks that follow from what was found."""
    return Capabilities(
        checks=(
            *_host(probes),
            *_engines(probes),
            *_offloads(probes),
            *_generators(probes),
            *_controller(probes),
        )
    )


def _check(name: str, fine: bool, otherwise: Status, *, found: str, means: str, advice: str = "") -> Check:
    return Check(name=name, status="ok" if fine else otherwise, found=found, means=means, advice="" if fine else advice)


def _host(probes: Probes) -> Iterator[Check]:
    yield _check(
        "root",
        probes.root,
        "missing",
        found="root" if probes.root else "an ordinary user",
        means="the netns testbed makes namespaces and devices",
        advice="run it with sudo",
    )
    yield _check(
        "network namespaces",
        probes.network_namespaces and probes.programs["ip"] is not None,
        "missing",
        found=probes.programs["ip"] or "no ip program",
        means="the two gateways of the netns testbed are network namespaces",
        advice="apt-get install iproute2, on a kernel with CONFIG_NET_NS",
    )
    yield _check(
        "CPUs",
        probes.cpus >= 4,
        "degraded",
        found=f"{probes.cpus} usable",
        means="with fewer than 4, gateways and generators share CPUs: ratios hold, absolute figures are low",
        advice="a machine with 4 or more CPUs separates them",
    )
    nodes = probes.numa_nodes
    yield Check(
        name="NUMA nodes",
        status="ok",
        found=str(nodes),
        means="placement across nodes is part of the search" if nodes > 1 else "one node: there is nothing to place",
    )


def _engines(probes: Probes) -> Iterator[Check]:
    yield _check(
        "TUN",
        probes.tun_error is None,
        "missing",
        found=probes.tun_error or "/dev/net/tun opens",
        means="wirelane and wireguard-go carry packets through a TUN device",
        advice="modprobe tun; in a container, pass --device /dev/net/tun",
    )
    yield _check(
        "wirelane",
        probes.programs["wirelane"] is not None,
        "missing",
        found=probes.programs["wirelane"] or "not built",
        means="the bundled data plane",
        advice="make build (needs Rust: rustup), or set WIRETUNE_WIRELANE to a binary",
    )
    yield _check(
        "wireguard-go",
        probes.programs["wireguard-go"] is not None,
        "degraded",
        found=probes.programs["wireguard-go"] or "not installed",
        means="without it, a study compares no second engine",
        advice="apt-get install wireguard-go",
    )
    yield _check(
        "wg",
        probes.programs["wg"] is not None,
        "missing",
        found=probes.programs["wg"] or "not installed",
        means="makes keys and reads back what is set",
        advice="apt-get install wireguard-tools",
    )
    yield _check(
        "kernel WireGuard",
        probes.kernel_wireguard,
        "degraded",
        found=f"{'available' if probes.kernel_wireguard else 'not available'} in {probes.kernel}",
        means="without it, the in-tree engine cannot be compared on this machine",
        advice="a distribution kernel has it: modprobe wireguard",
    )
    simd = [flag for flag in ("avx512ifma", "avx512f", "avx2", "neon", "asimd") if flag in probes.cpu_flags]
    backends = ", ".join(probes.aead_backends) or "unknown: wirelane does not say"
    yield _check(
        "AEAD",
        "avx512ifma" in simd,
        "degraded",
        found=f"{simd[0] if simd else 'no SIMD'}; backends: {backends}",
        means="ChaCha20-Poly1305 runs at the speed of the widest SIMD that the CPU has",
        advice="a CPU with AVX-512 and IFMA encrypts about twice as fast",
    )


def _offloads(probes: Probes) -> Iterator[Check]:
    for name, value, what, needs in (
        ("TUN offloads", probes.tun_tso, "64 KiB TCP super-packets cross the TUN in one piece", "Linux 2.6.27"),
        ("USO", probes.tun_uso, "UDP super-packets cross the TUN in one piece", "Linux 6.2"),
        ("UDP GSO", probes.udp_gso, "many encrypted packets leave in one send", "Linux 4.18"),
        ("UDP GRO", probes.udp_gro, "many encrypted packets arrive in one receive", "Linux 5.0"),
    ):
        yield _check(
            name,
            value is True,
            "degraded",
            found={True: "yes", False: "no", None: "could not be tried"}[value],
            means=what,
            advice="run it as root with TUN to find out" if value is None else f"a kernel from {needs} on",
        )


def _generators(probes: Probes) -> Iterator[Check]:
    version = probes.programs["iperf3"]
    number = iperf3_version(version or "")
    if version is None:
        yield _check(
            "iperf3",
            False,
            "missing",
            found="not installed",
            means="generates the TCP and UDP traffic of every trial",
            advice="apt-get install iperf3",
        )
    else:
        notes = []
        if number < MULTITHREADED_IPERF3:
            notes.append("single-threaded before 3.16: one process a flow is used")
        if number < HONEST_UDP_LOSS_IPERF3:
            notes.append("may report UDP loss as zero before 3.21: interface counters are compared")
        yield Check(name="iperf3", status="ok", found=version, means="; ".join(notes) or "generates the traffic")
    testpmd = probes.programs["dpdk-testpmd"]
    found = (
        "kernel pktgen" if probes.kernel_pktgen else "dpdk-testpmd" if testpmd else "neither pktgen nor dpdk-testpmd"
    )
    yield _check(
        "pktgen",
        probes.kernel_pktgen or testpmd is not None,
        "degraded",
        found=found,
        means="packet rates at 64 B are measured with it",
        advice="modprobe pktgen, or apt-get install dpdk-dev",
    )


def _controller(probes: Probes) -> Iterator[Check]:
    missing = [name for name, version in probes.packages.items() if version is None]
    yield _check(
        "ansible",
        not missing,
        "missing",
        found=", ".join(f"{name} {version or 'missing'}" for name, version in probes.packages.items()),
        means="runs the playbooks that act on the gateways",
        advice="make setup",
    )


def iperf3_version(text: str) -> tuple[int, int]:
    """(3, 12) of "iperf 3.12 (cJSON 1.7.15)"; (0, 0) of other text."""
    found = re.search(r"iperf (\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)
