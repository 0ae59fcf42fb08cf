"""What this machine can do: the lab's doctor, as the API shows it."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError

from app import __version__
from app.database import Database
from app.lab.doctor import can_tune, examine
from app.system.schemas import Capabilities, Capability, Health

_NO_WORKER = (
    "No job worker runs, so that everything stays queued. Start one: `wiretune worker`, with the WIRETUNE_DATABASE_URL"
    " of this service; in compose: `docker compose up --detach worker`."
)
_NO_DATABASE = "The database does not answer: is it up, and is WIRETUNE_DATABASE_URL right?"


def health(database: Database) -> Health:
    """The service as it is now; never raises."""
    try:
        if database.jobs_are_taken():
            return Health(version=__version__, jobs="running")
    except SQLAlchemyError:
        return Health(version=__version__, jobs="unknown", hint=_NO_DATABASE)
    return Health(version=__version__, jobs="no_worker", hint=_NO_WORKER)


def capabilities() -> Capabilities:
    """Look at this machine; takes about a second."""
    checks = examine()
    return Capabilities(
        version=__version__,
        can_tune_netns=can_tune(checks),
        items=[Capability.model_validate(check.model_dump()) for check in checks],
    )
