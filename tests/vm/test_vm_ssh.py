"""The same machines declared as plain SSH hosts: a trial, no trace of it, what a host lacks, who is not let in."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from vm_gateway import Machine

from app.lab.driver import LabError, ProvisionedTestbed
from app.lab.ssh import SshDriver, SshHost
from app.lab.vm import VmDriver
from tuner.candidate import GATEWAYS, Candidate, Gateway
from tuner.samples import Workload

OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"


@pytest.fixture(scope="module")
def hosts(driver: VmDriver, provisioned: ProvisionedTestbed) -> Iterator[dict[Gateway, SshHost]]:
    assert provisioned
    SshDriver.teardown(driver)
    yield dict(driver._hosts)
    driver.provision(lambda *_: None, lambda: False)


def plain(hosts: dict[Gateway, SshHost], folder: Path) -> SshDriver:
    driver = SshDriver("vmplain", hosts, folder / "ssh")
    driver.patience, driver.lease_s, driver.emulated = 4, 120, True
    return driver


def provision(driver: SshDriver) -> ProvisionedTestbed:
    return driver.provision(lambda *_: None, lambda: False)


def test_a_trial_and_no_trace_afterwards(driver: VmDriver, hosts: dict[Gateway, SshHost], tmp_path: Path) -> None:
    machines = [Machine.of(driver, name) for name in GATEWAYS]
    before = [machine.everything() for machine in machines]
    assert not any("wiretune/" in line for line in before[0] if line.startswith("/run"))
    testbed = plain(hosts, tmp_path)
    keys = provision(testbed).gateways["a"].host_key
    assert keys.startswith("SHA256:")
    (sample,) = testbed.run_trial(
        Candidate(engine="kernel", mode=None, lanes=2),
        [Workload(duration_s=2, flows=2)],
        lambda *_: None,
        lambda: False,
    ).samples
    assert sample.throughput_gbps > 0
    testbed.teardown()
    after = [machine.everything() for machine in machines]
    for one, other in zip(before, after, strict=True):
        assert sorted(set(one) ^ set(other)) == []


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"port": 9}, "cannot be reached.*refused", "SSH server"),
        ({"host_key": OTHER_KEY}, "cannot be reached", "host_key|pinned"),
        ({"data_address": "198.18.0.9"}, "no interface has the data address 198.18.0.9", "nothing was changed"),
        ({"data_address": "10.0.2.15"}, "carries the management connection", "nothing was changed"),
    ],
)
def test_a_host_that_cannot_be_a_gateway_says_why(
    hosts: dict[Gateway, SshHost], tmp_path: Path, change: dict[str, object], message: str, hint: str
) -> None:
    changed = replace(hosts["a"], **change)  # type: ignore[arg-type]
    with pytest.raises(LabError, match=message) as caught:
        provision(plain({"a": changed, "b": hosts["b"]}, tmp_path))
    assert any(word in caught.value.hint for word in hint.split("|"))


def test_a_wrong_user_key_is_not_let_in(hosts: dict[Gateway, SshHost], tmp_path: Path) -> None:
    key = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    with pytest.raises(LabError, match="Permission denied") as caught:
        provision(plain({"a": replace(hosts["a"], key_file=str(key)), "b": hosts["b"]}, tmp_path))
    assert "key_file" in caught.value.hint


def test_sudo_with_and_without_its_password(driver: VmDriver, hosts: dict[Gateway, SshHost], tmp_path: Path) -> None:
    machine = Machine.of(driver, "a")
    machine.output(
        "useradd -m -s /bin/sh operator1 && echo operator1:correct-horse | chpasswd && usermod -aG sudo operator1"
        " && install -d -o operator1 -m 700 /home/operator1/.ssh"
        " && install -o operator1 -m 600 /root/.ssh/authorized_keys /home/operator1/.ssh/authorized_keys"
    )
    password = tmp_path / "password"
    password.write_text("correct-horse\n")
    password.chmod(0o600)
    plain_user = replace(hosts["a"], user="operator1", become=True)
    with pytest.raises(LabError, match="password") as caught:
        provision(plain({"a": plain_user, "b": hosts["b"]}, tmp_path))
    assert "become_password" in caught.value.hint
    testbed = plain({"a": replace(plain_user, become_password=f"file:{password}"), "b": hosts["b"]}, tmp_path)
    assert "kernel" in provision(testbed).gateways["a"].engines
    testbed.teardown()
    machine.output("pkill -u operator1; sleep 1; userdel -r operator1 2>/dev/null; true")
