"""Which file, unit, key and address each lane of each gateway has: the plan that the templates fill in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from app.bundles import host_tuning
from app.bundles.contents import BundleSource
from app.bundles.placed_file import Lane, PlacedFile
from app.bundles.site import Site
from tuner.candidate import (
    INLINE_STAGES,
    PIPELINED_STAGES,
    Candidate,
    Gateway,
    StageCpuSets,
    format_cpulist,
    parse_cpulist,
)
from tuner.topology import Topology

Kind = Literal["engine", "stock"]
"""What carries the lanes on a host: the winning engine, or the stock WireGuard that wg-quick sets up."""

SYSCTL_FILE = "/etc/sysctl.d/90-wiretune.conf"
KEYS_FOLDER = "/etc/wiretune/keys"
WIRELANE = "/usr/local/bin/wirelane"
WIRELANE_UNIT = "wiretune-wirelane.service"
WIREGUARD_GO_UNIT = "wiretune-wireguard-go@.service"
CHANGED_ALONG = ("net.ipv4.conf.all.send_redirects",)
"""In-tree WireGuard turns it off for the whole host as its first device comes up (wg_open), and never on again."""
STOCK_PROGRAMS = ("wg-quick", "wg", "ip", "flock", "bash")
STATIC_FILES = (
    "apply.yml",
    "snapshot.yml",
    "services.yml",
    "rollback.yml",
    "place_files.py",
    "keys.sh",
    "inventory.ini",
)


@dataclass(frozen=True, slots=True)
class GatewayPlan:
    """Everything that the templates and playbooks need for one gateway."""

    name: Gateway
    source: BundleSource
    lanes: tuple[Lane, ...]
    files: Mapping[Kind, tuple[PlacedFile, ...]]
    units: Mapping[Kind, tuple[str, ...]]
    programs: Mapping[Kind, tuple[str, ...]]

    def all_files(self) -> Iterator[PlacedFile]:
        """Each file once."""
        return iter({file.source: file for placed in self.files.values() for file in placed}.values())

    def variables(self, lane: Lane | None) -> dict[str, Any]:
        """Variables of a template: numbers, addresses, checked names."""
        site, candidate = self.source.site, self.source.winner
        far: Gateway = "b" if self.name == "a" else "a"
        cpu_sets = getattr(candidate.cpu_sets, self.name)
        policy, mask = numa_placement(self.source, self.name)
        return {
            "name": self.name,
            "candidate": candidate,
            "candidate_in_words": candidate.in_words(),
            "near": site.gateway(self.name),
            "far": site.gateway(far),
            "cpu_sets": cpu_sets.used(),
            "process_cpus": process_cpus(candidate, cpu_sets),
            "napi_cpus": parse_cpulist(cpu_sets.napi),
            "numa_policy": policy,
            "numa_mask": mask,
            "lanes": self.lanes,
            "lane": lane,
            "bond_addresses": [f"{lane.address}/31" for lane in self.lanes],
            "has_ipv6": any(net.version == 6 for end in (site.a, site.b) for net in end.inner_networks),
        }


def gateway_plan(source: BundleSource, name: Gateway) -> GatewayPlan:
    """The plan of one gateway."""
    lanes = tuple(_lane(source.site, name, number) for number in range(source.winner.lanes))
    sysctl = PlacedFile(f"{name}/90-wiretune.conf", SYSCTL_FILE, "90-wiretune.conf.j2", "L4 hash over the lanes")
    routes = PlacedFile(
        f"{name}/lane-routes.sh", "/etc/wiretune/lane-routes.sh", "lane-routes.sh.j2", "one route over all lanes"
    )
    stock = tuple(
        PlacedFile(
            f"{name}/wg-quick/{lane.interface}.conf",
            f"/etc/wireguard/{lane.interface}.conf",
            "wg-quick.conf.j2",
            "for a gateway that stays on stock WireGuard",
            lane=lane,
            carries_keys=True,
        )
        for lane in lanes
    )
    stock_units = tuple(f"wg-quick@{lane.interface}.service" for lane in lanes)
    if source.winner.engine == "wirelane":
        engine: tuple[PlacedFile, ...] = (*_wirelane_files(name), sysctl)
        units: tuple[str, ...] = (WIRELANE_UNIT,)
        programs: tuple[str, ...] = (WIRELANE, "wg", "ip", "bash")
    elif source.winner.engine == "kernel":
        engine, units, programs = (*stock, routes, sysctl), stock_units, STOCK_PROGRAMS
    else:
        engine = (*_wireguard_go_files(name, lanes), routes, sysctl)
        units = tuple(WIREGUARD_GO_UNIT.replace("@", f"@{lane.interface}") for lane in lanes)
        programs = ("/usr/bin/wireguard-go", "wg", "ip", "flock", "bash")
    tuned = bool(source.winner.host.used())
    also_files = host_tuning.placed_files(name) if tuned else ()
    also_units = (host_tuning.UNIT,) if tuned else ()  # First: the lanes start on a host that is ready.
    also_programs = host_tuning.PROGRAMS if tuned else ()
    return GatewayPlan(
        name=name,
        source=source,
        lanes=lanes,
        files={"engine": (*engine, *also_files), "stock": (*stock, routes, sysctl, *also_files)},
        units={"engine": (*also_units, *units), "stock": (*also_units, *stock_units)},
        programs={"engine": (*programs, *also_programs), "stock": (*STOCK_PROGRAMS, *also_programs)},
    )


def _lane(site: Site, name: Gateway, number: int) -> Lane:
    far: Gateway = "b" if name == "a" else "a"
    port = site.first_listen_port + number
    address = site.gateway(far).underlay_address
    interface = site.interface(number)
    return Lane(
        number=number,
        interface=interface,
        port=port,
        address=site.lane_address(name, number),
        key_file=f"{KEYS_FOLDER}/{interface}",
        far_key=f"@PUBLIC_KEY_{far.upper()}_LANE_{number}@",
        far_endpoint=f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}",
        allowed_ips=[*map(str, site.gateway(far).inner_networks), f"{site.lane_address('a', number)}/31"],
    )


def _wirelane_files(name: Gateway) -> tuple[PlacedFile, ...]:
    return (
        PlacedFile(
            f"{name}/wirelane.toml",
            "/etc/wiretune/wirelane.toml",
            "wirelane.toml.j2",
            "all lanes of this gateway",
            carries_keys=True,
            validate=f"{WIRELANE} check --config %s",
        ),
        PlacedFile(
            f"{name}/{WIRELANE_UNIT}",
            f"/etc/systemd/system/{WIRELANE_UNIT}",
            f"{WIRELANE_UNIT}.j2",
            "service with CPU affinity, NUMA policy and confinement",
        ),
    )


def _wireguard_go_files(name: Gateway, lanes: tuple[Lane, ...]) -> tuple[PlacedFile, ...]:
    files = [
        PlacedFile(
            f"{name}/{WIREGUARD_GO_UNIT}",
            f"/etc/systemd/system/{WIREGUARD_GO_UNIT}",
            f"{WIREGUARD_GO_UNIT}.j2",
            "service of a lane, with CPU affinity, NUMA policy and confinement",
        ),
        PlacedFile(
            f"{name}/lane-up.sh", "/etc/wiretune/lane-up.sh", "lane-up.sh", "configures a lane that was started"
        ),
    ]
    for lane in lanes:
        place = f"lanes/{lane.interface}"
        files += [
            PlacedFile(
                f"{name}/{place}.conf",
                f"/etc/wiretune/{place}.conf",
                "setconf.conf.j2",
                "port and peer",
                lane=lane,
                carries_keys=True,
            ),
            PlacedFile(
                f"{name}/{place}.env",
                f"/etc/wiretune/{place}.env",
                "lane.env.j2",
                "address and MTU",
                lane=lane,
            ),
        ]
    return tuple(files)


def _stages(candidate: Candidate) -> tuple[str, ...]:
    if candidate.mode is None:
        return ("process",)
    return INLINE_STAGES if candidate.mode == "inline" else PIPELINED_STAGES


def process_cpus(candidate: Candidate, cpu_sets: StageCpuSets) -> str:
    """CPUs of the whole process: all of its stages' CPUs, or any ("") when a stage is left to the scheduler."""
    used = cpu_sets.used()
    if any(stage not in used for stage in _stages(candidate)):
        return ""
    return format_cpulist(cpu for cpus in used.values() for cpu in parse_cpulist(cpus))


