"""Addresses, wirelane's configuration, messages of gateways, errors, the doctor: pure parts of the lab."""

from __future__ import annotations

import base64
import tomllib
from datetime import UTC, datetime

import pytest

from app.lab.addressing import gateways_of, lane_endpoint, lane_network
from app.lab.agent_messages import AgentFailure, Facts, Preparation, checked
from app.lab.doctor import can_tune, diagnose, examine, iperf3_version
from app.lab.driver import CandidateFailed, LabError
from app.lab.errors import failure_of
from app.lab.fingerprint import fingerprint_hash
from app.lab.playbook_runner import PlaybookResult, TaskResult
from app.lab.probes import Probes, probe
from app.lab.wirelane_config import wirelane_toml
from tuner.candidate import MAX_LANES, Candidate, GatewayCpuSets, StageCpuSets

KEY = base64.b64encode(bytes(32)).decode()


def test_addresses_of_both_gateways_fit_together() -> None:
    gateways = gateways_of("demo")
    a, b = gateways["a"], gateways["b"]
    assert (a.far, b.far) == (b, a)
    assert (a.namespace, str(b.state_folder)) == ("wt-demo-a", "/run/wiretune/demo-b")
    lanes = [(a.lane(lane), b.lane(lane), lane_network(lane)) for lane in range(MAX_LANES)]
    assert lanes[0] == ("198.18.128.0", "198.18.128.1", "198.18.128.0/31")
    assert lanes[1] == ("198.18.128.2", "198.18.128.3", "198.18.128.2/31")
    assert len({address for lane in lanes for address in lane[:2]}) == 2 * MAX_LANES


def test_wirelane_configuration() -> None:
    cpu_sets = GatewayCpuSets(a=StageCpuSets(read="0", crypto="1-3", write="0"))
    candidate = Candidate(mode="pipelined", crypto_workers=3, lanes=2, cpu_sets=cpu_sets, mtu=1400)
    a, b = gateways_of("demo").values()
    config = tomllib.loads(wirelane_toml(candidate, a, [KEY] * 2))
    assert config["mode"] == "pipelined"
    assert config["crypto_workers"] == 3
    assert config["cpu_sets"] == {"read": "0", "crypto": "1-3", "write": "0"}
    assert [lane["listen_port"] for lane in config["lane"]] == [51820, 51821]
    assert config["lane"][1]["peer"] == [
        {
            "public_key": KEY,
            "endpoint": "198.18.0.2:51821",
            "allowed_ips": ["198.19.2.0/24", "198.18.128.2/31"],
        }
    ]
    assert "cpu_sets" not in tomllib.loads(wirelane_toml(candidate, b, [KEY] * 2))


def test_an_endpoint_is_written_as_wg_shows_it() -> None:
    assert lane_endpoint("192.0.2.1", 0) == "192.0.2.1:51820"
    assert lane_endpoint("fd00::1", 2) == "[fd00::1]:51822"


@pytest.mark.parametrize("key", ["", "x" * 44, KEY + "\nPostUp = reboot", KEY[:-4], "'; reboot #", KEY * 2])
def test_hostile_public_keys_are_refused(key: str) -> None:
    with pytest.raises(LabError, match="gateway b returned something implausible: lane_public_keys"):
        checked(Preparation, {"lane_public_keys": [KEY, key]}, "b")


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"fingerprint": {}, "topology": {"cpus": []}, "engines": []},
        {"fingerprint": {"x": "y" * 70_000}, "topology": {"cpus": [{"cpu": 0, "core": 0}]}, "engines": []},
        {"fingerprint": {}, "topology": {"cpus": [{"cpu": 0, "core": 0}]}, "engines": ["rm -rf"]},
        {"fingerprint": {}, "topology": {"cpus": [{"cpu": 0, "core": 0}]}, "engines": [], "more": 1},
    ],
)
def test_hostile_facts_are_refused(value: object) -> None:
    with pytest.raises(LabError, match="gateway a returned something implausible"):
        checked(Facts, value, "a")


def test_fingerprint_follows_the_hardware() -> None:
    def facts(cpus: int) -> Facts:
        topology = {"cpus": [{"cpu": cpu, "core": cpu} for cpu in range(cpus)]}
        return checked(Facts, {"fingerprint": {"kernel": "6"}, "topology": topology, "engines": []}, "a")

    assert fingerprint_hash(facts(2)) == fingerprint_hash(facts(2)) != fingerprint_hash(facts(4))


def failed(host: str, event: str = "runner_on_failed", **result: object) -> TaskResult:
    now = datetime.now(UTC)
    return TaskResult.model_validate(
        {"event": event, "task": "Apply the candidate", "host": host, "res": result, "start": now, "end": now}
    )


