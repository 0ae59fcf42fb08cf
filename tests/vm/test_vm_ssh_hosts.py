"""The same machines declared as plain SSH hosts: a study, no trace of it, what a host lacks, who is not let in."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from vm_gateway import Machine, different, flooding
from vm_study import begin_study, blocks_in, completed, make_testbed, told

from app.lab.driver import LabError, ProvisionedTestbed
from app.lab.ssh import SshDriver, SshHost
from tests.contract.service_process import wait_for
from tuner.candidate import GATEWAYS, Candidate, Gateway
from tuner.host_tuning import HostTuning
from tuner.samples import Workload

NAME = "vmplain"
IPV6: dict[Gateway, str] = {"a": "fd5a:17::a", "b": "fd5a:17::b"}
OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"
Hosts = dict[Gateway, SshHost]


def plain(hosts: Hosts, folder: Path) -> SshDriver:
    return SshDriver(NAME, hosts, folder / "ssh")


def provision(driver: SshDriver) -> ProvisionedTestbed:
    return driver.provision(lambda *_: None, lambda: False)


def refused(hosts: Hosts, folder: Path, **changes: Any) -> LabError:
    """Why gateway a, changed in this way, cannot be part of a testbed."""
    changed = replace(hosts["a"], **changes)
    with pytest.raises(LabError) as caught:
        provision(plain({"a": changed, "b": hosts["b"]}, folder))
    return caught.value


def test_a_study_and_no_trace_of_it(
    client: httpx.Client,
    hosts: Hosts,
    gateway_a: Machine,
    gateway_b: Machine,
    provisioned: ProvisionedTestbed,
    show: Callable[[str], None],
) -> None:
    """No option says that the machines are emulated: the hosts themselves do."""
    machines = (gateway_a, gateway_b)
    before = [machine.everything() for machine in machines]
    assert not any(line.startswith("/run/wiretune/") for line in before[0])
    ssh = {name: asdict(host) for name, host in hosts.items()}
    testbed = make_testbed(client, NAME, driver="ssh", ssh=ssh)
    assert (testbed["state"], testbed["emulated"]) == ("ready", provisioned.emulated), testbed
    pinned = [testbed["gateways"][name]["host_key"] for name in GATEWAYS]
    assert all(key.startswith("SHA256:") for key in pinned)
    assert pinned[0] != pinned[1]
    result = completed(client, begin_study(client, NAME))
    assert result["emulated"] is provisioned.emulated
    samples = [sample for block in blocks_in(result, "completed") for sample in block["samples"]]
    assert len(samples) >= 8, "a block of each in the search, and three rounds of both"
    assert all(sample["throughput_gbps"] > 0 for sample in samples)
    client.delete(f"/testbeds/{NAME}").raise_for_status()
    wait_for(client, f"/testbeds/{NAME}", lambda answer: answer.get("status") == 404, 120)
    for machine, wanted in zip(machines, before, strict=True):
        assert different(machine.everything(), wanted) == []
        machine.await_no_process(60)
    show(f"driver ssh, {told(result)}")
    show("with the testbed deleted, dumps of settings and files are as before on both machines")


@pytest.fixture
def hosts_by_ipv6(hosts: Hosts, gateway_a: Machine, gateway_b: Machine) -> Iterator[Hosts]:
    machines: dict[Gateway, Machine] = {"a": gateway_a, "b": gateway_b}
    for name, machine in machines.items():
        machine.output(f"ip address add {IPV6[name]}/64 dev data0 nodad")
    yield {name: replace(hosts[name], data_address=IPV6[name]) for name in GATEWAYS}
    for name, machine in machines.items():
        machine.output(f"ip address delete {IPV6[name]}/64 dev data0")


def test_in_tree_wireguard_over_ipv6(
    hosts_by_ipv6: Hosts, tmp_path: Path, gateway_a: Machine, show: Callable[[str], None]
) -> None:
    """The NIC is told to hash the datagrams of that family."""
    before = gateway_a.everything()
    testbed = plain(hosts_by_ipv6, tmp_path)
    assert "udp_rss_ports" in provision(testbed).gateways["a"].host_tunables
    candidate = Candidate(engine="kernel", mode=None, lanes=2, host=HostTuning(udp_rss_ports=False))
    result = testbed.run_trial(candidate, [Workload(duration_s=2, flows=2)], lambda *_: None, lambda: False)
    (sample,) = result.samples
    assert min(sample.lane_shares) > 0
    lanes = result.read_back["a"]["lanes"].values()
    endpoints = [peer["endpoint"] for lane in lanes for peer in lane["peers"]]
    assert endpoints == [f"[{IPV6['b']}]:51820", f"[{IPV6['b']}]:51821"]
    assert result.read_back["a"]["host_tuning"] == {"flow-hash data0 udp6": "sd"}
    testbed.teardown()
    assert different(gateway_a.everything(), before) == []
    show(f"in-tree WireGuard to {' and '.join(endpoints)}: {sample.throughput_gbps * 1000:.1f} Mbit/s; no trace left")


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"port": 9}, "gateway a cannot be reached: .*refused", "SSH server"),
        ({"address": "192.0.2.1", "port": 22}, "gateway a cannot be reached", "address"),
        ({"host_key": OTHER_KEY}, "gateway a cannot be reached", "another key than"),
        ({"data_address": "198.18.0.9"}, "gateway a: .*no interface has the data address 198.18.0.9", "put right"),
        ({"data_address": "10.0.2.15"}, "gateway a: .*mgmt0 carries the management connection", "put right"),
    ],
    ids=["no server", "no host", "another host key", "no such NIC", "management NIC"],
)
def test_a_host_that_cannot_be_a_gateway_says_why(
    hosts: Hosts,
    tmp_path: Path,
    gateway_b: Machine,
    changes: dict[str, Any],
    message: str,
    hint: str,
    show: Callable[[str], None],
) -> None:
    error = refused(hosts, tmp_path, **changes)
    show(f"refused: {error.message[:200]}")
    assert re.search(message, error.message, re.DOTALL), error.message
    assert hint in error.hint
    assert gateway_b.ssh("ls -d /run/wiretune").returncode != 0, "the other host keeps something"


def test_a_link_with_other_traffic_is_refused(
    hosts: Hosts, tmp_path: Path, gateway_b: Machine, show: Callable[[str], None]
) -> None:
    with flooding(gateway_b, hosts["a"].data_address):
        error = refused(hosts, tmp_path)
    show(f"refused: {error.message[:200]}")
    assert re.search("gateway a: .*data0 carries other traffic", error.message), error.message


def test_a_host_whose_clock_is_off_is_refused(hosts: Hosts, tmp_path: Path, gateway_a: Machine) -> None:
    gateway_a.output("date -s '+1 hour'")
    try:
        error = refused(hosts, tmp_path)
    finally:
        gateway_a.output("date -s '-1 hour'")
    assert re.search(r"gateway a: .*its clock is 3[56]\d\d s ahead: set it", error.message), error.message


def test_a_host_whose_key_has_changed_since_is_refused(hosts: Hosts, tmp_path: Path, gateway_a: Machine) -> None:
    """Pinned on first contact."""
    testbed = plain(hosts, tmp_path)
    provision(testbed)
    gateway_a.output("cd /etc/ssh && mkdir old && mv ssh_host_* old && ssh-keygen -q -A && systemctl restart ssh")
    try:
        with pytest.raises(LabError, match="gateway a cannot be reached") as caught:
            provision(testbed)
    finally:
        gateway_a.output("cd /etc/ssh && mv old/* . && rmdir old && systemctl restart ssh")
    assert "another key than the one that was pinned" in caught.value.hint
    testbed.teardown()


def test_a_wrong_key_is_not_let_in(hosts: Hosts, tmp_path: Path) -> None:
    key = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    error = refused(hosts, tmp_path, key_file=str(key))
    assert re.search("gateway a cannot be reached: .*Permission denied", error.message, re.DOTALL), error.message
    assert "key_file" in error.hint


def test_a_host_without_python_says_so(hosts: Hosts, tmp_path: Path, gateway_a: Machine) -> None:
    gateway_a.output("mv /usr/bin/python3 /usr/bin/python3.hidden")
    try:
        error = refused(hosts, tmp_path)
    finally:
        gateway_a.output("mv /usr/bin/python3.hidden /usr/bin/python3")
    assert error.message.startswith("gateway a: ")
    assert "install python3" in error.hint


@pytest.mark.parametrize("folder", ["/run", "/tmp"])  # noqa: S108 - of the virtual machine
def test_a_full_host_says_so(hosts: Hosts, tmp_path: Path, gateway_a: Machine, folder: str) -> None:
    fill = f"dd if=/dev/zero of={folder}/filler bs=1M; dd if=/dev/zero of={folder}/filler2 bs=4k"
    gateway_a.ssh(f"({fill}) 2>/dev/null")
    try:
        error = refused(hosts, tmp_path)
    finally:
        gateway_a.output(f"rm {folder}/filler*")
    assert error.message.startswith("gateway a: ")
    assert "free some space" in error.hint
    # What could not be taken away for lack of space goes with the testbed.
    plain(hosts, tmp_path).teardown()
    assert gateway_a.ssh("ls -d /run/wiretune").returncode != 0, "the host keeps something"


@contextmanager
def user_with_sudo(machine: Machine, password: str) -> Iterator[str]:
    """A login that may become root with its password, and takes the same key as root's."""
    machine.output(
        f"useradd -m -s /bin/sh -G sudo netadmin && echo netadmin:{password} | chpasswd && cd /home/netadmin"
        " && install -d -o netadmin -m 700 .ssh && install -o netadmin -m 600 ~root/.ssh/authorized_keys .ssh/"
    )
    try:
        yield "netadmin"
    finally:
        machine.ssh("pkill -u netadmin; sleep 1; userdel -rf netadmin")


def test_sudo_with_and_without_its_password(hosts: Hosts, tmp_path: Path, gateway_a: Machine) -> None:
    password = tmp_path / "password"
    password.touch(mode=0o600)
    with user_with_sudo(gateway_a, "correct-horse") as user:
        assert "set become" in refused(hosts, tmp_path, user=user).message, "no root, and no way to it"
        assert "become_password" in refused(hosts, tmp_path, user=user, become=True).hint
        by_file = {"user": user, "become": True, "become_password": f"file:{password}"}
        password.write_text("wrong-horse\n")
        error = refused(hosts, tmp_path, **by_file)
        assert "horse" not in error.message + error.hint + error.detail
        assert "become_password" in error.hint
        password.write_text("correct-horse\n")
        testbed = plain({"a": replace(hosts["a"], **by_file), "b": hosts["b"]}, tmp_path)  # type: ignore[arg-type]
        assert "kernel" in provision(testbed).gateways["a"].engines
        testbed.teardown()
        assert gateway_a.ssh("ls -d /run/wiretune /tmp/.wiretune*").stdout == ""
