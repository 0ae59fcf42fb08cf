"""`wiretune tune`: a throw-away testbed, one study, its result and bundle, and nothing left behind."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from app.cli.child_service import service_for_one_command
from app.cli.client import Api
from app.cli.failures import CommandError, Exit, Interrupted
from app.cli.files import check_outputs, write_json
from app.cli.progress import StudyDisplay
from app.cli.report import print_result
from app.cli.signals import ignore_interrupts
from app.settings import Settings

THROW_AWAY_PREFIX = "tune-"
"""Testbeds of this command are named after its process; one that outlived it is removed by the next `wiretune tune`, or
by `wiretune cleanup`."""
GOING = ("deleting", "forgetting")
FINISHED_STATES = ("completed", "cancelled", "failed")
_CANCEL_TIMEOUT_S = 60.0
_TEARDOWN_TIMEOUT_S = 240.0
"""Hosts that do not answer take their time."""
_PROVISION_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class TuneRequest:
    """What the command line asked for."""

    driver: str
    simulation: dict[str, Any] | None
    study: dict[str, Any]
    json_path: Path | None
    bundle_path: Path | None


def tune(settings: Settings, request: TuneRequest, console: Console) -> None:
    """Run the study from start to end. Raises CommandError; Interrupted once everything is cleaned up."""
    check_outputs(request.json_path, request.bundle_path)
    name = f"{THROW_AWAY_PREFIX}{os.getpid()}"
    console.print("Starting …", style="dim")
    with service_for_one_command(settings) as (api, _):
        try:
            remove_abandoned(api, console)
            _run(api, name, request, console)
        except Interrupted:
            console.print("Stopping: rolling the hosts back and removing the testbed …")
            raise
        finally:
            ignore_interrupts()
            _clean_up(api, name)


def _clean_up(api: Api, name: str) -> None:
    try:
        remove_testbed(api, name)
    except CommandError as error:
        message = f"testbed {name} could not be removed: {error.message}"
        raise CommandError(message, hint="`wiretune cleanup` removes it.", code=error.code) from error


def _run(api: Api, name: str, request: TuneRequest, console: Console) -> None:
    make_testbed(api, name, request.driver, request.simulation, console)
    study = api.post("/studies", {**request.study, "testbed": name})
    console.print(f"Study {study['id']} · dashboard at {api.base_url}/studies/{study['id']}", style="dim")
    study = follow(api, study["id"], console)
    result = api.get(f"/studies/{study['id']}/result")
    if request.json_path is not None:
        write_json(request.json_path, result)
    if study["state"] != "completed":
        failure = study["failure"] or {"message": f"the study was {study['state']}", "hint": ""}
        raise CommandError(failure["message"], hint=failure["hint"] or "")
    print_result(console, result)
    bundle = request.bundle_path or Path.cwd() / study["bundle"]["filename"]
    api.download(f"/studies/{study['id']}/bundle/download", bundle)
    console.print(f"Bundle    {bundle}", highlight=False, soft_wrap=True)
    if request.json_path is not None:
        console.print(f"Result    {request.json_path}", highlight=False, soft_wrap=True)


def make_testbed(
    api: Api, name: str, driver: str, simulation: dict[str, Any] | None, console: Console
) -> dict[str, Any]:
    """Add a testbed and wait until it is ready. Raises CommandError."""
    console.print(f"Making testbed {name} ({driver}) …", style="dim")
    api.post("/testbeds", {"name": name, "driver": driver, "simulation": simulation})
    testbed = api.wait_while(
        f"/testbeds/{name}", lambda testbed: testbed["state"] == "provisioning", _PROVISION_TIMEOUT_S
    )
    if testbed is None or testbed["state"] != "ready":
        detail, hint = (testbed["detail"], testbed["hint"]) if testbed else ("it was deleted", "")
        raise CommandError(f"the testbed could not be made: {detail}", hint=hint or "", code=Exit.MACHINE)
    return dict(testbed)


def follow(api: Api, study_id: str, console: Console) -> dict[str, Any]:
    """Show a study until it is finished. Returns it as it is then."""
    path = f"/studies/{study_id}"

    def is_finished() -> bool:
        return bool(api.get(path)["state"] in FINISHED_STATES)

    with StudyDisplay(console) as display:
        for event in api.follow(f"{path}/events", until=is_finished, until_finished=True):
            display.show(event)
    study: dict[str, Any] = api.get(path)
    return study


def remove_testbed(api: Api, name: str) -> None:
    """Cancel what runs on a testbed and tear it down; returns when nothing of it is left. Raises CommandError."""
    if api.find(f"/testbeds/{name}") is None:
        return
    for kind in ("studies", "measurements"):
        for work in api.get(f"/{kind}", testbed=name)["items"]:
            cancel_work(api, f"/{kind}/{work['id']}")
    path = f"/testbeds/{name}"
    testbed = api.find(path)
    if testbed is not None and testbed["state"] not in GOING:
        api.delete(path)
    left = api.wait_while(path, lambda testbed: testbed["state"] in GOING, _TEARDOWN_TIMEOUT_S)
    if left is not None:
        raise CommandError(f"its teardown failed: {left['detail']}", hint=left["hint"] or "")


def forget_testbed(api: Api, name: str) -> list[str]:
    """Forget a testbed whose hosts cannot be reached. Returns what may be left on them. Raises CommandError."""
    path = f"/testbeds/{name}"
    footprint: list[str] = api.delete(path, forget=True)["footprint"]
    if api.wait_while(path, lambda testbed: testbed["state"] in GOING, _TEARDOWN_TIMEOUT_S) is not None:
        raise CommandError(f"testbed {name} could not be forgotten", hint="The service's log says more.")
    return footprint


def cancel_work(api: Api, path: str) -> None:
    """Cancel a study or measurement unless it is finished, and wait for its end. Raises CommandError."""
    finished = (*FINISHED_STATES, "infeasible")
    work = api.find(path)
    if work is None or work["state"] in finished:
        return
    if work["state"] != "cancelling":
        try:
            api.post(f"{path}/cancel")
        except CommandError:
            if api.get(path)["state"] not in (*finished, "cancelling"):  # else it ended by itself in this moment
                raise
    api.wait_while(path, lambda work: work["state"] not in finished, _CANCEL_TIMEOUT_S)


def remove_abandoned(api: Api, console: Console) -> int:
    """Remove throw-away testbeds whose command has ended. Returns how many. Raises CommandError."""
    names = [testbed["name"] for testbed in api.get("/testbeds", limit=1000)["items"]]
    abandoned = [name for name in names if name.startswith(THROW_AWAY_PREFIX) and not _is_used(name)]
    for name in abandoned:
        console.print(f"Removing testbed {name} of an earlier run that was killed …", style="dim")
        remove_testbed(api, name)
    return len(abandoned)


def _is_used(name: str) -> bool:
    """Whether another process of the testbed's number is alive. Ours has made none yet when this is asked."""
    number = name.removeprefix(THROW_AWAY_PREFIX)
    return number.isdigit() and int(number) != os.getpid() and Path("/proc", number).exists()
