"""One driver a testbed, healed before it is used: what an earlier process or a fault left behind is rolled back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import structlog

from app.lab.driver import (
    LabCancelled,
    LabError,
    OnPhase,
    ProvisionedTestbed,
    ShouldCancel,
    TestbedDriver,
    TrialResult,
)
from app.lab.fitness import compared
from app.testbeds.schemas import TestbedView
from app.testbeds.service import TestbedService
from tuner.candidate import Candidate
from tuner.samples import Workload

log = structlog.get_logger(__name__)

_POLL_S = 0.5
COMES_BACK_WITHIN_S = 300.0
"""A host that reboots, or a link that was cut, is given so long to come back in the middle of a job."""
_LOOK_AGAIN_S = 3.0
FRESH_S = 60.0
"""A study looks at its hosts again unless that was done so recently."""

MakeDriver = Callable[[TestbedView], TestbedDriver]


class Lab:
    """Drivers of all testbeds. The queue sees to it that a testbed runs one job at a time."""

    def __init__(self, testbeds: TestbedService, make_driver: MakeDriver) -> None:
        self._testbeds, self._make_driver = testbeds, make_driver
        self._drivers: dict[str, TestbedDriver] = {}
        self._provisioned: dict[str, ProvisionedTestbed] = {}
        self._provisioned_at_s: dict[str, float] = {}
        self._away_since_s: dict[str, float] = {}
        self._lock = threading.Lock()
        self._machine = threading.Lock()

    def driver(self, name: str) -> TestbedDriver:
        """The testbed's driver, whatever state its hosts are in."""
        with self._lock:
            if name not in self._drivers:
                self._drivers[name] = self._make_driver(self._testbeds.get(name))
            return self._drivers[name]

    def provision(self, name: str, on_phase: OnPhase, should_cancel: ShouldCancel) -> ProvisionedTestbed:
        """Make both gateways ready and record what they are. Raises LabError."""
        provisioned = self.driver(name).provision(on_phase, should_cancel)
        self._testbeds.record_ready(name, provisioned)
        with self._lock:
            self._provisioned[name], self._provisioned_at_s[name] = provisioned, time.monotonic()
            self._away_since_s.pop(name, None)
        return provisioned

    def ready_driver(self, name: str, on_phase: OnPhase, should_cancel: ShouldCancel) -> TestbedDriver:
        """The driver of a testbed that this process knows to be in order; heals it first otherwise, and waits for one
        that it has known in order to come back. Raises LabError."""
        driver = self.driver(name)
        with self._lock:
            healthy = name in self._provisioned
        if not healthy:
            self._heal(name, on_phase, should_cancel)
            driver.rollback()
        return driver

    def _heal(self, name: str, on_phase: OnPhase, should_cancel: ShouldCancel) -> None:
        while True:
            try:
                self.provision(name, on_phase, should_cancel)
            except LabCancelled:
                raise
            except LabError as error:
                if not self._may_come_back(name):
                    raise
                log.warning("waiting for the testbed to come back", testbed=name, error=error.message)
                on_phase("provision", f"waiting for the testbed to come back: {error.message}"[:500])
            else:
                return
            look_at_s = time.monotonic() + _LOOK_AGAIN_S
            while time.monotonic() < look_at_s:
                if should_cancel():
                    raise LabCancelled("cancelled while the testbed was away")
                time.sleep(_POLL_S)

    def _may_come_back(self, name: str) -> bool:
        """Whether it was in order earlier in this process, and has not been away for too long since."""
        with self._lock:
            since_s = self._away_since_s.setdefault(name, time.monotonic())
            return name in self._provisioned_at_s and time.monotonic() - since_s < COMES_BACK_WITHIN_S

    def look_again(self, name: str, on_phase: OnPhase, should_cancel: ShouldCancel) -> ProvisionedTestbed:
        """What the gateways are now, for a study that begins: a driver, a kernel or a program may have changed since
        they were provisioned. Raises LabError."""
        self.ready_driver(name, on_phase, should_cancel)
        with self._lock:
            age_s = time.monotonic() - self._provisioned_at_s[name]
        return self.provision(name, on_phase, should_cancel) if age_s > FRESH_S else self.provisioned(name)

    def run_trial(
        self,
        name: str,
        candidate: Candidate,
        workloads: Sequence[Workload],
        on_phase: OnPhase,
        should_cancel: ShouldCancel,
    ) -> TrialResult:
        """Apply a candidate and measure it, on a healed testbed. Raises LabError.

        Testbeds on this machine share its CPUs, so they take turns: two blocks at a time would measure each other.
        """
        driver = self.ready_driver(name, on_phase, should_cancel)
        provisioned = self.provisioned(name)
        if not provisioned.shared_machine or provisioned.simulated:
            return compared(driver.run_trial(candidate, workloads, on_phase, should_cancel), provisioned)
        while not self._machine.acquire(timeout=_POLL_S):
            if should_cancel():
                raise LabCancelled("cancelled while another testbed was measured")
        try:
            return compared(driver.run_trial(candidate, workloads, on_phase, should_cancel), provisioned)
        finally:
            self._machine.release()

    def provisioned(self, name: str) -> ProvisionedTestbed:
        """What the gateways said of themselves. Raises KeyError for a testbed that is not in order."""
        with self._lock:
            return self._provisioned[name]

    def rollback(self, name: str) -> None:
        """Put the hosts back to before the first apply; where that fails, the next use heals the testbed first."""
        try:
            self.driver(name).rollback()
        except LabError as error:
            log.warning("rollback failed; the testbed is healed before its next use", testbed=name, error=error.message)
            self.damaged(name)

    def damaged(self, name: str) -> None:
        """Something failed on this testbed: heal it before it is used again."""
        with self._lock:
            self._provisioned.pop(name, None)

    def teardown(self, name: str) -> None:
        """Remove everything the testbed made on its hosts. Raises LabError."""
        self.driver(name).teardown()
        self._drop(name)

    def forget(self, name: str) -> None:
        """Drop what this machine knows of a testbed whose hosts are gone for good."""
        self.driver(name).forget()
        self._drop(name)

    def _drop(self, name: str) -> None:
        with self._lock:
            for known in (self._provisioned, self._provisioned_at_s, self._away_since_s):
                known.pop(name, None)
            del self._drivers[name]
