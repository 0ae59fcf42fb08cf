"""`wiretune reproduce`: a published experiment on a testbed of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.failures import CommandError, Exit
from app.cli.tune_options import EngineName

SIMULATED = ", simulated: no packet was sent"
EMULATED = ", emulated CPUs: the speed means nothing"


class Experiment(StrEnum):
    """What can be reproduced."""

    HPSR2025 = "hpsr2025"


def reproduce_command(
    experiment: Annotated[Experiment, typer.Argument(help="Which experiment.")],
    *,
    testbed: Annotated[
        str, typer.Option(help="netns or sim: made and removed again. Any other name: a testbed that exists.")
    ] = "netns",
    seconds: Annotated[float, typer.Option(min=0.1, max=3600, help="Length of one sample.")] = 3.0,
    rounds: Annotated[int, typer.Option(min=3, max=1000, help="Interleaved rounds over the whole grid.")] = 6,
    tunnels: Annotated[
        int | None, typer.Option(min=2, max=64, help='How many are "several".  [default: one for each CPU, 2 to 16]')
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="What carries the tunnels.")] = EngineName.WIRELANE,
    seed: Annotated[int, typer.Option(min=0, help="Order within the rounds.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder for the figure.")] = Path(),
    json_path: Annotated[Path | None, typer.Option("--json", help="Write everything measured here.")] = None,
    sim_cores: Annotated[int, typer.Option(min=1, max=128, help="Cores a socket of the simulated hosts.")] = 8,
    sim_sockets: Annotated[int, typer.Option(min=1, max=8, help="Sockets of the simulated hosts.")] = 2,
) -> None:
    """Run the grid of a paper on any testbed; print its figure (SVG, PNG) and its ratios beside the measured ones.

    hpsr2025 is "Revisiting WireGuard for Line-rate, Scalable Tunneling" (IEEE HPSR 2025): one tunnel and several,
    pipelined and inline, by the scheduler and by CPU set, near and far from the NIC. Every round measures every
    configuration once, in random order; ratios are paired within the rounds and have a 95% interval.

        sudo wiretune reproduce hpsr2025 --testbed netns --seconds 2

        wiretune reproduce hpsr2025 --testbed lab-1 --engine kernel --rounds 10 --json hpsr2025.json

        wiretune reproduce hpsr2025 --testbed sim --sim-sockets 2 --sim-cores 16
    """
    from rich.console import Console  # noqa: PLC0415

    from app.settings import Settings  # noqa: PLC0415

    simulation = {"sockets": sim_sockets, "cores_per_socket": sim_cores} if testbed == "sim" else None
    request = _Request(experiment, testbed, simulation, seconds, rounds, tunnels, engine.value, seed, output, json_path)
    reproduce(Settings(), request, Console())


@dataclass(frozen=True)
class _Request:
    experiment: Experiment
    testbed: str
    simulation: dict[str, Any] | None
    seconds: float
    rounds: int
    tunnels: int | None
    engine: str
    seed: int
    output: Path
    json_path: Path | None


def reproduce(settings: Any, request: _Request, console: Any) -> None:
    """Measure the grid and print what it says. Raises CommandError."""
    from app.cli.figure import paper_figure  # noqa: PLC0415  matplotlib takes a second to import
    from app.cli.files import check_outputs, write_json  # noqa: PLC0415
    from app.cli.grid_run import measure_rounds, testbed_for_one_command  # noqa: PLC0415
    from tuner.paper import grid, report, workload  # noqa: PLC0415
    from tuner.topology import Topology  # noqa: PLC0415

    check_outputs(request.json_path, request.output / "hpsr2025.svg")
    with testbed_for_one_command(settings, request.testbed, request.simulation, console) as (api, testbed):
        _check_engine(testbed, request.engine)
        topologies = {side: Topology.model_validate(one["topology"]) for side, one in testbed["gateways"].items()}
        try:
            cells = grid(
                topologies,
                engine=request.engine,  # type: ignore[arg-type]
                tunnels=request.tunnels,
                underlay_mtu=testbed["underlay_mtu"],
            )
        except ValueError as error:
            raise CommandError(str(error), code=Exit.USAGE) from error
        traffic = workload(cells, request.seconds).model_dump(mode="json")
        wanted = {cell.name: cell.candidate.model_dump(mode="json") for cell in cells if cell.candidate}

        def say(line: str) -> None:
            console.print(line, highlight=False, markup=False, soft_wrap=True)

        measured, broken = measure_rounds(
            api,
            testbed["name"],
            wanted,
            {name: [traffic] for name in wanted},
            rounds=request.rounds,
            seed=request.seed,
            say=say,
        )
    values = [{name: one["samples"][0]["throughput_gbps"] for name, one in each.items()} for each in measured]
    found = report(cells, values, simulated=testbed["simulated"], emulated=testbed["emulated"])
    for cell in found["cells"]:
        if cell["name"] in broken:
            cell["missing_because"] = broken[cell["name"]]
    figures = [request.output / f"hpsr2025.{kind}" for kind in ("svg", "png")]
    marked = SIMULATED if testbed["simulated"] else EMULATED if testbed["emulated"] else ""
    title = f"HPSR 2025 grid on {request.testbed}, {request.engine}, {request.seconds:g} s a sample{marked}"
    paper_figure(found, title, figures)
    if request.json_path is not None:
        everything = {"testbed": testbed, "engine": request.engine, "workload": traffic, "measurements": measured}
        write_json(request.json_path, {**found, **everything})
    _print(console, found, marked)
    for path in (*figures, *([request.json_path] if request.json_path else [])):
        console.print(f"Written   {path}", highlight=False, soft_wrap=True)


def _check_engine(testbed: dict[str, Any], engine: str) -> None:
    for side, facts in testbed["gateways"].items():
        if engine not in facts["engines"]:
            raise CommandError(
                f"gateway {side} of this testbed cannot run engine {engine}; it can run {', '.join(facts['engines'])}",
                hint="`wiretune doctor` says what this machine lacks; --engine takes another one.",
                code=Exit.MACHINE,
            )


def _print(console: Any, found: dict[str, Any], marked: str) -> None:
    from rich.table import Table  # noqa: PLC0415

    cells = Table(title=f"Throughput, {found['rounds']} rounds{marked}", title_justify="left")
    cells.add_column("")
    for column in ("Gbit/s", "95% interval"):
        cells.add_column(column, justify="right", no_wrap=True)
    for cell in found["cells"]:
        if cell["throughput_gbps"] is None:
            cells.add_row(cell["label"], "skipped", cell["missing_because"])
        else:
            interval = f"{cell['low_gbps']:.2f} to {cell['high_gbps']:.2f}"
            cells.add_row(cell["label"], f"{cell['throughput_gbps']:.2f}", interval)
    ratios = Table(title=f"Ratios, paired within rounds{marked}", title_justify="left")
    ratios.add_column("")
    for column in ("paper", "measured", "95% interval"):
        ratios.add_column(column, justify="right", no_wrap=True)
    for ratio in found["ratios"]:
        if ratio["ratio"] is None:
            ratios.add_row(ratio["label"], ratio["paper"] or "", "skipped", ratio["missing_because"])
        else:
            interval = f"{ratio['low']:.2f}x to {ratio['high']:.2f}x"
            ratios.add_row(ratio["label"], ratio["paper"] or "", f"{ratio['ratio']:.2f}x", interval)
    console.print()
    console.print(cells)
    console.print(ratios)
    beside = (
        "Its ratios are left out: figures of emulated CPUs are compared with no others."
        if found["emulated"]
        else "Its ratios come from 100G hardware; yours from your testbed."
    )
    console.print(f"Paper: {found['paper']}. {beside}", highlight=False)
