"""Logs without secrets, one service a data folder, interrupts, and the address of the service."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app.lock import ServiceLock, ServiceRunningError, running_service
from app.logs import redact
from app.server import AddressError, bind
from app.settings import Settings
from app.workflows.interrupts import Interrupts

KEY = "4A3kZ1yk7m1oJr9uUcK0uO1pP8fUr0V2j3dG9Q2wX1A="
TOKEN = "wt_ps52BADhMWvt8fszYJHKKdmu4WE01lT3qkU76CVQtbY"


def test_logs_hold_neither_tokens_nor_keys() -> None:
    entry = redact(None, "info", {"event": f"got {TOKEN}", "exception": f"x\nPrivateKey = {KEY}\n", "number": 3})
    assert json.dumps(entry) == json.dumps(
        {"event": "got [redacted]", "exception": "x\nPrivateKey = [redacted]\n", "number": 3}
    )


def test_lock_says_who_serves_and_where(tmp_path: Path) -> None:
    path = tmp_path / "service.lock"
    assert running_service(path) is None
    lock = ServiceLock(path).acquire()
    lock.announce("http://127.0.0.1:1")
    service = running_service(path)
    assert service is not None
    assert service.base_url == "http://127.0.0.1:1"
    with pytest.raises(ServiceRunningError):
        ServiceLock(path).acquire()
    lock.release()
    assert running_service(path) is None
    ServiceLock(path).acquire().release()


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "service.lock"
    program = (
        "import os, signal, sys; from pathlib import Path; from app.lock import ServiceLock;"
        "lock = ServiceLock(Path(sys.argv[1])).acquire(); lock.announce('http://127.0.0.1:1');"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert killed.returncode == -9
    assert path.read_text()
    assert running_service(path) is None


def test_work_stops_when_the_tables_say_so_or_the_process_ends() -> None:
    interrupts, cancelled = Interrupts(), threading.Event()
    study, other = interrupts.should_cancel(cancelled.is_set), interrupts.should_cancel(lambda: False)
    assert not study()
    cancelled.set()
    while not study():  # the tables are asked now and then only
        time.sleep(0.01)
    cancelled.clear()
    assert study()
    assert not other()
    interrupts.stop_all()
    assert other()


def test_port_in_use() -> None:
    taken = bind("127.0.0.1", 0)
    taken.listen()
    with pytest.raises(AddressError, match="Address already in use"):
        bind("127.0.0.1", taken.getsockname()[1])
    taken.close()


def test_address_that_is_not_ours() -> None:
    with pytest.raises(AddressError):
        bind("192.0.2.1", 0)


def test_data_folder_is_private(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "new" / "data")
    settings.make_data_dir()
    assert settings.data_dir.stat().st_mode & 0o077 == 0
    assert settings.resolved_database_url != settings.resolved_workflow_database_url
