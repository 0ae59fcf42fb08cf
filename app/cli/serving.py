"""`wiretune serve` as a process: logs, signals, and the first token shown once."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress

from app.cli.failures import CommandError, Exit, Interrupted
from app.lock import ServiceRunningError
from app.logs import configure_logs
from app.server import AddressError, serve
from app.settings import Settings

_PR_SET_PDEATHSIG = 1  # prctl(2)


def run_service(host: str | None, port: int | None, parent_pid: int | None) -> None:
    """Serve until a signal comes. Raises CommandError."""
    if parent_pid is not None:
        _end_with(parent_pid)
    given = {"host": host, "port": port}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    configure_logs(settings)
    try:
        with suppress(Interrupted):  # the server has stopped in order and hands its signal on
            serve(settings, lambda base_url, token: _greet(settings, base_url, token))
    except ServiceRunningError as error:
        service = error.service
        where = f"process {service.pid} at {service.base_url or 'an address not known yet'}" if service else "a process"
        raise CommandError(
            f"{settings.data_dir} is served by {where} already",
            hint="Use that one, or set WIRETUNE_DATA_DIR to another folder.",
            code=Exit.SERVICE,
        ) from error
    except AddressError as error:
        raise CommandError(str(error), hint="Choose another one with --port.", code=Exit.SERVICE) from error
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
