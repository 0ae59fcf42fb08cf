"""`wiretune calibrate`: fits the cost model to measurements of a testbed's hosts, for `wiretune plan`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.failures import CommandError, Exit


def calibrate_command(
    *,
    testbed: Annotated[
        str, typer.Option(help="netns or sim: made and removed again. Any other name: a testbed that exists.")
    ] = "netns",
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="Length of one sample.")] = 1.0,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Interleaved rounds; the median of them counts.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Order within the rounds.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Fit the cost model to this testbed and keep it in the data folder, where `wiretune plan` finds it.

    A few configurations are measured under a few workloads. Most of them are fitted, two are held out; the table shows
    how far the model is off in each.

        sudo wiretune calibrate --testbed netns

        sudo wiretune calibrate --testbed netns --seconds 2 --rounds 3
    """
    from rich.console import Console  # noqa: PLC0415

    from app.settings import Settings  # noqa: PLC0415

    calibrate_testbed(
        Settings(), Console(stderr=as_json), testbed, seconds=seconds, rounds=rounds, seed=seed, as_json=as_json
    )


def calibrate_testbed(
    settings: Any, console: Any, testbed: str, *, seconds: float, rounds: int, seed: int, as_json: bool
) -> None:
    """Measure, fit, save, show. Raises CommandError."""
    from app.cli.files import write_json  # noqa: PLC0415
    from app.cli.grid_run import measure_rounds, testbed_for_one_command  # noqa: PLC0415
    from tuner.calibration import calibrate, calibration_plan  # noqa: PLC0415
    from tuner.topology import Topology  # noqa: PLC0415

    with testbed_for_one_command(settings, testbed, None, console) as (api, made):
        check_speed_counts(made)
        gateways = made["gateways"]
        topologies = {side: Topology.model_validate(one["topology"]) for side, one in gateways.items()}
        engines = [engine for engine in gateways["a"]["engines"] if engine in gateways["b"]["engines"]]
        has_pktgen = made["simulated"] or _has_pktgen(api)
        candidates, workloads, held_out = calibration_plan(topologies, engines, seconds, has_pktgen=has_pktgen)
        traffic = [workload.model_dump(mode="json") for workload in workloads]

        def say(line: str) -> None:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

        measured, broken = measure_rounds(
            api,
            made["name"],
            {name: candidate.model_dump(mode="json") for name, candidate in candidates.items()},
            dict.fromkeys(candidates, traffic),
            rounds=rounds,
            seed=seed,
            say=say,
        )
    for name, reason in broken.items():
        say(f"left out: {name}: {reason}")
    try:
        found = calibrate(
            topologies,
            made["shared_machine"],
            _cases(candidates, measured, held_out),
            fingerprint_hash=gateways["a"]["fingerprint_hash"],
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            simulated=made["simulated"],
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    path = calibrations_folder(settings) / f"{_file_name(found.fingerprint_hash)}.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(path, found.model_dump(mode="json"))
    if as_json:
        sys.stdout.write(json.dumps(found.model_dump(mode="json"), indent=2) + "\n")
        return
    _print(console, found)
    console.print(f"Written   {path}", highlight=False, soft_wrap=True)


def check_speed_counts(testbed: Mapping[str, Any]) -> None:
    """Raises CommandError where the CPUs are emulated, before anything is measured."""
    if testbed["emulated"]:
        raise CommandError(
            f"testbed {testbed['name']} has emulated CPUs: their speed means nothing, so no model can be fitted to it",
            hint="Calibrate on hosts with real CPUs, or with --testbed netns on this machine.",
            code=Exit.MACHINE,
        )


def calibrations_folder(settings: Any) -> Path:
    """Where calibrations of this data folder are."""
    return Path(settings.data_dir) / "calibrations"


def _file_name(fingerprint_hash: str) -> str:
    """A gateway's word is not trusted as a file name."""
    return re.sub(r"[^0-9a-zA-Z]", "", fingerprint_hash)[:64] or "unknown"


def _has_pktgen(api: Any) -> bool:
    """Whether the machine of the service has a packet generator; without one, calibration makes do with iperf3."""
    items = api.get("/capabilities")["items"]
    return any(one["state"] == "ok" for one in items if "pktgen" in one["name"] or "testpmd" in one["name"])


def _cases(candidates: Mapping[str, Any], measured: Sequence[Mapping[str, Any]], held_out: frozenset[str]) -> list[Any]:
    from tuner.calibration import Case  # noqa: PLC0415
    from tuner.samples import Sample  # noqa: PLC0415

    cases = []
    for name, candidate in candidates.items():
        repeats = [one[name]["samples"] for one in measured if name in one]
        for same in zip(*repeats, strict=True):
            samples = [Sample.model_validate(sample) for sample in same]
            if all(sample.packets_per_s > 0 for sample in samples):
                cases.append(Case.of(candidate, samples, held_out=name in held_out))
    return cases


def _print(console: Any, found: Any) -> None:
    from rich.table import Table  # noqa: PLC0415

    marked = ", fitted to a simulation" if found.simulated else ""
    table = Table(title=f"Modelled over measured{marked}", title_justify="left")
    table.add_column("", overflow="fold")
    for column in ("measured kpps", "modelled", "rate", "CPU"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in found.residuals:
        table.add_row(
            f"{'held out: ' if one.held_out else ''}{one.name}",
            f"{one.measured_pps / 1e3:.0f}",
            f"{one.predicted_pps / 1e3:.0f}",
            f"{(one.rate_ratio - 1) * 100:+.0f}%",
            f"{(one.cpu_ratio - 1) * 100:+.0f}%" if one.cpu_ratio else "",
        )
    console.print(table)
    for held_out, words in ((False, "where it was fitted"), (True, "where it was held out")):
        error = found.typical_error(held_out=held_out)
        if error is not None:
            console.print(f"The model is off by {error:.0%} in the median {words}.", highlight=False)
