"""`wiretune serve`: one HTTP server on a socket that is bound before anything else is touched."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from app.lock import ServiceRunningError, running_service
from app.main import make_app
from app.service import Service
from app.settings import Settings

_SECONDS_FOR_OPEN_REQUESTS = 5

OnReady = Callable[[str, str | None], None]
"""Called once the service answers, with its base URL and, on the very first start, its first token."""


class AddressError(Exception):
    """The service cannot listen where it was told to."""


class _Server(uvicorn.Server):
    """Ends the event streams first: an open one would hold up the stop for ever."""

    def __init__(self, config: uvicorn.Config, service: Service, base_url: str, on_ready: OnReady) -> None:
        super().__init__(config)
        self._service, self._base_url, self._on_ready = service, base_url, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._service.lock.announce(self._base_url)
            self._on_ready(self._base_url, self._service.first_token)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            return  # uvicorn takes a second signal as leave to skip the clean-up
        self._service.interrupt()
        super().handle_exit(sig, frame)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises AddressError when the address is not ours or the port is taken."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise AddressError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    return listener


def serve(settings: Settings, on_ready: OnReady) -> None:
    """Serve until SIGINT or SIGTERM, then roll running work back and end.

    Raises AddressError, and lock.ServiceRunningError when another process serves the data folder.
    """
    settings.make_data_dir()
    already = running_service(settings.lock_file)
    if already is not None:
        raise ServiceRunningError(already)
    listener = bind(settings.host, settings.port)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    base_url = f"http://[{host}]:" if ":" in host else f"http://{host}:"
    base_url += str(listener.getsockname()[1])
    service = Service(settings, "api" if settings.jobs == "worker" else "all")
    config = uvicorn.Config(
        make_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SECONDS_FOR_OPEN_REQUESTS,
        timeout_keep_alive=30,
    )
    server = _Server(config, service, base_url, on_ready)
    server.run(sockets=[listener])
    if not server.started:
        raise service.start_error or RuntimeError("the service could not start; the lines above say why")
