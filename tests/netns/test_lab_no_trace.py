"""Settings of both gateways are the same before a trial and after its rollback; a host out of reach is said to be."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.lab.driver import LabError
from app.lab.netns import NetnsDriver
from app.lab.ssh import SshDriver, SshHost
from tuner.candidate import GATEWAYS, Candidate
from tuner.samples import Workload

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]
# Lifetimes and neighbours that time out are no settings; a state folder keeps keys and logs until the teardown.
DUMP = """
ip -o link; ip -o address | sed 's/ *valid_lft.*//'; ip route show table all; ip rule; tc qdisc show
ip -o neighbour show nud permanent
sysctl -a 2>/dev/null | grep -E '^net[.]ipv[46][.]'
for nic in underlay inside gen; do ethtool -k $nic; ethtool -l $nic; ethtool -c $nic; ethtool -g $nic; done 2>&1
grep . /sys/class/net/*/queues/*/rps_cpus /sys/class/net/*/queues/*/xps_cpus /sys/class/net/*/threaded 2>/dev/null
"""


@pytest.fixture
def driver() -> Iterator[NetnsDriver]:
    driver = NetnsDriver(f"tr{os.getpid()}")
    yield driver
    driver.teardown()


def settings(driver: NetnsDriver) -> dict[str, list[str]]:
    dumps = {}
    for name in GATEWAYS:
        argv = ["ip", "netns", "exec", f"wt-{driver.name}-{name}", "sh", "-c", DUMP]
        text = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout
        dumps[name] = sorted(text.splitlines())
    return dumps


@pytest.mark.skipif(shutil.which("ethtool") is None, reason="ethtool is not installed")
def test_settings_are_as_before_the_trial(driver: NetnsDriver) -> None:
    driver.provision(lambda *_: None, lambda: False)
    before = settings(driver)
    assert any("underlay" in line for line in before["a"])
    assert any("net.ipv4.ip_forward" in line for line in before["a"])
    driver.run_trial(Candidate(lanes=2), [Workload(duration_s=1)], lambda *_: None, lambda: False)
    assert any("wl1" in line for line in settings(driver)["a"]), "the dump would not see a candidate"
    driver.rollback()
    assert settings(driver) == before


def test_a_host_out_of_reach_says_so(tmp_path: Path) -> None:
    if shutil.which("ssh") is None or shutil.which("setpriv") is None:
        pytest.skip("ssh or setpriv is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound and not listening: every connection is refused.
        host = SshHost("127.0.0.1", "198.18.0.1", port=taken.getsockname()[1], key_file="/nonexistent")
        driver = SshDriver("nobody", {"a": host, "b": host}, tmp_path / "ssh")
        with pytest.raises(LabError, match=r"cannot be reached.*refused") as caught:
            driver.provision(lambda *_: None, lambda: False)
    assert "SSH server" in caught.value.hint
