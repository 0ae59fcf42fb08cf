"""Which driver a testbed has."""

from __future__ import annotations

from app.lab.driver import TestbedDriver
from app.testbeds.schemas import SimulationOptions, SshOptions, TestbedView, VmOptions
from tuner.candidate import GATEWAYS


def make_driver(testbed: TestbedView) -> TestbedDriver:
    """The driver object of a testbed. Imports it late: the lab of one driver does not need the tools of another."""
    if testbed.driver == "sim":
        return _simulated(testbed.name, testbed.simulation or SimulationOptions())
    if testbed.driver == "vm":
        from app.lab.vm import VmDriver  # noqa: PLC0415

        return VmDriver(testbed.name, distribution=(testbed.vm or VmOptions()).distribution)
    if testbed.driver == "compose":
        return _compose(testbed.name)
    if testbed.driver == "ssh" and testbed.ssh is not None:
        return _ssh(testbed.name, testbed.ssh)
    from app.lab.netns import NetnsDriver  # noqa: PLC0415

    return NetnsDriver(testbed.name)


def _ssh(name: str, options: SshOptions) -> TestbedDriver:
    from app.lab.ssh import SshDriver, SshHost  # noqa: PLC0415
    from app.settings import Settings  # noqa: PLC0415

    hosts = {gateway: SshHost(**getattr(options, gateway).model_dump(mode="json")) for gateway in GATEWAYS}
    return SshDriver(name, hosts, Settings().testbeds_dir / name)


def _compose(name: str) -> TestbedDriver:
    from app.lab.compose import ComposeDriver  # noqa: PLC0415
    from app.settings import Settings  # noqa: PLC0415

    settings = Settings()
    return ComposeDriver(name, settings.ssh_key_file, settings.testbeds_dir / name)


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
        noise=Noise(
            spread=options.noise_ratio,
            drift_per_hour=options.drift_per_hour,
            swing=options.swing_ratio,
            outlier_rate=options.outlier_ratio,
        ),
        seed=options.seed,
        time_scale=options.sample_time_ratio,
        lab_failure_rate=options.lab_failure_ratio,
        broken_candidate_rate=options.broken_candidate_ratio,
    )
    return SimDriver(name, settings)
