"""A testbed that went away in the middle of a job: waited for as long as a reboot takes, on the simulated testbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.database import Database
from app.jobs import Jobs
from app.lab.driver import LabCancelled, LabError, OnPhase, ProvisionedTestbed, ShouldCancel
from app.lab.sim import SimDriver
from app.service import Service
from app.testbeds.schemas import TestbedCreate
from app.testbeds.service import TestbedService
from app.workflows import lab as lab_module
from app.workflows.lab import Lab

assert Service  # imports the models of every feature


class NoJobs:
    """Nothing runs by itself."""

    def __getattr__(self, name: str) -> object:
        return lambda *_: None


class Leaving(SimDriver):
    """A testbed that cannot be reached for the next `away` provisions."""

    away = 0

    def provision(self, on_phase: OnPhase, should_cancel: ShouldCancel) -> ProvisionedTestbed:
        if self.away > 0:
            self.away -= 1
            raise LabError("gateway b cannot be reached")
        return super().provision(on_phase, should_cancel)


@pytest.fixture
def driver() -> Leaving:
    return Leaving("sim")


@pytest.fixture
def lab(tmp_path: Path, driver: Leaving, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(lab_module, "_LOOK_AGAIN_S", 0.0)
    database = Database(f"sqlite:///{tmp_path / 'wiretune.db'}")
    database.migrate()
    jobs: Jobs = NoJobs()  # type: ignore[assignment]
    testbeds = TestbedService(database, jobs)
    testbeds.create(TestbedCreate(name="sim", driver="sim"))
    return Lab(testbeds, lambda _: driver)


def test_one_that_was_in_order_is_waited_for(lab: Lab, driver: Leaving) -> None:
    phases: list[str] = []
    lab.ready_driver("sim", lambda *_: None, lambda: False)
    lab.damaged("sim")
    driver.away = 3
    assert lab.ready_driver("sim", lambda _, message: phases.append(message), lambda: False) is driver
    waited = [message for message in phases if "waiting for the testbed to come back" in message]
    assert len(waited) == 3
    assert "gateway b cannot be reached" in waited[0]


def test_one_that_never_was_is_not(lab: Lab, driver: Leaving) -> None:
    driver.away = 1
    with pytest.raises(LabError, match="cannot be reached"):
        lab.ready_driver("sim", lambda *_: None, lambda: False)
    assert driver.away == 0


def test_waiting_ends_with_the_outage_the_patience_or_the_user(
    lab: Lab, driver: Leaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.ready_driver("sim", lambda *_: None, lambda: False)
    lab.damaged("sim")
    driver.away = 1000
    monkeypatch.setattr(lab_module, "_LOOK_AGAIN_S", 60.0)
    with pytest.raises(LabCancelled):
        lab.ready_driver("sim", lambda *_: None, lambda: True)
    monkeypatch.setattr(lab_module, "COMES_BACK_WITHIN_S", 0.0)
    for _ in range(2):  # The time of one outage is spent once, not with every attempt.
        with pytest.raises(LabError, match="cannot be reached"):
            lab.ready_driver("sim", lambda *_: None, lambda: False)
