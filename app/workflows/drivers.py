"""Which driver a testbed has."""

from __future__ import annotations

from app.lab.driver import TestbedDriver
from app.testbeds.schemas import SimulationOptions, TestbedView


def make_driver(testbed: TestbedView) -> TestbedDriver:
    """The driver object of a testbed. Imports it late: the lab of one driver does not need the tools of another."""
    if testbed.driver == "sim":
        from app.lab.sim import SimDriver  # noqa: PLC0415

        return SimDriver(testbed.name, testbed.simulation or SimulationOptions())
    from app.lab.netns import NetnsDriver  # noqa: PLC0415

    return NetnsDriver(testbed.name)
