"""docker-compose.yml under a real Docker daemon: `docker compose up`, a study, a worker that dies, and nothing left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.compose.docker_daemon import BUILD, BUILD_TIMEOUT_S, Docker, docker_daemon
from tests.contract.service_process import SMALL, finished, wait_for

pytestmark = pytest.mark.skipif(
    not os.environ.get("WIRETUNE_TEST_COMPOSE"), reason="builds images and starts a Docker daemon: make test-compose"
)
PATIENCE_S = 600


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """A daemon with the images built and everything up; gone, with all of it, at the end."""
    with docker_daemon() as docker:
        docker.run("scripts/base-image", BUILD["BASE_IMAGE"], timeout_s=BUILD_TIMEOUT_S)
        docker.compose("build", timeout_s=BUILD_TIMEOUT_S)
        docker.compose("up", "--detach", timeout_s=PATIENCE_S)
        yield docker
        docker.compose("down", "--volumes", "--timeout", "60")


@pytest.fixture(scope="module")
def client(docker: Docker) -> Iterator[httpx.Client]:
    """A client of the published port, with the first token."""
    address = docker.compose("port", "service", "8080").strip()
    token = docker.inside("service", "cat", "/var/lib/wiretune/token").strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"http://{address}/api/v1", headers=headers, timeout=30, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def study(docker: Docker, client: httpx.Client) -> dict[str, Any]:
    """A finished study, whose worker was killed in the middle."""
    assert "ready" in docker.inside("service", "wiretune", "testbed", "create", "demo", "--driver", "compose")
    spec = {**SMALL, "testbed": "demo", "trials": 1, "sample_seconds": 0.5}
    study_id = client.post("/studies", json=spec).json()["id"]
    path = f"/studies/{study_id}"
    wait_for(client, path, lambda study: study["progress"]["blocks_done"] >= 2, PATIENCE_S)
    docker.compose("kill", "worker")
    docker.compose("start", "worker")
    return dict(wait_for(client, path, finished, PATIENCE_S))


def test_study_runs_over_real_tunnels(client: httpx.Client, study: dict[str, Any]) -> None:
    assert study["state"] == "completed", study["failure"]
    assert (study["driver"], study["simulated"]) == ("compose", False)
    result = client.get(f"/studies/{study['id']}/result").json()
    blocks = [block for trial in result["trials"] for block in trial["measured"]]
    assert all(sample["throughput_gbps"] > 0 for block in blocks for sample in block["samples"])
    assert client.get("/testbeds/demo").json()["gateways"]["a"]["host_key"].startswith("SHA256:")
    bundle = client.get(f"/studies/{study['id']}/bundle/download")
    assert bundle.content[:2] == b"\x1f\x8b", "the API gives out what the worker built"


def test_tunnel_keys_stay_on_their_gateways(docker: Docker, study: dict[str, Any]) -> None:
    assert study["state"] == "completed"
    stored = docker.inside("database", "sh", "-c", "pg_dump -U wiretune -h /run/postgresql postgres")
    stored += docker.inside("worker", "sh", "-c", "cat -v $(find /var/lib/wiretune -type f)")
    stored += docker.compose("logs", "--no-color")
    for gateway in "ab":
        files = f"cd /run/wiretune/demo-{gateway}/keys && cat $(ls | grep {{}} [.]pub)"
        private, public = (
            docker.inside(f"gateway-{gateway}", "sh", "-c", files.format(option)).split() for option in ("-v", "-e")
        )
        assert len(private) == len(public) >= 2
        assert [key for key in public if key in stored], "where public keys are, private ones would be found as well"
        assert not [key for key in private if key in stored]


def test_gateway_lets_the_worker_in_and_nobody_else(docker: Docker, study: dict[str, Any]) -> None:
    assert study["state"] == "completed"
    script = "ssh -o BatchMode=yes -o StrictHostKeyChecking=no {} root@gateway-a id -u 2>&1 || echo refused"
    assert "0" in docker.inside("worker", "sh", "-c", script.format("-i /var/lib/wiretune/ssh/id_ed25519"))
    assert "refused" in docker.inside("worker", "sh", "-c", script.format("-F none"))
    assert "PRIVATE" not in docker.inside("gateway-a", "sh", "-c", "cat /etc/wiretune/*")


def test_recreated_gateways_are_known_and_made_ready_again(
    docker: Docker, client: httpx.Client, study: dict[str, Any]
) -> None:
    """Containers come and go; the pinned host keys stay, and the testbed is healed before its next use."""
    assert study["state"] == "completed"
    docker.compose("up", "--detach", "--force-recreate", "--no-deps", "gateway-a", "gateway-b")
    workloads = [{"duration_s": 0.5}]
    body = {"testbed": "demo", "candidate": {}, "workloads": workloads}
    measurement = client.post("/measurements", json=body).json()
    states = ("completed", "failed", "infeasible")
    path = f"/measurements/{measurement['id']}"
    done = wait_for(client, path, lambda measurement: measurement["state"] in states, PATIENCE_S)
    assert done["state"] == "completed", done


def test_down_leaves_nothing_behind(docker: Docker, client: httpx.Client, study: dict[str, Any]) -> None:
    assert study["state"] == "completed"
    assert "is gone" in docker.inside("service", "wiretune", "testbed", "delete", "demo")
    assert docker.inside("gateway-a", "sh", "-c", "ls /run/wiretune 2>&1 || true").startswith("ls: cannot access")
    assert len(docker.leftovers()) > 6
    docker.compose("down", "--volumes", "--timeout", "60")
    assert docker.leftovers() == []
