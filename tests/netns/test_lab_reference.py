"""What the hosts can do without a tunnel, and what a sample tells of the data plane's stages, on a netns testbed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from lab_testbed import processes_inside

from app.lab.driver import LabCancelled
from app.lab.netns import NetnsDriver
from tuner.candidate import Candidate
from tuner.samples import Workload

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
]

NAME = "labref"
TCP = Workload(duration_s=1, flows=4)


@pytest.fixture(scope="module")
def driver() -> Iterator[NetnsDriver]:
    driver = NetnsDriver(NAME)
    driver.teardown()
    driver.provision(lambda *_: None, lambda: False)
    yield driver
    driver.teardown()


def test_reference_without_a_candidate(driver: NetnsDriver) -> None:
    phases: list[str] = []
    found = driver.reference(TCP, lambda phase, _: phases.append(phase), lambda: False)
    assert phases == ["measure"]
    assert found.detail is None
    assert found.raw_gbps is not None
    assert found.raw_gbps > 0.1
    assert set(found.aead_gbps) == set(found.aead_backend) == {"a", "b"}
    assert all(rate > 0.1 for rate in found.aead_gbps.values())
    assert found.packet_bytes == 1420
    assert sum(argv[:2] == ("iperf3", "-c") for argv in found.argv) == 4
    assert not any(processes_inside(f"wt-{NAME}-{gateway}") for gateway in "ab")


def test_reference_can_be_cancelled(driver: NetnsDriver) -> None:
    begun: list[str] = []
    with pytest.raises(LabCancelled):
        driver.reference(
            TCP.model_copy(update={"duration_s": 60.0}), lambda phase, _: begun.append(phase), lambda: bool(begun)
        )
    assert not any(processes_inside(f"wt-{NAME}-{gateway}") for gateway in "ab")


@pytest.mark.parametrize(
    ("candidate", "stages"),
    [
        (Candidate(lanes=2), {"tx", "rx"}),
        (Candidate(mode="pipelined", crypto_workers=1), {"read", "crypto", "write"}),
        (Candidate(engine="wireguard-go", mode=None), set()),
    ],
    ids=["inline", "pipelined", "wireguard-go"],
)
def test_a_sample_tells_the_stages_apart(driver: NetnsDriver, candidate: Candidate, stages: set[str]) -> None:
    sample = driver.run_trial(candidate, (TCP,), lambda *_: None, lambda: False).samples[0]
    for usage in sample.gateways.values():
        assert stages <= set(usage.stages)
        assert bool(usage.stages) == bool(stages)
        for stage in usage.stages.values():
            assert 0 <= stage.busiest_thread_ratio <= stage.busy_cpus
        if stages:
            busy_s = sum(stage.busy_cpus for stage in usage.stages.values()) * sample.duration_s
            # The kernel counts a process in hundredths of a second and wirelane's threads in nanoseconds.
            assert busy_s == pytest.approx(usage.data_plane_cpu_s, rel=0.35, abs=0.1)
