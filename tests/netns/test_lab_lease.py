"""A candidate is on a gateway on lease: what nobody confirms goes away by itself, without the one who applied it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="ip is not installed"),
]
AGENT = Path(__file__).parents[2] / "playbooks/agent"
SETTING = "net.ipv4.fib_multipath_hash_policy"
HEALS_WITHIN_S = 60.0
# A detached watcher, as on a host without systemd: a unit would not be in the namespace.
PRELUDE = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(AGENT)!r})
from wiretune_agent import gateway, lease, sysctls
from wiretune_agent.errors import AgentError
lease.SYSTEMD = Path("/nonexistent")
folder = Path(sys.argv[1])
"""
APPLY = f"""
lease.arm(folder, float(sys.argv[2]))
sysctls.apply({{"{SETTING}": "1"}}, folder)
"""
CONFIRM = """
try:
    lease.confirm({"state_folder": str(folder), "lease_s": float(sys.argv[2])})
except AgentError as error:
    print(error.message)
"""


@dataclass(frozen=True)
class Host:
    """A namespace with a state folder, on which the agent is called as if it were a host."""

    namespace: str
    folder: Path

    def agent(self, program: str, *arguments: object) -> str:
        words = ["python3", "-c", PRELUDE + program, str(self.folder), *map(str, arguments)]
        return self.run(*words)

    def run(self, *words: str) -> str:
        argv = ["ip", "netns", "exec", self.namespace, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    def setting(self) -> str:
        return self.run("sysctl", "-n", SETTING)

    def watcher(self) -> tuple[int, int]:
        """Its pid and the ticks of its start."""
        pid, start_ticks = json.loads((self.folder / "lease-watcher.json").read_text())
        return pid, start_ticks

    def lives(self, watcher: tuple[int, int]) -> bool:
        pid, start_ticks = watcher
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        return fields[0] != "Z" and int(fields[19]) == start_ticks

    def wait_healed(self) -> None:
        deadline = time.monotonic() + HEALS_WITHIN_S
        while not (self.folder / "lease-ended.json").exists():
            assert time.monotonic() < deadline, "the host does not heal"
            time.sleep(0.05)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    namespace = f"wt-lease-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    host = Host(namespace, tmp_path)
    yield host
    (tmp_path / "lease.json").unlink(missing_ok=True)
    subprocess.run(["ip", "netns", "delete", namespace], check=True)


def test_what_is_not_confirmed_goes_away(host: Host) -> None:
    host.agent(APPLY, 3600)
    assert host.setting() == "1"
    # Shortened rather than short from the start: a busy machine may take any time to come here.
    host.agent("lease.arm(folder, 1)")
    host.wait_healed()
    assert host.setting() == "0"
    assert "not confirmed in time" in host.agent(CONFIRM, 60)


def test_what_is_confirmed_stays_until_it_is_rolled_back(host: Host) -> None:
    host.agent(APPLY, 600)
    assert host.agent(CONFIRM, 3600) == ""
    ends_at_s = json.loads((host.folder / "lease.json").read_text())["ends_at_s"]
    assert ends_at_s > time.clock_gettime(time.CLOCK_BOOTTIME) + 1800
    watcher = host.watcher()
    assert host.lives(watcher)
    host.agent("gateway.rollback({'state_folder': str(folder)})")
    assert host.setting() == "0"
    deadline = time.monotonic() + HEALS_WITHIN_S
    while host.lives(watcher):
        assert time.monotonic() < deadline, "the watcher outlives its lease"
        time.sleep(0.05)
    assert not (host.folder / "lease-ended.json").exists()


def test_a_damaged_lease_is_nobodys(host: Host) -> None:
    host.agent(APPLY, 3600)
    (host.folder / "lease.json").write_text("{")
    host.wait_healed()
    assert host.setting() == "0"
