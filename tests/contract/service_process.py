"""A real `wiretune serve` process with a data folder of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from app.lock import running_service

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60.0
READY = "Wiretune's worker takes jobs"


class ServiceProcess:
    """Start it, talk to it, kill it, start it again on the same data."""

    def __init__(self, data_dir: Path, command: str = "serve", **environment: str) -> None:
        self.data_dir, self.command, self.environment = data_dir, command, environment
        self.process: subprocess.Popen[bytes] | None = None
        self.base_url = ""

    @property
    def log(self) -> str:
        return self._log_file.read_text()

    @property
    def _log_file(self) -> Path:
        return self.data_dir.parent / f"{self.data_dir.name}-{self.command}.log"

    def start(self) -> None:
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", self.command, "--ends-with", str(os.getpid())],
                cwd=ROOT,
                env={**os.environ, "WIRETUNE_DATA_DIR": str(self.data_dir), "WIRETUNE_PORT": "0", **self.environment},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._is_ready(self.process):
                return
            assert self.process.poll() is None, self.log
            time.sleep(0.05)
        raise TimeoutError(self.log)

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        service = running_service(self.data_dir / "service.lock")
        if service is not None and service.pid == process.pid:
            self.base_url = service.base_url
            return bool(service.base_url)
        return False

    def kill(self) -> None:
        """As `kill -9` does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """As Ctrl-C does; returns the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(45)

    @property
    def token(self) -> str:
        return (self.data_dir / "token").read_text().strip()

    def client(self, token: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.Client(base_url=f"{self.base_url}/api/v1", headers=headers, timeout=30, trust_env=False)


class WorkerProcess(ServiceProcess):
    """A real `wiretune worker` process, for a service whose jobs are run by one."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        super().__init__(data_dir, "worker", **environment)

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        return READY in self.log[self._log_begins :]

    def start(self) -> None:
        self._log_begins = len(self.log) if self._log_file.exists() else 0
        super().start()


def wait_for(client: httpx.Client, path: str, condition: Callable[[Any], bool], timeout_s: float = 40.0) -> Any:
    """The resource once the condition holds."""
    deadline = time.monotonic() + timeout_s
    while True:
        resource = client.get(path).json()
        if condition(resource):
            return resource
        assert time.monotonic() < deadline, resource
        time.sleep(0.05)


def make_testbed(client: httpx.Client, name: str, **simulation: Any) -> None:
    response = client.post("/testbeds", json={"name": name, "driver": "sim", "simulation": simulation or None})
    assert response.status_code == 202, response.text
    wait_for(client, f"/testbeds/{name}", lambda testbed: testbed["state"] == "ready")


SMALL = {"trials": 2, "repeats": 1, "playoff_rounds": 1, "verdict_rounds": 3, "explain_rounds": 0, "seed": 7}


def make_study(client: httpx.Client, testbed: str, **changes: Any) -> str:
    response = client.post("/studies", json={"testbed": testbed, **SMALL, **changes})
    assert response.status_code == 202, response.text
    assert response.headers["Location"] == f"/api/v1/studies/{response.json()['id']}"
    return str(response.json()["id"])


def finished(study: dict[str, Any]) -> bool:
    return study["state"] in ("completed", "cancelled", "failed")


def blocks_of(result: dict[str, Any]) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    """The blocks of a study by what they measured."""
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for trial in result["trials"]:
        for block in trial["measured"]:
            found.setdefault((trial["number"], trial["candidate_key"], block["phase"], block["index"]), []).append(
                block
            )
    return found


@contextmanager
def event_stream(client: httpx.Client, path: str, last_id: int | None = None) -> Iterator[Iterator[dict[str, Any]]]:
    """Parsed events of an SSE stream; each event's id line is checked against its data."""
    headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
    with client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        yield _events(response)


def _events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        elif "data" in fields:
            event = json.loads(fields["data"])
            assert fields["id"] == str(event["id"])
            assert fields["event"] == event["type"]
            yield event
            fields = {}
