"""`wiretune`: the command line. Every command's help teaches by example; errors are one line and a hint."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.cli import resources
from app.cli.calibrate import calibrate_command
from app.cli.failures import CommandError, Exit, Interrupted
from app.cli.measure import measure
from app.cli.plan import plan_command
from app.cli.reproduce import reproduce_command
from app.cli.signals import raise_when_interrupted
from app.cli.tune_options import tune_command

_EXIT_CODES = """

Exit codes: 0 done · 1 it failed, and says why · 2 wrong usage · 3 this machine cannot do it (see `wiretune doctor`) ·
4 no service, or it refuses the token · 130 interrupted, and cleaned up."""

cli = typer.Typer(
    name="wiretune",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Finds the fastest safe way to run a site-to-site WireGuard link on your two hosts, and proves it.\n\n"
    "- `wiretune doctor`: what this machine can do\n"
    "- `sudo wiretune tune`: tune a link between two namespaces on this machine, in about five minutes\n"
    "- `sudo wiretune serve`: the service with its dashboard on http://127.0.0.1:8080" + _EXIT_CODES,
)
cli.command("tune")(tune_command)
cli.add_typer(resources.testbeds, name="testbed")
cli.add_typer(resources.studies, name="study")
cli.add_typer(resources.tokens, name="token")
cli.command("measure")(measure)
cli.command("reproduce")(reproduce_command)
cli.command("calibrate")(calibrate_command)
cli.command("plan")(plan_command)


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes a free one.  [default: 8080]")] = None,
    ends_with: Annotated[int | None, typer.Option(hidden=True, help="End when this parent process ends.")] = None,
) -> None:
    """Run the service and its dashboard until Ctrl-C.

    Running studies are interrupted when the service ends, and go on when it starts again.

        sudo wiretune serve

        sudo wiretune serve --host 0.0.0.0 --port 80

        WIRETUNE_DATA_DIR=/srv/wiretune wiretune serve
    """
    from app.cli.serving import run_service  # noqa: PLC0415

    run_service(host, port, ends_with)


@cli.command()
def worker(
    ends_with: Annotated[int | None, typer.Option(hidden=True, help="End when this parent process ends.")] = None,
) -> None:
    """Run the jobs of a service in a process of their own, until Ctrl-C.

    The service is started with WIRETUNE_JOBS=worker; both need the same PostgreSQL database. What is running when the
    worker ends goes on when it starts again.

        export WIRETUNE_DATABASE_URL=postgresql://wiretune@db.example.net/wiretune

        WIRETUNE_JOBS=worker wiretune serve

        sudo -E wiretune worker
    """
    from app.cli.serving import run_worker  # noqa: PLC0415

    run_worker(ends_with)


@cli.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Say what this machine can and cannot do, and what to install. Exits with 3 when `wiretune tune` cannot work.

    wiretune doctor

    wiretune doctor --json | jq '.items[] | select(.state != "ok")'
    """
    from app.cli.diagnosis import print_diagnosis  # noqa: PLC0415

    print_diagnosis(as_json)


@cli.command()
def cleanup(
    everything: Annotated[
        bool, typer.Option("--all", help="Every netns testbed of this machine, whoever made it and uses it.")
    ] = False,
) -> None:
    """Remove what killed runs left on this machine: their testbeds with namespaces, processes and state folders.

    Testbeds that were added by hand, and those of a `wiretune tune` that still runs, stay.

        sudo wiretune cleanup

        sudo wiretune cleanup --all
    """
    from app.cli.leftovers import remove_leftovers  # noqa: PLC0415

    remove_leftovers(everything)


@cli.command()
def openapi() -> None:
    """Print the OpenAPI document of the API.

    wiretune openapi > web/openapi.json
    """
    from app.main import make_app  # noqa: PLC0415
    from app.openapi import as_text  # noqa: PLC0415

    sys.stdout.write(as_text(make_app()))


@cli.command()
def version() -> None:
    """Print the version.

    wiretune version
    """
    from app import __version__  # noqa: PLC0415

    sys.stdout.write(f"wiretune {__version__}\n")


def main() -> None:
    """Entry point of the `wiretune` command."""
    raise_when_interrupted()
    try:
        cli()
    except CommandError as error:
        sys.stderr.write(f"Error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"Hint:  {error.hint}\n")
        sys.exit(error.code)
    except Interrupted:
        sys.stderr.write("Interrupted.\n")
        sys.exit(Exit.INTERRUPTED)
