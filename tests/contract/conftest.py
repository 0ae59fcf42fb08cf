"""One service for all contract tests that do not kill it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.contract.service_process import ServiceProcess, make_testbed


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A running service with a simulated testbed "sim"."""
    service = ServiceProcess(tmp_path_factory.mktemp("service") / "data")
    service.data_dir.mkdir(mode=0o700)
    service.start()
    with service.client() as client:
        make_testbed(client, "sim")
    yield service
    service.stop()


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[httpx.Client]:
    """A client with the first token."""
    with service.client() as client:
        yield client
