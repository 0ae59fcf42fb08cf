"""`wiretune serve` and `wiretune worker` as processes: logs, signals, and the first token shown once."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from app.cli.failures import CommandError, Exit, Interrupted
from app.database import JobsTakenError
from app.lock import ServiceRunningError
from app.logs import configure_logs
from app.server import AddressError, serve
from app.settings import Settings
from app.worker import work

_PR_SET_PDEATHSIG = 1  # prctl(2)


def run_service(host: str | None, port: int | None, parent_pid: int | None) -> None:
    """Serve until a signal comes. Raises CommandError."""
    if parent_pid is not None:
        _end_with(parent_pid)
    given = {"host": host, "port": port}
    settings = _settings(**{name: value for name, value in given.items() if value is not None})
    with _clear_errors(settings, "served by"):
        try:
            with suppress(Interrupted):  # the server has stopped in order and hands its signal on
                serve(settings, lambda base_url, token: _greet(settings, base_url, token))
        except AddressError as error:
            raise CommandError(str(error), hint="Choose another one with --port.", code=Exit.SERVICE) from error


def run_worker(parent_pid: int | None) -> None:
    """Run jobs until a signal comes. Raises CommandError."""
    if parent_pid is not None:
        _end_with(parent_pid)
    settings = _settings(jobs="worker")
    with _clear_errors(settings, "used by"):
        work(settings, lambda: print("Wiretune's worker takes jobs", flush=True))  # noqa: T201


def _settings(**given: Any) -> Settings:
    try:
        settings = Settings(**given)
    except ValidationError as error:
        reasons = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
        raise CommandError(f"the settings are wrong: {reasons}", hint="They are the WIRETUNE_… variables.") from error
    configure_logs(settings)
    return settings


@contextmanager
def _clear_errors(settings: Settings, used_by: str) -> Iterator[None]:
    try:
        yield
    except ServiceRunningError as error:
        service = error.service
        where = f"process {service.pid} at {service.base_url or 'an address not known yet'}" if service else "a process"
        raise CommandError(
            f"{settings.data_dir} is {used_by} {where} already",
            hint="Use that one, or set WIRETUNE_DATA_DIR to another folder.",
            code=Exit.SERVICE,
        ) from error
    except JobsTakenError as error:
        raise CommandError(
            "another process runs the jobs of this database already",
            hint="One worker is enough: it runs the jobs of all testbeds side by side. Stop the other one first.",
            code=Exit.SERVICE,
        ) from error
    except OperationalError as error:
        raise CommandError(
            f"the database does not answer: {str(error.orig).splitlines()[0]}",
            hint="Start it, or correct WIRETUNE_DATABASE_URL.",
            code=Exit.SERVICE,
        ) from error
    except OSError as error:
        raise CommandError(
            f"cannot use the data folder {settings.data_dir}: {error.strerror or error}",
            hint="Set WIRETUNE_DATA_DIR to a folder that you may write.",
        ) from error


def _end_with(parent_pid: int) -> None:
    """Have the kernel send SIGTERM when the parent ends, however it ends."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent_pid:
        raise CommandError("the command that started this service has ended", code=Exit.SERVICE)


def _greet(settings: Settings, base_url: str, first_token: str | None) -> None:
    sys.stdout.write(f"Wiretune is at {base_url}\n")
    if first_token is not None:
        sys.stdout.write(f"Token (shown this once, kept in {settings.token_file}): {first_token}\n")
        sys.stdout.write(f"Signed in: {base_url}/#token={first_token}\n")
    else:
        sys.stdout.write(f"Token: in {settings.token_file}\n")
    sys.stdout.flush()
