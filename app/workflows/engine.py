"""The durable workflows on DBOS: what is queued survives the process, and a testbed runs one job at a time.

The application's tables are the truth about what was done; DBOS is the truth about what is still to be run. At start
both are compared, so work that was recorded but never queued (or was interrupted by a stop) is queued again.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog
from dbos import DBOS, DBOSConfig, SetEnqueueOptions, SetWorkflowID

from app.bundles.site import Site
from app.measurements.service import MeasurementService
from app.studies.recording import StudyRecorder
from app.testbeds.schemas import TestbedState
from app.testbeds.service import TestbedService
from app.workflows.interrupts import Interrupts
from app.workflows.measure import MeasurementRunner
from app.workflows.testbed import TestbedRunner
from app.workflows.tune import StudyRunner

log = structlog.get_logger(__name__)

QUEUE = "testbeds"
QUEUE_POLLING_S = 0.2
APPLICATION_VERSION = "1"
"""Counts incompatible changes of the step sequences below, not releases: a new release goes on with old work."""
EXECUTOR_ID = "service"
"""One process runs the jobs of a database (`Service.start` sees to it): whatever is pending there is its to recover."""
API_EXECUTOR_ID = "api"
"""An API whose jobs run in a worker process. Bundles alone are built where they are asked for."""
_LIVE = ["ENQUEUED", "PENDING", "DELAYED"]

Workflow = Callable[..., None]


class WorkflowEngine:
    """Implements app.jobs.Jobs. Make it, `connect` the runners, `launch`; at the end `stop`."""

    def __init__(self, database_url: str, interrupts: Interrupts, *, runs_jobs: bool = True) -> None:
        """`runs_jobs`: take jobs from the queue, or only put them there."""
        logging.getLogger("dbos").setLevel(logging.WARNING)
        config: DBOSConfig = {
            "name": "wiretune",
            "system_database_url": database_url,
            "application_version": APPLICATION_VERSION,
            "executor_id": EXECUTOR_ID if runs_jobs else API_EXECUTOR_ID,
            "log_level": "WARNING",
            "enable_otlp": False,
        }
        DBOS(config=config)
        if not runs_jobs:
            DBOS.listen_queues([])
        self._runs_jobs = runs_jobs
        self._interrupts = interrupts
        self._workflows: dict[str, Workflow] = {}
        self._enqueueing = threading.Lock()
        self._active = 0
        self._idle = threading.Condition()

    def connect(
        self,
        studies: StudyRunner,
        measurements: MeasurementRunner,
        testbeds: TestbedRunner,
        rebuild_bundle: Callable[[str, dict[str, Any] | None], None],
    ) -> None:
        """Register the workflows. Each is a loop over durable steps; everything else is in the runners."""

        def tune(study_id: str, run: int) -> None:
            with self._working():
                try:
                    turn = DBOS.run_step({"name": "provision"}, studies.provision, study_id, run)
                    while turn == "again":
                        turn = DBOS.run_step({"name": "advance"}, studies.advance, study_id, run)
                except Exception as error:  # noqa: BLE001  a defect must not leave the study running for ever
                    DBOS.run_step({"name": "fail"}, studies.fail, study_id, error)

        def measure(measurement_id: str) -> None:
            with self._working():
                try:
                    DBOS.run_step({"name": "measure"}, measurements.run, measurement_id)
                except Exception as error:  # noqa: BLE001  as above
                    DBOS.run_step({"name": "fail"}, measurements.fail, measurement_id, error)

        def testbed_job(step: Callable[[str, str], None], name: str, job: str) -> None:
            with self._working():
                try:
                    DBOS.run_step({"name": "testbed"}, step, name, job)
                except Exception as error:  # noqa: BLE001  as above
                    DBOS.run_step({"name": "fail"}, testbeds.fail, name, error)

        def provision(name: str, job: str) -> None:
            testbed_job(testbeds.provision, name, job)

        def teardown(name: str, job: str) -> None:
            testbed_job(testbeds.teardown, name, job)

        def bundle(study_id: str, site: dict[str, Any] | None) -> None:
            with self._working():
                DBOS.run_step({"name": "bundle"}, rebuild_bundle, study_id, site)

        for function in (tune, measure, provision, teardown, bundle):
            self._workflows[function.__name__] = DBOS.workflow(name=function.__name__)(function)

    @contextmanager
    def _working(self) -> Iterator[None]:
        with self._idle:
            self._active += 1
        try:
            yield
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()

    def launch(self, recorder: StudyRecorder, measurements: MeasurementService, testbeds: TestbedService) -> None:
        """Recover what a crash interrupted, then queue what was recorded but is not in the queue."""
        DBOS.launch()
        DBOS.register_queue(QUEUE, partition_concurrency=1, polling_interval_sec=QUEUE_POLLING_S)
        if not self._runs_jobs:
            return
        self._give_up_other_versions()
        for name, job, state in testbeds.unfinished():
            queue = self.provision if state is TestbedState.PROVISIONING else self.teardown
            if not self._is_live(f"{queue.__name__}-{name}-{job}"):
                queue(name, testbeds.renew_job(name))
        for study_id, testbed, run in recorder.unfinished():
            if not self._is_live(f"tune-{study_id}-{run}"):
                self.tune(study_id, testbed, recorder.next_run(study_id))
        for measurement_id, testbed in measurements.unfinished():
            if not self._is_live(f"measure-{measurement_id}-"):
                self.measure(measurement_id, testbed)

    @staticmethod
    def _is_live(prefix: str) -> bool:
        return bool(
            DBOS.list_workflows(workflow_id_prefix=prefix, status=_LIVE, app_version=APPLICATION_VERSION, limit=1)
        )

    @staticmethod
    def _give_up_other_versions() -> None:
        """Work queued under another application version is queued anew from the tables."""
        for workflow in DBOS.list_workflows(status=_LIVE):
            if workflow.app_version not in (None, APPLICATION_VERSION):
                DBOS.cancel_workflow(workflow.workflow_id)

    def stop(self, timeout_s: float = 30.0) -> None:
        """Interrupt what runs, wait until it has rolled its hosts back, and end the workflow engine."""
        self._interrupts.stop_all()
        deadline = time.monotonic() + timeout_s
        with self._idle:
            while self._active and time.monotonic() < deadline:
                self._idle.wait(deadline - time.monotonic())
            if self._active:
                log.error("work did not stop in time; its hosts are healed at the next start", jobs=self._active)
        DBOS.destroy(destroy_registry=True)

    # -- app.jobs.Jobs ------------------------------------------------------------------------------------------------

    def provision(self, testbed: str, job: str) -> None:
        """Make a testbed ready."""
        self._enqueue(f"provision-{testbed}-{job}", testbed, partial(self._workflows["provision"], testbed, job))

    def _enqueue(self, workflow_id: str, testbed: str, call: partial[None]) -> None:
        """Queue a job behind all others of its testbed.

        Of one priority, the queue takes the oldest first; but on SQLite it knows their age to the second only.
        """
        with self._enqueueing:
            live = DBOS.list_workflows(queue_name=QUEUE, status=_LIVE, load_input=False, load_output=False)
            last = max((job.priority or 0 for job in live if job.queue_partition_key == testbed), default=0)
            with SetWorkflowID(workflow_id), SetEnqueueOptions(queue_partition_key=testbed, priority=last + 1):
                DBOS.enqueue_workflow(QUEUE, call.func, *call.args)

    def teardown(self, testbed: str, job: str) -> None:
        """Remove a testbed from its hosts, then forget it."""
        self._enqueue(f"teardown-{testbed}-{job}", testbed, partial(self._workflows["teardown"], testbed, job))

    def tune(self, study_id: str, testbed: str, run: int) -> None:
        """Run a study, or continue it where it stopped."""
        self._enqueue(f"tune-{study_id}-{run}", testbed, partial(self._workflows["tune"], study_id, run))

    def measure(self, measurement_id: str, testbed: str) -> None:
        """Measure one candidate once."""
        workflow_id = f"measure-{measurement_id}-{secrets.token_hex(3)}"
        self._enqueue(workflow_id, testbed, partial(self._workflows["measure"], measurement_id))

    def rebuild_bundle(self, study_id: str, site: Site | None) -> None:
        """Build a study's bundle again, for this site or for its testbed."""
        with SetWorkflowID(f"bundle-{study_id}-{secrets.token_hex(3)}"):
            DBOS.start_workflow(self._workflows["bundle"], study_id, site.model_dump(mode="json") if site else None)
