"""How the hosts of driver `ssh` may be named: IPv4 and IPv6, and what is refused with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.lab.ssh import SshDriver, SshHost
from app.testbeds import schemas

A = {"address": "gw1.example.net", "data_address": "fd00::1"}
B = {"address": "gw2.example.net", "data_address": "fd00::2"}


def create(**a: Any) -> schemas.TestbedCreate:
    return schemas.TestbedCreate.model_validate({"name": "site", "driver": "ssh", "ssh": {"a": A | a, "b": B}})


@pytest.mark.parametrize(("written", "meant"), [("[2001:db8::7]", "2001:db8::7"), ("2001:db8::7", "2001:db8::7")])
def test_an_ipv6_address_is_taken_with_and_without_brackets(written: str, meant: str) -> None:
    created = create(address=written, data_address=written)
    assert created.ssh is not None
    stored = created.ssh.a.model_dump(mode="json")
    assert (stored["address"], stored["data_address"]) == (meant, meant)


def test_an_address_is_stored_as_hosts_tell_it() -> None:
    created = create(data_address="2001:0DB8:0:0::0001")
    assert created.ssh is not None
    assert created.ssh.a.model_dump(mode="json")["data_address"] == "2001:db8::1"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"data_address": "fe80::1"}, "link-local"),
        ({"data_address": "fe80::1%eth0"}, "zone"),
        ({"address": "fe80::1%eth0"}, "zone"),
        ({"data_address": "::ffff:192.0.2.1"}, "write this IPv4 address as 192.0.2.1"),
        ({"data_address": "gw1.example.net"}, "does not appear to be an IPv4 or IPv6 address"),
        ({"data_address": "192.0.2.1"}, "the same IP version"),
        ({"data_address": "fd00:0::2"}, "the same data address"),
        ({"address": "-oProxyCommand=reboot"}, "address"),
        ({"jump": "admin@fd00::1:22"}, "jump"),
        ({"jump": "admin@[fd00::1];reboot"}, "jump"),
    ],
)
def test_what_cannot_be_reached_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        create(**given)


@pytest.mark.parametrize(
    ("jump", "ends"),
    [
        ("bastion", "-p 22 -W [%h]:%p bastion"),
        ("admin@bastion.example.net:2022", "-p 2022 -W [%h]:%p admin@bastion.example.net"),
        ("[2001:db8::b]", "-p 22 -W [%h]:%p 2001:db8::b"),
        ("admin@[2001:db8::b]:2022", "-p 2022 -W [%h]:%p admin@2001:db8::b"),
    ],
)
def test_the_way_over_a_jump_host(jump: str, ends: str, tmp_path: Path) -> None:
    created = create(jump=jump)
    assert created.ssh is not None
    host = SshHost(**created.ssh.a.model_dump(mode="json"))
    arguments = SshDriver("site", {"a": host, "b": host}, tmp_path)._connections()["a"]["ansible_ssh_common_args"]
    assert arguments.endswith(f'{ends}"')
