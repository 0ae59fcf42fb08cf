"""Commands for the things of the API: testbeds, studies, tokens."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.failures import CommandError, Exit
from app.cli.files import check_outputs, read_file, write_json
from app.cli.limits import AT_LEAST_HELP, AT_MOST_HELP, constraints_of
from app.cli.tune_options import OBJECTIVE_HELP, SPREAD_HELP, ObjectiveName, SpreadName, space_of

if TYPE_CHECKING:
    from app.cli.client import Api

testbeds = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Pairs of gateways that can be measured."
)
studies = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Searches on a testbed.")
tokens = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown", help="Who may use the API.")


class DistributionName(StrEnum):
    """What the machines of driver vm can run."""

    DEBIAN_12 = "debian-12"
    DEBIAN_13 = "debian-13"
    UBUNTU_22_04 = "ubuntu-22.04"
    UBUNTU_24_04 = "ubuntu-24.04"


class TestbedDriverName(StrEnum):
    """How a testbed is reached."""

    NETNS = "netns"
    VM = "vm"
    SSH = "ssh"
    COMPOSE = "compose"
    SIM = "sim"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Name = Annotated[str, typer.Argument(help="Name of the testbed.")]
StudyId = Annotated[str, typer.Argument(help="Id of the study, as `wiretune study list` shows it.")]


def service_api() -> Api:
    """The service that commands talk to. Raises CommandError."""
    from app.cli.client import connect  # noqa: PLC0415  commands stay quick where nothing is asked for
    from app.settings import Settings  # noqa: PLC0415

    return connect(Settings())


def print_json(value: Any) -> None:
    """For programs."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*columns, box=None, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


# -- testbeds ---------------------------------------------------------------------------------------------------------


@testbeds.command("list")
def list_testbeds(as_json: AsJson = False) -> None:
    """List testbeds.

    wiretune testbed list
    """
    page = service_api().get("/testbeds", limit=1000)
    if as_json:
        print_json(page["items"])
        return
    rows = [[one["name"], one["driver"], one["state"], one["detail"] or one["phase"] or ""] for one in page["items"]]
    _print_table(["name", "driver", "state", ""], rows)


@testbeds.command("create")
def create_testbed(
    name: Name,
    driver: Annotated[TestbedDriverName, typer.Option(help="What the two gateways are.")] = TestbedDriverName.NETNS,
    hosts: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="For driver ssh: JSON with both hosts.")
    ] = None,
    distribution: Annotated[
        DistributionName | None, typer.Option(help="For driver vm: what the machines run; debian-12 unless told.")
    ] = None,
) -> None:
    """Add a testbed and wait until it is ready.

    wiretune testbed create demo

    wiretune testbed create lab --driver vm

    wiretune testbed create lab13 --driver vm --distribution debian-13

    wiretune testbed create site --driver ssh --hosts hosts.json

    wiretune testbed create plan --driver sim

    hosts.json names for each of "a" and "b" the address, data_address, user and key_file: see docs/testbeds.md.
    """
    body: dict[str, Any] = {"name": name, "driver": driver.value}
    if (driver is TestbedDriverName.SSH) != (hosts is not None):
        message = f"--hosts is for driver ssh, not {driver.value}" if hosts else "driver ssh needs --hosts"
        hint = "A JSON file that says how both hosts are reached: docs/testbeds.md shows one."
        raise CommandError(message, hint=hint, code=Exit.USAGE)
    if distribution is not None:
        if driver is not TestbedDriverName.VM:
            raise CommandError(f"--distribution is for driver vm, not {driver.value}", code=Exit.USAGE)
        body["vm"] = {"distribution": distribution.value}
    if hosts is not None:
        try:
            body["ssh"] = json.loads(read_file(hosts))
        except (ValueError, RecursionError) as error:
            raise CommandError(f"{hosts} is not JSON: {error}", code=Exit.USAGE) from None
    api = service_api()
    api.post("/testbeds", body)
    # The first vm testbed of a machine builds a disk image.
    testbed = api.wait_while(f"/testbeds/{name}", lambda testbed: testbed["state"] == "provisioning", 1500)
    if testbed is None or testbed["state"] != "ready":
        detail, hint = (testbed["detail"], testbed["hint"]) if testbed else ("it was deleted", "")
        raise CommandError(f"the testbed could not be made: {detail}", hint=hint or "", code=Exit.MACHINE)
    engines = ", ".join(testbed["gateways"]["a"]["engines"])
    sys.stdout.write(f"Testbed {name} is ready; engines: {engines}\n")


