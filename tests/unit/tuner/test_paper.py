from __future__ import annotations

import pytest

from tuner.candidate import parse_cpulist
from tuner.paper import ONE_NODE, cell_interval, grid, report, workload
from tuner.topology import Topology

TWO_NODES = Topology.uniform(nodes=2, cores_per_node=8)
ONE = Topology.uniform(cores_per_node=2)


def test_the_grid_has_a_cell_for_each_claim_of_the_paper() -> None:
    cells = {cell.name: cell for cell in grid({"a": TWO_NODES, "b": TWO_NODES})}
    candidates = {name: cell.candidate for name, cell in cells.items()}
    one, several, inline = (candidates[name] for name in ("one", "several", "several-inline"))
    assert one is not None
    assert several is not None
    assert inline is not None
    assert (one.mode, one.lanes, one.crypto_workers) == ("pipelined", 1, 16)
    assert (several.mode, several.lanes) == ("pipelined", 16)
    assert (inline.mode, inline.lanes) == ("inline", 16)
    assert not one.cpu_sets.a.used()
    nodes = {}
    for name in ("one-near", "one-far", "several-near", "several-far"):
        placed = candidates[name]
        assert placed is not None
        used = {cpu for text in placed.cpu_sets.a.used().values() for cpu in parse_cpulist(text)}
        nodes[name] = {cpu.node for cpu in TWO_NODES.cpus if cpu.cpu in used}
    assert nodes == {"one-near": {0}, "one-far": {1}, "several-near": {0}, "several-far": {1}}


def test_what_a_host_or_an_engine_cannot_do_is_skipped_with_the_reason() -> None:
    hosts = {"a": ONE, "b": ONE}
    assert [cell.skipped for cell in grid(hosts) if cell.candidate is None] == [ONE_NODE] * 4
    skipped = {cell.name: cell.skipped for cell in grid(hosts, engine="kernel") if cell.candidate is None}
    assert skipped["several-inline"] == "kernel has no inline mode"
    placed = next(cell.candidate for cell in grid(hosts, engine="kernel") if cell.name == "several-pinned")
    assert placed is not None
    assert placed.threaded_napi
    with pytest.raises(ValueError, match="several tunnels are 2 to 64"):
        grid(hosts, tunnels=1)


def test_the_traffic_spreads_evenly_over_the_tunnels_of_every_cell() -> None:
    flows = workload(grid({"a": TWO_NODES, "b": TWO_NODES}), 2).flows
    assert flows % 16 == 0


def test_figures_of_emulated_cpus_stand_beside_no_others() -> None:
    rounds = [{"one": 1.0, "several": 2.0, "several-inline": 4.0}] * 3
    found = report(grid({"a": ONE, "b": ONE}), rounds, simulated=False, emulated=True)
    assert found["emulated"]
    assert all(ratio["paper"] is None and ratio["paper_ratio"] is None for ratio in found["ratios"])
    assert any(ratio["ratio"] == pytest.approx(4) for ratio in found["ratios"]), "what was measured is still shown"


def test_ratios_are_paired_and_drift_cancels() -> None:
    cells = grid({"a": ONE, "b": ONE})
    rounds = [{"one": 2.0 * k, "several": 3.0 * k, "several-inline": 6.0 * k} for k in (1, 2, 4)]
    found = report(cells, [*rounds, {"one": 99.0}], simulated=False)
    ratios = {ratio["name"]: ratio for ratio in found["ratios"]}
    for name, expected in (("inline_over_several", 2), ("inline_over_one", 3), ("several_over_one", 1.5)):
        assert (ratios[name]["low"], ratios[name]["high"]) == (pytest.approx(expected), pytest.approx(expected))
    assert ratios["inline_over_one"]["paper"] == "18x"
    assert ratios["one_near_over_far"]["missing_because"] == ONE_NODE
    assert ratios["one_by_cpu_set"]["missing_because"] == "fewer than three complete rounds"
    cell = next(cell for cell in found["cells"] if cell["name"] == "several")
    assert cell["throughput_gbps"] == pytest.approx(6)
    assert cell["low_gbps"] < 6 < cell["high_gbps"]
    assert cell_interval([1.0, 2.0]) is None
