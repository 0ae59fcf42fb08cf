"""Keeps both gateways in step while they measure: gateway a asks, gateway b answers, one JSON object a line.

It runs over the underlay, never through the tunnel under test. A message is {"step": …, …}; an answer {"ok": {…}} or
{"error": {…}}. The first message carries a token of this run, so that nobody else's connection is taken for ours.
"""

from __future__ import annotations

import hmac
import json
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from wiretune_agent.errors import AgentError
from wiretune_agent.reachability import family_of

MAX_LINE_BYTES = 8 << 20
CONNECT_TIMEOUT_S = 30.0
IDLE_POLL_S = 0.2
RETRY_S = 0.01
KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 2, socket.TCP_KEEPCNT: 5}
"""A link that vanished is noticed after 15 s, while one that the measurement fills to the brim has time to answer."""
LONGEST_STEP_S = 3600 + 60
GONE = "the other gateway ended in the middle of the measurement"


class _Lines:
    """A stream socket as lines of JSON objects."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream, self._buffer = stream, b""
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            stream.setsockopt(socket.IPPROTO_TCP, option, value)

    def close(self) -> None:
        self._stream.close()

    def send(self, message: dict[str, Any]) -> None:
        try:
            self._stream.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise AgentError(GONE, detail=str(error)) from error

    @property
    def readable(self) -> bool:
        """Whether something has come, or the other end is gone."""
        return b"\n" in self._buffer or bool(select.select([self._stream], [], [], 0)[0])

    def receive(self, timeout_s: float, while_waiting: Callable[[], None]) -> dict[str, Any]:
        """The next object. Calls `while_waiting` several times a second; it may raise to give up."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            while_waiting()
            if time.monotonic() > deadline:
                raise AgentError(f"the other gateway was silent for {timeout_s:g} s")
            if not select.select([self._stream], [], [], IDLE_POLL_S)[0]:
                continue
            try:
                part = self._stream.recv(1 << 16)
            except OSError as error:
                raise AgentError(GONE, detail=str(error)) from error
            if not part:
                raise AgentError(GONE)
            self._buffer += part
            if len(self._buffer) > MAX_LINE_BYTES:
                raise AgentError("the other gateway sent too much")
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError as error:
            raise AgentError("the other gateway sent no JSON") from error
        if not isinstance(message, dict):
            raise AgentError("the other gateway sent no JSON object")
        return message


class Caller:
    """Gateway a's end."""

    def __init__(self, own_address: str, far_address: str, port: int, token: str) -> None:
        self._lines = _Lines(_connect(own_address, far_address, port))
        self._lines.send({"token": token})

    def ask(
        self, step: str, timeout_s: float = 15.0, while_waiting: Callable[[], None] = lambda: None, **fields: Any
    ) -> dict[str, Any]:
        """The far gateway's answer to one step. Raises its AgentError as ours."""
        self._lines.send({"step": step, **fields})
        return self.answer(timeout_s, while_waiting)

    def answer(self, timeout_s: float, while_waiting: Callable[[], None]) -> dict[str, Any]:
        """The next answer of the far gateway."""
        message = self._lines.receive(timeout_s, while_waiting)
        if "error" in message:
            raise AgentError.from_json(message["error"])
        if not isinstance(message.get("ok"), dict):
            raise AgentError("the other gateway sent neither an answer nor an error")
        return dict(message["ok"])

    def check(self) -> None:
        """Between two steps: raises the AgentError that the far gateway has reported, or that it is gone."""
        if self._lines.readable:
            self.answer(1.0, lambda: None)
            raise AgentError("gateway b answered what it was not asked")

    def give_up(self, error: AgentError) -> None:
        """Tell the far gateway why there will be no more steps; it may be gone already."""
        try:
            self._lines.send({"step": "give up", "error": error.as_json()})
        except AgentError:
            return

    def close(self) -> None:
        """End the conversation."""
        self._lines.close()


class Answerer:
    """Gateway b's end."""

    def __init__(self, own_address: str, port: int, token: str) -> None:
        with socket.create_server((own_address, port), family=family_of(own_address), backlog=8) as server:
            self._lines = _accept(server, token)

    def serve(self, handle: Callable[[dict[str, Any]], dict[str, Any]], while_waiting: Callable[[], None]) -> None:
        """Answer steps until "done". An AgentError of `handle` goes to gateway a as well as to the caller."""
        while True:
            try:
                message = self._lines.receive(LONGEST_STEP_S, while_waiting)
                if message.get("step") == "done":
                    self._lines.send({"ok": {}})
                    return
                if message.get("step") == "give up":
                    raise AgentError.from_json(message["error"])
                self._lines.send({"ok": handle(message)})
            except AgentError as error:
                self._tell(error)
                raise

    def close(self) -> None:
        """End the conversation."""
        self._lines.close()

    def _tell(self, error: AgentError) -> None:
        try:
            self._lines.send({"error": error.as_json()})
        except AgentError:
            return  # Nobody is left to tell; the error itself is raised by the caller.


def _connect(own_address: str, far_address: str, port: int) -> socket.socket:
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while True:
        try:
            return socket.create_connection((far_address, port), timeout=2, source_address=(own_address, 0))
        except OSError as error:
            if time.monotonic() > deadline:
                raise AgentError(
                    f"gateway b did not come to the measurement at {far_address} port {port}: {error}",
                    hint="TCP on the underlay between the gateways must not be filtered",
                ) from error
            time.sleep(RETRY_S)


def _accept(server: socket.socket, token: str) -> _Lines:
    deadline = time.monotonic() + CONNECT_TIMEOUT_S
    while True:
        server.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            stream, _ = server.accept()
        except TimeoutError:
            raise AgentError(f"gateway a did not come to the measurement within {CONNECT_TIMEOUT_S:g} s") from None
        lines = _Lines(stream)
        try:
            first = lines.receive(2, lambda: None)
        except AgentError:
            first = {}  # A stranger's connection, told apart below.
        if hmac.compare_digest(str(first.get("token")), token):
            stream.settimeout(None)
            return lines
        lines.close()
