"""The netns testbed from provision to teardown, with both engines and real traffic."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_testbed import NOTHING, processes_inside, traces, wait_until

from app.lab.driver import Phase, ProvisionedTestbed, TrialResult
from app.lab.netns import NetnsDriver
from tuner.candidate import Candidate, GatewayCpuSets, StageCpuSets, parse_cpulist
from tuner.rate_search import RateGoal
from tuner.samples import Workload
from tuner.topology import Topology

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
]

NAME = "labcycle"
TCP = Workload(duration_s=1, flows=4)
UDP_BACK = Workload(protocol="udp", direction="reverse", duration_s=1, flows=2, offered_load_gbps=0.02)
SMALL_PACKETS = Workload(tool="pktgen", protocol="udp", packet_bytes=64, duration_s=1, flows=4)
MIX = Workload(tool="pktgen", protocol="udp", imix=True, duration_s=1, flows=2, offered_load_pps=3000)
LAST_CPU = str(max(os.sched_getaffinity(0)))


@pytest.fixture(scope="module")
def driver() -> Iterator[NetnsDriver]:
    driver = NetnsDriver(NAME)
    driver.teardown()
    assert traces(NAME) == NOTHING
    yield driver
    driver.teardown()


@pytest.fixture(scope="module")
def provisioned(driver: NetnsDriver) -> ProvisionedTestbed:
    return driver.provision(lambda *_: None, lambda: False)


def run(driver: NetnsDriver, candidate: Candidate, *workloads: Workload) -> TrialResult:
    return driver.run_trial(candidate, workloads, lambda *_: None, lambda: False)


def test_provision_describes_both_gateways(provisioned: ProvisionedTestbed) -> None:
    assert traces(NAME)["namespaces"] == [f"wt-{NAME}-a", f"wt-{NAME}-b"]
    assert provisioned.shared_machine
    for gateway in provisioned.gateways.values():
        topology = Topology.model_validate(gateway.topology)
        assert set(topology.usable_cpus) == os.sched_getaffinity(0)
        assert {"wirelane", "wireguard-go"} <= set(gateway.engines)
        assert gateway.fingerprint["programs"]["iperf3"].startswith("iperf 3.")
        assert gateway.fingerprint["nic"] | {"name": "underlay", "driver": "veth"} == gateway.fingerprint["nic"]
        assert gateway.fingerprint["controller"]["ansible-core"]
        assert len(set(gateway.lane_public_keys)) == len(gateway.lane_public_keys) >= 16
    a, b = provisioned.gateways["a"], provisioned.gateways["b"]
    assert a.fingerprint_hash == b.fingerprint_hash
    assert not set(a.lane_public_keys) & set(b.lane_public_keys)


def test_private_keys_stay_in_files_for_root_only(provisioned: ProvisionedTestbed) -> None:
    assert provisioned
    for side in "ab":
        folder = Path(f"/run/wiretune/{NAME}-{side}")
        keys = [path for path in (folder / "keys").iterdir() if path.suffix != ".pub"]
        assert [oct(path.stat().st_mode)[-3:] for path in (folder, folder / "keys")] == ["700", "700"]
        assert len(keys) >= 16
        assert {oct(key.stat().st_mode)[-3:] for key in keys} == {"600"}


def test_provision_again_keeps_keys_and_heals_damage(driver: NetnsDriver, provisioned: ProvisionedTestbed) -> None:
    subprocess.run(["ip", "-n", f"wt-{NAME}-a", "link", "delete", "gen"], check=True)
    subprocess.run(["ip", "netns", "delete", f"wt-{NAME}-b"], check=True)
    Path(f"/run/wiretune/{NAME}-a/keys/lane3").write_text("rubbish")
    healed = driver.provision(lambda *_: None, lambda: False)
    before, after = (value.gateways["a"].lane_public_keys for value in (provisioned, healed))
    assert [lane for lane in range(len(after)) if before[lane] != after[lane]] == [3]
    links = subprocess.run(["ip", "-n", f"wt-{NAME}-a", "link"], capture_output=True, check=True, text=True).stdout
    assert " gen@inside" in links


def test_wirelane_inline_two_lanes(driver: NetnsDriver) -> None:
    cpu_sets = StageCpuSets(tx="0", rx=LAST_CPU)
    candidate = Candidate(lanes=2, cpu_sets=GatewayCpuSets(a=cpu_sets, b=cpu_sets), mtu=1400)
    phases: list[Phase] = []
    result = driver.run_trial(
        candidate, [TCP, UDP_BACK, SMALL_PACKETS, MIX], lambda phase, _: phases.append(phase), lambda: False
    )
    assert phases == ["apply", "verify", "measure"]
    tcp, udp, packets, mix = result.samples
    assert tcp.throughput_gbps > 0.05
    assert tcp.retransmits is not None
    assert tcp.loss_ratio is None
    assert sum(tcp.lane_shares) == pytest.approx(1)
    assert min(tcp.lane_shares) > 0.2
    assert tcp.gateways["a"].data_plane_cpu_s > 0
    assert max(tcp.gateways["b"].cpu_busy_ratio.values()) > 0.1
    assert udp.throughput_gbps == pytest.approx(0.02, rel=0.2)
    assert udp.loss_ratio is not None
    assert min(udp.lane_shares) > 0.4
    assert packets.packets_per_s > 1000
    assert packets.throughput_gbps == pytest.approx(packets.packets_per_s * 64 * 8 / 1e9)
    assert min(packets.lane_shares) > 0.2
    if not mix.loss_ratio:
        mean_bytes = mix.throughput_gbps * 1e9 / 8 / mix.packets_per_s
        assert mean_bytes == pytest.approx(MIX.mean_packet_bytes(1400), rel=0.02)
    for usage in packets.gateways.values():
        assert sum(cpu.packets for cpu in usage.softnet.values()) > 1000
        assert usage.canary_ms
    assert len(tcp.argv) == 8  # four clients, four servers
    assert result.timings.measure_s > 2.9
    assert 0 < result.timings.overhead_s < 15
    for side in "ab":
        threads = result.read_back[side]["threads"]
        assert {thread["cpus"] for thread in threads if thread["stage"] == "rx"} == {LAST_CPU}
        assert {lane["mtu"] for lane in result.read_back[side]["lanes"].values()} == {1400}


def test_wirelane_pipelined_both_ways(driver: NetnsDriver) -> None:
    candidate = Candidate(mode="pipelined", crypto_workers=2)
    (sample,) = run(driver, candidate, Workload(direction="both", duration_s=1, flows=1)).samples
    assert sample.throughput_gbps > 0.05
    assert sample.lane_shares == (1.0,)
    assert sum("-R" in argv for argv in sample.argv) == 1


def test_wirelane_bond_of_two_lanes(driver: NetnsDriver) -> None:
    """One device and two lanes: applied, read back, measured with what each lane took in."""
    cpu_sets = StageCpuSets(tx="0", rx="0", read=LAST_CPU)
    candidate = Candidate(lanes=2, spread="bond", cpu_sets=GatewayCpuSets(a=cpu_sets, b=cpu_sets), mtu=1400)
    result = run(driver, candidate, TCP, SMALL_PACKETS)
    tcp, packets = result.samples
    assert tcp.throughput_gbps > 0.05
    assert packets.packets_per_s > 1000 and packets.loss_ratio is not None
    for sample in result.samples:
        # Which lane a flow gets is a matter of load: what is sure is that wirelane's counts are those of two lanes.
        assert len(sample.lane_shares) == 2 and sum(sample.lane_shares) == pytest.approx(1)
    for side in "ab":
        read_back = result.read_back[side]
        assert read_back["spread"] == "bond"
        assert set(read_back["lanes"]) == {"wl0:51820", "wl0:51821"}
        assert {lane["mtu"] for lane in read_back["lanes"].values()} == {1400}
        (route,) = read_back["routes"]
        assert route["dev"] == "wl0"
        (reader,) = (thread for thread in read_back["threads"] if thread["stage"] == "read")
        assert reader["cpus"] == LAST_CPU
        assert "read" in packets.gateways[side].stages
    # The devices of the next candidate are its own.
    assert set(run(driver, Candidate(lanes=2), TCP).read_back["a"]["lanes"]) == {"wl0", "wl1"}


def test_wireguard_go_confined_to_one_cpu(driver: NetnsDriver) -> None:
    cpu_sets = StageCpuSets(process=LAST_CPU)
    candidate = Candidate(engine="wireguard-go", mode=None, lanes=2, cpu_sets=GatewayCpuSets(a=cpu_sets, b=cpu_sets))
    result = run(driver, candidate, TCP)
    (sample,) = result.samples
    assert sample.throughput_gbps > 0.01
    assert min(sample.lane_shares) > 0.1
    assert result.read_back["a"]["lanes"]["wl1"]["peers"][0]["endpoint"] == "198.18.0.2:51821"
    for thread in result.read_back["b"]["threads"]:
        assert parse_cpulist(thread["cpus"]) == (int(LAST_CPU),)


def test_generated_packets_flow_backwards_at_the_offered_rate(driver: NetnsDriver) -> None:
    paced = SMALL_PACKETS.model_copy(update={"direction": "reverse", "offered_load_pps": 2000.0})
    (sample,) = run(driver, Candidate(), paced).samples
    assert sample.packets_per_s == pytest.approx(2000, rel=0.15)
    assert sample.loss_ratio is not None
    assert sample.loss_ratio < 0.1


def test_more_lanes_than_key_pairs_at_first(driver: NetnsDriver) -> None:
    (sample,) = run(driver, Candidate(lanes=18), Workload(duration_s=1, flows=18)).samples
    assert len(sample.lane_shares) == 18
    assert min(sample.lane_shares) > 0


def test_rollback_stops_the_engine(driver: NetnsDriver) -> None:
    run(driver, Candidate(), TCP)
    assert processes_inside(f"wt-{NAME}-a") == ["wirelane"]
    driver.rollback()
    for side in "ab":
        namespace = f"wt-{NAME}-{side}"
        assert processes_inside(namespace) == []
        links = subprocess.run(["ip", "-n", namespace, "link"], capture_output=True, check=True, text=True).stdout
        assert "wl0" not in links
    driver.rollback()


def test_teardown_leaves_nothing(driver: NetnsDriver) -> None:
    run(driver, Candidate(lanes=2), TCP)
    driver.teardown()
    wait_until(lambda: traces(NAME) == NOTHING, 5)
    driver.teardown()
    driver.rollback()


def test_a_rate_search_applies_its_candidate_once(driver: NetnsDriver, provisioned: ProvisionedTestbed) -> None:
    assert provisioned
    goal = RateGoal(loss_ratio=0.05, final_trial_duration_s=0.3, duration_sum_s=0.3, width=0.3)
    phases: list[str] = []
    traffic = Workload(tool="pktgen", protocol="udp", packet_bytes=64, duration_s=0.3, offered_load_pps=40_000)
    searched = traffic.model_copy(update={"rate_search": goal})
    result = driver.run_trial(
        Candidate(), [TCP, searched], lambda phase, message: phases.append(f"{phase}: {message}"), lambda: False
    )
    tcp, sample = result.samples
    assert tcp.rate is None
    assert sample.workload == searched
    assert sample.rate is not None
    assert sample.rate.goal == goal
    assert sample.rate.trials[0].load_pps == 40_000
    assert sample.rate.lower_bound_pps is not None, "a gateway that loses a twentieth of the least load is broken"
    assert 0 < (sample.offered_pps or 0) <= 40_000 * 1.1
    assert sum(phase.startswith("apply") for phase in phases) == 1
    assert sum("offering" in phase for phase in phases) == len(sample.rate.trials)


def test_latency_is_probed_through_every_lane_under_load(driver: NetnsDriver, provisioned: ProvisionedTestbed) -> None:
    result = run(driver, Candidate(lanes=2), TCP.model_copy(update={"latency_probe": True}), TCP)
    probed, plain = result.samples
    assert plain.latency is None
    latency = probed.latency
    assert latency is not None
    assert 0.005 < latency.p50_ms <= latency.p90_ms <= latency.p99_ms <= latency.max_ms < 1000
    assert latency.sent > 20
    assert latency.lost < latency.sent / 2
