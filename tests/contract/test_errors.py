"""Bad input and missing rights: every answer is a problem document that says what is wrong."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.contract.service_process import ServiceProcess, make_study, wait_for


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == status
    assert document["type"].startswith("urn:wiretune:")
    assert document["detail"]
    return dict(document)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/testbeds", {"name": "a; rm -rf /", "driver": "sim"}, "body.name"),
        ("/testbeds", {"name": "$(id)", "driver": "sim"}, "body.name"),
        ("/testbeds", {"name": "../../etc", "driver": "sim"}, "body.name"),
        ("/testbeds", {"name": "a\n", "driver": "sim"}, "body.name"),
        ("/testbeds", {"name": "a" * 16, "driver": "sim"}, "body.name"),
        ("/testbeds", {"name": "x", "driver": "telnet"}, "body.driver"),
        ("/testbeds", {"name": "x", "driver": "netns", "simulation": {}}, "body"),
        ("/testbeds", {"name": "x", "driver": "netns", "vm": {}}, "body"),
        ("/testbeds", {"name": "x", "driver": "vm", "vm": {"distribution": "../etc"}}, "body.vm.distribution"),
        ("/studies", {"testbed": "sim", "trails": 3}, "body.trails"),
        ("/studies", {"testbed": "sim", "sample_seconds": -1}, "body.sample_seconds"),
        ("/studies", {"testbed": "sim", "sample_seconds": "NaN"}, "body.sample_seconds"),
        ("/studies", {"testbed": "sim", "trials": 0}, "body.trials"),
        ("/studies", {"testbed": "sim", "label": "x" * 121}, "body.label"),
        ("/studies", {"testbed": "sim", "space": {"lanes": [0]}}, "body.space.lanes.0"),
        ("/studies", {"testbed": "sim", "space": {"lane": 1}}, "body.space.lane"),
        ("/measurements", {"testbed": "sim", "candidate": {"lanes": 0}}, "body.candidate.lanes"),
        ("/measurements", {"testbed": "sim", "candidate": {"cpu_sets": {"a": {"tx": "1;2"}}}}, "body.candidate"),
        ("/measurements", {"testbed": "sim", "workloads": [{"duration_s": -3}]}, "body.workloads.0.duration_s"),
        ("/measurements", {"testbed": "sim", "workloads": []}, "body.workloads"),
        ("/tokens", {"name": "<script>"}, "body.name"),
    ],
)
def test_rejected_fields_are_named(client: httpx.Client, path: str, body: dict[str, Any], field: str) -> None:
    document = problem(client.post(path, json=body), 422)
    assert any(error["location"].startswith(field) for error in document["errors"]), document["errors"]


@pytest.mark.parametrize("body", [b"'\x80\xff", b"{", b""])
def test_a_body_that_is_no_json(client: httpx.Client, body: bytes) -> None:
    problem(client.post("/studies", content=body, headers={"Content-Type": "application/json"}), 422)


def test_impossible_cpu_set(client: httpx.Client) -> None:
    body = {"testbed": "sim", "candidate": {"cpu_sets": {"a": {"tx": "999"}}}}
    assert "no CPU 999 for stage tx" in problem(client.post("/measurements", json=body), 422)["detail"]


def test_impossible_search_space(client: httpx.Client) -> None:
    study = {"testbed": "sim", "space": {"cpu_sets": [{"a": {"tx": "999"}, "b": {"tx": "999"}}]}}
    assert "999" in problem(client.post("/studies", json=study), 422)["detail"]


def test_engine_named_twice(client: httpx.Client) -> None:
    body = {"testbed": "sim", "engines": ["wirelane", "wirelane"]}
    assert "twice" in problem(client.post("/studies", json=body), 422)["detail"]


def test_body_that_is_no_json(client: httpx.Client) -> None:
    response = client.post("/studies", content=b"{", headers={"Content-Type": "application/json"})
    problem(response, 422)


def test_body_that_is_too_large(client: httpx.Client) -> None:
    response = client.post("/studies", content=b" " * (2 << 20), headers={"Content-Type": "application/json"})
    assert response.status_code == 413


def test_unknown_things(client: httpx.Client) -> None:
    for path in ("/studies/000000000000", "/testbeds/none", "/trials/999999", "/measurements/000000000000", "/nowhere"):
        problem(client.get(path), 404)
    for path in ("/studies/000000000000/events", "/studies/000000000000/bundle", "/studies/000000000000/result"):
        problem(client.get(path), 404)
    problem(client.post("/studies", json={"testbed": "none"}), 404)


def test_method_not_allowed(client: httpx.Client) -> None:
    problem(client.put("/studies", json={}), 405)


def test_missing_wrong_and_revoked_token(service: ServiceProcess, client: httpx.Client) -> None:
    url = f"{service.base_url}/api/v1/studies"
    missing = httpx.get(url, trust_env=False)
    assert problem(missing, 401)["type"] == "urn:wiretune:unauthorized"
    assert missing.headers["WWW-Authenticate"] == "Bearer"
    for header in ("Bearer wt_wrong", "Bearer " + "x" * 10_000, "Basic d3Q6d3Q=", "Bearer é"):
        problem(httpx.get(url, headers={"Authorization": header.encode()}, trust_env=False), 401)

    created = client.post("/tokens", json={"name": "for a moment"}).json()
    with service.client(created["token"]) as other:
        assert other.get("/studies").status_code == 200
        assert client.delete(f"/tokens/{created['id']}").status_code == 204
        problem(other.get("/studies"), 401)
    problem(client.delete(f"/tokens/{created['id']}"), 409)
    listed = client.get("/tokens").text
    assert created["token"] not in listed


def test_last_token_stays(client: httpx.Client) -> None:
    valid = [token for token in client.get("/tokens").json()["items"] if token["revoked_at"] is None]
    for token in valid[1:]:
        client.delete(f"/tokens/{token['id']}")
    assert "last valid token" in problem(client.delete(f"/tokens/{valid[0]['id']}"), 409)["detail"]


def test_health_needs_no_token(service: ServiceProcess) -> None:
    response = httpx.get(f"{service.base_url}/api/v1/health", trust_env=False)
    assert response.json()["status"] == "ok"


def test_testbed_name_is_taken(client: httpx.Client) -> None:
    problem(client.post("/testbeds", json={"name": "sim", "driver": "sim"}), 409)


def test_nothing_is_sniffed_framed_or_loaded_from_elsewhere(service: ServiceProcess) -> None:
    headers = httpx.get(f"{service.base_url}/api/v1/health", trust_env=False).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy


def test_finished_study_can_be_neither_cancelled_nor_resumed(client: httpx.Client) -> None:
    study = make_study(client, "sim")
    wait_for(client, f"/studies/{study}", lambda one: one["state"] == "completed")
    assert "completed" in problem(client.post(f"/studies/{study}/cancel"), 409)["detail"]
    assert "completed" in problem(client.post(f"/studies/{study}/resume"), 409)["detail"]


def test_second_service_on_the_same_data_is_refused(service: ServiceProcess) -> None:
    other = ServiceProcess(service.data_dir)
    with pytest.raises(AssertionError, match="is served by process"):
        other.start()
    assert httpx.get(f"{service.base_url}/api/v1/health", trust_env=False).status_code == 200
