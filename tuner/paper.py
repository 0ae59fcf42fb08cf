"""The experiment of "Revisiting WireGuard for Line-rate, Scalable Tunneling" (IEEE HPSR 2025) as a grid of candidates.

The paper's claims are ratios between architectures: one tunnel or several, pipelined (a packet is handed from thread
to thread) or inline (the thread that received it does everything), placed by the scheduler or by CPU set, near to or
far from the NIC's NUMA node. The grid holds one candidate for each; ratios come from interleaved rounds, paired within
each round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tuner.candidate import MAX_LANES, Candidate, Engine, Gateway
from tuner.placement import Placement, Rule, place
from tuner.samples import Workload
from tuner.statistics import LEAST_PAIRS, Gain, paired_gain
from tuner.topology import Topology
from tuner.tunables import STOCK_MTU, mtu_limit

PAPER = "HPSR 2025, 10.1109/HPSR64165.2025.11038910"
ONE_NODE = "the host has one NUMA node"


@dataclass(frozen=True, slots=True)
class Cell:
    """One configuration of the grid; without a candidate where it cannot exist on these hosts."""

    name: str
    label: str
    candidate: Candidate | None
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A ratio of two cells, with what the paper says of it."""

    name: str
    label: str
    above: str
    below: str
    paper: str
    paper_ratio: float | None = None
    """Where the paper gives a number."""


COMPARISONS = (
    Comparison(
        "inline_over_several", "several inline / several pipelined", "several-inline", "several", "almost 2x", 2.0
    ),
    Comparison("inline_over_one", "several inline / one pipelined", "several-inline", "one", "18x", 18.0),
    Comparison("several_over_one", "several pipelined / one pipelined", "several", "one", ""),
    Comparison("one_by_cpu_set", "one tunnel, by CPU set / scheduler", "one-pinned", "one", "better"),
    Comparison("several_by_cpu_set", "several tunnels, by CPU set / scheduler", "several-pinned", "several", "better"),
    Comparison("one_near_over_far", "one tunnel, near / far", "one-near", "one-far", "better"),
    Comparison("several_near_over_far", "several tunnels, near / far", "several-near", "several-far", "better"),
)


