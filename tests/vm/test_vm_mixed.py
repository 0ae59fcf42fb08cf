"""One side is migrated at a time: wirelane on one machine and the kernel's WireGuard on the other work together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from vm_gateway import Machine

from app.lab.driver import ProvisionedTestbed
from app.lab.vm import VmDriver
from tuner.candidate import GATEWAYS, Candidate, Engine, Gateway

LANES = 2
CANDIDATES: dict[Engine, Candidate] = {
    "kernel": Candidate(engine="kernel", mode=None, lanes=LANES),
    "wirelane": Candidate(lanes=LANES),
}


@pytest.fixture
def machines(driver: VmDriver, gateway_a: Machine, gateway_b: Machine) -> Iterator[dict[Gateway, Machine]]:
    driver.rollback()
    yield {"a": gateway_a, "b": gateway_b}
    driver.rollback()


@pytest.mark.parametrize(("at_a", "at_b"), [("kernel", "wirelane"), ("wirelane", "kernel")])
def test_engines_of_two_kinds_exchange_packets(
    driver: VmDriver,
    provisioned: ProvisionedTestbed,
    machines: dict[Gateway, Machine],
    at_a: Engine,
    at_b: Engine,
    show: Callable[[str], None],
) -> None:
    assert provisioned
    engines: dict[Gateway, Engine] = {"a": at_a, "b": at_b}
    variables: dict[Gateway, dict[str, Any]] = {}
    for name in GATEWAYS:
        trial = driver._trial_variables(CANDIDATES[engines[name]], [])
        variables[name] = {**trial[name]["gateway_candidate"], "lease_s": 600}
        answer = machines[name].agent("apply", variables[name])
        assert "failed" not in answer, answer
    for name in GATEWAYS:
        read_back = machines[name].agent("verify", variables[name])
        assert "failed" not in read_back, read_back
        if name == "a":
            assert len(read_back["result"]["answers_ms"]) == LANES, "a lane has made no handshake"
    a, b = driver._gateways["a"].inner, driver._gateways["b"].inner
    for reverse in ("", "-R"):
        machines["b"].ssh(f"timeout 60 iperf3 -s -1 -D -B {b}; sleep 1")
        ended = json.loads(machines["a"].output(f"timeout 60 iperf3 -c {b} -B {a} -P 4 -t 3 -J {reverse}"))["end"]
        assert ended["sum_received"]["bytes"] > 0
    kernel = machines["a" if at_a == "kernel" else "b"]
    for lane in range(LANES):
        received, sent = kernel.output(f"wg show wl{lane} transfer").split()[1:]
        assert min(int(received), int(sent)) > 0
        show(f"{at_a} at gateway a, {at_b} at b: lane {lane} of the kernel took in {received} B and sent {sent} B")
