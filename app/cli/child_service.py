"""A service for the length of one command: the running one, or a child process that ends with the command."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.cli.client import Api, connect, read_token
from app.cli.failures import CommandError, Exit
from app.lock import running_service
from app.settings import Settings

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 45.0


@contextmanager
def service_for_one_command(settings: Settings) -> Iterator[tuple[Api, bool]]:
    """The API of this data folder's service, and whether it was started for this command.

    A service that runs already is used and left alone. Otherwise `wiretune serve` is started on a free port of the
    loopback interface, in a process group of its own so that a Ctrl-C on the terminal reaches this process only, and
    stopped at the end. It ends by itself when this process is killed. Raises CommandError when it does not start.
    """
    if os.environ.get("WIRETUNE_URL") or running_service(settings.lock_file) is not None:
        yield connect(settings), False
        return
    with tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "app.cli", "serve", "--port", "0", "--ends-with", str(os.getpid())]
        environment = {**os.environ, "WIRETUNE_DATA_DIR": str(settings.data_dir.resolve())}
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            process_group=0,
            env=environment,
            cwd=Path(__file__).resolve().parent.parent.parent,
        )
        try:
            base_url = _wait_until_ready(child, settings)
            yield Api(base_url, read_token(settings)), True
        except CommandError as error:
            if child.poll() is not None:
                log.seek(0)
                sys.stderr.write(log.read()[-4000:].decode(errors="replace"))
                raise CommandError(f"the service ended unexpectedly: {error.message}", code=Exit.SERVICE) from error
            raise
        finally:
            _stop(child)


def _wait_until_ready(child: subprocess.Popen[bytes], settings: Settings) -> str:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        service = running_service(settings.lock_file)
        if service is not None and service.pid == child.pid and service.base_url:
            return service.base_url
        if child.poll() is not None:
            raise CommandError(f"`wiretune serve` ended with status {child.returncode}", code=Exit.SERVICE)
        time.sleep(0.05)
    raise CommandError(f"the service did not start within {_START_TIMEOUT_S:.0f} s", code=Exit.SERVICE)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ask the child to end, wait for its clean-up, and kill it only when it hangs."""
    child.terminate()
    try:
        child.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        sys.stderr.write("The service did not end in time and was killed; `wiretune cleanup` removes what it left.\n")
