"""Single settings of a host that can be read, written and put back: files of /proc and /sys, ethtool, ip, tc."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from wiretune_agent.command import attempt, run_json
from wiretune_agent.errors import AgentError

NETWORK = Path("/sys/class/net")
POLICIES = Path("/sys/devices/system/cpu/cpufreq")
INTERRUPTS = Path("/proc/irq")
NO_QUEUE_INTERRUPT = re.compile("config|async|ctrl|mgmt|misc|fdir")
CARRIER_TIMEOUT_S = 15.0
DEFAULT_HANDLE = "0:"
UNMODIFIED = "unmodified"
"""ethtool's way to say that everything is as asked for already."""
HASHED = {
    "m": "L2DA",
    "v": "VLAN tag",
    "t": "L3 proto",
    "s": "IP SA",
    "d": "IP DA",
    "f": "L4 bytes 0 & 1",
    "n": "L4 bytes 2 & 3",
}
"""What a NIC can hash to choose a queue: ethtool's letter for it, and how its answer begins."""

FEATURES = {
    "gro": "generic-receive-offload",
    "gso": "generic-segmentation-offload",
    "lro": "large-receive-offload",
}
"""Offloads that ethtool wants to be called one way and calls another."""


class Setting(NamedTuple):
    """One value on the host. `target` is a path, or an interface and what of it: "eth0 rx-usecs"."""

    kind: str
    target: str


def read(setting: Setting) -> str:
    """The value as the host says it. Raises AgentError, which blames the candidate, where the host has none."""
    if setting.kind in ("text", "mask", "cpus"):
        try:
            return " ".join(Path(setting.target).read_text().split())
        except OSError as error:
            raise _lacks(setting, error.strerror or str(error)) from error
    interface, _, name = setting.target.partition(" ")
    value = _TOOLS[setting.kind][0](interface, name)
    if value is None:
        raise _lacks(setting, "its driver does not have it")
    return value


def write(setting: Setting, value: str) -> None:
    """Set it, and wait for the link where that takes it down. Raises AgentError where the host refuses."""
    if setting.kind in ("text", "mask", "cpus"):
        try:
            Path(setting.target).write_text(value)
        except OSError as error:
            raise _refused(setting, value, error.strerror or str(error)) from error
        return
    interface, _, name = setting.target.partition(" ")
    carried = _carrier(interface)
    result = attempt(_TOOLS[setting.kind][1](interface, name, value), timeout_s=30)
    if result.returncode != 0 and UNMODIFIED not in result.stderr:
        raise _refused(setting, value, (result.stderr or result.stdout).strip()[:300])
    deadline = time.monotonic() + CARRIER_TIMEOUT_S
    while carried and not _carrier(interface):
        if time.monotonic() > deadline:
            raise _refused(setting, value, f"the link did not come back within {CARRIER_TIMEOUT_S:g} s")
        time.sleep(0.05)


def settable(interface: str, kind: str, *names: str) -> bool:
    """Whether the driver takes one of these, of ethtool's: asked for what is set already, which changes nothing.

    Some drivers tell values that they never let anybody change, as vmxnet3 does with its channels.
    """
    return any(_takes_its_own(interface, kind, name) for name in names)


def shown(offload: str) -> str:
    """How ethtool calls an offload."""
    return FEATURES.get(offload, offload)


def same(setting: Setting, one: str, other: str) -> bool:
    """Whether two values mean the same: masks are written with and without leading zeros, CPU lists in several ways."""
    if setting.kind == "mask":
        return int(one.replace(",", "") or "0", 16) == int(other.replace(",", "") or "0", 16)
    if setting.kind == "cpus":
        return cpus_of(one) == cpus_of(other)
    return one == other


def interface_with(address: str) -> str | None:
    """The interface that has an address; None where none has."""
    for link in run_json(["ip", "-j", "address", "show"]):
        if any(entry.get("local") == address for entry in link.get("addr_info", [])):
            return str(link["ifname"])
    return None


def udp_flow(address: str) -> str:
    """What ethtool calls the datagrams that an address sends and takes in."""
    return "udp6" if ":" in address else "udp4"


def queue_files(interface: str, way: str, name: str) -> list[Path]:
    """A file of every queue, in the queues' order; `way`: "rx" or "tx"."""
    folders = (NETWORK / interface / "queues").glob(f"{way}-*")
    paths = [folder / name for folder in sorted(folders, key=lambda path: int(path.name.rpartition("-")[2]))]
    return [path for path in paths if path.exists()]


def interrupts(interface: str) -> list[int]:
    """The interface's interrupts that serve queues, ascending; empty where its device has none of its own."""
    for folder in ("device/msi_irqs", "device/../msi_irqs"):  # A virtio device has them one level up.
        paths = list((NETWORK / interface / folder).glob("[0-9]*"))
        if paths:
            numbers = sorted(int(path.name) for path in paths)
            return [number for number in numbers if not NO_QUEUE_INTERRUPT.search(_handlers(number))]
    return []


def cpus_of(cpulist: str) -> list[int]:
    """CPU numbers of "0-3,8", ascending."""
    found: set[int] = set()
    for part in filter(None, cpulist.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found)


def mask_of(cpus: Sequence[int]) -> str:
    """The kernel's form of a CPU mask: hexadecimal, groups of 32 bits (cpumask_parse)."""
    value = sum(1 << cpu for cpu in cpus)
    groups: list[str] = []
    while value or not groups:
        groups.append(f"{value & 0xFFFFFFFF:08x}" if value >> 32 else f"{value:x}")
        value >>= 32
    return ",".join(reversed(groups))


