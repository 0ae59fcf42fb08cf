"""The only place that starts Ansible: one playbook, in a child process of its own session, never in this process.

Whatever ends the run (its end, a timeout, cancellation, our own death) ends everything that it had started: the child,
ansible-playbook, its workers and the modules each ask the kernel to be killed with their parent (prctl(2),
PR_SET_PDEATHSIG). What a playbook leaves running on purpose is recorded on the gateway, see playbooks/README.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.lab.driver import LabCancelled, LabError, ShouldCancel

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
CHILD = Path(__file__).with_name("playbook_child.py")
PREFIX = "wiretune-play-"
UNLOCKED_S = 60.0
"""A folder may be so old before its run has locked it."""
POLL_S = 0.2
MAX_LINE_BYTES = 16 << 20
MAX_TOTAL_BYTES = 64 << 20
OUTPUT_LINES = 40
KEPT_VARIABLES = ("HOME", "LANG", "TERM", "TMPDIR")

OnTask = Callable[[str], None]
"""Called with a task's name as it begins."""


class TaskResult(BaseModel):
    """What one task returned on one host. `result` is untrusted: the caller checks it against a schema."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    event: Literal["runner_on_ok", "runner_on_failed", "runner_on_unreachable"]
    task: str = Field(max_length=200)
    host: str = Field(max_length=200)
    result: dict[str, Any] = Field(alias="res", default_factory=dict)
    started_at: datetime = Field(alias="start")
    ended_at: datetime = Field(alias="end")
    ignored: bool | None = Field(alias="ignore_errors", default=None)

    @property
    def duration_s(self) -> float:
        """How long the task took, Ansible's own overhead around the module included."""
        return max(0.0, (self.ended_at - self.started_at).total_seconds())


@dataclass(frozen=True)
class PlaybookResult:
    """A finished run: every task on every host, in the order in which they ended."""

    tasks: tuple[TaskResult, ...]
    output: str

    @property
    def failed(self) -> tuple[TaskResult, ...]:
        """The tasks that failed, or whose host could not be reached."""
        return tuple(task for task in self.tasks if task.event != "runner_on_ok" and not task.ignored)


def run_playbook(
    playbook: str,
    inventory: Mapping[str, Any],
    *,
    timeout_s: float,
    should_cancel: ShouldCancel = lambda: False,
    on_task: OnTask = lambda _: None,
) -> PlaybookResult:
    """Run one of our playbooks to its end; a failed task is a result, not an exception.

    Raises LabCancelled as `should_cancel` says so, LabError when Ansible cannot run or takes longer than `timeout_s`.
    """
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, _held(Path(folder)) as private:
        (private / "project").mkdir(mode=0o700)
        # JSON is YAML: the inventory's own plugin reads it. The file holds no secret and goes with the folder.
        (private / "hosts.yml").write_text(json.dumps(inventory))
        job = {
            "parent_pid": os.getpid(),
            "private_data_folder": folder,
            "playbook": str(PLAYBOOKS / playbook),
            "inventory_file": str(private / "hosts.yml"),
        }
        with (private / "child.log").open("wb+") as log, _child(private, log.fileno()) as child:
            collected = _Collected(on_task)
            _feed(child, job)
            _collect(child, collected, playbook, timeout_s, should_cancel)
            exit_code = None if collected.finished else child.wait(timeout=10)
            log.seek(max(0, log.tell() - 4000))
            output = "\n".join([*collected.output[-OUTPUT_LINES:], log.read().decode(errors="replace").strip()]).strip()
    if not collected.finished:
        raise LabError(f"Ansible ended in the middle of {playbook} (exit code {exit_code})", detail=output)
    return PlaybookResult(tuple(collected.tasks), output)


