"""The child process that runs one playbook with ansible-runner: a job on standard input, events on standard output.

Started by playbook_runner only. It imports nothing of ours, which keeps its start short.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1
EVENTS = {"playbook_on_task_start", "playbook_on_stats", "runner_on_ok", "runner_on_failed", "runner_on_unreachable"}
FIELDS = ("task", "task_action", "host", "start", "end", "res", "ignore_errors")


def main() -> int:
    """Run the job; returns Ansible's exit code. The kernel kills us as soon as our parent dies, however it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    job = json.load(sys.stdin)
    if os.getppid() != job["parent_pid"]:
        return 1
    # ansible-runner replaces signal handlers and writes to standard output: events get a descriptor of their own.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    from ansible_runner import interface  # noqa: PLC0415 - half a second that the parent's death must not wait for

    def on_event(event: dict[str, Any]) -> bool:
        """Hand over what the parent needs, at once: a slow handler makes ansible-runner time out."""
        if event.get("event") in EVENTS:
            data = event.get("event_data", {})
            line = {"event": event["event"]} | {name: data[name] for name in FIELDS if name in data}
        elif event.get("event") in ("error", "verbose") and event.get("stdout"):
            line = {"event": "output", "text": event["stdout"][:4000]}
        else:
            return True
        events.write(json.dumps(line) + "\n")
        events.flush()
        return True

    runner = interface.init_runner(
        private_data_dir=job["private_data_folder"],
        playbook=job["playbook"],
        inventory=job["inventory_file"],
        event_handler=on_event,
        suppress_env_files=True,
        quiet=True,
    )
    # pexpect gives Ansible a session of its own, out of reach of our process group: tie its life to ours instead.
    runner.config.command = ["setpriv", "--pdeathsig", "KILL", *runner.config.command]
    _, exit_code = runner.run()
    return int(exit_code)


if __name__ == "__main__":
    sys.exit(main())
