"""Single measurements: the steps of their workflow."""

from __future__ import annotations

import structlog

from app.lab.driver import CandidateFailed, LabCancelled, LabError, TrialResult
from app.measurements.schemas import MeasurementState, MeasurementView
from app.measurements.service import FINISHED, MeasurementService
from app.workflows.interrupts import Interrupts
from app.workflows.lab import Lab

log = structlog.get_logger(__name__)

S = MeasurementState


class MeasurementRunner:
    """Measures one candidate once."""

    def __init__(self, measurements: MeasurementService, lab: Lab, interrupts: Interrupts) -> None:
        self._measurements, self._lab, self._interrupts = measurements, lab, interrupts

    def run(self, measurement_id: str) -> None:
        """Run a measurement to its end. A fault of the lab is healed and the measurement tried once more."""
        measurement = self._measurements.get(measurement_id)
        if measurement.state in FINISHED:
            return
        if measurement.state is S.CANCELLING:
            self._interrupted(measurement)
            return
        self._measurements.record_running(measurement_id)
        try:
            result = self._run_twice(measurement)
        except LabCancelled:
            self._interrupted(measurement)
            return
        except CandidateFailed as error:
            self._end(measurement, S.INFEASIBLE, error)
            return
        except LabError as error:
            self._lab.damaged(measurement.testbed)
            self._end(measurement, S.FAILED, error)
            return
        self._lab.rollback(measurement.testbed)
        self._measurements.record_end(measurement_id, S.COMPLETED, result)

    def _run_twice(self, measurement: MeasurementView) -> TrialResult:
        try:
            return self._run_once(measurement)
        except (CandidateFailed, LabCancelled):
            raise
        except LabError:
            self._lab.damaged(measurement.testbed)
            return self._run_once(measurement)

    def _run_once(self, measurement: MeasurementView) -> TrialResult:
        should_cancel = self._interrupts.should_cancel(
            lambda: self._measurements.get(measurement.id).state not in (S.QUEUED, S.RUNNING)
        )

        def on_phase(phase: str, message: str) -> None:
            self._measurements.record_phase(measurement.id, phase, message)

        return self._lab.run_trial(
            measurement.testbed, measurement.candidate, measurement.workloads, on_phase, should_cancel
        )

    def _interrupted(self, measurement: MeasurementView) -> None:
        """A cancelled measurement ends; one whose service stops is measured anew after the restart."""
        self._lab.rollback(measurement.testbed)
        if self._measurements.get(measurement.id).state is S.CANCELLING:
            self._measurements.record_end(measurement.id, S.CANCELLED)

    def _end(self, measurement: MeasurementView, state: MeasurementState, error: LabError) -> None:
        self._lab.rollback(measurement.testbed)
        self._measurements.record_end(measurement.id, state, detail=error.message, hint=error.hint)

    def fail(self, measurement_id: str, error: Exception) -> None:
        """End the measurement because of a defect of ours: say so, and keep the details in the log."""
        log.error("measurement failed", measurement=measurement_id, exc_info=error)
        detail = f"Internal error: {type(error).__name__}: {error}"
        self._measurements.record_end(measurement_id, S.FAILED, detail=detail, hint="The service's log says more.")
