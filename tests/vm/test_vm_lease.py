"""Never lose a host: what is not confirmed goes away by itself, whatever became of connection and controller."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from vm_gateway import Machine, different, of_any_boot

from app.lab.driver import ProvisionedTestbed
from app.lab.ssh import SshDriver
from app.lab.vm import VmDriver
from tuner.candidate import Candidate

HEALS_WITHIN_S = 300.0
REBOOTS_WITHIN_S = 300.0
REPOSITORY = Path(__file__).parents[2]
CONTROLLER = """
from app.lab import gateway_pair
from app.lab.vm import VmDriver
from tuner.candidate import Candidate
from tuner.samples import Workload

gateway_pair.TRIAL_EXTRA_S = 45.0
driver = VmDriver("vmtest")
driver.provision(lambda *_: None, lambda: False)
driver.lease_s, driver.patience = 45.0, 1
driver.run_trial(
    Candidate(engine="kernel", mode=None),
    [Workload(duration_s=20)],
    lambda phase, _: print(phase, flush=True),
    lambda: False,
)
"""


@pytest.fixture(autouse=True)
def rolled_back(driver: VmDriver, provisioned: ProvisionedTestbed) -> Iterator[None]:
    assert provisioned
    driver.rollback()
    yield
    driver.rollback()


def candidate_variables(driver: VmDriver, lease_s: float) -> dict[str, Any]:
    variables = driver._trial_variables(Candidate(engine="kernel", mode=None), [])
    return {**variables["a"]["gateway_candidate"], "lease_s": lease_s}


@pytest.mark.quick
def test_an_unconfirmed_candidate_goes_away(driver: VmDriver, gateway_a: Machine, show: Callable[[str], None]) -> None:
    """The watcher is a unit of systemd's; a lease is ended early as docs/testbeds.md says."""
    before = gateway_a.settings()
    answer = gateway_a.agent("apply", candidate_variables(driver, 3600))
    assert "failed" not in answer, answer
    assert "wl0" in gateway_a.output("ip -o link")
    assert gateway_a.output("systemctl is-active wiretune-lease-vmtest-a").strip() == "active"
    gateway_a.output(f"echo '{{\"ends_at_s\": 0}}' > {gateway_a.state_folder}/lease.json")
    gateway_a.await_settings(before, HEALS_WITHIN_S)
    late = gateway_a.agent("confirm", {"state_folder": gateway_a.state_folder, "lease_s": 60})
    assert "not confirmed in time" in late["msg"]
    show(f"gateway a: a candidate that nobody confirmed is gone; all {len(before)} lines of settings as before")


def test_a_cut_management_link_heals(driver: VmDriver, gateway_a: Machine, show: Callable[[str], None]) -> None:
    """The change: the management interface asks for no neighbour any more, so that no answer leaves the host."""
    before = gateway_a.settings()
    variables = candidate_variables(driver, 90)
    names = ("mcast_solicit", "ucast_solicit", "app_solicit")
    variables["sysctls"] = {**variables["sysctls"], **{f"net.ipv4.neigh.mgmt0.{name}": "0" for name in names}}
    answer = gateway_a.agent("apply", variables)
    assert "failed" not in answer, answer
    # What the neighbour table still knows would carry the connection for another while.
    gateway_a.ssh("(sleep 1; ip neighbour flush dev mgmt0) >/dev/null 2>&1 &")
    deadline = time.monotonic() + 60
    while gateway_a.reachable():
        assert time.monotonic() < deadline, "the change does not cut the link"
    cut_at_s = time.monotonic()
    gateway_a.wait_reachable(HEALS_WITHIN_S)
    cut_s = time.monotonic() - cut_at_s
    gateway_a.await_settings(before, HEALS_WITHIN_S)
    show(
        f"gateway a: cut off by a change with a lease of 90 s, back by itself {cut_s:.0f} s later;"
        f" all {len(before)} lines of settings as before"
    )


@pytest.mark.parametrize("phase", ["apply", "verify", "measure"])
def test_a_killed_controller_leaves_hosts_that_heal(
    gateway_a: Machine, gateway_b: Machine, phase: str, show: Callable[[str], None]
) -> None:
    """`verify` begins with the confirmation: killed then, the candidate is applied and nobody has confirmed it."""
    machines = (gateway_a, gateway_b)
    before = [machine.settings() for machine in machines]
    with subprocess.Popen(
        [sys.executable, "-c", CONTROLLER], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as controller:
        assert controller.stdout is not None
        for line in controller.stdout:
            if line.strip() == phase:
                break
        else:
            pytest.fail(f"the controller never came to {phase}")
        if phase == "apply":
            time.sleep(2)  # Into the middle of it.
        controller.kill()
    if phase != "apply":
        for machine in machines:
            assert "wl0" in machine.output("ip -o link"), "the controller died too late"
            lease = json.loads(machine.output(f"cat {machine.state_folder}/lease.json"))
            assert lease["ends_at_s"] > float(machine.output("cut -d' ' -f1 /proc/uptime"))
    killed_at_s = time.monotonic()
    for machine, wanted in zip(machines, before, strict=True):
        machine.await_settings(wanted, HEALS_WITHIN_S)
        machine.await_no_process(HEALS_WITHIN_S)
        assert machine.output("systemctl list-units --no-legend --plain 'wiretune*'") == ""
    healed_s = time.monotonic() - killed_at_s
    show(
        f"controller killed in phase {phase}: {healed_s:.0f} s later both hosts are as before, no process of ours left"
    )


def test_a_rebooted_host_is_as_it_was(
    driver: VmDriver, gateway_a: Machine, provisioned: ProvisionedTestbed, show: Callable[[str], None]
) -> None:
    SshDriver.teardown(driver)
    before = of_any_boot(gateway_a.everything())
    driver.provision(lambda *_: None, lambda: False)
    boot = gateway_a.boot_id()
    gateway_a.agent("apply", candidate_variables(driver, 3600))
    assert "wl0" in gateway_a.output("ip -o link")
    # As if its power were cut: nothing says goodbye, this connection neither.
    gateway_a.ssh("(sleep 1; systemctl reboot --force --force) >/dev/null 2>&1 &")
    gateway_a.wait_other_boot(boot, REBOOTS_WITHIN_S)
    try:
        assert different(of_any_boot(gateway_a.everything()), before) == []
        assert gateway_a.ssh("ls /run/wiretune").returncode != 0
    finally:  # for the tests that follow
        healed = driver.provision(lambda *_: None, lambda: False)
    keys = [testbed.gateways["a"].host_key for testbed in (healed, provisioned)]
    assert keys[0] == keys[1], "the host has another key"
    show(f"gateway a: power cut with a candidate on it; up again, all {len(before)} lines of settings as before")
