"""Host settings: what a candidate may ask for, how they are searched, and how tools' output is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from wiretune_agent import host_settings, host_tuning
from wiretune_agent.errors import AgentError
from wiretune_agent.host_settings import Setting
from wiretune_agent.proposals import proposed

from tuner.ablation import ablation_path
from tuner.candidate import Candidate
from tuner.host_tuning import ORDER, HostTuning
from tuner.space import SearchSpace
from tuner.topology import Topology
from tuner.tunables import Narrowing

DATA = Path(__file__).parents[2] / "data"
HOSTS = {"a": Topology.uniform(cores_per_node=4), "b": Topology.uniform(cores_per_node=4)}


def space(host: dict[str, object], has: set[str] | None = None) -> SearchSpace:
    narrowing = Narrowing.model_validate({"host": host, "engine": "wirelane", "mode": "inline", "lanes": [1, 2]})
    return SearchSpace.from_host(
        topologies=HOSTS,  # type: ignore[arg-type]  # its keys are the two gateways
        engines={"wirelane"},
        shared_machine=False,
        underlay_mtu=1500,
        narrowing=narrowing,
        host_tunables=has,
    )


@pytest.mark.parametrize(
    "hostile",
    [
        {"qdisc": "fq; reboot"},
        {"governor": "$(id)"},
        {"rps_cpus": "0 && reboot"},
        {"irq_cpus": "../../etc/passwd"},
        {"irq_cpus": ""},
        {"netdev_budget": "600\nnet.ipv4.ip_forward=0"},
        {"channels": 0},
        {"underlay_mtu": 68},
        {"sysctl": "kernel.panic=1"},
    ],
)
def test_nothing_but_typed_values_gets_to_a_host(hostile: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Candidate.model_validate({"host": hostile})


def test_a_candidate_that_leaves_hosts_alone_keeps_its_name() -> None:
    assert Candidate().key == Candidate(host=HostTuning()).key
    tuned = Candidate(host=HostTuning(netdev_budget=600, gro=False, rps_cpus=""))
    assert tuned.key != Candidate().key
    assert tuned.in_words().endswith("gro off, rps cpus none, netdev budget 600")
    assert list(tuned.host.used()) == [name for name in ORDER if name in ("gro", "rps_cpus", "netdev_budget")]
    with pytest.raises(ValidationError, match="does not fit an underlay of 1400"):
        Candidate(host=HostTuning(underlay_mtu=1400))


def test_a_study_searches_the_settings_it_asks_for_and_no_others() -> None:
    searched = space({"netdev_budget": ["as it is", 300, 600], "gro": [False]})
    assert [tunable.name for tunable in searched.tunables if tunable.name.startswith("host_")] == [
        "host_gro",
        "host_netdev_budget",
    ]
    assert not any(tunable.name.startswith("host_") for tunable in space({}).tunables)
    params = searched.grid_params(0) | {"host_netdev_budget": 600}
    candidate = searched.candidate(params)
    assert candidate.host == HostTuning(netdev_budget=600, gro=False)
    assert searched.params_of(candidate) == params
    left = searched.candidate(params | {"host_netdev_budget": "as it is"})
    assert left.host == HostTuning(gro=False)
    assert searched.params_of(left)["host_netdev_budget"] == "as it is"
    (step,) = ablation_path(left, candidate, {"host_netdev_budget": 0.3})
    assert step.fields == ("host",)


def test_a_setting_that_the_hosts_lack_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="do not both have the setting channels; they have gro"):
        space({"channels": [1, 2]}, has={"gro"})
    with pytest.raises(ValueError, match="names CPU 9"):
        space({"rps_cpus": ["9"]}, has={"rps_cpus"})
    with pytest.raises(ValidationError, match="netdev_budget has no value to search but 'as it is'"):
        space({"netdev_budget": ["as it is"]})
    with pytest.raises(ValidationError, match="netdev_budget cannot be 'many': Input should be a valid integer"):
        space({"netdev_budget": [600, "many"]})
    with pytest.raises(ValidationError, match="there is no host setting 'panic'"):
        space({"panic": [1]})
    with pytest.raises(ValidationError):
        space({"channels": ["many"]})


def test_ethtool_of_a_real_nic() -> None:
    channels, rings = (DATA / "ethtool-6.1-channels-virtio.txt"), (DATA / "ethtool-6.1-rings-virtio.txt")
    assert host_settings.most(channels.read_text(), "Combined") == 1
    assert host_settings.most(channels.read_text(), "RX") == 0
    assert host_settings.sections(rings.read_text())["Current hardware settings"]["TX"] == "256"
    coalescing = host_settings.values((DATA / "ethtool-6.1-coalescing-virtio.txt").read_text())
    assert (coalescing["Adaptive RX"], coalescing["rx-usecs"], coalescing["tx-usecs-irq"]) == ("off", "0", "n/a")
    features = host_settings.values((DATA / "ethtool-6.1-features-virtio.txt").read_text())
    assert features["generic-receive-offload"] == "on"
    assert "large-receive-offload" not in features or features["large-receive-offload"] in ("on", "off")
    assert "netns-local" not in features  # fixed


@pytest.mark.parametrize(("name", "letters"), [("by-ports", "sdfn"), ("by-addresses", "sd"), ("unsupported", "")])
def test_what_a_nic_hashes(name: str, letters: str) -> None:
    assert host_settings.hashed((DATA / f"ethtool-6.1-rx-flow-hash-{name}-virtio.txt").read_text()) == letters


@given(st.sets(st.integers(0, 300), max_size=40))
def test_masks_are_read_as_they_are_written(cpus: set[int]) -> None:
    mask = host_settings.mask_of(sorted(cpus))
    assert int(mask.replace(",", ""), 16) == sum(1 << cpu for cpu in cpus)
    assert all(len(group) == 8 for group in mask.split(",")[1:])
    assert host_settings.same(Setting("mask", "x"), mask, "00000000," + mask)


def test_an_unknown_setting_and_a_missing_file_blame_the_candidate(tmp_path: Path) -> None:
    for tuning in ({"panic": 1}, {"netdev_budget": 300, "irq_cpus": "0"}):
        with pytest.raises(AgentError) as raised:
            if "panic" in tuning:
                host_tuning.apply(tuning, "no-such-interface", "udp4", tmp_path)
            else:
                host_settings.read(Setting("text", "/proc/sys/net/core/no_such"))
        assert raised.value.blame == "candidate"


def test_what_needs_a_reboot_is_proposed_where_it_helps() -> None:
    host = {"cpus": 32, "huge_pages": 0, "idle_driver": "intel_idle", "smt": "on"}
    words = list(proposed("quiet", "6.1.0-13-amd64", **host))  # type: ignore[arg-type]
    assert [line.partition(":")[0].split("=")[0].split(" ")[0] for line in words] == [
        "a", "isolcpus", "hugepages", "intel_idle.max_cstate", "nosmt",
    ]  # fmt: skip
    done = "isolcpus=2-31 hugepages=256 intel_idle.max_cstate=1 nosmt"
    assert not list(proposed(done, "6.12.1", **host))  # type: ignore[arg-type]
    assert not list(proposed("", "6.18", cpus=2, huge_pages=0, idle_driver="", smt="notsupported"))
