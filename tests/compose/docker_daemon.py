"""A Docker daemon of these tests alone: own data, own socket, and no change to this machine's firewall."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "wiretune-test"
START_TIMEOUT_S = 60
BUILD_TIMEOUT_S = 1800
# Nothing is pulled, and builds reach the package registries like programs of this machine do.
BUILD = {"BASE_IMAGE": "wiretune-test-base", "PARTS": "prebuilt", "BUILD_NETWORK": "host"}


@dataclass(frozen=True)
class Docker:
    """Commands for one daemon, and docker-compose.yml as one project of it."""

    environment: dict[str, str]
    compose_command: tuple[str, ...]

    def run(self, *argv: str, timeout_s: float = 300) -> str:
        """Standard output of a command that must succeed."""
        done = subprocess.run(
            argv, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert done.returncode == 0, f"{' '.join(argv)}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
        return done.stdout

    def compose(self, *arguments: str, timeout_s: float = 300) -> str:
        """Standard output of `docker compose …`."""
        return self.run(*self.compose_command, "--project-name", PROJECT, *arguments, timeout_s=timeout_s)

    def inside(self, service: str, *argv: str) -> str:
        """Standard output of a command in the container of a service."""
        return self.compose("exec", "-T", service, *argv)

    def leftovers(self) -> list[str]:
        """Containers, volumes and networks that are there, apart from Docker's own networks."""
        found = self.run("docker", "ps", "--all", "--quiet") + self.run("docker", "volume", "ls", "--quiet")
        return [*found.split(), *self.run("docker", "network", "ls", "--quiet", "--filter", "type=custom").split()]


@contextmanager
def docker_daemon() -> Iterator[Docker]:
    """Starts it; skips, and says why, where that is not possible."""
    if os.geteuid() != 0:
        pytest.skip("a Docker daemon needs root")
    for program, package in (("dockerd", "docker.io"), ("mmdebstrap", "mmdebstrap")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: apt-get install {package}")
    folder = Path(tempfile.mkdtemp(prefix="wiretune-docker-"))
    # Debian's docker builds with BuildKit by itself; another one on the PATH may lack the plugin for it.
    path = f"/usr/bin:{os.environ.get('PATH', '')}"
    environment = {**os.environ, **BUILD, "PATH": path, "DOCKER_HOST": f"unix://{folder}/docker.sock"}
    environment |= {"DOCKER_BUILDKIT": "1", "COMPOSE_DOCKER_CLI_BUILD": "1", "WIRETUNE_PORT": "0"}
    daemon = _start(folder)
    try:
        yield Docker(environment, _compose_command(environment))
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(120)
        shutil.rmtree(folder)


def _start(folder: Path) -> subprocess.Popen[bytes]:
    folders = [f"--data-root={folder}/data", f"--exec-root={folder}/run", f"--pidfile={folder}/pid"]
    restraint = ["--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false", "--bridge=none"]
    log = folder / "log"
    with log.open("wb") as output:
        argv = ["dockerd", f"--host=unix://{folder}/docker.sock", *folders, *restraint]
        daemon = subprocess.Popen(argv, stdout=output, stderr=output)
    deadline = time.monotonic() + START_TIMEOUT_S
    while "Daemon has completed initialization" not in log.read_text():
        if daemon.poll() is not None or time.monotonic() > deadline:
            daemon.kill()
            daemon.wait()
            reason = log.read_text().strip().rpartition("\n")[2]
            shutil.rmtree(folder)
            pytest.skip(f"no Docker daemon can run here: {reason}")
        time.sleep(0.1)
    return daemon


def _compose_command(environment: dict[str, str]) -> tuple[str, ...]:
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0], path=environment["PATH"]):
            version = subprocess.run([*command, "version"], env=environment, capture_output=True, check=False)
            if version.returncode == 0:
                return command
    pytest.skip("neither `docker compose` nor `docker-compose` works here: apt-get install docker-compose")
