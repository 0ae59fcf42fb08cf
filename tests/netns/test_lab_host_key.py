"""Who is taken for a gateway: the host with the pinned key, and no other. A real SSH server on loopback."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.lab.driver import LabError
from app.lab.ssh import SshDriver, SshHost

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: an SSH server"),
    pytest.mark.skipif(SSHD is None, reason="openssh-server is not installed"),
]


def key_pair(path: Path) -> str:
    """The public half of a new one."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SshHost]:
    """A server that lets nobody in: its key is all that is of interest."""
    key = key_pair(tmp_path / "host")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = tmp_path / "sshd_config"
    config.write_text(f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {tmp_path}/host\nUsePAM no\nPidFile none\n")
    assert SSHD is not None
    Path("/run/sshd").mkdir(exist_ok=True)
    with subprocess.Popen([SSHD, "-D", "-e", "-f", config], stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 30
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None and time.monotonic() < deadline, "the server does not start"
            time.sleep(0.05)
        key_pair(tmp_path / "login")
        yield SshHost(
            "127.0.0.1", "198.18.0.1", port, getpass.getuser(), key_file=str(tmp_path / "login"), host_key=key
        )
        server.terminate()


def refusal(host: SshHost, folder: Path, host_key: str | None) -> LabError:
    given = SshHost(host.address, host.data_address, host.port, host.user, key_file=host.key_file, host_key=host_key)
    with pytest.raises(LabError) as caught:
        SshDriver("hostkey", {"a": given, "b": given}, folder).provision(lambda *_: None, lambda: False)
    return caught.value


def test_only_the_pinned_key_is_taken(host: SshHost, tmp_path: Path) -> None:
    other = key_pair(tmp_path / "other")
    stranger = refusal(host, tmp_path / "given", other)
    assert "another key" in stranger.hint
    assert "Permission denied" not in stranger.message, "somebody else was asked to let us in"
    right = refusal(host, tmp_path / "right", host.host_key)
    assert "Permission denied" in right.message, "the right host was not taken for it"
    # Without a key that was given, that of the first contact is pinned; another one later is refused.
    folder = tmp_path / "pinned"
    assert "Permission denied" in refusal(host, folder, None).message
    pinned = folder / "known_hosts"
    assert host.host_key is not None and host.host_key.split()[1] in pinned.read_text()
    pinned.write_text(pinned.read_text().replace(host.host_key.split()[1], other.split()[1]))
    changed = refusal(host, folder, None)
    assert "pinned" in changed.hint and "Permission denied" not in changed.message
