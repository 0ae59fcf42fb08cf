"""Engine and transactions. The only module that commits; it also runs the migrations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, DateTime, MetaData, create_engine, event, text
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.schema import CreateSchema
from sqlalchemy.types import TypeDecorator

from app.settings import OPTUNA_SCHEMA

MIGRATIONS = Path(__file__).parent / "migrations"
# PostgreSQL's advisory locks: event ids become visible in ascending order; one process at a time changes the schema;
# one process runs the jobs.
_WRITE_ORDER_LOCK, _SCHEMA_LOCK, _JOBS_LOCK = 0x77697265, 0x77697266, 0x77697267


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC times in Python; SQLite forgets the zone, so it is put back here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else (value.replace(tzinfo=UTC) if value.tzinfo is None else value)


class Base(DeclarativeBase):
    """Base of every table."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, datetime: UtcDateTime}  # noqa: RUF012


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


class JobsTakenError(Exception):
    """Another process runs the jobs of this database."""


class Database:
    """Sessions over one engine. Writers are serialised: SQLite has one anyway, and events need an order."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = create_engine(url, pool_pre_ping=True)
        self._is_postgresql = self.engine.dialect.name == "postgresql"
        self._jobs: Connection | None = None
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._writing = threading.Lock()
        self._on_commit: list[Callable[[], None]] = []
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _configure_sqlite)

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` from the committing thread after every write."""
        self._on_commit.append(callback)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session whose changes are thrown away."""
        with self._sessions() as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction: committed when the block ends, rolled back when it raises."""
        with self._writing, self._sessions() as session, session.begin():
            if self._is_postgresql:
                session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITE_ORDER_LOCK})
            yield session
        for callback in self._on_commit:
            callback()

    def migrate(self) -> None:
        """Bring the schema to the newest revision."""
        from alembic import command  # noqa: PLC0415  imported late: the client never needs it

        with self.engine.begin() as connection:
            if self._is_postgresql:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
                connection.execute(CreateSchema(OPTUNA_SCHEMA, if_not_exists=True))
            command.upgrade(self._alembic(connection), "head")

    def _alembic(self, connection: Connection) -> Any:
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        return config

    def take_jobs(self) -> None:
        """Be the one process that runs the jobs of this database, until `close`. Raises JobsTakenError.

        Only processes that share a server can meet here; those that share a file share the data folder and its lock.
        """
        if not self._is_postgresql:
            return
        connection = self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _JOBS_LOCK}):
            connection.close()
            raise JobsTakenError
        self._jobs = connection

    def jobs_are_taken(self) -> bool:
        """Whether some process runs the jobs of this database. Raises SQLAlchemyError when it does not answer."""
        if not self._is_postgresql:
            return True  # Only `take_jobs` by another process could be missed, and there is none.
        # As pg_locks shows an advisory lock with one key: its upper half is classid, objsubid is 1.
        held = text(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND classid = 0 AND objid = :key AND objsubid = 1"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
        )
        with self.engine.connect() as connection:
            return bool(connection.scalar(held, {"key": _JOBS_LOCK}))

    def close(self) -> None:
        """Give all connections back."""
        if self._jobs is not None:
            self._jobs.invalidate()  # a pooled connection would keep the lock
            self._jobs.close()
        self.engine.dispose()


def _configure_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "busy_timeout=10000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
