"""Two virtual machines for all tests of this folder, booted once; `make test-vm` runs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from vm_gateway import Machine

from app.lab.driver import ProvisionedTestbed
from app.lab.vm import VmDriver

NAME = "vmtest"
PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "ssh", "setpriv")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    reason = "needs root" if os.geteuid() != 0 else f"not installed: {', '.join(missing)}" if missing else ""
    if os.environ.get("WIRETUNE_TEST_VM") != "1":
        reason = "boots virtual machines, which takes minutes without KVM: make test-vm"
    for item in items:
        if reason and "/vm/" in str(item.path):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def driver() -> Iterator[VmDriver]:
    driver = VmDriver(NAME)
    driver.teardown()
    yield driver
    driver.teardown()


@pytest.fixture(scope="session")
def provisioned(driver: VmDriver) -> ProvisionedTestbed:
    return driver.provision(lambda *_: None, lambda: False)


@pytest.fixture
def gateway_a(driver: VmDriver, provisioned: ProvisionedTestbed) -> Machine:
    assert provisioned
    return Machine.of(driver, "a")
