"""From the failed tasks of a playbook to the one error that says what happened and whose fault it is."""

from __future__ import annotations

from pydantic import ValidationError

from app.lab.agent_messages import AgentFailure
from app.lab.driver import CandidateFailed, LabError
from app.lab.playbook_runner import PlaybookResult, TaskResult

HEAL = "provision the testbed again, which heals it"
UNREACHABLE_HINTS = (
    (
        "HOST IDENTIFICATION HAS CHANGED",
        "the host has another key than the one that was pinned: find out why; where the new one is right,"
        " `ssh-keygen -R NAME-GATEWAY -f known_hosts` in the testbed's folder forgets the old one",
    ),
    ("Host key verification failed", "the host has another key than host_key says"),
    ("Permission denied", "the host does not accept this user with this key: check user and key_file"),
    ("Connection refused", "nothing listens at this address and port: check both, and the SSH server"),
    ("timed out", "check address, port and the firewalls on the way"),
    ("unreachable", "there is no way to this address from here: check it, and the routes"),
    ("No route to host", "there is no way to this address from here: check it, and the routes"),
    ("privilege escalation", "sudo asks for a password on this host: name it in become_password, by reference"),
    ("Could not resolve", "the name does not resolve: check address, or use an IP address"),
)  # fmt: skip
"""What ssh says, and what to do about it."""
ANSIBLE_HINTS = (
    ("sudo password", "sudo asks for a password on this host: name it in become_password, by reference"),
    ("ncorrect sudo", "sudo does not take the password that become_password names"),
    ("python3: not found", "install python3 on the host"),
    ("No space left", "free some space on the host: /run and /tmp are used"),
)
"""What Ansible says when it cannot even start the agent."""


def failure_of(result: PlaybookResult) -> LabError:
    """The error that the failed tasks stand for.

    A host out of reach outweighs everything, since it explains everything; then the gateway that blames the candidate,
    because the other one often sees no more than a broken conversation. What is the lab's fault is told of each host.
    """
    unreachable = [task for task in result.failed if task.event == "runner_on_unreachable"]
    if unreachable:
        message = str(unreachable[0].result.get("msg", ""))[:500]
        return LabError(
            f"gateway {unreachable[0].host} cannot be reached: {message}",
            hint=next((hint for sign, hint in UNREACHABLE_HINTS if sign in message), HEAL),
            detail=result.output,
        )
    failures = [(task, _agent_failure(task)) for task in result.failed]
    failures.sort(key=lambda pair: pair[1].blame != "candidate")
    task, failure = failures[0]
    if failure.blame == "candidate":
        return CandidateFailed(_told(task, failure), hint=failure.hint, detail=failure.detail or result.output)
    # What both hosts lack is said of both, so that it can be put right in one go.
    return LabError(
        "; ".join(_told(*pair) for pair in failures if pair[0].task == task.task),
        hint=next((other.hint for _, other in failures if other.hint), ""),
        detail="\n".join(other.detail for _, other in failures if other.detail) or result.output,
    )


def _told(task: TaskResult, failure: AgentFailure) -> str:
    where = f"gateway {task.host}" if task.host in ("a", "b") else "this machine"
    return f"{where}: {failure.message}"


def _agent_failure(task: TaskResult) -> AgentFailure:
    try:
        return AgentFailure.model_validate(task.result["error"])
    except (KeyError, ValidationError):
        # Ansible itself failed: no agent, no Python, an argument that its specification does not allow.
        message = " ".join(str(task.result.get(name, "")) for name in ("msg", "module_stderr")).strip()
        hint = next((hint for sign, hint in ANSIBLE_HINTS if sign in message), "")
        return AgentFailure(message=f"{task.task}: {message[:1500]}", blame="lab", hint=hint)
