"""Which driver a testbed has."""

from __future__ import annotations

from app.lab.driver import TestbedDriver
from app.testbeds.schemas import SimulationOptions, TestbedView


def make_driver(testbed: TestbedView) -> TestbedDriver:
    """The driver object of a testbed. Imports it late: the lab of one driver does not need the tools of another."""
    if testbed.driver == "sim":
        return _simulated(testbed.name, testbed.simulation or SimulationOptions())
    from app.lab.netns import NetnsDriver  # noqa: PLC0415

    return NetnsDriver(testbed.name)


def _simulated(name: str, options: SimulationOptions) -> TestbedDriver:
    from app.lab.sim import SimDriver, SimSettings  # noqa: PLC0415
    from tuner.simulation import Noise  # noqa: PLC0415
    from tuner.topology import Topology  # noqa: PLC0415

    host = Topology.uniform(
        nodes=options.sockets, cores_per_node=options.cores_per_socket, threads_per_core=options.threads_per_core
    )
    settings = SimSettings(
        topology_a=host,
        topology_b=host,
        shared_machine=False,
        noise=Noise(spread=options.noise_ratio),
        seed=options.seed,
        time_scale=options.sample_time_ratio,
        lab_failure_rate=options.lab_failure_ratio,
        broken_candidate_rate=options.broken_candidate_ratio,
    )
    return SimDriver(name, settings)
