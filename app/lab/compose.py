"""The `compose` testbed driver: the two gateway containers of docker-compose.yml, ssh hosts like any other."""

from __future__ import annotations

from pathlib import Path

from app.lab.driver import LabError, OnPhase, ProvisionedTestbed, ShouldCancel
from app.lab.engine_programs import EnginePrograms
from app.lab.ssh import SshDriver, SshHost
from tuner.candidate import GATEWAYS, Gateway

# As docker-compose.yml says; Docker keeps the first address of the link.
DATA_ADDRESSES: dict[Gateway, str] = {"a": "198.18.0.2", "b": "198.18.0.3"}


class ComposeDriver(SshDriver):
    """Reaches the containers by the names that docker-compose.yml gives them, with the key that the worker made."""

    shared_machine = True

    def __init__(self, name: str, key_file: Path, folder: Path, programs: EnginePrograms | None = None) -> None:
        """Raises LabError for a name that is no testbed name."""
        hosts = {
            gateway: SshHost(f"gateway-{gateway}", DATA_ADDRESSES[gateway], key_file=str(key_file))
            for gateway in GATEWAYS
        }
        self._key_file = key_file
        super().__init__(name, hosts, folder, programs)

    def provision(self, on_phase: OnPhase, should_cancel: ShouldCancel) -> ProvisionedTestbed:
        """See TestbedDriver."""
        if not self._key_file.exists():
            raise LabError(
                "driver compose is for the containers of docker-compose.yml, and this service does not run in one",
                hint="`docker compose up` starts them; outside of them use netns, vm or ssh",
            )
        return super().provision(on_phase, should_cancel)
