"""What this machine can and cannot do for Wiretune, and what to do about it. Pure over probes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.lab.engine_programs import EnginePrograms
from app.lab.probes import Probes, probe

State = Literal["ok", "degraded", "missing"]
MULTITHREADED_IPERF3 = (3, 16)
HONEST_UDP_LOSS_IPERF3 = (3, 21)
FEW_CPUS = 4


class Check(BaseModel):
    """One thing that Wiretune can use on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(examples=["iperf3"])
    title: str = Field(examples=["Traffic generator iperf3"])
    state: State
    required: bool = Field(description="the netns testbed cannot work without it")
    detail: str = Field(description="what is there and what follows from it", examples=["iperf 3.12: …"])
    hint: str = Field("", description="what to install or to do; empty where nothing is to be done")


def examine(programs: EnginePrograms | None = None) -> tuple[Check, ...]:
    """Look at this machine and judge it. Takes about a tenth of a second; never raises for something missing."""
    return diagnose(probe(programs))


def diagnose(probes: Probes) -> tuple[Check, ...]:
    """The checks that follow from what was found."""
    return (
        *_host(probes),
        *_engines(probes),
        *_offloads(probes),
        *_generators(probes),
        *_controller(probes),
    )


def can_tune(checks: tuple[Check, ...]) -> bool:
    """Whether everything is there that the netns testbed needs."""
    return all(check.state == "ok" for check in checks if check.required)


def iperf3_version(text: str) -> tuple[int, int]:
    """(3, 12) of "iperf 3.12 (cJSON 1.7.15)"; (0, 0) of other text."""
    found = re.search(r"iperf (\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)


def _required(name: str, title: str, fine: bool, detail: str, hint: str) -> Check:
    state: State = "ok" if fine else "missing"
    return Check(name=name, title=title, state=state, required=True, detail=detail, hint="" if fine else hint)


def _useful(name: str, title: str, state: State, detail: str, hint: str = "") -> Check:
    return Check(name=name, title=title, state=state, required=False, detail=detail, hint="" if state == "ok" else hint)


def _host(probes: Probes) -> Iterator[Check]:
    yield _required(
        "root",
        "Root",
        probes.root,
        f"{'root' if probes.root else 'an ordinary user'}: the testbed makes namespaces and devices",
        "run it with sudo",
    )
    yield _required(
        "network_namespaces",
        "Network namespaces",
        probes.network_namespaces and probes.programs["ip"] is not None,
        f"{probes.programs['ip'] or 'no ip program'}: two network namespaces are the gateways of the testbed",
        "apt-get install iproute2, on a kernel with CONFIG_NET_NS",
    )
    few = probes.cpus < FEW_CPUS
    yield _useful(
        "cpus",
        "CPUs",
        "degraded" if few else "ok",
        f"{probes.cpus} usable"
        + (": gateways and generators share them, so that ratios hold and absolute figures are low" if few else ""),
        f"{FEW_CPUS} or more CPUs keep gateways and generators apart",
    )
    nodes = probes.numa_nodes
    placement = "placement across them is part of the search" if nodes > 1 else "there is nothing to place"
    yield _useful("numa_nodes", "NUMA nodes", "ok", f"{nodes}: {placement}")


def _engines(probes: Probes) -> Iterator[Check]:
    yield _required(
        "tun",
        "TUN device",
        probes.tun_error is None,
        f"{probes.tun_error or '/dev/net/tun opens'}: the engines carry packets through it",
        "modprobe tun; in a container, pass --device /dev/net/tun",
    )
    wirelane, wireguard_go, wg = (probes.programs[name] for name in ("wirelane", "wireguard-go", "wg"))
    yield _required(
        "wirelane",
        "Engine wirelane",
        wirelane is not None,
        f"{wirelane or 'not built'}: the bundled data plane",
        "make build (needs Rust, by rustup), or set WIRETUNE_WIRELANE to a binary",
    )
    yield _useful(
        "wireguard_go",
        "Engine wireguard-go",
        "ok" if wireguard_go else "missing",
        wireguard_go or "not installed: a study compares no second engine",
        "apt-get install wireguard-go",
    )
    yield _required(
        "wg",
        "WireGuard tools",
        wg is not None,
        f"{wg or 'not installed'}: makes keys and reads back what is set",
        "apt-get install wireguard-tools",
    )
    yield _useful(
        "kernel_wireguard",
        "Kernel WireGuard",
        "ok" if probes.kernel_wireguard else "missing",
        f"{probes.kernel} {'has it' if probes.kernel_wireguard else 'does not have it: no comparison with it here'}",
        "a distribution's kernel has it: modprobe wireguard",
    )
    simd = next((flag for flag in ("avx512ifma", "avx512f", "avx2", "neon", "asimd") if flag in probes.cpu_flags), None)
    yield _useful(
        "aead",
        "ChaCha20-Poly1305",
        "ok" if simd == "avx512ifma" else "degraded",
        f"CPU: {simd or 'no SIMD'}; wirelane's backends, best first: {', '.join(probes.aead_backends) or 'unknown'}",
        "a CPU with AVX-512 and IFMA encrypts about twice as fast",
    )


def _offloads(probes: Probes) -> Iterator[Check]:
    for name, title, present, what, since in (
        ("tun_tso", "TUN offloads", probes.tun_tso, "64 KiB of TCP cross the TUN in one piece", "2.6.27"),
        ("tun_uso", "UDP segmentation on TUN (USO)", probes.tun_uso, "64 KiB of UDP cross the TUN in one piece", "6.2"),
        ("udp_gso", "UDP GSO", probes.udp_gso, "many encrypted packets leave in one send", "4.18"),
        ("udp_gro", "UDP GRO", probes.udp_gro, "many encrypted packets arrive in one receive", "5.0"),
    ):
        found = {True: "yes", False: "no", None: "could not be tried"}[present]
        hint = "run it as root to find out" if present is None else f"Linux {since} or later has it"
        yield _useful(name, title, "ok" if present else "degraded", f"{found}: {what}", hint)


def _generators(probes: Probes) -> Iterator[Check]:
    version = probes.programs["iperf3"]
    number = iperf3_version(version or "")
    notes = []
    if version and number < MULTITHREADED_IPERF3:
        notes.append("single-threaded before 3.16, hence one process a flow")
    if version and number < HONEST_UDP_LOSS_IPERF3:
        notes.append("its UDP loss is compared with interface counters (wrong at times before 3.21)")
    yield _required(
        "iperf3",
        "Traffic generator iperf3",
        version is not None,
        "; ".join([version or "not installed: every trial needs it", *notes]),
        "apt-get install iperf3",
    )
    testpmd = probes.programs["dpdk-testpmd"] is not None
    found = (
        "kernel pktgen" if probes.kernel_pktgen else "dpdk-testpmd, for want of the kernel's" if testpmd else "neither"
    )
    yield _useful(
        "pktgen",
        "Packet generator",
        "ok" if probes.kernel_pktgen or testpmd else "missing",
        f"{found}: measures packet rates at 64 B",
        "modprobe pktgen, or apt-get install dpdk-dev",
    )


def _controller(probes: Probes) -> Iterator[Check]:
    versions = ", ".join(f"{name} {version or 'missing'}" for name, version in probes.packages.items())
    yield _required(
        "ansible",
        "Ansible",
        None not in probes.packages.values(),
        f"{versions}: acts on the gateways",
        "make setup",
    )
