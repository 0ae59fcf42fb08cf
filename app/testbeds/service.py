"""Testbeds: created, provisioned, deleted. Also what the workflows record about them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.database import Database, now
from app.errors import ConflictError, InvalidError, NotFoundError
from app.events import service as events
from app.jobs import Jobs
from app.lab.driver import ProvisionedTestbed
from app.lab.footprint import footprint
from app.pagination import Page
from app.testbeds.models import Testbed
from app.testbeds.schemas import GatewayView, SimulationOptions, TestbedCreate, TestbedState, TestbedView, VmOptions
from tuner.candidate import GATEWAYS, Candidate, Engine, Gateway, format_cpulist, parse_cpulist
from tuner.topology import Topology
from tuner.tunables import check_host_settings

GOING = (TestbedState.DELETING, TestbedState.FORGETTING)


class TestbedService:
    """Testbeds of one database. `busy` are questions of other features: is there unfinished work on this testbed?"""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database = database
        self._jobs = jobs
        self.busy: list[Callable[[str], bool]] = []

    # -- for the API ----------------------------------------------------------------------------------------------

    def create(self, body: TestbedCreate) -> TestbedView:
        """Add a testbed and start to provision it. Raises ConflictError when the name is taken."""
        simulation = body.simulation or SimulationOptions() if body.driver == "sim" else None
        vm = body.vm or VmOptions() if body.driver == "vm" else None
        with self._database.writing() as session:
            if session.get(Testbed, body.name) is not None:
                raise ConflictError(
                    f"There is a testbed {body.name} already.", hint="Choose another name, or delete it first."
                )
            testbed = Testbed(
                name=body.name,
                driver=body.driver,
                simulation=simulation.model_dump(mode="json") if simulation else None,
                ssh=body.ssh.model_dump(mode="json") if body.ssh else None,
                vm=vm.model_dump(mode="json") if vm else None,
                state=TestbedState.PROVISIONING,
                job=secrets.token_hex(6),
                created_at=now(),
            )
            session.add(testbed)
            _tell_state(session, testbed)
        self._jobs.provision(testbed.name, testbed.job)
        return _view(testbed)

    def list(self, limit: int, offset: int) -> Page[TestbedView]:
        """All testbeds by name."""
        with self._database.reading() as session:
            rows = session.scalars(select(Testbed).order_by(Testbed.name).limit(limit).offset(offset)).all()
            total = session.scalar(select(func.count()).select_from(Testbed)) or 0
        return Page(items=[_view(row) for row in rows], total=total)

    def get(self, name: str) -> TestbedView:
        """One testbed. Raises NotFoundError."""
        with self._database.reading() as session:
            return _view(_existing(session, name))

    def delete(self, name: str) -> TestbedView:
        """Tear a testbed down, then forget it. Raises NotFoundError; ConflictError while it is in use."""
        self._check_idle(name)
        with self._database.writing() as session:
            testbed = _existing(session, name)
            if testbed.state in GOING:
                raise ConflictError(f"Testbed {name} is being deleted already.")
            _begin(session, testbed, TestbedState.DELETING)
        self._jobs.teardown(testbed.name, testbed.job)
        return _view(testbed)

    def forget(self, name: str) -> TestbedView:
        """Forget a testbed whose hosts are gone for good, without reaching them. Twice is as good as once.

        Raises NotFoundError; ConflictError unless it has failed.
        """
        self._check_idle(name)
        with self._database.writing() as session:
            testbed = _existing(session, name)
            if testbed.state == TestbedState.FORGETTING:
                return _view(testbed)
            if testbed.state != TestbedState.FAILED:
                raise ConflictError(
                    f"Testbed {name} is {testbed.state}: only one that has failed can be forgotten.",
                    hint="Delete it without `forget` first; that takes away what it made on its hosts.",
                )
            _begin(session, testbed, TestbedState.FORGETTING)
        self._jobs.teardown(testbed.name, testbed.job)
        return _view(testbed)

    def _check_idle(self, name: str) -> None:
        if any(is_busy(name) for is_busy in self.busy):
            raise ConflictError(
                f"Testbed {name} has a study or measurement that is not finished.", hint="Cancel it first, then delete."
            )

    # -- for other features ---------------------------------------------------------------------------------------

    def for_new_work(self, name: str, engines: Sequence[Engine], candidates: Sequence[Candidate] = ()) -> TestbedView:
        """The testbed, if new work may be queued on it.

        Raises NotFoundError; ConflictError while it is deleted; InvalidError for an engine or a CPU it does not have.
        """
        testbed = self.get(name)
        if testbed.state in GOING:
            raise ConflictError(f"Testbed {name} is being deleted.", hint="Create it again, then start the work.")
        for gateway, facts in testbed.gateways.items():
            missing = sorted(set(engines) - set(facts.engines))
            if missing:
                raise InvalidError(
                    f"Gateway {gateway} of {name} cannot run {missing[0]}; it can run {', '.join(facts.engines)}.",
                    hint="`wiretune doctor` says what to install.",
                )
        for candidate in candidates:
            _check_cpus(candidate, testbed)
            _check_host_settings(candidate, testbed)
        return testbed

    def provisioned(self, name: str) -> ProvisionedTestbed | None:
        """What the driver reported when it was provisioned last; None before. Raises NotFoundError."""
        with self._database.reading() as session:
            provisioned = _existing(session, name).provisioned
        return ProvisionedTestbed.model_validate(provisioned) if provisioned else None

    # -- for the workflows ----------------------------------------------------------------------------------------

    def is_current(self, name: str, job: str) -> bool:
        """Whether this is the newest provisioning or teardown of a testbed that exists."""
        with self._database.reading() as session:
            testbed = session.get(Testbed, name)
            return testbed is not None and testbed.job == job

    def unfinished(self) -> Sequence[tuple[str, str, TestbedState]]:
        """Name, job and state of every testbed that is being provisioned or deleted."""
        query = select(Testbed).where(Testbed.state.in_([TestbedState.PROVISIONING, *GOING]))
        with self._database.reading() as session:
            return [(row.name, row.job, TestbedState(row.state)) for row in session.scalars(query)]

    def renew_job(self, name: str) -> str:
        """A new job for a testbed whose last one ended with the process."""
        with self._database.writing() as session:
            testbed = _existing(session, name)
            testbed.job = secrets.token_hex(6)
            return testbed.job

    def record_phase(self, name: str, phase: str, message: str) -> None:
        """What the lab does with the testbed now."""
        with self._database.writing() as session:
            testbed = _existing(session, name)
            testbed.phase = f"{phase}: {message}"[:200]
            events.append(session, "testbed.phase", testbed=name, phase=phase, message=message[:500])

    def record_ready(self, name: str, provisioned: ProvisionedTestbed) -> None:
        """The driver has provisioned it."""
        with self._database.writing() as session:
            testbed = _existing(session, name)
            testbed.provisioned = provisioned.model_dump(mode="json")
            testbed.provisioned_at, testbed.phase = now(), None
            testbed.detail = testbed.hint = None
            if testbed.state not in GOING:
                testbed.state = TestbedState.READY
            _tell_state(session, testbed)

    def record_failure(self, name: str, message: str, hint: str) -> None:
        """The driver could not provision it, or could not tear it down."""
        with self._database.writing() as session:
            testbed = _existing(session, name)
            testbed.state, testbed.phase = TestbedState.FAILED, None
            testbed.detail, testbed.hint = message, hint or None
            _tell_state(session, testbed)

    def record_gone(self, name: str) -> None:
        """Its hosts are as before, or forgotten: remove its record. Twice is as good as once."""
        with self._database.writing() as session:
            testbed = session.get(Testbed, name)
            if testbed is not None:
                left = _view(testbed).footprint if testbed.state == TestbedState.FORGETTING else []
                session.delete(testbed)
                events.append(session, "testbed.deleted", testbed=name, may_be_left=left)


def _existing(session: Session, name: str) -> Testbed:
    testbed = session.get(Testbed, name)
    if testbed is None:
        raise NotFoundError(f"There is no testbed {name}.", hint="`wiretune testbed list` shows what there is.")
    return testbed


def _begin(session: Session, testbed: Testbed, state: TestbedState) -> None:
    """A new state with a job of its own."""
    testbed.state, testbed.detail, testbed.hint = state, None, None
    testbed.job = secrets.token_hex(6)
    _tell_state(session, testbed)


def _tell_state(session: Session, testbed: Testbed) -> None:
    events.append(
        session, "testbed.state", testbed=testbed.name, state=testbed.state, detail=testbed.detail, hint=testbed.hint
    )


def _check_cpus(candidate: Candidate, testbed: TestbedView) -> None:
    for gateway in GATEWAYS:
        facts = testbed.gateways.get(gateway)
        if facts is None:
            continue
        usable = set(Topology.model_validate(facts.topology).usable_cpus)
        for stage, cpus in getattr(candidate.cpu_sets, gateway).used().items():
            missing = set(parse_cpulist(cpus)) - usable
            if missing:
                raise InvalidError(
                    f"Gateway {gateway} of {testbed.name} has no CPU {format_cpulist(missing)} for stage {stage}; "
                    f"it has {format_cpulist(usable)}."
                )


def _check_host_settings(candidate: Candidate, testbed: TestbedView) -> None:
    if not testbed.gateways:
        return  # Not provisioned yet: the lab will say.
    has = set.intersection(*(set(gateway.host_tunables) for gateway in testbed.gateways.values()))
    topologies = {name: Topology.model_validate(facts.topology) for name, facts in testbed.gateways.items()}
    try:
        check_host_settings(candidate.host, has, topologies)
    except ValueError as error:
        raise InvalidError(f"Testbed {testbed.name}: {error}.") from error


def _view(testbed: Testbed) -> TestbedView:
    provisioned = ProvisionedTestbed.model_validate(testbed.provisioned) if testbed.provisioned else None
    return TestbedView.model_validate(
        {
            "name": testbed.name,
            "driver": testbed.driver,
            "state": testbed.state,
            "simulation": testbed.simulation,
            "ssh": testbed.ssh,
            "vm": testbed.vm,
            "simulated": testbed.driver == "sim",
            "emulated": provisioned.emulated if provisioned else testbed.driver == "vm",
            "shared_machine": provisioned.shared_machine if provisioned else None,
            "underlay_mtu": provisioned.underlay_mtu if provisioned else None,
            "gateways": gateway_views(provisioned),
            "detail": testbed.detail,
            "hint": testbed.hint,
            "phase": testbed.phase,
            "footprint": footprint(testbed.name, testbed.driver, testbed.ssh),
            "created_at": testbed.created_at,
            "provisioned_at": testbed.provisioned_at,
        }
    )


def gateway_views(provisioned: ProvisionedTestbed | None) -> dict[Gateway, GatewayView]:
    """Both gateways as the API shows them; empty before they are provisioned."""
    if provisioned is None:
        return {}
    return {
        name: GatewayView.model_validate(
            {
                "fingerprint": gateway.fingerprint,
                "fingerprint_hash": gateway.fingerprint_hash,
                "topology": gateway.topology,
                "host_tunables": list(gateway.host_tunables),
                "notices": list(gateway.notices),
                "proposals": list(gateway.proposals),
                "engines": list(gateway.engines),
                "host_key": gateway.host_key,
            }
        )
        for name, gateway in provisioned.gateways.items()
    }
