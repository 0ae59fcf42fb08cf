"""The `ssh` testbed driver: any two machines that are reached by SSH, with a link of their own between them."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import shutil
import subprocess
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.lab.addressing import RENDEZVOUS_PORT, GatewayAddresses, programs_folder, upload_folder
from app.lab.agent_messages import HostReport, checked
from app.lab.driver import LabError, OnPhase, ProvisionedTestbed, ShouldCancel
from app.lab.engine_programs import EnginePrograms
from app.lab.gateway_pair import SYSCTLS, GatewayPairDriver, returned
from app.lab.playbook_runner import PLAYBOOKS
from app.lab.secret_reference import secret_of
from tuner.candidate import GATEWAYS, Engine, Gateway

PROVISION_TIMEOUT_S = 180.0
UNCONFIRMED_LEASE_S = 45.0
CONNECT_TIMEOUT_S = 15
BECOME_TIMEOUT_S = 60
EMULATED_PATIENCE = 4
EMULATED_LEASE_S = 120.0
SSH_TIED = PLAYBOOKS / "plugins/ssh-tied"
HOST_SYSCTLS = SYSCTLS | {
    # Reverse paths cross other lanes; the strict check would drop them. An interface's own, laxer setting stays.
    "net.ipv4.conf.all.rp_filter": "2",
    "net.ipv4.tcp_no_metrics_save": "1",
    "net.ipv4.tcp_tw_reuse": "1",
}


@dataclass(frozen=True)
class SshHost:
    """How one gateway is reached. Everything was checked against a pattern by whoever made this (see app.testbeds)."""

    address: str
    data_address: str
    port: int = 22
    user: str = "root"
    key_file: str | None = None
    jump: str | None = None
    host_key: str | None = None
    become: bool = False
    become_password: str | None = None
    """A reference ("env:NAME" or "file:PATH"), never the password itself."""


@dataclass(frozen=True)
class _SshAddresses(GatewayAddresses):
    """A gateway whose underlay is what the hosts have, the rest as on every testbed."""

    data_addresses: Mapping[Gateway, str] = field(default_factory=dict)

    @property
    def underlay(self) -> str:
        """The data address."""
        return self.data_addresses[self.gateway]

    @property
    def far(self) -> _SshAddresses:
        """The other gateway."""
        far = super().far
        return _SshAddresses(far.gateway, far.namespace, far.state_folder, self.data_addresses)


class SshDriver(GatewayPairDriver):
    """Two hosts by address, user and key. Host keys are pinned on first contact; a changed one is refused."""

    trial_playbook = "trial_confirmed.yml"
    lease_s = UNCONFIRMED_LEASE_S
    sysctls = HOST_SYSCTLS

    def __init__(
        self, name: str, hosts: Mapping[Gateway, SshHost], folder: Path, programs: EnginePrograms | None = None
    ) -> None:
        """`folder`: private to this testbed, for its pinned host keys. Raises LabError for an impossible name."""
        super().__init__(name, programs)
        self._hosts, self._folder = dict(hosts), folder
        self._use_data_addresses()

    def provision(self, on_phase: OnPhase, should_cancel: ShouldCancel) -> ProvisionedTestbed:
        """See TestbedDriver. Refuses a host that lacks something, with everything that it lacks."""
        self._pin_given_keys()
        archive = _packed_agent()
        wirelane = next((found for path in self._programs.of("wirelane") if (found := shutil.which(path))), "")
        variables = {
            name: {
                "host_bootstrap": _bootstrap(gateway, archive),
                "host_wirelane": wirelane,
                "host_preparation": {
                    "state_folder": str(gateway.state_folder),
                    "inner_address": gateway.inner_prefix,
                    "data_address": gateway.underlay,
                    "far_data_address": gateway.far.underlay,
                    # Only gateway b has to let it in, from a.
                    "rendezvous_port": RENDEZVOUS_PORT if name == "a" else 0,
                    "controller_time_s": time.time(),
                },
            }
            for name, gateway in self._gateways.items()
        }
        try:
            result = self._play("provision_hosts.yml", variables, PROVISION_TIMEOUT_S, on_phase, should_cancel)
        except LabError:
            # A host that was refused keeps nothing; where it cannot be reached either, a reboot clears what is there.
            with contextlib.suppress(LabError):
                self._release()
            raise
        reports = {name: checked(HostReport, returned(result, "Check the host", name), name) for name in GATEWAYS}
        gateways = {name: self._provisioned(result, name) for name in GATEWAYS}
        self._public_keys = {name: gateway.lane_public_keys for name, gateway in gateways.items()}
        if any(gateway.emulated for gateway in gateways.values()):
            self.emulated, self.patience, self.lease_s = True, EMULATED_PATIENCE, EMULATED_LEASE_S
        self._underlay_mtu = min(report.mtu for report in reports.values())
        keys = self.host_key_fingerprints()
        return ProvisionedTestbed(
            gateways={
                name: gateway.model_copy(update={"host_key": keys.get(name, "")}) for name, gateway in gateways.items()
            },
            shared_machine=self.shared_machine,
            underlay_mtu=self._underlay_mtu,
            emulated=self.emulated,
        )

    def teardown(self) -> None:
        """See TestbedDriver."""
        self._release()
        self.forget()

    def forget(self) -> None:
        """See TestbedDriver."""
        super().forget()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _release(self) -> None:
        """Take everything off the hosts. The agent is brought once more: it may be gone, or never have come."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        archive = _packed_agent()
        variables = {name: {"host_bootstrap": _bootstrap(one, archive)} for name, one in self._gateways.items()}
        self._play("teardown_hosts.yml", variables, PROVISION_TIMEOUT_S, lambda *_: None, lambda: False)

    def host_key_fingerprints(self) -> dict[Gateway, str]:
        """The pinned host keys, as ssh-keygen shows them; empty before the first contact."""
        if not self._known_hosts.exists():
            return {}
        argv = ["ssh-keygen", "-l", "-f", str(self._known_hosts)]
        lines = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout.splitlines()
        found: dict[Gateway, str] = {}
        for name in GATEWAYS:
            for line in lines:
                words = line.split()
                if len(words) >= 4 and words[2] == self._alias(name):
                    found[name] = f"{words[1]} {words[-1]}"
        return found

    @property
    def _known_hosts(self) -> Path:
        return self._folder / "known_hosts"

    def _alias(self, name: Gateway) -> str:
        return f"{self.name}-{name}"

    def _use_data_addresses(self) -> None:
        addresses = {name: host.data_address for name, host in self._hosts.items()}
        self._gateways = {
            name: _SshAddresses(one.gateway, one.namespace, one.state_folder, addresses)
            for name, one in self._gateways.items()
        }

    def _pin_given_keys(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        given = [f"{self._alias(name)} {host.host_key}" for name, host in self._hosts.items() if host.host_key]
        if given and not self._known_hosts.exists():
            self._known_hosts.write_text("\n".join(given) + "\n")

    def _connections(self) -> Mapping[str, Mapping[str, Any]]:
        return {"machine": {}, **{name: self._connection(name, host) for name, host in self._hosts.items()}}

    def _connection(self, name: Gateway, host: SshHost) -> dict[str, Any]:
        gateway = self._gateways[name]
        options = {
            "HostKeyAlias": self._alias(name),
            "UserKnownHostsFile": str(self._known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            # Pinned on first contact; a key that has changed since is refused by either setting.
            "StrictHostKeyChecking": "yes" if host.host_key else "accept-new",
            "UpdateHostKeys": "no",
            "HashKnownHosts": "no",
            "ServerAliveInterval": "10",
            "PreferredAuthentications": "publickey",
        }
        arguments = " ".join(f"-o {name}={value}" for name, value in options.items())
        if host.key_file:
            arguments += " -o IdentitiesOnly=yes"
        if host.jump:
            arguments += f' -o ProxyCommand="{self._jump_command(host)}"'
        connection: dict[str, Any] = {
            "ansible_connection": "ssh",
            # ansible-runner turns it off by an environment variable, and then ssh takes any host for the right one.
            "ansible_host_key_checking": True,
            "ansible_host": host.address,
            "ansible_port": host.port,
            "ansible_user": host.user,
            "ansible_ssh_executable": str(SSH_TIED),
            # This is for sudo's prompt, which a slow host takes its time for; ssh heeds the first ConnectTimeout.
            "ansible_timeout": BECOME_TIMEOUT_S * self.patience,
            "ansible_ssh_args": "-C -o ControlMaster=auto -o ControlPersist=10s"
            f" -o ConnectTimeout={CONNECT_TIMEOUT_S * self.patience}",
            "ansible_ssh_common_args": arguments,
            "ansible_remote_tmp": upload_folder(gateway),
            "ansible_become": host.become,
            "gateway_agent_folder": f"{programs_folder(gateway)}/agent.zip",
            "host_release": {
                "state_folder": str(gateway.state_folder),
                "programs_folder": programs_folder(gateway),
                "upload_folder": upload_folder(gateway),
            },
        }
        if host.key_file:
            connection["ansible_ssh_private_key_file"] = host.key_file
        if host.become and host.become_password:
            connection["ansible_become_password"] = secret_of(host.become_password)
        return connection

    def _jump_command(self, host: SshHost) -> str:
        """The way over the jump host, whose key is pinned like the gateways'."""
        way = re.fullmatch(r"(?P<user>[^@]+@)?(\[(?P<v6>[^]]+)\]|(?P<name>[^:]+))(:(?P<port>\d+))?", str(host.jump))
        assert way is not None  # noqa: S101 - whoever made this has checked it
        user_host = f"{way['user'] or ''}{way['v6'] or way['name']}"
        key = ["-i", host.key_file, "-o", "IdentitiesOnly=yes"] if host.key_file else []
        checks = ["-o", f"UserKnownHostsFile={self._known_hosts}", "-o", "StrictHostKeyChecking=accept-new"]
        checks += ["-o", "HashKnownHosts=no"]
        return " ".join(["ssh", *key, *checks, "-p", way["port"] or "22", "-W", "[%h]:%p", user_host])

    def _programs_on(self, gateway: GatewayAddresses, engine: Engine) -> list[str]:
        names = dict.fromkeys(Path(path).name for path in self._programs.of(engine))
        # The one that was brought along comes first: it is of the same version as everything else.
        return [f"{programs_folder(gateway)}/{name}" for name in names if name == "wirelane"] + list(names)

    def _damage(self) -> str | None:
        return None


def _bootstrap(gateway: GatewayAddresses, archive: str) -> dict[str, str]:
    return {
        "state_folder": str(gateway.state_folder),
        "programs_folder": programs_folder(gateway),
        "archive": archive,
    }


def _packed_agent() -> str:
    """The agent as one file that Python runs and imports from; base64."""
    source, packed = PLAYBOOKS / "agent", io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(source.rglob("*.py")):
            archive.write(path, str(path.relative_to(source)))
    return base64.b64encode(packed.getvalue()).decode()
