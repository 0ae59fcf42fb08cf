"""Speeds of emulated CPUs mean nothing: nothing is fitted to them, and no figure of others stands beside theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.calibrate import check_speed_counts
from app.cli.failures import CommandError, Exit
from app.cli.figure import paper_figure
from tuner.paper import grid, report
from tuner.topology import Topology


def test_a_model_is_not_fitted_to_emulated_cpus() -> None:
    check_speed_counts({"name": "real", "emulated": False})
    with pytest.raises(CommandError, match="testbed lab has emulated CPUs") as caught:
        check_speed_counts({"name": "lab", "emulated": True})
    assert caught.value.code is Exit.MACHINE


@pytest.mark.parametrize("emulated", [True, False])
def test_the_figure_shows_the_paper_beside_real_cpus_only(tmp_path: Path, emulated: bool) -> None:
    host = Topology.uniform(cores_per_node=2)
    rounds = [{"one": 1.0, "several": 2.0, "several-inline": 4.0}] * 3
    figure = tmp_path / "figure.svg"
    found = report(grid({"a": host, "b": host}), rounds, simulated=False, emulated=emulated)
    paper_figure(found, "a grid", [figure])
    drawn = figure.read_text()
    assert ("18x" in drawn, "emulated" in drawn) == (not emulated, emulated)
