from __future__ import annotations

import pytest

from tuner.topology import Topology


def cpu(number: int, **rest: int) -> dict[str, int]:
    return {"cpu": number, "core": number} | rest


def test_reads_json_and_answers_about_cores_and_nodes() -> None:
    host = Topology.model_validate(
        {
            "cpus": [cpu(0, core=0), cpu(1, core=1, node=1), cpu(2, core=0), cpu(3, core=1, node=1)],
            "node_distances": {"0": {"0": 10, "1": 32}, "1": {"0": 32, "1": 10}},
            "nics": [{"name": "eth0", "node": 1}],
            "allowed_cpus": "0-2",
        }
    )
    assert host.usable_cpus == (0, 1, 2)
    assert host.siblings(2) == (0, 2)
    assert host.siblings(1) == (1,), "CPU 3 is outside the affinity mask"
    assert host.nodes == (0, 1)
    assert host.nic_node == 1
    assert host.distance(0, 1) == 32


def test_a_nic_without_usable_cpus_on_its_node_falls_back_to_a_node_that_has_some() -> None:
    host = Topology.model_validate(
        {"cpus": [cpu(0), cpu(1, node=1)], "nics": [{"name": "e", "node": 1}], "allowed_cpus": "0"}
    )
    assert host.nic_node == 0


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"cpus": []}, "at least 1"),
        ({"cpus": [cpu(0), cpu(0)]}, "CPU 0 is listed twice"),
        ({"cpus": [cpu(-1)]}, "greater than or equal to 0"),
        ({"cpus": [cpu(0)], "allowed_cpus": "0-3"}, "do not exist: 1-3"),
        ({"cpus": [cpu(0)], "allowed_cpus": "zero"}, "not a CPU list"),
        ({"cpus": [cpu(0), cpu(1, core=0, node=1)]}, "differ in NUMA node"),
        ({"cpus": [cpu(0), cpu(1, node=1)], "node_distances": {"0": {"0": 10}}}, "no distance"),
        ({"cpus": [cpu(0)], "nics": [{"name": "eth0/../x"}]}, "pattern"),
        ({"cpus": [cpu(0)], "speed": 3}, "Extra inputs"),
        ({"cpus": [cpu(number) for number in range(5000)]}, "4095|4096"),
    ],
)
def test_says_what_is_wrong_with_hostile_json(broken: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Topology.model_validate(broken)


def test_uniform_numbers_cpus_as_linux_does() -> None:
    host = Topology.uniform(nodes=2, cores_per_node=2, threads_per_core=2)
    assert host.siblings(0) == (0, 4)
    assert [cpu.node for cpu in host.usable] == [0, 0, 1, 1, 0, 0, 1, 1]


def test_check_names_the_impossible_cpu() -> None:
    with pytest.raises(ValueError, match="stage tx names CPU 7, which is not usable; usable are 0-1"):
        Topology.uniform(cores_per_node=2).check({"tx": "0,7"})
