"""The service on PostgreSQL, in two processes: the API, and a worker that may be killed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from app.database import Base, Database
from app.service import Service
from app.settings import Settings
from tests.contract.postgresql_server import postgresql_server
from tests.contract.service_process import (
    ServiceProcess,
    WorkerProcess,
    blocks_of,
    event_stream,
    finished,
    make_study,
    make_testbed,
    wait_for,
)

assert Service  # imports the models of every feature


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of a server of these tests alone."""
    with postgresql_server() as url:
        yield url


@pytest.fixture(scope="module")
def worker(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerProcess]:
    """The process that runs the jobs."""
    worker = WorkerProcess(tmp_path_factory.mktemp("worker") / "data", WIRETUNE_DATABASE_URL=url)
    worker.start()
    yield worker
    assert worker.stop() == 0, worker.log


@pytest.fixture(scope="module")
def api(url: str, worker: WorkerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The process that answers; it shares nothing with the worker but the database."""
    environment = {"WIRETUNE_DATABASE_URL": url, "WIRETUNE_JOBS": "worker"}
    api = ServiceProcess(tmp_path_factory.mktemp("api") / "data", **environment)
    api.start()
    with api.client() as client:
        make_testbed(client, "sim", sample_time_ratio=0.05)
    yield api
    assert api.stop() == 0, api.log


def test_study_survives_the_death_of_its_worker(api: ServiceProcess, worker: WorkerProcess) -> None:
    with api.client() as client:
        study_id = make_study(client, "sim", sample_seconds=3)
        path = f"/studies/{study_id}"
        with event_stream(client, f"{path}/events?until_finished=true", last_id=0) as stream:
            done: Counter[tuple[str, ...]] = Counter()
            before = None
            for event in stream:
                if event["type"] == "block.finished":
                    done[tuple(str(event["data"][key]) for key in ("number", "phase", "block"))] += 1
                if before is None and len(done) >= 3:
                    before = client.get(f"{path}/result").json()
                    worker.kill()
                    worker.start()
        assert client.get(path).json()["state"] == "completed"
        after = client.get(f"{path}/result").json()
    assert set(done.values()) == {1}, "a finished block was measured again"
    assert before is not None
    assert blocks_of(before).items() <= blocks_of(after).items(), "a finished block was lost or measured again"
    assert [trial["number"] for trial in after["trials"]] == [None, 0, 1]


def test_study_is_cancelled_in_the_other_process(api: ServiceProcess) -> None:
    with api.client() as client:
        study_id = make_study(client, "sim", sample_seconds=60, trials=1)
        path = f"/studies/{study_id}"
        wait_for(client, path, lambda study: study["progress"]["running"])
        assert client.post(f"{path}/cancel").json()["state"] == "cancelling"
        assert wait_for(client, path, finished)["state"] == "cancelled"


def test_bundle_is_built_where_it_is_asked_for(api: ServiceProcess) -> None:
    """These two processes share no folder, so the one that the worker built is not here."""
    with api.client() as client:
        completed = next(study for study in client.get("/studies").json()["items"] if study["state"] == "completed")
        path = f"/studies/{completed['id']}/bundle"
        assert client.get(f"{path}/download").status_code == 404
        assert client.post(path).status_code == 202
        wait_for(client, path, lambda bundle: client.get(f"{path}/download").status_code == 200)


def test_every_engine_keeps_to_its_schema(url: str, api: ServiceProcess) -> None:
    database = Database(url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
        tables = {schema: set(inspect(connection).get_table_names(schema)) for schema in ("public", "optuna", "dbos")}
    database.close()
    assert tables["public"] == {*Base.metadata.tables, "alembic_version"}
    assert {"trials", "trial_params", "studies"} <= tables["optuna"]
    assert "workflow_status" in tables["dbos"]


def test_health_says_that_no_worker_runs(api: ServiceProcess, worker: WorkerProcess) -> None:
    with api.client() as client:
        assert client.get("/health").json()["jobs"] == "running"
        worker.kill()
        try:
            health = wait_for(client, "/health", lambda health: health["jobs"] == "no_worker")
            assert "`wiretune worker`" in health["hint"]
        finally:
            worker.start()
        assert wait_for(client, "/health", lambda health: health["jobs"] == "running")["hint"] is None


def test_second_worker_is_refused(url: str, worker: WorkerProcess, tmp_path: Path) -> None:
    second = WorkerProcess(tmp_path / "data", WIRETUNE_DATABASE_URL=url)
    with pytest.raises(AssertionError, match="another process runs the jobs of this database"):
        second.start()


def test_database_that_does_not_answer(tmp_path: Path) -> None:
    worker = WorkerProcess(tmp_path / "data", WIRETUNE_DATABASE_URL=f"postgresql://nobody@/none?host={tmp_path}")
    with pytest.raises(AssertionError, match="Error: the database does not answer"):
        worker.start()


def test_worker_needs_a_database_server(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="WIRETUNE_DATABASE_URL=postgresql"):
        Settings(data_dir=tmp_path, jobs="worker")


def test_search_storage_keeps_the_parameters_of_the_url(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url="postgresql://w:p%40ss@db/w?sslmode=require")
    expected = "postgresql://w:p%40ss@db/w?sslmode=require&options=-csearch_path%3Doptuna"
    assert settings.search_storage("0123456789ab") == expected
