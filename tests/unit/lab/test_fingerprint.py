"""The fingerprint of a gateway: what the agent reads of the host, and what the controller lets in."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wiretune_agent import fingerprint as agent

from app.lab.agent_messages import Facts, checked
from app.lab.driver import LabError
from app.lab.fingerprint import MAX_BYTES, MAX_CHARACTERS, bounded, fingerprint_hash, with_controller

DATA = Path(__file__).parents[2] / "data"
TOPOLOGY = {"cpus": [{"cpu": 0, "core": 0}]}
SHELL = "$(reboot)`id`;&|><'\"\\ * ~ {{ lookup('pipe','id') }} ../../etc"
Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=40,
)


def facts(**fingerprint: object) -> Facts:
    return checked(Facts, {"fingerprint": fingerprint, "topology": TOPOLOGY, "engines": []}, "a")


def test_this_machine_has_one_that_the_controller_takes() -> None:
    interface = next(path.name for path in agent.NETWORK.iterdir() if path.name != "lo")
    found = agent.gather(interface, {"wirelane": None, "python": sys.executable})
    assert facts(**found).fingerprint == found
    assert found == agent.gather(interface, {"wirelane": None, "python": sys.executable})
    assert found["cpu"]["model"]
    assert found["memory_mib"] > 0
    assert found["nic"]["name"] == interface
    assert found["programs"]["python"].startswith("Python 3.")
    assert "wirelane" not in found["programs"]


def test_ethtool_and_lspci() -> None:
    about = agent.ethtool_driver((DATA / "ethtool-6.1-driver-virtio.txt").read_text())
    assert (about["driver"], about["version"], about["bus-info"]) == ("virtio_net", "1.0.0", "0000:00:03.0")
    assert "firmware-version" not in about
    assert agent.lspci_model((DATA / "lspci-3.9.0-virtio.txt").read_text()) == "Red Hat, Inc. Virtio 1.0 network device"
    assert agent.lspci_model('00:03.0 "Ethernet') == ""
    assert agent.lspci_model("") == ""


def test_secrets_of_the_command_line_stay_on_the_host() -> None:
    line = (
        "root=/dev/sda1 rd.luks.key=/k:abc ipa.TOKEN=s3cr3t quiet mitigations=off db_password=hunter2 --auth-required"
    )
    shown = agent.command_line(line)
    assert not any(secret in shown for secret in ("abc", "s3cr3t", "hunter2"))
    assert shown.startswith("root=/dev/sda1 rd.luks.key=(hidden)")
    assert "mitigations=off" in shown
    assert len(agent.command_line("x" * 100_000)) == agent.LONG


def test_a_program_that_floods_hangs_or_fails_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "VERSION_TIMEOUT_S", 0.3)
    assert agent.first_line([sys.executable, "-c", "print('tool 1.2\\nmore')"]) == "tool 1.2"
    assert agent.first_line(["yes", SHELL]) == ""
    assert agent.first_line([sys.executable, "-c", "print('x' * 10_000_000)"]) == ""
    assert agent.first_line(["sleep", "60"]) == ""
    assert agent.first_line(["false"]) == ""
    assert agent.first_line(["/no/such/program"]) == ""


def test_hostile_texts_are_cut_to_one_line() -> None:
    found = facts(cpu={"model": SHELL}, kernel="6\n\x1b[2J\u202e.1\x00", text="y" * 5000).fingerprint
    assert found["cpu"]["model"] == SHELL  # It is data: nothing ever runs it.
    assert found["kernel"] == "6  [2J .1 "
    assert len(found["text"]) == MAX_CHARACTERS


@pytest.mark.parametrize(
    "hostile",
    [
        {"text": "z" * 10_000_000},
        {"many": list(range(1000))},
        {"deep": [[[[[[]]]]]]},
        {"nan": float("nan")},
        {f"name {number}": 1 for number in range(500)},
    ],
    ids=["ten megabytes", "items", "depth", "number", "names"],
)
def test_what_no_honest_host_says_is_refused(hostile: dict[str, object]) -> None:
    with pytest.raises(
        LabError, match=r"gateway a returned something implausible: fingerprint: .*(more than|deep|num)"
    ):
        facts(**hostile)


@given(st.dictionaries(st.text(), Json, max_size=5))
def test_whatever_gets_in_is_plain_json_of_bounded_size(value: dict[str, object]) -> None:
    try:
        found = bounded(value)
    except ValueError:
        return
    assert len(json.dumps(found, allow_nan=False)) <= 2 * MAX_BYTES
    assert bounded(found) == found


def test_the_hash_follows_what_the_host_is() -> None:
    one = with_controller(facts(kernel="6.1"))
    assert one.fingerprint["controller"]["wiretune"]
    assert fingerprint_hash(one) == fingerprint_hash(with_controller(facts(kernel="6.1")))
    assert fingerprint_hash(one) != fingerprint_hash(with_controller(facts(kernel="6.2")))
