"""Migrations, transactions and tokens on a real SQLite file."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app.database import Base, Database
from app.errors import ConflictError, UnauthorizedError
from app.events import service as events
from app.events.models import Event
from app.service import Service
from app.tokens.service import TokenService, hash_token

assert Service  # imports the models of every feature


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'wiretune.db'}")
    database.migrate()
    yield database
    database.close()


def test_migrations_give_the_models_schema(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrating_again_changes_nothing(database: Database) -> None:
    database.migrate()
    test_migrations_give_the_models_schema(database)


def test_transaction_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError), database.writing() as session:
        events.append(session, "testbed.state", testbed="x", state="ready")
        raise RuntimeError
    with database.reading() as session:
        assert session.query(Event).count() == 0


def test_readers_do_not_write(database: Database) -> None:
    with database.reading() as session:
        events.append(session, "testbed.state", testbed="x", state="ready")
        session.flush()
    with database.reading() as session:
        assert session.query(Event).count() == 0


def test_times_come_back_in_utc(database: Database) -> None:
    with database.writing() as session:
        events.append(session, "testbed.deleted", testbed="x")
    with database.reading() as session:
        offset = session.query(Event).one().at.utcoffset()
    assert offset is not None
    assert offset.total_seconds() == 0


def test_first_token_is_made_once_and_private(database: Database, tmp_path: Path) -> None:
    tokens = TokenService(database)
    path = tmp_path / "token"
    path.write_text("old")
    path.chmod(0o644)
    secret = tokens.create_first(path)
    assert secret is not None
    assert path.read_text().strip() == secret
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert tokens.create_first(path) is None
    tokens.check(secret)


def test_database_keeps_the_hash_only(database: Database, tmp_path: Path) -> None:
    secret = TokenService(database).create("ci").token
    database.close()
    rows = sqlite3.connect(tmp_path / "wiretune.db").execute("SELECT sha256 FROM tokens").fetchall()
    assert rows == [(hash_token(secret),)]
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert secret.encode() not in stored


def test_tokens_are_long_random_and_different(database: Database) -> None:
    tokens = TokenService(database)
    secrets = {tokens.create("x").token for _ in range(20)}
    assert len(secrets) == 20
    assert all(len(secret) == len("wt_") + 43 for secret in secrets)


def test_wrong_and_revoked_tokens_are_refused(database: Database) -> None:
    tokens = TokenService(database)
    created, other = tokens.create("a"), tokens.create("b")
    for wrong in ("", "wt_", created.token[:-1], created.token + "x", created.token.upper(), "x" * 100_000):
        with pytest.raises(UnauthorizedError):
            tokens.check(wrong)
    tokens.revoke(created.id)
    with pytest.raises(UnauthorizedError):
        tokens.check(created.token)
    with pytest.raises(ConflictError):
        tokens.revoke(created.id)
    with pytest.raises(ConflictError):
        tokens.revoke(other.id)
    tokens.check(other.token)
