"""A PostgreSQL server of these tests alone: on a socket in its own folder, gone with it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

INSTALLED = Path("/usr/lib/postgresql")


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Its URL; skips where there is no PostgreSQL."""
    user = _user()
    with tempfile.TemporaryDirectory(prefix="wiretune-postgresql-") as folder:
        if user:
            shutil.chown(folder, user)
        data, as_user = f"{folder}/data", {"user": user, "group": user, "extra_groups": []} if user else {}
        argv = [_program("initdb"), "-D", data, "-U", "wiretune", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(argv, check=True, capture_output=True, cwd=folder, **as_user)  # type: ignore[call-overload]
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        control = [_program("pg_ctl"), "-D", data, "-w", "-t", "60"]
        subprocess.run(
            [*control, "-l", f"{folder}/log", "-o", options, "start"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=folder,
            **as_user,  # type: ignore[call-overload]
        )
        try:
            yield f"postgresql://wiretune@/postgres?host={folder}"
        finally:
            subprocess.run(
                [*control, "-m", "immediate", "stop"],
                check=True,
                stdout=subprocess.DEVNULL,
                cwd=folder,
                **as_user,  # type: ignore[call-overload]
            )


def _program(name: str) -> str:
    newest = sorted(INSTALLED.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = str(newest[-1]) if newest else shutil.which(name)
    if found is None:
        pytest.skip(f"there is no PostgreSQL here ({name}): apt-get install postgresql")
    return found


def _user() -> str | None:
    """Whom the server runs as: it refuses root, and Debian's package brings a user for it."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres: apt-get install postgresql")
