"""Everything behind the HTTP application: database, services, lab and workflow engine, started and stopped together."""

from __future__ import annotations

from typing import Literal

from app.database import Database
from app.events.service import EventFeed
from app.lab.playbook_runner import remove_abandoned_folders
from app.lock import ServiceLock
from app.measurements.service import MeasurementService
from app.settings import Settings
from app.studies.recording import StudyRecorder
from app.studies.service import StudyService
from app.testbeds.service import TestbedService
from app.tokens.service import TokenService
from app.workflows.bundling import Bundling
from app.workflows.drivers import make_driver
from app.workflows.engine import WorkflowEngine
from app.workflows.interrupts import Interrupts
from app.workflows.lab import Lab, MakeDriver
from app.workflows.measure import MeasurementRunner
from app.workflows.plan import Searches
from app.workflows.testbed import TestbedRunner
from app.workflows.tune import StudyRunner

Part = Literal["all", "api", "worker"]
"""What a process is: the whole service, or the API or the job worker of one that is split in two."""


class Service:
    """One running service. Nothing is touched before `start` holds the lock of the data folder."""

    def __init__(self, settings: Settings, part: Part = "all", make_driver: MakeDriver = make_driver) -> None:
        self.settings = settings
        self._part, self._make_driver = part, make_driver
        self.lock = ServiceLock(settings.worker_lock_file if part == "worker" else settings.lock_file)
        self.first_token: str | None = None
        self.start_error: Exception | None = None
        self.database = Database(settings.resolved_database_url)
        self.tokens = TokenService(self.database)
        self.feed = EventFeed(self.database)
        self._interrupts = Interrupts()

    def start(self) -> None:
        """Take the data folder, bring the database's schema up to date, and go on with interrupted work.

        Raises lock.ServiceRunningError when another process serves the data folder, and database.JobsTakenError when
        another one runs the jobs of the database.
        """
        settings = self.settings
        settings.make_data_dir()
        self.lock.acquire()
        self.database.migrate()
        if self._part != "worker":
            self.first_token = self.tokens.create_first(settings.token_file)
            self.feed.forget_old()
        if self._part != "api":
            self.database.take_jobs()
            remove_abandoned_folders()

        interrupts = self._interrupts
        self.engine = WorkflowEngine(settings.resolved_workflow_database_url, interrupts, runs_jobs=self._part != "api")
        self.testbeds = TestbedService(self.database, self.engine)
        self.studies = StudyService(self.database, self.engine, self.testbeds, settings.bundles_dir)
        self.measurements = MeasurementService(self.database, self.engine, self.testbeds)
        self.testbeds.busy += [self.studies.is_active_on, self.measurements.is_active_on]

        recorder = StudyRecorder(self.database)
        lab = Lab(self.testbeds, self._make_driver)
        bundling = Bundling(self.studies, recorder, settings.bundles_dir)
        self.engine.connect(
            StudyRunner(recorder, lab, interrupts, Searches(settings.search_storage), bundling.build),
            MeasurementRunner(self.measurements, lab, interrupts),
            TestbedRunner(self.testbeds, lab, interrupts),
            bundling.rebuild,
        )
        self.engine.launch(recorder, self.measurements, self.testbeds)

    def interrupt(self) -> None:
        """The process was told to end: end the event streams and running work, which `stop` then waits for."""
        self._interrupts.stop_all()
        self.feed.close()

    def stop(self) -> None:
        """Interrupt running work, wait until its hosts are rolled back, and give the data folder back."""
        self.feed.close()
        self.engine.stop()
        self.database.close()
        self.lock.release()
