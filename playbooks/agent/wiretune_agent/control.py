"""Asking a running wirelane over its control socket: one JSON object a line, each way."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from wiretune_agent.errors import AgentError

NAME = "control.sock"
MAX_REPLY_BYTES = 16 << 20
TIMEOUT_S = 3.0


def ask(state_folder: Path, subject: str) -> Any:
    """What wirelane says of `stats` or `placement`. Raises AgentError that blames the candidate."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(TIMEOUT_S)
        try:
            client.connect(str(state_folder / NAME))
            client.sendall(json.dumps({"get": subject}).encode() + b"\n")
            reply = b""
            while not reply.endswith(b"\n") and len(reply) < MAX_REPLY_BYTES:
                part = client.recv(65536)
                if not part:
                    break
                reply += part
            return json.loads(reply)
        except (OSError, ValueError) as error:
            raise AgentError(f"wirelane's control socket does not answer: {error}", blame="candidate") from error
