"""The life of testbeds: the steps of their workflows."""

from __future__ import annotations

from app.errors import NotFoundError
from app.lab.driver import LabCancelled, LabError
from app.testbeds.schemas import TestbedState
from app.testbeds.service import TestbedService
from app.workflows.interrupts import Interrupts
from app.workflows.lab import Lab


class TestbedRunner:
    """Provisions testbeds and tears them down."""

    def __init__(self, testbeds: TestbedService, lab: Lab, interrupts: Interrupts) -> None:
        self._testbeds, self._lab, self._interrupts = testbeds, lab, interrupts

    def provision(self, name: str, job: str) -> None:
        """Make a testbed ready, unless a newer job has taken over."""
        if not self._testbeds.is_current(name, job):
            return
        try:
            self._lab.provision(
                name,
                lambda phase, message: self._testbeds.record_phase(name, phase, message),
                self._interrupts.should_cancel(lambda: not self._testbeds.is_current(name, job)),
            )
        except LabCancelled:
            return  # deleted meanwhile, or the service stops; either way the next job says what happens
        except LabError as error:
            self._testbeds.record_failure(name, error.message, error.hint)

    def teardown(self, name: str, job: str) -> None:
        """Remove a testbed from its hosts, unless they are gone for good, and then its record."""
        if not self._testbeds.is_current(name, job):
            return
        if self._testbeds.get(name).state is TestbedState.FORGETTING:
            self._lab.forget(name)
        else:
            try:
                self._lab.teardown(name)
            except LabError as error:
                self._testbeds.record_failure(name, error.message, error.hint)
                return
        self._testbeds.record_gone(name)

    def fail(self, name: str, error: Exception) -> None:
        """A defect of ours ended the job."""
        try:
            self._testbeds.record_failure(name, f"Internal error: {error}", "The service's log says more.")
        except NotFoundError:
            return  # forgotten already: there is nothing left to mark