@testbeds.command("delete")
def delete_testbed(
    name: Name,
    forget: Annotated[
        bool, typer.Option("--forget", help="Where its hosts are gone for good: forget it, and say what may be left.")
    ] = False,
) -> None:
    """Cancel what runs on a testbed, tear it down and forget it. Its studies stay.

    wiretune testbed delete demo

    wiretune testbed delete site --forget
    """
    from app.cli.tune import forget_testbed, remove_testbed  # noqa: PLC0415

    api = service_api()
    api.get(f"/testbeds/{name}")
    try:
        remove_testbed(api, name)
    except CommandError as error:
        testbed = api.get(f"/testbeds/{name}")
        if testbed["state"] != "failed":
            raise
        if not forget:
            way_out = f"If its hosts are gone for good: `wiretune testbed delete {name} --forget`."
            raise CommandError(error.message, hint=" ".join(filter(None, (error.hint, way_out)))) from error
        left = forget_testbed(api, name)
        sys.stdout.write(f"Testbed {name} is forgotten: {error.message}\n")
        sys.stdout.writelines(f"May be left on {line}\n" for line in left)
    else:
        sys.stdout.write(f"Testbed {name} is gone\n")


# -- studies ----------------------------------------------------------------------------------------------------------


@studies.command("list")
def list_studies(as_json: AsJson = False) -> None:
    """List studies, newest first.

    wiretune study list
    """
    page = service_api().get("/studies", limit=1000)
    if as_json:
        print_json(page["items"])
        return
    rows = [
        [
            study["id"],
            study["testbed"],
            study["state"],
            f"{study['progress']['trials_done']}/{study['progress']['trials_total']}",
            _gain_of(study),
            study["label"],
        ]
        for study in page["items"]
    ]
    _print_table(["id", "testbed", "state", "trials", "gain", "label"], rows)


def _gain_of(study: dict[str, Any]) -> str:
    from app.cli.progress import gain_words  # noqa: PLC0415

    verdict = study["verdict"]
    if verdict is None:
        return ""
    return f"{gain_words(verdict['gain'])} [{gain_words(verdict['gain_low'])}, {gain_words(verdict['gain_high'])}]"


@studies.command("create")
def create_study(
    testbed: Name,
    *,
    trials: Annotated[int, typer.Option(min=1, help="Candidates to try.")] = 12,
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of one sample.")] = 3.0,
    objective: Annotated[ObjectiveName, typer.Option(help=OBJECTIVE_HELP)] = ObjectiveName.THROUGHPUT,
    at_most: Annotated[list[str] | None, typer.Option(metavar="METRIC=LIMIT", help=AT_MOST_HELP)] = None,
    at_least: Annotated[list[str] | None, typer.Option(metavar="METRIC=LIMIT", help=AT_LEAST_HELP)] = None,
    spread: Annotated[list[SpreadName] | None, typer.Option(help=SPREAD_HELP)] = None,
    label: Annotated[str, typer.Option(help="Free text for people.")] = "",
    warm_start: Annotated[
        bool, typer.Option(help="Begin with the winners of earlier studies on hosts like these, where there are any.")
    ] = True,
    follow: Annotated[bool, typer.Option(help="Show it until it is finished.")] = False,
) -> None:
    """Queue a study on a testbed and print its id.

    wiretune study create demo --trials 20

    wiretune study create demo --follow

    wiretune study create demo --objective efficiency --at-least throughput=0.95x

    wiretune study create demo --spread ecmp --spread bond
    """
    body = {
        "testbed": testbed,
        "trials": trials,
        "sample_seconds": seconds,
        "objective": objective.value,
        "constraints": constraints_of(at_most, at_least),
        "space": space_of(spread),
        "label": label,
        "warm_start": warm_start,
    }
    api = service_api()
    study = api.post("/studies", body)
    sys.stdout.write(study["id"] + "\n")
    if follow:
        _follow(api, study["id"])


