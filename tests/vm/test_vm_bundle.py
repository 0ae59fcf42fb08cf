"""A bundle put into production under systemd by its own playbooks, and taken out again: nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from vm_gateway import Machine, different

from app.bundles.builder import build_bundle
from app.lab.ssh import SshHost
from tests.unit.bundles.sources import INLINE, KERNEL, source
from tuner.candidate import GATEWAYS, Candidate, Gateway
from tuner.host_tuning import HostTuning

WIRELANE = Path(__file__).parents[2] / "dataplane" / "target" / "release" / "wirelane"
TUNED_KERNEL = KERNEL.model_copy(
    update={"lanes": 2, "host": HostTuning(udp_rss_ports=False, gro=False, netdev_budget=600)}
)
LAN = (
    "ip link add lan0 type veth peer name lan1 && ip address add 198.19.{number}.1/24 dev lan0"
    " && ip link set lan0 up && ip link set lan1 up"
)
PLAY_TIMEOUT_S = 900
UNITS = {"wirelane": ["wiretune-wirelane"], "kernel": ["wiretune-host-tuning", "wg-quick@wl0", "wg-quick@wl1"]}


@pytest.fixture
def sites(
    hosts: dict[Gateway, SshHost], gateway_a: Machine, gateway_b: Machine
) -> Iterator[dict[Gateway, tuple[SshHost, Machine]]]:
    """Two production gateways: a network behind each, and wirelane installed."""
    machines: dict[Gateway, Machine] = {"a": gateway_a, "b": gateway_b}
    for number, machine in enumerate(machines.values(), start=1):
        machine.output(LAN.format(number=number))
        machine.install(WIRELANE, "/usr/local/bin/wirelane")
    yield {name: (hosts[name], machines[name]) for name in GATEWAYS}
    for machine in machines.values():
        machine.output("ip link delete lan0; rm /usr/local/bin/wirelane")


def unpacked(winner: Candidate, folder: Path) -> Path:
    info = build_bundle(source(winner), folder / "bundle.tar.gz")
    with tarfile.open(folder / "bundle.tar.gz") as tar:
        tar.extractall(folder, filter="data")
    return folder / info.name


def play(bundle: Path, playbook: str, sites: dict[Gateway, tuple[SshHost, Machine]]) -> list[int]:
    """Run a playbook of the bundle as its README.md says; how many tasks changed something, of each gateway."""
    lines = ["[gateways]"]
    for name, (host, _) in sites.items():
        reached = f"ansible_host={host.address} ansible_port={host.port} ansible_user={host.user}"
        lines.append(f"gateway-{name} side={name} {reached} ansible_ssh_private_key_file={host.key_file}")
    (bundle / "inventory.ini").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "inventory.ini", playbook],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
        timeout=PLAY_TIMEOUT_S,
        env={
            **os.environ,
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_HOST_KEY_CHECKING": "false",
            "ANSIBLE_TIMEOUT": "60",
            "ANSIBLE_NOCOLOR": "true",
        },
    )
    assert done.returncode == 0, done.stdout + done.stderr
    recap = done.stdout.partition("PLAY RECAP")[2].strip().splitlines()[1:]
    return [int(line.partition("changed=")[2].split()[0]) for line in recap]


@pytest.mark.skipif(not WIRELANE.exists(), reason="dataplane/target/release/wirelane is not built")
@pytest.mark.parametrize("winner", [INLINE, TUNED_KERNEL], ids=["wirelane", "kernel"])
def test_a_bundle_goes_into_production_and_out_again(
    sites: dict[Gateway, tuple[SshHost, Machine]], tmp_path: Path, winner: Candidate, show: Callable[[str], None]
) -> None:
    machines = [machine for _, machine in sites.values()]
    before = [machine.everything() for machine in machines]
    bundle = unpacked(winner, tmp_path)
    assert min(play(bundle, "apply.yml", sites)) > 0, "each lane has shaken hands, or apply.yml fails"
    for machine in machines:
        for unit in UNITS[winner.engine]:
            assert machine.output(f"systemctl is-active {unit}; systemctl is-enabled {unit}") == "active\nenabled\n"
        assert machine.output("ip route").count("nexthop dev wl") == 2
        by_ports = "L4 bytes" in machine.output("ethtool -n data0 rx-flow-hash udp4")
        assert by_ports is (winner.host.udp_rss_ports is None), "the host settings were not made"
    a, b = machines
    b.ssh("timeout 60 iperf3 -s -1 -D -B 198.19.2.1; sleep 1")
    ended = json.loads(a.output("timeout 60 iperf3 -c 198.19.2.1 -B 198.19.1.1 -P 4 -t 3 -J"))["end"]
    assert ended["sum_received"]["bytes"] > 0
    if winner.engine == "wirelane":
        stats = json.loads(a.output("wirelane stats --control /run/wiretune/control.sock --json"))
        assert min(lane["handshakes"] for lane in stats["lanes"]) > 0
        # The unit's restrictions let the threads be placed where they were measured.
        placement = json.loads(a.output("wirelane placement --control /run/wiretune/control.sock --json"))
        threads = {(thread["stage"], thread["cpu_set"]) for lane in placement["lanes"] for thread in lane["threads"]}
        assert {("tx", "0"), ("rx", "1")} <= threads
        assert play(bundle, "apply.yml", sites) == [0, 0], "a second run changes something"
    play(bundle, "rollback.yml", sites)
    for machine, wanted in zip(machines, before, strict=True):
        assert different(machine.everything(), wanted) == []
    units = ", ".join(UNITS[winner.engine])
    show(f"bundle applied, {units} active and enabled, iperf3 through it; rolled back, no trace is left")
