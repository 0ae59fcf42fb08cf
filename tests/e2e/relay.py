"""A TCP relay on loopback that can break: a lost connection for the browser, while the service lives on."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Listens on a port of its own and passes bytes to `target_port` of this machine until it is told to break."""

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._open: set[socket.socket] = set()
        self._broken = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def break_connections(self) -> None:
        """Cut every connection, and every new one at once, until `mend`."""
        self._broken.set()
        for end in list(self._open):
            self._close(end)

    def mend(self) -> None:
        """Let new connections through again."""
        self._broken.clear()

    def close(self) -> None:
        """Cut everything and stop listening."""
        self.break_connections()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # closed: the test is over
                return
            if self._broken.is_set():
                near.close()
                continue
            far = socket.create_connection(self._target)
            self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):  # either end may hang up at any time
            while data := source.recv(65536):
                sink.sendall(data)
        self._close(source)
        self._close(sink)

    def _close(self, end: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it may be closed already
            end.shutdown(socket.SHUT_RDWR)
        end.close()
        self._open.discard(end)
