"""Limits of a study on the command line: `--at-most p99=5`, `--at-most cpus=1.1x`, `--at-least throughput=0.95x`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from app.cli.failures import CommandError, Exit

_LIMIT = re.compile(r"(\d+\.?\d*|\.\d+)([x%]?)", re.ASCII)
METRICS = {
    "throughput": "throughput_gbps",
    "efficiency": "gbit_per_cpu_s",
    "p99": "latency_p99_ms",
    "packets": "packets_per_s",
    "ndr": "ndr_pps",
    "pdr": "pdr_pps",
    "loss": "loss_ratio",
    "cpus": "data_plane_cpus",
}
AT_MOST_HELP = (
    "A limit that the winner must keep to: p99=5 (ms), cpus=1.5 (CPUs of both data planes), loss=0.1%;"
    " with an x relative to the baseline: cpus=1.1x allows 10% more. Give it several times."
)
AT_LEAST_HELP = "The same from below: throughput=2 (Gbit/s), throughput=0.95x, efficiency, packets, ndr, pdr."


def constraints_of(at_most: Sequence[str] | None, at_least: Sequence[str] | None) -> list[dict[str, Any]]:
    """The API's constraints. Raises CommandError for text that is none."""
    given = [("at_most", text) for text in at_most or ()] + [("at_least", text) for text in at_least or ()]
    return [_constraint(side, text) for side, text in given]


def _constraint(side: str, text: str) -> dict[str, Any]:
    name, _, value = text.partition("=")
    metric = METRICS.get(name.strip())
    option = "--" + side.replace("_", "-")
    if metric is None:
        raise CommandError(
            f"{option} {text}: {name!r} is no metric",
            hint=f"Metrics are {', '.join(METRICS)}; as in {option} cpus=1.1x",
            code=Exit.USAGE,
        )
    found = _LIMIT.fullmatch(value.strip())
    if found is None:
        raise CommandError(
            f"{option} {text}: {value!r} is no limit",
            hint="In the metric's unit (p99=5), in percent (loss=0.1%) or of the baseline's value (cpus=1.1x).",
            code=Exit.USAGE,
        )
    limit, suffix = float(found[1]), found[2]
    return {"metric": metric, side: limit / 100 if suffix == "%" else limit, "of_baseline": suffix == "x"}


def workload_of(study: dict[str, Any], offered_gbps: float | None, direction: str) -> list[dict[str, Any]] | None:
    """The objective's workload in another direction, or at a UDP load; None: as the service chooses."""
    if offered_gbps is None and direction == "forward":
        return None
    from pydantic import ValidationError  # noqa: PLC0415

    from tuner.constraints import Constraint, workload_for  # noqa: PLC0415
    from tuner.samples import Workload  # noqa: PLC0415

    try:
        limits = [Constraint.model_validate(one) for one in study["constraints"]]
        workload = workload_for(study["objective"], limits, study["sample_seconds"]).model_dump()
        workload["direction"] = direction
        if offered_gbps is not None:
            workload |= {"protocol": "udp", "offered_load_gbps": offered_gbps}
        return [Workload.model_validate(workload).model_dump(mode="json")]
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise CommandError(f"this workload is impossible: {reason}", code=Exit.USAGE) from error
