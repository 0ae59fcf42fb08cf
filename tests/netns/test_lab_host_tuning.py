"""Host settings on a real testbed: made, read back, replaced by the next candidate, and put back as they were."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from app.lab.driver import CandidateFailed, ProvisionedTestbed
from app.lab.netns import NetnsDriver
from tuner.candidate import Candidate
from tuner.host_tuning import HostTuning
from tuner.samples import Workload

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
]

NAME = "labtuning"
SHORT = Workload(duration_s=1, flows=1)
DUMP = (
    "ethtool -k underlay; ethtool -l underlay; tc qdisc show dev underlay; ip -d link show underlay;"
    " grep -r . /sys/class/net/underlay/queues --include=[rx]ps_cpus; sysctl -a --pattern '^net.(core|ipv4)' | grep -v"
    " 'nf_conntrack\\|nr_\\|lock\\|cookie\\|_hashtable\\|pending'"
)
EVERYTHING = HostTuning(
    underlay_mtu=1480, channels=2, gro=True, tso=False, gso=False, udp_segmentation=False, udp_gro_forwarding=True,
    qdisc="pfifo", rps_cpus="0", xps_cpus="0",
)  # fmt: skip


@pytest.fixture(scope="module")
def driver() -> Iterator[NetnsDriver]:
    driver = NetnsDriver(NAME)
    driver.teardown()
    yield driver
    driver.teardown()


@pytest.fixture(scope="module")
def provisioned(driver: NetnsDriver) -> ProvisionedTestbed:
    return driver.provision(lambda *_: None, lambda: False)


def dumps() -> dict[str, str]:
    """All settings of both gateways that a namespace has to itself."""
    argv = {side: ["ip", "netns", "exec", f"wt-{NAME}-{side}", "sh", "-c", DUMP] for side in "ab"}
    return {side: subprocess.run(one, capture_output=True, check=False, text=True).stdout for side, one in argv.items()}


def test_every_setting_is_read_back_and_the_dump_is_the_same_afterwards(
    driver: NetnsDriver, provisioned: ProvisionedTestbed
) -> None:
    has = set(provisioned.gateways["a"].host_tunables)
    lacking = set(EVERYTHING.used()) - has
    assert lacking <= {"channels"}, "only a machine with one CPU has a veth with one queue"
    tuning = EVERYTHING.model_copy(update=dict.fromkeys(lacking))
    before = dumps()
    assert len(before["a"]) > 2000
    result = driver.run_trial(Candidate(mtu=1400, host=tuning), [SHORT], lambda *_: None, lambda: False)
    for side in "ab":
        made = result.read_back[side]["host_tuning"]
        assert made["mtu underlay"] == "1480"
        assert made["feature underlay gro"] == "on"
        assert made["qdisc underlay"].startswith("pfifo ")
        assert dumps()[side] != before[side]
    assert result.samples[0].throughput_gbps > 0
    assert not [one for one in result.samples[0].unfit if one.kind == "undone_setting"]
    result = driver.run_trial(Candidate(mtu=1400), [SHORT], lambda *_: None, lambda: False)
    assert result.read_back["a"]["host_tuning"] == {}
    assert "mtu 1500" in dumps()["a"]
    driver.rollback()
    assert dumps() == before


def test_a_setting_that_the_host_lacks_breaks_the_candidate_and_nothing_else(
    driver: NetnsDriver, provisioned: ProvisionedTestbed
) -> None:
    assert "ring_packets" not in provisioned.gateways["a"].host_tunables
    before = dumps()
    broken = Candidate(host=HostTuning(ring_packets=512, gro=True))
    with pytest.raises(CandidateFailed, match="ring underlay rx"):
        driver.run_trial(broken, [SHORT], lambda *_: None, lambda: False)
    assert dumps() == before


def test_provisioning_puts_back_what_a_killed_controller_left(
    driver: NetnsDriver, provisioned: ProvisionedTestbed
) -> None:
    assert provisioned
    before = dumps()
    driver.run_trial(Candidate(host=HostTuning(gro=True)), [SHORT], lambda *_: None, lambda: False)
    assert dumps() != before
    NetnsDriver(NAME).provision(lambda *_: None, lambda: False)
    assert dumps() == before
