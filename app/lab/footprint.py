"""What a testbed makes on its hosts, in words: for hosts that nobody can reach to take it away. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.lab.addressing import STATE_ROOT, GatewayAddresses, gateways_of, programs_folder, upload_folder


def footprint(name: str, driver: str, hosts: Mapping[str, Mapping[str, Any]] | None) -> list[str]:
    """One line for each machine. `hosts`: of driver ssh, by gateway. Raises LabError for a name that is none."""
    gateways = gateways_of(name)
    match driver:
        case "ssh":
            return [_on_host(str((hosts or {})[one]["address"]), gateway) for one, gateway in gateways.items()]
        case "compose":
            return [_on_host(f"container gateway-{one}", gateway) for one, gateway in gateways.items()]
        case "netns":
            return [
                "this machine: network namespaces {} and {}, folders {} and {}; `wiretune cleanup --all` takes them "
                "away".format(
                    *(gateway.namespace for gateway in gateways.values()),
                    *(gateway.state_folder for gateway in gateways.values()),
                )
            ]
        case "vm":
            return [f"this machine: two virtual machines (QEMU), folder {STATE_ROOT / f'{name}-vm'}"]
        case _:
            return []


def _on_host(host: str, gateway: GatewayAddresses) -> str:
    folder, upload = gateway.state_folder, upload_folder(gateway)
    return (
        f"{host}: an applied candidate until its lease ends; {folder} (in memory: keys, agent, wirelane) and the "
        f"interfaces inside and gen until a reboot; {upload}. By hand: ip link delete inside; "
        f"umount -l {programs_folder(gateway)}; rm -r {folder} {upload}"
    )
