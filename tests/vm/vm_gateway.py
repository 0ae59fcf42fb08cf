"""A virtual machine as a test sees it: commands over SSH, the agent called directly, all settings as text."""

from __future__ import annotations

import gzip
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from app.lab.driver import LabError, ProvisionedTestbed
from app.lab.vm import VmDriver
from tuner.candidate import Gateway

# Lifetimes, and what the kernel counts, draws or notes by itself, are no settings.
DUMP = """
{ ip -o link; ip -o address; ip route show table all; ip rule; ip -o neighbour show nud permanent; tc qdisc show
} | sed -E 's/ (valid_lft|expires) .*//'
sysctl -a 2>/dev/null | grep -vE '^fs[.](dentry|inode|file-nr|quota)|nf_conntrack_count|[.]wl[0-9]' \\
  | grep -vE '^kernel[.](random|ns_last_pid|pty[.]nr|tainted|hung_task_warnings)'
for nic in $(ls /sys/class/net); do ethtool -k $nic; ethtool -g $nic; ethtool -l $nic; ethtool -c $nic
ethtool -n $nic rx-flow-hash udp4; done 2>&1
grep . /proc/irq/*/smp_affinity_list /sys/class/net/*/threaded /sys/class/net/*/queues/*/[rx]ps_cpus 2>/dev/null
systemctl list-units --all --no-legend --plain 'wiretune*'
find /run/wiretune /tmp /etc /usr/local /root /opt -xdev -type f -printf '%p %s\\n' 2>/dev/null | sort
mount | sort
"""


def provisioned_or_failed(driver: VmDriver) -> ProvisionedTestbed:
    """The machines, booted; skips the test where this machine cannot tell their distribution's packages from others."""
    try:
        return driver.provision(lambda *_: None, lambda: False)
    except LabError as error:
        if "keyring" in error.message:
            pytest.skip(f"{error.message}; {error.hint}")
        # Without its detail, which has the console of a machine that does not boot, nobody could tell why.
        pytest.fail(f"no virtual machines: {error.message}\n{error.hint}\n{error.detail}", pytrace=False)


