"""Real kernels in two virtual machines: both engines, NUMA placement, kernel pktgen, identical settings."""

from __future__ import annotations

import re

import pytest
from vm_gateway import Machine

from app.lab.driver import ProvisionedTestbed, TrialResult
from app.lab.vm import VmDriver
from tuner.candidate import Candidate, GatewayCpuSets, StageCpuSets
from tuner.samples import Workload
from tuner.topology import Topology

TCP = Workload(duration_s=2, flows=2)
PACKETS = Workload(tool="pktgen", protocol="udp", packet_bytes=512, duration_s=2, flows=2, offered_load_pps=200)


def both(**stages: str) -> GatewayCpuSets:
    return GatewayCpuSets(a=StageCpuSets(**stages), b=StageCpuSets(**stages))


KERNEL = Candidate(engine="kernel", mode=None, lanes=2, threaded_napi=True, cpu_sets=both(napi="1,3"))
WIRELANE = Candidate(lanes=2, cpu_sets=both(tx="0,2", rx="1,3"), numa_policy="bind")


def run(driver: VmDriver, candidate: Candidate, *workloads: Workload) -> TrialResult:
    return driver.run_trial(candidate, workloads, lambda *_: None, lambda: False)


def test_machines_are_what_they_were_made_to_be(provisioned: ProvisionedTestbed) -> None:
    assert not provisioned.shared_machine
    for gateway in provisioned.gateways.values():
        topology = Topology.model_validate(gateway.topology)
        assert topology.nodes == (0, 1)
        assert len(topology.usable_cpus) == 4
        assert {"kernel", "wirelane"} <= set(gateway.engines)
        assert gateway.host_key.startswith("SHA256:")
    a, b = provisioned.gateways["a"], provisioned.gateways["b"]
    assert a.host_key != b.host_key


def test_engines_on_two_numa_nodes(driver: VmDriver, provisioned: ProvisionedTestbed, gateway_a: Machine) -> None:
    before = gateway_a.settings()
    result = run(driver, KERNEL, TCP, PACKETS)
    tcp, packets = result.samples
    assert tcp.emulated is packets.emulated is provisioned.emulated
    assert min(tcp.lane_shares) > 0.1
    assert tcp.throughput_gbps > 0
    assert packets.tool_version.endswith("pktgen")
    assert "dd" in packets.argv[0]
    assert packets.packets_per_s == pytest.approx(200, rel=0.5)
    assert [thread["cpus"] for thread in result.read_back["a"]["threads"]] == ["1", "3"]
    names = gateway_a.output("cat /proc/[0-9]*/comm")
    assert re.search(r"^napi/wl1-", names, re.MULTILINE)

    result = run(driver, WIRELANE, TCP)
    stages = {(thread["stage"], thread["cpus"]) for thread in result.read_back["b"]["threads"]}
    assert {("tx", "0"), ("tx", "2"), ("rx", "1"), ("rx", "3")} <= stages
    pages = gateway_a.output("cat /proc/$(pidof wirelane)/numa_maps")
    assert re.search(r" N0=\d+", pages)
    assert re.search(r" N1=\d+", pages)

    driver.rollback()
    assert sorted(set(before) ^ set(gateway_a.settings())) == []
