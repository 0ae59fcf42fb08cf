"""Two virtual machines for all tests of this folder, booted once; `make test-vm` runs them.

WIRETUNE_TEST_VM=keep leaves them running for the next run, so that one can work on a test without waiting for a boot.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from vm_gateway import Link, Machine, provisioned_or_failed

from app.lab.driver import ProvisionedTestbed
from app.lab.ssh import SshDriver, SshHost
from app.lab.vm import VmDriver
from tests.contract.service_process import ServiceProcess
from tuner.candidate import Gateway

NAME = "vmtest"
SHOWN = pytest.StashKey[dict[str, list[str]]]()
"""What the machines showed, by test."""
PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "ssh", "setpriv")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    reason = "needs root" if os.geteuid() != 0 else f"not installed: {', '.join(missing)}" if missing else ""
    if not os.environ.get("WIRETUNE_TEST_VM"):
        reason = "boots virtual machines, which takes minutes without KVM: make test-vm"
    for item in items:
        if reason and "/vm/" in str(item.path):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """After the last test, also of a run that failed: what the machines' own kernels said, in plain lines."""
    shown = {test: lines for test, lines in config.stash.get(SHOWN, {}).items() if lines}
    if not shown:
        return
    terminalreporter.section("what was seen in the virtual machines")
    for test, lines in shown.items():
        terminalreporter.line(test)
        for line in lines:
            terminalreporter.line(f"    {line}")
    for file, duration_s in sorted(_durations_s(terminalreporter).items()):
        terminalreporter.line(f"{file}: {duration_s:.0f} s")


def _durations_s(reporter: pytest.TerminalReporter) -> dict[str, float]:
    """By file, with what its tests need to be set up and taken away."""
    found: dict[str, float] = {}
    for report in itertools.chain.from_iterable(reporter.stats.values()):
        if isinstance(report, pytest.TestReport) and "/vm/" in report.nodeid:
            file = report.nodeid.partition("::")[0]
            found[file] = found.get(file, 0.0) + report.duration
    return found


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tells whoever runs the tests, at their end, what this one saw."""
    lines = request.config.stash.setdefault(SHOWN, {}).setdefault(request.node.name, [])
    return lines.append


@pytest.fixture(scope="session")
def driver() -> Iterator[VmDriver]:
    driver, keep = VmDriver(NAME), os.environ.get("WIRETUNE_TEST_VM") == "keep"
    if not keep:
        driver.teardown()
    yield driver
    if not keep:
        driver.teardown()


@pytest.fixture(scope="session")
def provisioned(driver: VmDriver) -> ProvisionedTestbed:
    return provisioned_or_failed(driver)


@pytest.fixture(scope="module")
def hosts(driver: VmDriver, provisioned: ProvisionedTestbed) -> Iterator[dict[Gateway, SshHost]]:
    """How the machines are reached, with nothing of the testbed `vm` on them."""
    assert provisioned
    SshDriver.teardown(driver)
    yield dict(driver._hosts)
    driver.provision(lambda *_: None, lambda: False)


@pytest.fixture
def gateway_a(driver: VmDriver, provisioned: ProvisionedTestbed) -> Machine:
    assert provisioned
    return Machine.of(driver, "a")


@pytest.fixture
def gateway_b(driver: VmDriver, provisioned: ProvisionedTestbed) -> Machine:
    assert provisioned
    return Machine.of(driver, "b")


@pytest.fixture
def link(driver: VmDriver, provisioned: ProvisionedTestbed) -> Link:
    assert provisioned
    return Link(driver._machines_folder)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of a service of its own."""
    service = ServiceProcess(tmp_path / "data")
    service.start()
    with service.client() as client:
        yield client
    service.stop()