def numa_placement(source: BundleSource, name: Gateway) -> tuple[str, str]:
    """systemd's NUMAPolicy and NUMAMask (systemd.exec(5)); the nodes are those of the CPU sets.

    Without CPU sets, or where the topology does not tell the nodes, the kernel's default stays.
    """
    candidate = source.winner
    used = getattr(candidate.cpu_sets, name).used()
    if candidate.numa_policy == "local":
        return "local", ""
    try:
        topology = Topology.model_validate(source.result.gateways[name].topology)
    except (KeyError, ValidationError):
        return "default", ""
    node_of = {cpu.cpu: cpu.node for cpu in topology.cpus}
    cpus = {cpu for text in used.values() for cpu in parse_cpulist(text)}
    nodes = {node_of[cpu] for cpu in cpus if cpu in node_of}
    if not nodes:
        return "default", ""
    if candidate.numa_policy == "prefer":
        # One node only can be preferred: the one that carries most of the CPUs, the lowest of equals.
        count = {node: sum(node_of.get(cpu) == node for cpu in cpus) for node in nodes}
        return "preferred", str(max(sorted(nodes), key=lambda node: count[node]))
    return "bind", format_cpulist(nodes)


def play_variables(source: BundleSource, plans: Mapping[Gateway, GatewayPlan]) -> dict[str, Any]:
    """vars.json of the playbooks. Ansible evaluates braces in it, so it holds checked names and numbers only."""
    plan_a, plan_b = plans["a"], plans["b"]
    interfaces = [lane.interface for lane in plan_a.lanes]
    folders = [KEYS_FOLDER, "/etc/wiretune/lanes", "/etc/wiretune", "/etc/wireguard"]
    if source.winner.host.used():
        folders += host_tuning.FOLDERS
    units = [f"/etc/systemd/system/{unit}" for unit in (WIRELANE_UNIT, WIREGUARD_GO_UNIT)]
    # Files of the other engine count too: an earlier bundle may have placed them.
    destinations = {file.destination for plan in plans.values() for file in plan.all_files()}
    sysctls = ["net.ipv4.fib_multipath_hash_policy"]
    if plan_a.variables(None)["has_ipv6"]:
        sysctls.append("net.ipv6.fib_multipath_hash_policy")
    return {
        "bundle": source.name,
        "lanes": [
            {"interface": near.interface, "address": {"a": near.address, "b": far.address}}
            for near, far in zip(plan_a.lanes, plan_b.lanes, strict=True)
        ],
        "sysctls": sysctls,
        "changed_along": CHANGED_ALONG,
        "managed_folders": folders,
        "managed_paths": sorted({*folders, *units, *destinations, "/etc/wiretune/wirelane.toml"}),
        "all_units": [
            host_tuning.UNIT,
            WIRELANE_UNIT,
            *(WIREGUARD_GO_UNIT.replace("@", f"@{interface}") for interface in interfaces),
            *(f"wg-quick@{interface}.service" for interface in interfaces),
        ],
        "gateways": {
            name: {
                "files": {kind: [file.for_play() for file in placed] for kind, placed in plan.files.items()},
                "units": plan.units,
                "programs": plan.programs,
            }
            for name, plan in plans.items()
        },
    }
