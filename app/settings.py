"""One typed Settings object; every field can be set by an environment variable WIRETUNE_<FIELD>."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

OPTUNA_SCHEMA = "optuna"
"""Of PostgreSQL; Optuna's tables have names that others use too."""


def default_data_dir() -> Path:
    """/var/lib/wiretune for root, the XDG data folder for everybody else."""
    if os.geteuid() == 0:
        return Path("/var/lib/wiretune")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "wiretune"


class Settings(BaseSettings):
    """Where the service keeps its data and how it listens."""

    model_config = SettingsConfigDict(env_prefix="WIRETUNE_", extra="ignore")

    data_dir: Path = Field(default_factory=default_data_dir, description="databases, token, lock, bundles")
    database_url: str | None = Field(None, description="SQLAlchemy URL; default: SQLite file in the data folder")
    workflow_database_url: str | None = Field(
        None, description="DBOS system database; default: schema dbos of a PostgreSQL database, else a file"
    )
    jobs: Literal["here", "worker"] = Field("here", description="who runs the long work: `serve`, or `wiretune worker`")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8080, ge=0, le=65535)
    web_dist: Path | None = Field(None, description="built dashboard; default: web/dist beside the sources")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"
    max_body_bytes: int = Field(1 << 20, ge=1024, description="largest request body that is read")

    @cached_property
    def resolved_database_url(self) -> str:
        """URL of the application's database."""
        return self.database_url or f"sqlite:///{self.data_dir / 'wiretune.db'}"

    @cached_property
    def resolved_workflow_database_url(self) -> str:
        """URL of the workflow engine's database, which shares nothing with the application's."""
        if self.workflow_database_url or not self.uses_postgresql:
            return self.workflow_database_url or f"sqlite:///{self.data_dir / 'workflows.db'}"
        return self.resolved_database_url  # DBOS keeps to a schema of its own

    @model_validator(mode="after")
    def _two_processes_need_a_server(self) -> Self:
        if self.jobs == "worker" and not self.uses_postgresql:
            raise ValueError("jobs in a worker process need WIRETUNE_DATABASE_URL=postgresql://…, for both processes")
        return self

    @property
    def uses_postgresql(self) -> bool:
        """Whether there is a database server, that several processes can use."""
        return self.resolved_database_url.startswith("postgresql")

    def search_storage(self, study_id: str) -> str | Path:
        """Where Optuna keeps a study: a schema of its own in PostgreSQL, else a file of its own."""
        if not self.uses_postgresql:
            return self.data_dir / "searches" / f"{study_id}.db"
        url = self.resolved_database_url
        return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{OPTUNA_SCHEMA}"

    @property
    def token_file(self) -> Path:
        """The first token, readable by the owner only."""
        return self.data_dir / "token"

    @property
    def lock_file(self) -> Path:
        """Held by the one service process of this data folder."""
        return self.data_dir / "service.lock"

    @property
    def worker_lock_file(self) -> Path:
        """Held by the one worker process of this data folder."""
        return self.data_dir / "worker.lock"

    @property
    def bundles_dir(self) -> Path:
        """One tar.gz a study."""
        return self.data_dir / "bundles"

    @property
    def ssh_key_file(self) -> Path:
        """The key that lets the worker of docker-compose.yml into its gateways."""
        return self.data_dir / "ssh" / "id_ed25519"

    @property
    def testbeds_dir(self) -> Path:
        """One folder a testbed of driver ssh or compose, with its pinned host keys."""
        return self.data_dir / "testbeds"

    @property
    def resolved_web_dist(self) -> Path:
        """Folder of the built dashboard; it may not exist."""
        return self.web_dist or Path(__file__).resolve().parent.parent / "web" / "dist"

    def make_data_dir(self) -> None:
        """Create the data folder, private to its owner."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