def sections(text: str) -> dict[str, dict[str, str]]:
    """`ethtool -l` or `-g`: values by name, of each of its parts."""
    found: dict[str, dict[str, str]] = {}
    part: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and not value.strip():
            part = found.setdefault(name.strip(), {})
        elif colon:
            part[name.strip()] = value.split()[0]
    return found


def values(text: str) -> dict[str, str]:
    """`ethtool -c` or `-k`: the first value by name; "[fixed]" ones are left out, for nobody can change them."""
    found = {}
    for line in text.splitlines():
        name, colon, value = line.strip().partition(":")
        words = value.split()
        if colon and words and "[fixed]" not in words:
            found[name] = words[0]
    return found


def hashed(text: str) -> str:
    """`ethtool -n DEVICE rx-flow-hash udp4`: the letters of what is hashed; empty where that is nothing, or unknown."""
    lines = [line.strip() for line in text.splitlines()]
    return "".join(letter for letter, begin in HASHED.items() if any(line.startswith(begin) for line in lines))


def most(text: str, name: str) -> int:
    """What `ethtool -l` or `-g` names as the pre-set maximum; 0 where it has none."""
    value = sections(text).get("Pre-set maximums", {}).get(name, "")
    return int(value) if value.isdecimal() else 0


def output(*argv: str) -> str:
    """Standard output of ethtool; empty where the driver or the program does not know the answer."""
    try:
        return attempt(["ethtool", *argv], timeout_s=10).stdout
    except AgentError:
        return ""


def _takes_its_own(interface: str, kind: str, name: str) -> bool:
    reader, writer = _TOOLS[kind]
    value = reader(interface, name)
    if value is None:
        return False
    result = attempt(writer(interface, name, value), timeout_s=10)
    return result.returncode == 0 or UNMODIFIED in result.stderr


def _current(option: str) -> Callable[[str, str], str | None]:
    def reader(interface: str, name: str) -> str | None:
        called = {"combined": "Combined"}.get(name, name.upper())
        value = sections(output(option, interface)).get("Current hardware settings", {}).get(called, "n/a")
        return value if value.isdecimal() else None

    return reader


def _value(option: str) -> Callable[[str, str], str | None]:
    def reader(interface: str, name: str) -> str | None:
        called = {"adaptive-rx": "Adaptive RX"}.get(name, shown(name))
        value = values(output(option, interface)).get(called, "n/a")
        return None if value == "n/a" else value

    return reader


def _change(option: str) -> Callable[[str, str, str], list[str]]:
    return lambda interface, name, value: ["ethtool", option, interface, name, value]


def _read_mtu(interface: str, _name: str) -> str | None:
    try:
        return (NETWORK / interface / "mtu").read_text().strip()
    except OSError:
        return None


def _read_qdisc(interface: str, _name: str) -> str | None:
    """The root's kind, and its handle unless the kernel has chosen it by itself."""
    for qdisc in run_json(["tc", "-j", "qdisc", "show", "dev", interface]):
        if qdisc.get("root"):
            is_default = qdisc.get("handle") == DEFAULT_HANDLE
            return f"{qdisc['kind']}{'' if is_default else ' ' + qdisc.get('handle', '?')}"
    return None


def _read_flow_hash(interface: str, flow: str) -> str | None:
    return hashed(output("-n", interface, "rx-flow-hash", flow)) or None


def _write_qdisc(interface: str, _name: str, value: str) -> list[str]:
    kind, _, handle = value.partition(" ")
    if not handle:  # The kernel's own choice comes back when ours goes.
        return ["tc", "qdisc", "delete", "dev", interface, "root"]
    return ["tc", "qdisc", "replace", "dev", interface, "root", "handle", handle, kind]


_TOOLS: dict[str, tuple[Callable[[str, str], str | None], Callable[[str, str, str], list[str]]]] = {
    "channels": (_current("-l"), _change("-L")),
    "ring": (_current("-g"), _change("-G")),
    "coalesce": (_value("-c"), _change("-C")),
    "flow-hash": (
        _read_flow_hash,
        lambda interface, flow, letters: ["ethtool", "-N", interface, "rx-flow-hash", flow, letters],
    ),
    "feature": (_value("-k"), _change("-K")),
    "mtu": (_read_mtu, lambda interface, _, value: ["ip", "link", "set", "dev", interface, "mtu", value]),
    "qdisc": (_read_qdisc, _write_qdisc),
}


def _carrier(interface: str) -> bool:
    try:
        return (NETWORK / interface / "carrier").read_text().strip() == "1"
    except OSError:
        return False  # Down, by whoever wanted it down.


def _handlers(number: int) -> str:
    """Names of what handles an interrupt; each has a folder."""
    return " ".join(_folders(INTERRUPTS / str(number)))


def _folders(path: Path) -> Iterator[str]:
    try:
        yield from (entry.name for entry in path.iterdir() if entry.is_dir())
    except OSError:
        return  # The interrupt went with its queue.


def _lacks(setting: Setting, reason: str) -> AgentError:
    return AgentError(f"this host has no {setting.kind} {setting.target}: {reason}", blame="candidate")


def _refused(setting: Setting, value: str, reason: str) -> AgentError:
    return AgentError(f"this host refuses {setting.kind} {setting.target} = {value}: {reason}", blame="candidate")
