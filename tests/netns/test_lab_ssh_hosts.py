"""Driver `ssh` with no IPv4 outside of the tunnels, and with hosts that vanish after they were provisioned."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from app.lab.ssh import SshDriver
from tests.contract.service_process import ServiceProcess
from tests.contract.test_cli import run
from tests.netns.ssh_gateways import DATA, SSHD, NamespaceHost, ssh_gateways
from tuner.candidate import Candidate, Engine, Gateway
from tuner.samples import Workload

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and SSH servers"),
    pytest.mark.skipif(SSHD is None, reason="openssh-server is not installed"),
    pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="the kernel has no IPv6"),
]
ENGINES: tuple[Engine, ...] = ("wirelane", "wireguard-go")
NAME = f"six{os.getpid()}"
Hosts = dict[Gateway, NamespaceHost]


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    with ssh_gateways(f"wt-{NAME}", tmp_path / "hosts") as hosts:
        yield hosts
    for folder in (Path("/run/wiretune"), Path("/tmp")):  # noqa: S108 - what hosts that vanished have kept
        for left in folder.glob(f"*{NAME}-*"):
            shutil.rmtree(left)


def test_lanes_over_ipv6(hosts: Hosts, tmp_path: Path) -> None:
    """Preflight, keys, candidates, read-back, traffic, and the link without a tunnel: all over IPv6. The way to b leads
    over a."""
    before = {name: host.run("ls", "/sys/class/net") for name, host in hosts.items()}
    a, b = hosts["a"].ssh, hosts["b"].ssh
    driver = SshDriver(NAME, {"a": a, "b": replace(b, jump=f"root@[{a.address}]:{a.port}")}, tmp_path / "ssh")
    provisioned = driver.provision(lambda *_: None, lambda: False)
    assert set(driver.host_key_fingerprints()) == {"a", "b"}
    assert f"[{a.address}]:{a.port} " in (tmp_path / "ssh/known_hosts").read_text(), "no jump host was met"
    usable = [engine for engine in ENGINES if engine in provisioned.gateways["a"].engines]
    assert "wirelane" in usable
    for engine in usable:
        candidate = Candidate(engine=engine, mode="inline" if engine == "wirelane" else None, lanes=2)
        result = driver.run_trial(candidate, [Workload(duration_s=1, flows=2)], lambda *_: None, lambda: False)
        (sample,) = result.samples
        assert sample.throughput_gbps > 0
        assert min(sample.lane_shares) > 0
        peers = [peer for lane in result.read_back["a"]["lanes"].values() for peer in lane["peers"] or ()]
        assert [peer["endpoint"] for peer in peers] in ([f"[{DATA['b']}]:51820", f"[{DATA['b']}]:51821"], [])
    reference = driver.reference(Workload(duration_s=1), lambda *_: None, lambda: False)
    assert reference.raw_gbps is not None
    driver.teardown()
    assert {name: host.run("ls", "/sys/class/net") for name, host in hosts.items()} == before
    assert not list(Path("/run/wiretune").glob(f"{NAME}-*"))


def test_hosts_that_vanish_can_be_forgotten(hosts: Hosts, tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path / "data")
    service.start()
    try:
        file = tmp_path / "hosts.json"
        file.write_text(json.dumps({name: asdict(host.ssh) for name, host in hosts.items()}))
        create = ["testbed", "create", NAME, "--driver", "ssh", "--hosts", str(file)]
        code, out, err = run(*create, data_dir=service.data_dir)
        assert code == 0, err
        for host in hosts.values():
            host.vanish()
        code, _, err = run("testbed", "delete", NAME, data_dir=service.data_dir)
        assert code == 1 and f"wiretune testbed delete {NAME} --forget" in err
        code, out, err = run("testbed", "delete", NAME, "--forget", data_dir=service.data_dir)
        assert code == 0, err
        for gateway in hosts:
            assert f"/run/wiretune/{NAME}-{gateway}" in out
        with service.client() as client:
            assert client.get(f"/testbeds/{NAME}").status_code == 404
    finally:
        service.stop()