def remove_abandoned_folders() -> int:
    """Remove the private folders of runs that were killed. Returns how many.

    A run holds a lock on its folder for as long as it lives. Only what is ours and a folder itself, no symbolic link,
    is opened; removing goes by that descriptor's parent and follows no links either.
    """
    removed = 0
    parent = os.open(tempfile.gettempdir(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        names = os.listdir(parent)  # noqa: PTH208 - by descriptor
        for name in sorted(name for name in names if name.startswith(PREFIX)):
            with contextlib.suppress(OSError):  # A link, somebody else's, in use, or gone meanwhile.
                folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
                try:
                    found = os.fstat(folder)
                    if found.st_uid != os.geteuid() or time.time() - found.st_ctime < UNLOCKED_S:
                        continue
                    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(name, dir_fd=parent)
                    removed += 1
                finally:
                    os.close(folder)
    finally:
        os.close(parent)
    return removed


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[Path]:
    """Marks the folder as in use; the kernel lets go of it with the process, however that ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(descriptor)


class _Collected:
    """Events of the child, checked one by one."""

    def __init__(self, on_task: OnTask) -> None:
        self.tasks: list[TaskResult] = []
        self.output: list[str] = []
        self.finished = False
        """All tasks are done: what Ansible does after its statistics is its own tidying up, half a second of it."""
        self._on_task = on_task
        self._buffer = bytearray()
        self._total_bytes = 0

    def add(self, part: bytes) -> None:
        """Take in what the child wrote. Raises LabError where it is too much or no event of ours."""
        self._buffer += part
        self._total_bytes += len(part)
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        if len(rest) > MAX_LINE_BYTES or self._total_bytes > MAX_TOTAL_BYTES:
            raise LabError("a gateway returned an implausible amount of data")
        for line in lines:
            self._event(bytes(line))

    def _event(self, line: bytes) -> None:
        try:
            event = json.loads(line)
            match event["event"]:
                case "playbook_on_task_start":
                    self._on_task(str(event.get("task", ""))[:200])
                case "playbook_on_stats":
                    self.finished = True
                case "output":
                    self.output.append(str(event["text"]))
                case _:
                    self.tasks.append(TaskResult.model_validate(event))
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise LabError("Ansible returned an event that cannot be read", detail=str(error)[:2000]) from error


@contextlib.contextmanager
def _child(private: Path, log: int) -> Iterator[subprocess.Popen[bytes]]:
    try:
        child = subprocess.Popen(
            [sys.executable, "-P", str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=_environment(private),
            cwd=private,
            start_new_session=True,
        )
    except OSError as error:
        raise LabError(f"cannot start a process for Ansible: {error.strerror}", detail=str(error)) from error
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # It was killed before it had read its job.
                    stream.close()


def _environment(private: Path) -> dict[str, str]:
    """Only what Ansible needs: nothing of the service's own environment, where secrets may be."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")])
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {
        "LANG": "C.UTF-8",
        **kept,
        "PATH": path,
        "ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"),
        "ANSIBLE_HOME": str(private / "ansible"),
        # A connection of an earlier run would let in whoever asks, whatever key or host key this run names.
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(private / "cp"),
        "ANSIBLE_LOCAL_TEMP": str(private / "ansible/tmp"),
        "ANSIBLE_REMOTE_TEMP": str(private / "ansible/tmp"),
    }


def _feed(child: subprocess.Popen[bytes], job: Mapping[str, Any]) -> None:
    assert child.stdin is not None  # noqa: S101 - a pipe was asked for
    with contextlib.suppress(BrokenPipeError):  # Its exit code will say why.
        child.stdin.write(json.dumps(job).encode())
        child.stdin.close()


def _collect(
    child: subprocess.Popen[bytes],
    collected: _Collected,
    playbook: str,
    timeout_s: float,
    should_cancel: ShouldCancel,
) -> None:
    """Read events until all tasks are done, or the child closes its end."""
    assert child.stdout is not None  # noqa: S101 - a pipe was asked for
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while not collected.finished:
            if should_cancel():
                raise LabCancelled(f"{playbook} was cancelled")
            if time.monotonic() > deadline:
                raise LabError(f"{playbook} did not finish within {timeout_s:g} s", hint="provision the testbed again")
            if selector.select(POLL_S):
                part = os.read(child.stdout.fileno(), 1 << 16)
                if not part:
                    return
                collected.add(part)
