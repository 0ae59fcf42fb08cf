"""A candidate's settings of this host's kernel and NIC: made, read back, and put back as they were.

What a setting was is written down before it is changed. Every candidate begins with the host as it was found.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wiretune_agent.errors import AgentError
from wiretune_agent.host_settings import (
    NETWORK,
    POLICIES,
    Setting,
    cpus_of,
    hashed,
    interrupts,
    mask_of,
    most,
    output,
    queue_files,
    read,
    same,
    settable,
    shown,
    values,
    write,
)

RECORD = "host-tuning.json"
OWN_HANDLE = "5754:"
SYSCTLS = {
    "socket_buffer_max_bytes": ("rmem_max", "wmem_max"),
    "netdev_budget": ("netdev_budget",),
    "netdev_budget_us": ("netdev_budget_usecs",),
    "netdev_max_backlog": ("netdev_max_backlog",),
    "busy_poll_us": ("busy_poll",),
    "busy_read_us": ("busy_read",),
}
"""In net.core. A network namespace has only some of them, and some of those for reading only."""
OFFLOADS = {
    "gro": ("gro",),
    # Not ethtool's "tso", which also turns on what was off before: segmentation that rewrites IPv4 IDs.
    "tso": ("tx-tcp-segmentation", "tx-tcp6-segmentation"),
    "gso": ("gso",),
    "udp_segmentation": ("tx-udp-segmentation",),
    "udp_gro_forwarding": ("rx-udp-gro-forwarding",),
}

Steps = Iterator[tuple[Setting, str]]


def apply(tuning: Mapping[str, Any], interface: str, udp_flow: str, state_folder: Path) -> None:
    """Put back what an earlier candidate has changed, then make these settings. Raises AgentError.

    `tuning`: tuner's HostTuning.used(), in its order: the number of queues comes before what is set by queue.
    `udp_flow`: the tunnels' datagrams, by ethtool's name.
    """
    restore(state_folder)
    record: dict[str, Any] = {"before": [], "made": []}
    for setting, value in _steps(tuning, interface, udp_flow):
        before = read(setting)
        if setting.kind == "qdisc" and " " in before:
            # Its parameters could not be put back.
            raise AgentError(f"{interface} has a queueing discipline of somebody's own: {before}", blame="candidate")
        if not same(setting, before, value):
            record["before"].append([*setting, before])
        record["made"].append([*setting, value])
        (state_folder / RECORD).write_text(json.dumps(record))
        if not same(setting, before, value):
            write(setting, value)


def restore(state_folder: Path) -> None:
    """Put back everything that `apply` has changed, the last first, and forget it. One that cannot be put back does not
    keep the others from it. Raises AgentError that names those."""
    failures = []
    for kind, target, before in reversed(_record(state_folder, "before")):
        setting = Setting(kind, target)
        try:
            if not same(setting, read(setting), before):
                write(setting, before)
        except AgentError as error:
            if _is_there(setting):
                failures.append(error.message)
    if failures:
        raise AgentError(
            f"settings of this host could not be put back: {'; '.join(failures)[:1000]}",
            hint="set them by hand; a reboot resets them too",
        )
    (state_folder / RECORD).unlink(missing_ok=True)


def observed(state_folder: Path) -> dict[str, str]:
    """What is set now of what `apply` has made."""
    return {f"{kind} {target}": read(Setting(kind, target)) for kind, target, _ in _record(state_folder, "made")}


def differences(state_folder: Path) -> Iterator[str]:
    """Each setting that is not, or no longer, as `apply` has made it."""
    for kind, target, wanted in _record(state_folder, "made"):
        setting = Setting(kind, target)
        try:
            found = read(setting)
        except AgentError as error:
            yield error.message
            continue
        if not same(setting, found, wanted):
            yield f"{kind} {target} is {found} instead of {wanted}"


def available(interface: str, udp_flow: str, *, whole_host: bool) -> list[str]:
    """Names of tuner's HostTuning that this host has. `whole_host`: also those that namespaces share."""
    rings, channels = output("-g", interface), output("-l", interface)
    features = values(output("-k", interface))
    has = {
        "underlay_mtu": True,
        "channels": max(most(channels, name) for name in ("Combined", "RX")) > 1
        and settable(interface, "channels", "combined", "rx"),
        "udp_rss_ports": bool(hashed(output("-n", interface, "rx-flow-hash", udp_flow))),
        "ring_packets": most(rings, "RX") > 0 and settable(interface, "ring", "rx"),
        "adaptive_coalescing": settable(interface, "coalesce", "adaptive-rx"),
        "coalesce_us": settable(interface, "coalesce", "rx-usecs"),
        "qdisc": (NETWORK / interface).exists(),
        "irq_cpus": bool(interrupts(interface)) and whole_host,
        "rps_cpus": any(map(_writable, queue_files(interface, "rx", "rps_cpus"))),
        "xps_cpus": any(map(_writable, queue_files(interface, "tx", "xps_cpus"))),
        "governor": whole_host and any(map(_writable, POLICIES.glob("policy*/scaling_governor"))),
        **{name: any(shown(one) in features for one in offloads) for name, offloads in OFFLOADS.items()},
        **{name: all(_writable(_sysctl(one)) for one in files) for name, files in SYSCTLS.items()},
    }
    return sorted(name for name, present in has.items() if present)


