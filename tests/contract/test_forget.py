"""A testbed whose hosts are gone for good: deleting it fails, forgetting it does not."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx

from tests.contract.service_process import ServiceProcess, event_stream, wait_for
from tests.contract.test_cli import run

NAME = "gone"


def test_forgetting_says_what_may_be_left(service: ServiceProcess, client: httpx.Client, tmp_path: Path) -> None:
    refused = client.delete("/testbeds/sim", params={"forget": True})
    assert refused.status_code == 409 and "is ready" in refused.json()["detail"]
    assert client.delete(f"/testbeds/{NAME}", params={"forget": True}).status_code == 404
    with socket.socket() as port:
        # Bound and not listening: nobody else takes it meanwhile.
        port.bind(("127.0.0.1", 0))
        host = {"address": "127.0.0.1", "port": port.getsockname()[1], "data_address": "192.0.2.1"}
        file = tmp_path / "hosts.json"
        file.write_text(json.dumps({"a": host, "b": host | {"data_address": "192.0.2.2"}}))
        create = ["testbed", "create", NAME, "--driver", "ssh", "--hosts", str(file)]
        code, _, err = run(*create, data_dir=service.data_dir)
        assert code == 3 and "Connection refused" in err

        pinned = service.data_dir / "testbeds" / NAME
        assert pinned.exists()
        code, _, err = run("testbed", "delete", NAME, data_dir=service.data_dir)
        assert code == 1 and f"wiretune testbed delete {NAME} --forget" in err
        assert client.get(f"/testbeds/{NAME}").json()["state"] == "failed"
        code, out, err = run("testbed", "delete", NAME, "--forget", data_dir=service.data_dir)
    assert code == 0, err
    assert "is forgotten: its teardown failed" in out
    assert f"May be left on 127.0.0.1: an applied candidate until its lease ends; /run/wiretune/{NAME}-a" in out
    assert client.get(f"/testbeds/{NAME}").status_code == 404
    assert not pinned.exists(), "new hosts of the same name would be refused for their keys"
    with event_stream(client, "/events", last_id=0) as events:
        told = next(one for one in events if one["type"] == "testbed.deleted" and one["testbed"] == NAME)
    left = told["data"]["may_be_left"]
    assert len(left) == 2 and all(f"/run/wiretune/{NAME}-{one}" in line for one, line in zip("ab", left, strict=True))


def test_forgetting_twice_is_as_good_as_once(client: httpx.Client) -> None:
    path = "/testbeds/nowhere"
    for _ in range(2):  # and the name is free again
        # No docker-compose.yml has made a key: it fails at once.
        assert client.post("/testbeds", json={"name": "nowhere", "driver": "compose"}).status_code == 202
        wait_for(client, path, lambda testbed: testbed["state"] == "failed")
        answers = [client.delete(path, params={"forget": True}) for _ in range(2)]
        assert answers[0].status_code == 202 and answers[0].json()["state"] == "forgetting"
        assert answers[1].status_code in (202, 404)
        wait_for(client, path, lambda answer: answer.get("status") == 404)