def error(blame: str, message: str) -> dict[str, str]:
    return AgentFailure.model_validate({"blame": blame, "message": message}).model_dump()


def test_the_gateway_that_blames_the_candidate_is_heard() -> None:
    tasks = (failed("a", error=error("lab", "b is silent")), failed("b", error=error("candidate", "wirelane died")))
    raised = failure_of(PlaybookResult(tasks, ""))
    assert isinstance(raised, CandidateFailed)
    assert raised.message == "gateway b: wirelane died"


def test_what_both_hosts_lack_is_said_of_both() -> None:
    tasks = (failed("b", error=error("lab", "no route")), failed("a", error=error("lab", "wg is missing")))
    raised = failure_of(PlaybookResult(tasks, ""))
    assert raised.message == "gateway b: no route; gateway a: wg is missing"


def test_a_host_out_of_reach_explains_everything() -> None:
    tasks = (failed("b", error=error("candidate", "died")), failed("a", "runner_on_unreachable", msg="no namespace"))
    raised = failure_of(PlaybookResult(tasks, "output"))
    assert not isinstance(raised, CandidateFailed)
    assert "gateway a cannot be reached: no namespace" in raised.message
    assert raised.detail == "output"


def test_ansibles_own_failure_is_the_labs() -> None:
    raised = failure_of(PlaybookResult((failed("a", msg="no python", module_stderr="sh: python3: not found"),), ""))
    assert not isinstance(raised, CandidateFailed)
    assert "python3: not found" in raised.message


FULL = Probes(
    root=True,
    kernel="6.8",
    cpus=8,
    numa_nodes=2,
    cpu_flags=frozenset({"avx512ifma"}),
    kernel_wireguard=True,
    kernel_pktgen=True,
    network_namespaces=True,
    tun_error=None,
    tun_tso=True,
    tun_uso=True,
    udp_gso=True,
    udp_gro=True,
    programs=dict.fromkeys(("ip", "wg", "wireguard-go", "wirelane", "dpdk-testpmd"), "1.0") | {"iperf3": "iperf 3.21"},
    aead_backends=("avx512",),
    packages={"ansible-core": "2.19", "ansible-runner": "2.4"},
)


def test_a_machine_with_everything_has_nothing_to_do() -> None:
    checks = diagnose(FULL)
    assert {check.state for check in checks} == {"ok"}
    assert {check.hint for check in checks} == {""}
    assert len({check.name for check in checks}) == len(checks)
    assert can_tune(checks)


@pytest.mark.parametrize(
    ("change", "name", "state", "hint"),
    [
        ({"root": False}, "root", "missing", "sudo"),
        ({"tun_error": "No such file or directory"}, "tun", "missing", "modprobe tun"),
        ({"programs": FULL.programs | {"iperf3": None}}, "iperf3", "missing", "apt-get install iperf3"),
        ({"programs": FULL.programs | {"wirelane": None}}, "wirelane", "missing", "make build"),
        ({"programs": FULL.programs | {"wireguard-go": None}}, "wireguard_go", "missing", "apt-get install"),
        ({"kernel_wireguard": False}, "kernel_wireguard", "missing", "modprobe wireguard"),
        ({"tun_uso": False}, "tun_uso", "degraded", "6.2"),
        ({"tun_tso": None}, "tun_tso", "degraded", "root"),
        ({"cpu_flags": frozenset({"avx2"})}, "aead", "degraded", "AVX-512"),
        ({"cpus": 2}, "cpus", "degraded", "4 or more"),
        ({"packages": {"ansible-core": None}}, "ansible", "missing", "make setup"),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(change: dict[str, object], name: str, state: str, hint: str) -> None:
    checks = diagnose(FULL.model_copy(update=change))
    (found,) = [check for check in checks if check.state != "ok"]
    assert (found.name, found.state) == (name, state)
    assert hint in found.hint
    assert can_tune(checks) == (not found.required)


def test_testpmd_stands_in_for_pktgen() -> None:
    without = FULL.model_copy(update={"kernel_pktgen": False})
    assert next(check for check in diagnose(without) if check.name == "pktgen").state == "ok"
    neither = without.model_copy(update={"programs": FULL.programs | {"dpdk-testpmd": None}})
    assert "dpdk-dev" in next(check for check in diagnose(neither) if check.name == "pktgen").hint


def test_this_machine_is_examined() -> None:
    assert {check.name for check in examine()} == {check.name for check in diagnose(FULL)}
    assert probe().kernel


@pytest.mark.parametrize(
    ("text", "number"), [("iperf 3.12 (cJSON 1.7.15)", (3, 12)), ("", (0, 0)), ("iperf 3.1.3", (3, 1))]
)
def test_iperf3_version(text: str, number: tuple[int, int]) -> None:
    assert iperf3_version(text) == number