def _steps(tuning: Mapping[str, Any], interface: str, udp_flow: str) -> Steps:
    """Settings with their values, each found only after those before it were made."""
    for name, value in tuning.items():
        if name in SYSCTLS:
            yield from ((Setting("text", str(_sysctl(one))), str(value)) for one in SYSCTLS[name])
        elif name == "udp_rss_ports":
            yield Setting("flow-hash", f"{interface} {udp_flow}"), "sdfn" if value else "sd"
        elif name in _STEPS:
            made = list(_STEPS[name](interface, value))
            if not made:
                raise AgentError(f"{interface} of this host has nothing to set {name} on", blame="candidate")
            yield from made
        else:
            raise AgentError(f"the agent knows no setting {name!r}", blame="candidate")


def _channels(interface: str, value: int) -> Steps:
    names = ["combined"] if most(output("-l", interface), "Combined") else ["rx", "tx"]
    yield from ((Setting("channels", f"{interface} {name}"), str(value)) for name in names)


def _irq_cpus(interface: str, value: str) -> Steps:
    cpus = cpus_of(value)
    for index, number in enumerate(interrupts(interface)):
        yield Setting("cpus", f"/proc/irq/{number}/smp_affinity_list"), str(cpus[index % len(cpus)])


def _rps_cpus(interface: str, value: str) -> Steps:
    for path in queue_files(interface, "rx", "rps_cpus"):
        yield Setting("mask", str(path)), mask_of(cpus_of(value))


def _xps_cpus(interface: str, value: str) -> Steps:
    paths = queue_files(interface, "tx", "xps_cpus")
    for index, path in enumerate(paths):
        yield Setting("mask", str(path)), mask_of(cpus_of(value)[index :: len(paths)])


def _offloads(*offloads: str) -> Callable[[str, bool], Steps]:
    """Those that can be changed: a NIC may have TSO for IPv4 only."""

    def steps(interface: str, value: bool) -> Steps:
        features = values(output("-k", interface))
        for one in offloads:
            if shown(one) in features:
                yield Setting("feature", f"{interface} {one}"), "on" if value else "off"

    return steps


_STEPS: dict[str, Callable[[str, Any], Steps]] = {
    "underlay_mtu": lambda interface, value: iter([(Setting("mtu", interface), str(value))]),
    "channels": _channels,
    "ring_packets": lambda i, value: iter([(Setting("ring", f"{i} {name}"), str(value)) for name in ("rx", "tx")]),
    "adaptive_coalescing": lambda i, on: iter([(Setting("coalesce", f"{i} adaptive-rx"), "on" if on else "off")]),
    "coalesce_us": lambda interface, value: iter([(Setting("coalesce", f"{interface} rx-usecs"), str(value))]),
    **{name: _offloads(*offloads) for name, offloads in OFFLOADS.items()},
    "qdisc": lambda interface, kind: iter([(Setting("qdisc", interface), f"{kind} {OWN_HANDLE}")]),
    "irq_cpus": _irq_cpus,
    "rps_cpus": _rps_cpus,
    "xps_cpus": _xps_cpus,
    "governor": lambda _, value: (
        (Setting("text", str(path)), value) for path in sorted(POLICIES.glob("policy*/scaling_governor"))
    ),
}


def _sysctl(name: str) -> Path:
    return Path("/proc/sys/net/core") / name


def _writable(path: Path) -> bool:
    """Not for reading only, and not on a file system that is: containers see /sys so.

    Where nothing can be read there is nothing behind it: XPS of an interface with one queue.
    """
    try:
        path.read_bytes()
    except OSError:
        return False
    return os.access(path, os.W_OK) and path.stat().st_mode & 0o200 != 0


def _record(state_folder: Path, part: str) -> list[list[str]]:
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError):
        return [[str(kind), str(target), str(value)] for kind, target, value in _read(state_folder)[part]]
    return []


def _read(state_folder: Path) -> Any:
    return json.loads((state_folder / RECORD).read_text())


def _is_there(setting: Setting) -> bool:
    """Whether what it belongs to still exists: a queue or an interface that is gone has nothing to put back."""
    if setting.kind in ("text", "mask", "cpus"):
        return Path(setting.target).exists()
    return (NETWORK / setting.target.partition(" ")[0]).exists()
