"""One typed Settings object; every field can be set by an environment variable WIRETUNE_<FIELD>."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


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
        None, description="DBOS system database; default: a SQLite file of its own"
    )
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
        return self.workflow_database_url or f"sqlite:///{self.data_dir / 'workflows.db'}"

    @property
    def token_file(self) -> Path:
        """The first token, readable by the owner only."""
        return self.data_dir / "token"

    @property
    def lock_file(self) -> Path:
        """Held by the one service process of this data folder."""
        return self.data_dir / "service.lock"

    @property
    def bundles_dir(self) -> Path:
        """One tar.gz a study."""
        return self.data_dir / "bundles"

    @property
    def searches_dir(self) -> Path:
        """One Optuna storage a study."""
        return self.data_dir / "searches"

    @property
    def resolved_web_dist(self) -> Path:
        """Folder of the built dashboard; it may not exist."""
        return self.web_dist or Path(__file__).resolve().parent.parent / "web" / "dist"

    def make_data_dir(self) -> None:
        """Create the data folder, private to its owner."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
