"""Limits and workloads as the command line takes them."""

from __future__ import annotations

from typing import Any

import pytest

from app.cli.failures import CommandError, Exit
from app.cli.limits import METRICS, constraints_of, workload_of
from app.studies.schemas import StudyCreate
from tuner.constraints import Constraint
from tuner.objectives import METRICS as KNOWN


def test_limits_become_constraints_of_the_api() -> None:
    assert set(METRICS.values()) == set(KNOWN)
    found = constraints_of(["p99=5", "cpus=1.1x", "loss=0.1%"], ["throughput=0.95x"])
    assert [Constraint.model_validate(one).in_words for one in found] == [
        "p99 latency under load at most 5 ms",
        "Data-plane CPUs at most 1.1x the baseline's",
        "Loss at most 0.001 ratio",
        "Throughput at least 0.95x the baseline's",
    ]


@pytest.mark.parametrize("text", ["p98=5", "p99", "p99=", "p99=fast", "=3", "cpus=1.1xx%"])
def test_what_is_no_limit_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(CommandError) as refused:
        constraints_of([text], None)
    assert refused.value.code == Exit.USAGE
    assert text in refused.value.message
    assert "cpus=1.1x" in refused.value.hint


def test_a_udp_load_makes_a_limit_on_loss_possible() -> None:
    study: dict[str, Any] = {"testbed": "demo", "objective": "throughput", "sample_seconds": 2.0}
    study["constraints"] = constraints_of(["loss=1%"], None)
    with pytest.raises(ValueError, match="needs a udp workload"):
        StudyCreate.model_validate(study)
    study["workloads"] = workload_of(study, 1.5, "reverse")
    (workload,) = StudyCreate.model_validate(study).workloads or ()
    assert (workload.protocol, workload.offered_load_gbps, workload.direction) == ("udp", 1.5, "reverse")
    study["constraints"] = constraints_of(["p99=5"], None)
    (probed,) = workload_of(study, None, "both") or ()
    assert probed["latency_probe"], "a limit on latency brings its probe"
    assert workload_of(study, None, "forward") is None
