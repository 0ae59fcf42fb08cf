"""Two network namespaces as hosts of driver `ssh`: an SSH server for each, and a link between them with IPv6 only."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.lab.ssh import SshHost
from tests.netns.lab_testbed import wait_until
from tuner.candidate import GATEWAYS, Gateway

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
MANAGEMENT = "::1"
DATA: dict[Gateway, str] = {"a": "fd5a:17::a", "b": "fd5a:17::b"}
CONFIG = """
ListenAddress [{address}]:{port}
HostKey {folder}/host
AuthorizedKeysFile {login}.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
Subsystem sftp /usr/lib/openssh/sftp-server
ForceCommand nsenter -t {pid} -n -m sh -c "$SSH_ORIGINAL_COMMAND"
"""

# It keeps the namespaces of network and mounts. UAPI sockets are the host's own. Units would be outside: with no folder
# of systemd's, nothing asks for any.
HOLD = """
mount -t tmpfs none /run/wireguard
! test -d /run/systemd || mount -t tmpfs none /run/systemd
exec sleep infinity
"""


@dataclass(frozen=True)
class NamespaceHost:
    """One of them. Its server runs outside and its sessions inside, so that no management link is needed."""

    namespace: str
    ssh: SshHost
    processes: tuple[subprocess.Popen[bytes], ...]

    def run(self, *argv: str) -> str:
        """Standard output of a command inside."""
        command = ["ip", "netns", "exec", self.namespace, *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    def vanish(self) -> None:
        """As when a machine is switched off for good."""
        for process in self.processes:
            process.kill()
            process.wait()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=30)


def _key_pair(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True, timeout=30)


def _listens(port: int) -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        return probe.connect_ex((MANAGEMENT, port)) == 0


@contextmanager
def _host(name: Gateway, namespace: str, folder: Path, login: Path) -> Iterator[NamespaceHost]:
    Path("/run/wireguard").mkdir(exist_ok=True)
    holder_argv = ["ip", "netns", "exec", namespace, "sh", "-ec", HOLD]
    with ExitStack() as stack:
        holder = stack.enter_context(subprocess.Popen(holder_argv))
        stack.callback(holder.kill)
        folder.mkdir()
        _key_pair(folder / "host")
        with socket.create_server((MANAGEMENT, 0), family=socket.AF_INET6) as probe:
            port = probe.getsockname()[1]
        (folder / "sshd_config").write_text(
            CONFIG.format(address=MANAGEMENT, port=port, folder=folder, login=login, pid=holder.pid)
        )
        assert SSHD is not None
        Path("/run/sshd").mkdir(exist_ok=True)
        argv = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
        log = stack.enter_context((folder / "sshd.log").open("wb"))
        server = stack.enter_context(subprocess.Popen(argv, stderr=log))
        stack.callback(server.kill)
        wait_until(lambda: _listens(port), 30)
        ssh = SshHost(MANAGEMENT, DATA[name], port=port, key_file=str(login))
        yield NamespaceHost(namespace, ssh, (server, holder))


@contextmanager
def ssh_gateways(name: str, folder: Path) -> Iterator[dict[Gateway, NamespaceHost]]:
    """Both, called `name`-a and `name`-b."""
    namespaces = {gateway: f"{name}-{gateway}" for gateway in GATEWAYS}
    with ExitStack() as stack:
        for namespace in namespaces.values():
            _ip("netns", "add", namespace)
            stack.callback(_ip, "netns", "delete", namespace)
        a, b = namespaces.values()
        _ip(*f"link add data netns {a} type veth peer name data netns {b}".split())
        for gateway, namespace in namespaces.items():
            _ip("-n", namespace, "link", "set", "lo", "up")
            _ip("-n", namespace, "address", "add", f"{DATA[gateway]}/64", "dev", "data", "nodad")
            _ip("-n", namespace, "link", "set", "data", "up")
        folder.mkdir()
        _key_pair(folder / "login")
        yield {
            gateway: stack.enter_context(_host(gateway, namespace, folder / gateway, folder / "login"))
            for gateway, namespace in namespaces.items()
        }
