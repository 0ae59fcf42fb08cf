"""Never lose a host: what is not confirmed goes away by itself, whatever became of connection and controller."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from vm_gateway import Machine

from app.lab.driver import ProvisionedTestbed
from app.lab.vm import VmDriver
from tuner.candidate import Candidate
from tuner.samples import Workload

HEALS_WITHIN_S = 120.0
REPOSITORY = Path(__file__).parents[2]
CONTROLLER = """
from app.lab import gateway_pair
from app.lab.vm import VmDriver
from tuner.candidate import Candidate
from tuner.samples import Workload

gateway_pair.TRIAL_EXTRA_S = 5.0
driver = VmDriver("vmtest")
driver.provision(lambda *_: None, lambda: False)
driver.lease_s, driver.patience = 20.0, 1
driver.run_trial(
    Candidate(engine="kernel", mode=None),
    [Workload(duration_s=20)],
    lambda phase, _: print(phase, flush=True),
    lambda: False,
)
"""


def candidate_variables(driver: VmDriver, lease_s: float) -> dict[str, Any]:
    variables = driver._trial_variables(Candidate(engine="kernel", mode=None), [Workload(duration_s=1)])
    return {**variables["a"]["gateway_candidate"], "lease_s": lease_s}


def wait_settings(machine: Machine, wanted: list[str]) -> None:
    deadline = time.monotonic() + HEALS_WITHIN_S
    while difference := sorted(set(machine.settings()) ^ set(wanted)):
        assert time.monotonic() < deadline, difference[:20]
        time.sleep(2)


def test_an_unconfirmed_candidate_goes_away(driver: VmDriver, gateway_a: Machine) -> None:
    driver.rollback()
    answer = gateway_a.agent("apply", candidate_variables(driver, 15))
    assert "failed" not in answer, answer
    assert "wl0" in gateway_a.output("ip -o link")
    assert gateway_a.output("systemctl is-active wiretune-lease-vmtest-a").strip() == "active"
    deadline = time.monotonic() + HEALS_WITHIN_S
    while "wl0" in gateway_a.output("ip -o link"):
        assert time.monotonic() < deadline
    late = gateway_a.agent("confirm", {"state_folder": gateway_a.state_folder, "lease_s": 60})
    assert "not confirmed in time" in late["msg"]


def test_a_cut_management_link_heals(driver: VmDriver, gateway_a: Machine) -> None:
    """The change: the management interface asks for no neighbour any more, so that no answer leaves the host."""
    driver.rollback()
    before = gateway_a.settings()
    variables = candidate_variables(driver, 30)
    names = ("mcast_solicit", "ucast_solicit", "app_solicit")
    variables["sysctls"] = {**variables["sysctls"], **{f"net.ipv4.neigh.mgmt0.{name}": "0" for name in names}}
    assert "failed" not in gateway_a.agent("apply", variables)
    # What the neighbour table still knows would carry the connection for another while.
    gateway_a.ssh("(sleep 1; ip neighbour flush dev mgmt0) >/dev/null 2>&1 &")
    deadline = time.monotonic() + 25
    while gateway_a.reachable():
        assert time.monotonic() < deadline, "the change does not cut the link"
    gateway_a.wait_reachable(HEALS_WITHIN_S)
    wait_settings(gateway_a, before)


@pytest.mark.parametrize("phase", ["apply", "measure"])
def test_a_killed_controller_leaves_hosts_that_heal(driver: VmDriver, gateway_a: Machine, phase: str) -> None:
    driver.rollback()
    before = gateway_a.settings()
    with subprocess.Popen(
        [sys.executable, "-c", CONTROLLER], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as controller:
        assert controller.stdout is not None
        for line in controller.stdout:
            if line.strip() == phase:
                break
        else:
            pytest.fail(f"the controller never came to {phase}")
        time.sleep(3)
        controller.kill()
    wait_settings(gateway_a, before)


def test_a_rebooted_host_is_as_it_was(driver: VmDriver, gateway_a: Machine, provisioned: ProvisionedTestbed) -> None:
    driver.rollback()
    boot = gateway_a.output("cat /proc/sys/kernel/random/boot_id")
    policy = gateway_a.output("sysctl -n net.ipv4.fib_multipath_hash_policy")
    gateway_a.agent("apply", candidate_variables(driver, 300))
    assert gateway_a.output("sysctl -n net.ipv4.fib_multipath_hash_policy").strip() == "1"
    gateway_a.ssh("systemctl reboot --force --force")
    deadline = time.monotonic() + 240
    while not gateway_a.reachable() or gateway_a.output("cat /proc/sys/kernel/random/boot_id") == boot:
        assert time.monotonic() < deadline
        time.sleep(1)
    assert gateway_a.output("sysctl -n net.ipv4.fib_multipath_hash_policy") == policy
    assert "wl0" not in gateway_a.output("ip -o link")
    assert gateway_a.ssh("ls /run/wiretune").returncode != 0
    healed = driver.provision(lambda *_: None, lambda: False)
    assert healed.gateways["a"].host_key == provisioned.gateways["a"].host_key
