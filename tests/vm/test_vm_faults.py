"""What happens to a link and to a host in the middle of a study: retried and recorded, never scored, and put right."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import httpx
from vm_gateway import Link, Machine, different, of_any_boot
from vm_study import await_phase, begin_study, blocks_in, completed, make_testbed

from app.lab.ssh import SshHost
from tests.contract.service_process import wait_for
from tuner.candidate import Gateway

NAME = "vmfault"
CUT_S = 30.0


def begun(client: httpx.Client, hosts: dict[Gateway, SshHost]) -> str:
    """A study on the machines as plain SSH hosts, which has measured its baseline."""
    testbed = make_testbed(client, NAME, driver="ssh", ssh={name: asdict(host) for name, host in hosts.items()})
    assert testbed["state"] == "ready", testbed
    path = begin_study(client, NAME)
    await_phase(client, path, "apply", 1)
    return path


def released(client: httpx.Client) -> None:
    client.delete(f"/testbeds/{NAME}").raise_for_status()
    wait_for(client, f"/testbeds/{NAME}", lambda answer: answer.get("status") == 404, 300)


def assert_only_the_lab_is_blamed(show: Callable[[str], None], result: dict[str, Any], *reasons: str) -> None:
    """Each fault is recorded with its reason; what was measured in its stead counts."""
    failed = blocks_in(result, "failed")
    assert failed, "no fault was recorded"
    assert not blocks_in(result, "infeasible"), "a candidate is blamed"
    assert all(any(reason in block["detail"] for reason in reasons) for block in failed), failed
    assert not any(block["samples"] for block in failed), "a fault was scored"
    for block in failed:
        show(f"block {block['index']} of {block['phase']} failed, measured again: {block['detail'][:200]}")
    repeated = {(block["phase"], block["index"]) for block in failed}
    assert repeated <= {(block["phase"], block["index"]) for block in blocks_in(result, "completed")}


def test_a_link_cut_for_30_s_in_the_middle_of_a_study(
    client: httpx.Client,
    hosts: dict[Gateway, SshHost],
    gateway_a: Machine,
    gateway_b: Machine,
    link: Link,
    show: Callable[[str], None],
) -> None:
    machines = (gateway_a, gateway_b)
    before = [machine.everything() for machine in machines]
    path = begun(client, hosts)
    with link.cut():
        time.sleep(CUT_S)
        wait_for(client, f"{path}/result", lambda result: blocks_in(result, "failed"), 300)
    assert_only_the_lab_is_blamed(show, completed(client, path), "the link is dead", "does not answer over data0")
    released(client)
    for machine, wanted in zip(machines, before, strict=True):
        assert different(machine.everything(), wanted) == []
        machine.await_no_process(60)


def test_a_host_that_reboots_in_the_middle_of_a_trial(
    client: httpx.Client,
    hosts: dict[Gateway, SshHost],
    gateway_a: Machine,
    gateway_b: Machine,
    show: Callable[[str], None],
) -> None:
    """As its operator would reboot it: services are stopped one after the other, the data plane among them."""
    before = [of_any_boot(machine.everything()) for machine in (gateway_a, gateway_b)]
    path = begun(client, hosts)
    await_phase(client, path, "measure", 1)
    boot = gateway_b.boot_id()
    gateway_b.ssh("systemctl reboot")
    result = completed(client, path)
    assert gateway_b.boot_id() not in ("", boot)
    assert_only_the_lab_is_blamed(show, result, "gateway b", "gateway a")
    released(client)
    for machine, wanted in zip((gateway_a, gateway_b), before, strict=True):
        assert different(of_any_boot(machine.everything()), wanted) == []
