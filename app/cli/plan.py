"""`wiretune plan`: what would reach a target throughput, by the cost model. It asks no service and touches no host."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.failures import CommandError, Exit
from app.cli.files import read_file

if TYPE_CHECKING:
    from tuner.calibration import Calibration
    from tuner.planner import Plan

_BAR = 40


def plan_command(
    *,
    target_gbps: Annotated[float, typer.Option(min=0.001, max=10_000, help="Goodput to reach, in Gbit/s.")],
    cores: Annotated[int, typer.Option(min=1, max=1024, help="Physical cores of each gateway.")],
    nodes: Annotated[int, typer.Option(min=1, max=16, help="NUMA nodes of each gateway.")] = 1,
    threads_per_core: Annotated[int, typer.Option(min=1, max=2, help="2 where SMT is on.")] = 1,
    link_gbps: Annotated[
        float | None,
        typer.Option(min=0.001, help="Rate of the NIC.  [default: a tenth more than the target, 100 at least]"),
    ] = None,
    mtu: Annotated[int, typer.Option(min=1280, max=65455, help="MTU of the tunnel.")] = 1420,
    packet_bytes: Annotated[
        int | None, typer.Option(min=64, max=9000, help="Size of UDP packets; default: bulk TCP.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="File of `wiretune calibrate`.  [default: the newest in the data folder]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    svg: Annotated[Path | None, typer.Option(help="Write the curve here.")] = None,
) -> None:
    """Say which mode, lanes and placement would reach a throughput, and what limits it. Modelled, never measured.

    The costs are those of the machine that `wiretune calibrate` has seen last, or defaults; other hardware differs.

        wiretune plan --target-gbps 100 --cores 32 --nodes 2

        wiretune plan --target-gbps 10 --cores 8 --packet-bytes 512 --svg plan.svg
    """
    from tuner.planner import PlannedHost, plan  # noqa: PLC0415

    known = _calibration(calibration)
    try:
        host = PlannedHost(
            cores=cores,
            nodes=nodes,
            threads_per_core=threads_per_core,
            link_gbps=link_gbps or max(100.0, 1.1 * target_gbps),
            mtu=mtu,
            packet_bytes=packet_bytes,
        )
        found = plan(host, target_gbps, known.parameters() if known else None)
    except ValueError as error:
        raise CommandError(str(error), code=Exit.USAGE) from error
    if svg is not None:
        from app.cli.figure import plan_figure  # noqa: PLC0415  matplotlib takes a second to import

        title = f"Modelled: {cores} cores on {nodes} node{'s' if nodes > 1 else ''}, link {host.link_gbps:g} Gbit/s"
        plan_figure([option.model_dump(mode="json") for option in found.curve], target_gbps, title, [svg])
    if as_json:
        source = known.fingerprint_hash if known else None
        sys.stdout.write(json.dumps({**found.model_dump(mode="json"), "calibrated_on": source}, indent=2) + "\n")
    else:
        _print(found, known)


def _calibration(path: Path | None) -> Calibration | None:
    from app.cli.calibrate import calibrations_folder  # noqa: PLC0415
    from app.settings import Settings  # noqa: PLC0415
    from tuner.calibration import Calibration  # noqa: PLC0415

    if path is None:
        folder = calibrations_folder(Settings())
        saved = sorted(folder.glob("*.json"), key=lambda one: one.stat().st_mtime) if folder.is_dir() else []
        if not saved:
            return None
        path = saved[-1]
    try:
        found = Calibration.model_validate_json(read_file(path))
        found.parameters()
    except ValueError as error:
        raise CommandError(f"{path} is no calibration", hint="`wiretune calibrate` writes one.") from error
    return found


def _print(found: Plan, known: Calibration | None) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    console = Console()
    most = max(found.target_gbps, *(option.throughput_gbps for option in found.curve))
    table = Table(title="Modelled throughput by mode and lanes, one direction", title_justify="left", box=None)
    for column in ("mode", "lanes", "placement", "Gbit/s", "CPUs", "delay µs", "", "limited by"):
        right = column in ("lanes", "Gbit/s", "CPUs", "delay µs")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "limited by")
    for option in found.curve:
        table.add_row(
            option.mode,
            str(option.lanes),
            option.placement,
            f"{option.throughput_gbps:.1f}",
            f"{option.data_plane_cpus:.1f}",
            f"{option.delay_us:.0f}",
            _bar(option.throughput_gbps, found.target_gbps, most),
            option.limited_by,
        )
    console.print(table)
    console.print()
    words = [found.in_words(), f"Configuration: {found.chosen.candidate.in_words()}."]
    words.append(f"It would keep {found.chosen.data_plane_cpus:.1f} CPUs of each gateway busy.")
    words.append(_source(known))
    for line in words:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _bar(value: float, target: float, most: float) -> str:
    """A bar with a mark where the target is."""
    filled, mark = round(value / most * _BAR), min(_BAR - 1, round(target / most * _BAR))
    cells = ["█" if position < filled else " " for position in range(_BAR)]
    cells[mark] = "│" if mark >= filled else "▌"
    return "".join(cells)


def _source(known: Any) -> str:
    if known is None:
        return "Modelled with default costs: `wiretune calibrate` fits them to a machine of yours."
    error = known.typical_error(held_out=True)
    off = f", off by {error:.0%} in the median where it was held out" if error is not None else ""
    marked = " of a simulation" if known.simulated else ""
    return f"Modelled with the calibration{marked} {known.fingerprint_hash} of {known.created_at}{off}."