@dataclass(frozen=True)
class Machine:
    """One of the two."""

    port: int
    key_file: str
    state_folder: str

    @classmethod
    def of(cls, driver: VmDriver, name: Gateway) -> Self:
        """The gateway of a testbed that is provisioned."""
        connection = driver._connections()[name]
        return cls(
            port=connection["ansible_port"],
            key_file=connection["ansible_ssh_private_key_file"],
            state_folder=f"/run/wiretune/{driver.name}-{name}",
        )

    def ssh(self, command: str, *, stdin: str = "", timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a command line; whatever its exit code."""
        return subprocess.run(
            self._argv(command), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def _argv(self, command: str) -> list[str]:
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        where = ["-o", "ConnectTimeout=20", "-p", str(self.port), "root@127.0.0.1"]
        return ["ssh", "-i", self.key_file, *options, *where, command]

    def output(self, command: str) -> str:
        """Standard output of a command that succeeds."""
        result = self.ssh(command)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def install(self, program: Path, destination: str) -> None:
        """Put a program there."""
        command = f"gzip -d > {destination} && chmod 755 {destination}"
        packed = gzip.compress(program.read_bytes(), 1)
        subprocess.run(self._argv(command), input=packed, capture_output=True, timeout=180, check=True)

    def agent(self, call: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call the agent as its module does; what it answers."""
        program = (
            f"import json, sys; sys.path.insert(0, '{self.state_folder}/programs/agent.zip')\n"
            "from wiretune_agent.calls import dispatch\n"
            "print(json.dumps(dispatch(*json.load(sys.stdin))))"
        )
        result = self.ssh(f'python3 -c "{program}"', stdin=json.dumps([call, dict(arguments)]))
        assert result.returncode == 0, result.stderr
        return dict(json.loads(result.stdout))

    def settings(self) -> list[str]:
        """Every setting that a study could have touched, one a line, and every file outside of state folders."""
        return [line for line in self.everything() if not line.startswith("/run/wiretune/")]

    def everything(self) -> list[str]:
        """The same with the files of state folders."""
        lines = self.output(DUMP).splitlines()
        assert len(lines) > 500, "the dump sees nothing"
        return lines

    def await_settings(self, wanted: list[str], timeout_s: float) -> None:
        """Returns as soon as the settings are the wanted ones; fails the test with the difference otherwise."""
        deadline = time.monotonic() + timeout_s
        while difference := different(self.settings(), wanted):
            assert time.monotonic() < deadline, difference[:20]
            time.sleep(2)

    def await_no_process(self, timeout_s: float) -> None:
        """Returns as soon as nothing runs that a study starts: no data plane, generator, agent or watcher of ours."""
        deadline = time.monotonic() + timeout_s
        while left := self.ssh("pgrep -fa '[w]irelane|[i]perf3|[w]iretune'").stdout:
            assert time.monotonic() < deadline, left
            time.sleep(1)

    def reachable(self) -> bool:
        """Whether a new connection comes about."""
        try:
            return self.ssh("true", timeout_s=25).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def boot_id(self) -> str:
        """Other after each boot; empty while the machine is out of reach."""
        try:
            return self.ssh("cat /proc/sys/kernel/random/boot_id", timeout_s=25).stdout.strip()
        except subprocess.TimeoutExpired:
            return ""

    def wait_other_boot(self, boot_id: str, timeout_s: float) -> None:
        """Returns as soon as the machine has booted anew and answers."""
        deadline = time.monotonic() + timeout_s
        while self.boot_id() in ("", boot_id):
            assert time.monotonic() < deadline, f"not back within {timeout_s} s"
            time.sleep(1)

    def wait_reachable(self, timeout_s: float) -> None:
        """Returns as soon as a new connection comes about; fails the test when none does."""
        deadline = time.monotonic() + timeout_s
        while not self.reachable():
            assert time.monotonic() < deadline, f"not reachable within {timeout_s} s"
            time.sleep(1)


def different(one: list[str], other: list[str]) -> list[str]:
    """Lines that are in one of two dumps only."""
    return sorted(set(one) ^ set(other))


def of_any_boot(lines: list[str]) -> list[str]:
    """Without what a kernel draws or derives from free memory as it boots, or has from modules that are loaded."""
    drawn = ("/proc/irq/", "net.core.netdev_rss_key", "vm.user_reserve_kbytes")
    of_memory = ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_mem", "net.ipv4.udp_mem")
    of_modules = "net.ipv4.tcp_available_"
    return [line for line in lines if not line.startswith((*drawn, *of_memory, of_modules))]


FLOOD = (
    "import socket, time\nto = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "while True:\n    to.sendto(bytes(1400), ('{address}', 9))\n    time.sleep(0.002)"
)
"""Other traffic, 5 Mbit/s at most: beyond the limit of 1 Mbit/s on a slow machine too."""


@contextmanager
def flooding(machine: Machine, address: str) -> Iterator[None]:
    """Other traffic from this machine to an address."""
    machine.output(f'systemd-run --quiet --collect --unit=flood python3 -c "{FLOOD.format(address=address)}"')
    try:
        yield
    finally:
        machine.output("systemctl stop flood")


@dataclass(frozen=True)
class Link:
    """The cable between the machines: each sends its frames to the other's Unix socket."""

    folder: Path

    @contextmanager
    def cut(self) -> Iterator[None]:
        """No frame gets through, and no network card notices."""
        sockets = [self.folder / f"data-{number}.sock" for number in (0, 1)]
        for socket in sockets:
            socket.rename(socket.with_suffix(".cut"))
        try:
            yield
        finally:
            for socket in sockets:
                socket.with_suffix(".cut").rename(socket)
