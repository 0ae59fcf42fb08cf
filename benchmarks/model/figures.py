"""The cost model beside public figures, and beside the measurements that a calibration held out.

    make bench-model
    python benchmarks/model/figures.py --calibration FILE     # of `wiretune calibrate`

Prints Markdown tables for docs/planning.md. Nothing here is measured by this script.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from tuner.calibration import Calibration
from tuner.candidate import Candidate
from tuner.model import CostParameters, GatewayModel
from tuner.paper import grid, workload
from tuner.topology import Topology

GATEWAY = Topology.uniform(nodes=2, cores_per_node=16)
"""32 cores as in Linux commit db9ae3b6; two nodes are an assumption."""


def public_figures() -> list[tuple[str, str, float, float]]:
    """(what, source, published, modelled), on 32-core gateways with a 100 Gbit/s link and default costs."""
    costs = replace(CostParameters(), link_gbps=100.0, generator_ns_per_byte=0.0)
    model = GatewayModel({"a": GATEWAY, "b": GATEWAY}, shared_machine=False, costs=costs)
    cells = grid({"a": GATEWAY, "b": GATEWAY}, tunnels=16)
    traffic = workload(cells, 1.0)

    def gbps(candidate: Candidate) -> float:
        return model.predict(candidate, traffic).throughput_gbps

    stock = gbps(Candidate(engine="kernel", mode=None, lanes=16))
    threaded = gbps(Candidate(engine="kernel", mode=None, lanes=16, threaded_napi=True))
    one = gbps(Candidate(engine="kernel", mode=None))
    inline = gbps(Candidate(lanes=16))
    commit, paper = "Linux commit db9ae3b6", "HPSR 2025"
    return [
        ("kernel, 16 tunnels, Gbit/s (one cost was set to meet it)", commit, 13, stock),
        ("kernel, 16 tunnels, threaded NAPI, Gbit/s", commit, 48, threaded),
        ("the ratio of both", commit, 48 / 13, threaded / stock),
        ("16 tunnels inline over 16 stock tunnels", paper, 2, inline / stock),
        ("16 tunnels inline over 1 stock tunnel", paper, 18, inline / one),
    ]


def main() -> None:
    """Print the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--calibration", type=Path, help="file of `wiretune calibrate`")
    chosen = options.parse_args()
    lines = ["| figure | source | published | modelled | off by |", "|---|---|---|---|---|"]
    for what, source, published, modelled in public_figures():
        off = f"{(modelled / published - 1) * 100:+.0f}%"
        lines.append(f"| {what} | {source} | {published:.3g} | {modelled:.3g} | {off} |")
    if chosen.calibration is not None:
        lines += ["", *held_out(Calibration.model_validate_json(chosen.calibration.read_text()))]
    sys.stdout.write("\n".join(lines) + "\n")


def held_out(found: Calibration) -> list[str]:
    """Measurements of a host that the fit never saw."""
    lines = [
        "| held out of the fit | measured kpps | modelled kpps | rate off by | CPU off by |",
        "|---|---|---|---|---|",
    ]
    for one in found.residuals:
        if one.held_out:
            cpu = f"{(one.cpu_ratio - 1) * 100:+.0f}%" if one.cpu_ratio else ""
            rate = f"{(one.rate_ratio - 1) * 100:+.0f}%"
            name = one.name.partition(", MTU")[0]
            batch = one.name.partition("batches of ")[2].partition(",")[0]
            kpps = f"{one.measured_pps / 1e3:.0f} | {one.predicted_pps / 1e3:.0f}"
            lines.append(f"| {name}, batches of {batch} | {kpps} | {rate} | {cpu} |")
    for is_out, words in ((False, "fitted"), (True, "held out")):
        error = found.typical_error(held_out=is_out)
        if error is not None:
            lines.append(f"\nMedian error where it was {words}: {error:.0%}.")
    return lines


if __name__ == "__main__":
    main()