def grid(
    topologies: Mapping[Gateway, Topology],
    *,
    engine: Engine = "wirelane",
    tunnels: int | None = None,
    underlay_mtu: int = 1500,
) -> tuple[Cell, ...]:
    """The cells, in the order of the figure. `tunnels`: how many are "several"; None: one for each CPU of the smaller
    gateway, 2 at least and 16 at most, as in the paper. Raises ValueError for an impossible number."""
    cpus = min(len(topology.usable_cpus) for topology in topologies.values())
    several = min(max(cpus, 2), 16) if tunnels is None else tunnels
    if not 2 <= several <= MAX_LANES:
        raise ValueError(f"several tunnels are 2 to {MAX_LANES}, not {several}")
    mtu = min(STOCK_MTU, mtu_limit(underlay_mtu))
    has_mode = engine == "wirelane"

    def pipelined(lanes: int) -> Candidate:
        if not has_mode:
            return Candidate(engine=engine, mode=None, lanes=lanes, mtu=mtu)
        # The kernel's work queues use every CPU, whatever the number of tunnels.
        return Candidate(mode="pipelined", lanes=lanes, crypto_workers=max(1, min(256, cpus // lanes)), mtu=mtu)

    def placed(candidate: Candidate, rule: Rule) -> Candidate:
        if candidate.engine == "kernel":  # the kernel can be placed at one stage only, and only when it has a thread
            candidate = candidate.model_copy(update={"threaded_napi": True})
        return place(candidate, {"a": Placement(rule), "b": Placement(rule)}, topologies)

    one_node = "" if min(len(topology.nodes) for topology in topologies.values()) > 1 else ONE_NODE
    cells = []
    for name, words, base in (
        ("one", "one tunnel", pipelined(1)),
        ("several", f"{several} tunnels", pipelined(several)),
    ):
        cells.append(Cell(name, f"{words}, pipelined", base))
        cells.append(Cell(f"{name}-pinned", f"{words}, pipelined, by CPU set", placed(base, "spread")))
        for rule in ("near", "far"):
            there = None if one_node else placed(base, rule)
            cells.append(Cell(f"{name}-{rule}", f"{words}, pipelined, {rule}", there, one_node))
    if not has_mode:
        return (*cells, Cell("several-inline", f"{several} tunnels, inline", None, f"{engine} has no inline mode"))
    inline = Candidate(lanes=several, mtu=mtu)
    cells.append(Cell("several-inline", f"{several} tunnels, inline", inline))
    cells.append(Cell("several-inline-pinned", f"{several} tunnels, inline, by CPU set", placed(inline, "spread")))
    return tuple(cells)


def workload(cells: Sequence[Cell], seconds: float) -> Workload:
    """The same traffic for every cell: TCP, as many flows a tunnel in all, whatever the cell's tunnels are."""
    lanes = max(cell.candidate.lanes for cell in cells if cell.candidate is not None)
    return Workload(flows=min(128, max(4, 2 * lanes)), duration_s=seconds)


def cell_interval(values: Sequence[float]) -> Gain | None:
    """Geometric mean of a cell's throughputs with its 95% interval; None for fewer than three."""
    known = [value for value in values if value > 0]
    return paired_gain([1.0] * len(known), known) if len(known) >= LEAST_PAIRS else None


def compare(comparison: Comparison, rounds: Sequence[Mapping[str, float]]) -> Gain | None:
    """The ratio over the rounds that measured both cells; None for fewer than three of them."""
    both = [one for one in rounds if one.get(comparison.above, 0) > 0 and one.get(comparison.below, 0) > 0]
    if len(both) < LEAST_PAIRS:
        return None
    return paired_gain([one[comparison.below] for one in both], [one[comparison.above] for one in both])


def report(
    cells: Sequence[Cell], rounds: Sequence[Mapping[str, float]], *, simulated: bool, emulated: bool = False
) -> dict[str, Any]:
    """Everything that the rounds say, as JSON values: each cell's throughput and each ratio beside the paper's.
    Those of emulated CPUs stand alone: their speed means nothing, so there is nothing to compare."""
    ratios = [_ratio_json(comparison, cells, compare(comparison, rounds)) for comparison in COMPARISONS]
    if emulated:
        ratios = [ratio | {"paper": None, "paper_ratio": None} for ratio in ratios]
    return {
        "paper": PAPER,
        "simulated": simulated,
        "emulated": emulated,
        "rounds": len(rounds),
        "cells": [_cell_json(cell, [one[cell.name] for one in rounds if cell.name in one]) for cell in cells],
        "ratios": ratios,
    }


def _cell_json(cell: Cell, values: Sequence[float]) -> dict[str, Any]:
    found = cell_interval(values)
    why = cell.skipped or ("" if found else f"{len(values)} measurements are too few for an interval")
    return {
        "name": cell.name,
        "label": cell.label,
        "candidate": cell.candidate.model_dump(mode="json") if cell.candidate else None,
        "words": cell.candidate.in_words() if cell.candidate else None,
        "throughputs_gbps": list(values),
        "throughput_gbps": found.gain if found else None,
        "low_gbps": found.gain_low if found else None,
        "high_gbps": found.gain_high if found else None,
        "missing_because": why or None,
    }


def _ratio_json(comparison: Comparison, cells: Sequence[Cell], found: Gain | None) -> dict[str, Any]:
    skipped = [cell.skipped for cell in cells if cell.name in (comparison.above, comparison.below) and cell.skipped]
    why = skipped[0] if skipped else "fewer than three complete rounds"
    return {
        "name": comparison.name,
        "label": comparison.label,
        "paper": comparison.paper or None,
        "paper_ratio": comparison.paper_ratio,
        "ratio": found.gain if found else None,
        "low": found.gain_low if found else None,
        "high": found.gain_high if found else None,
        "pairs": found.pairs if found else 0,
        "missing_because": None if found else why,
    }