@studies.command("show")
def show_study(
    study_id: StudyId,
    follow: Annotated[bool, typer.Option(help="Show it until it is finished.")] = False,
    as_json: AsJson = False,
    result: Annotated[Path | None, typer.Option(help="Write the whole result here.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Write the bundle here.")] = None,
) -> None:
    """Show a study: how far it is, or what it found.

    wiretune study show 4f9c1d2ab07e --follow

    wiretune study show 4f9c1d2ab07e --result result.json --bundle out.tar.gz
    """
    from rich.console import Console  # noqa: PLC0415

    from app.cli.report import print_result  # noqa: PLC0415

    check_outputs(result, bundle)
    api = service_api()
    if follow:
        _follow(api, study_id)
    study = api.get(f"/studies/{study_id}")
    if as_json:
        print_json(study)
    elif study["state"] == "completed":
        print_result(Console(), api.get(f"/studies/{study_id}/result"))
    else:
        _print_running(study)
    if result is not None:
        write_json(result, api.get(f"/studies/{study_id}/result"))
    if bundle is not None:
        api.download(f"/studies/{study_id}/bundle/download", bundle)


def _follow(api: Api, study_id: str) -> None:
    from rich.console import Console  # noqa: PLC0415

    from app.cli.tune import follow as follow_events  # noqa: PLC0415

    follow_events(api, study_id, Console())


def _print_running(study: dict[str, Any]) -> None:
    from app.cli.progress import duration_words, metrics_words  # noqa: PLC0415

    progress = study["progress"]
    lines = [f"Study {study['id']} on {study['testbed']}: {study['state']}"]
    if study["failure"]:
        lines.append(f"why      {study['failure']['message']}")
    lines.append(f"trials   {progress['trials_done']} of {progress['trials_total']}")
    if progress["running"]:
        lines.append(f"now      {progress['running']['words']}")
    if progress["best"]:
        lines.append(f"best     {metrics_words(progress['best']['metrics'])}: {progress['best']['words']}")
    if progress["eta_s"] is not None:
        lines.append(f"left     {duration_words(progress['eta_s'])}")
    sys.stdout.write("\n".join(lines) + "\n")


@studies.command("cancel")
def cancel_study(study_id: StudyId) -> None:
    """Stop a study and roll its hosts back. What was measured is kept, and it can be resumed.

    wiretune study cancel 4f9c1d2ab07e
    """
    study = service_api().post(f"/studies/{study_id}/cancel")
    sys.stdout.write(f"Study {study_id} is {study['state']}\n")


@studies.command("resume")
def resume_study(study_id: StudyId) -> None:
    """Continue a cancelled or failed study where it stopped.

    wiretune study resume 4f9c1d2ab07e
    """
    study = service_api().post(f"/studies/{study_id}/resume")
    sys.stdout.write(f"Study {study_id} is {study['state']}\n")


# -- tokens -----------------------------------------------------------------------------------------------------------


@tokens.command("create")
def create_token(name: Annotated[str, typer.Argument(help="What it is for.")]) -> None:
    """Make a token and print it; it is never shown again.

    wiretune token create ci
    """
    sys.stdout.write(service_api().post("/tokens", {"name": name})["token"] + "\n")


@tokens.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """List tokens, revoked ones too.

    wiretune token list
    """
    page = service_api().get("/tokens", limit=1000)
    if as_json:
        print_json(page["items"])
        return
    rows = [
        [str(one["id"]), one["name"], one["last_used_at"] or "never", "revoked" if one["revoked_at"] else "valid"]
        for one in page["items"]
    ]
    _print_table(["id", "name", "last used", "state"], rows)


@tokens.command("revoke")
def revoke_token(token_id: Annotated[int, typer.Argument(help="Id, as `wiretune token list` shows it.")]) -> None:
    """Refuse a token from now on.

    wiretune token revoke 2
    """
    service_api().delete(f"/tokens/{token_id}")
    sys.stdout.write(f"Token {token_id} is revoked\n")
