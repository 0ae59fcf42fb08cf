"""What earlier studies have to offer to a new one: their hosts, their goal, and their best candidates."""

from __future__ import annotations

from collections.abc import Iterator

import structlog
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.lab.driver import ProvisionedTestbed
from app.studies.models import Block, Study, Trial
from app.studies.schemas import StudyCreate
from app.studies.states import StudyState
from tuner.candidate import Candidate
from tuner.topology import Topology
from tuner.warm_start import EarlierCandidate, EarlierStudy, Hosts

log = structlog.get_logger(__name__)

MOST_CONSIDERED = 50
"""The newest completed studies; older ones are about older hosts."""
_MOST_CANDIDATES = 3


def hosts_of(provisioned: ProvisionedTestbed) -> Hosts:
    """The hosts as the tuner compares them. Raises ValueError for a topology that is none."""
    gateways = provisioned.gateways
    return Hosts(
        topologies={name: Topology.model_validate(gateway.topology) for name, gateway in gateways.items()},
        fingerprints={name: gateway.fingerprint for name, gateway in gateways.items()},
        shared_machine=provisioned.shared_machine,
        simulated=provisioned.simulated,
        emulated=provisioned.emulated,
    )


def earlier_studies(session: Session, but: str) -> Iterator[EarlierStudy]:
    """The completed studies without this one, newest first. One that this version cannot read is left out."""
    query = select(Study).where(Study.state == StudyState.COMPLETED, Study.id != but)
    for study in session.scalars(query.order_by(Study.created_at.desc()).limit(MOST_CONSIDERED)):
        if study.provisioned is None or study.verdict is None:
            continue
        try:
            spec = StudyCreate.model_validate(study.spec)
            hosts = hosts_of(ProvisionedTestbed.model_validate(study.provisioned))
            best = tuple(_best(session, study)) if study.verdict["conclusion"] == "better" else ()
        except (ValidationError, ValueError) as error:
            log.warning("an earlier study cannot be read", study=study.id, error=str(error)[:500])
            continue
        yield EarlierStudy(study.id, hosts, spec.objective, tuple(spec.workloads or ()), best)


def _best(session: Session, study: Study) -> Iterator[EarlierCandidate]:
    """The confirmed winner, then the other finalists."""
    assert study.verdict is not None  # noqa: S101
    winner = study.verdict["best_trial_number"]
    played = select(Block.trial_id).where(Block.phase == "playoff")
    finalists = select(Trial).where(
        Trial.study_id == study.id,
        Trial.number.is_not(None),
        Trial.state == "completed",
        (Trial.number == winner) | Trial.id.in_(played),
    )
    trials = sorted(session.scalars(finalists), key=lambda trial: (trial.number != winner, trial.number))
    for trial in trials[:_MOST_CANDIDATES]:
        yield EarlierCandidate(Candidate.model_validate(trial.candidate), dict(trial.params))
