"""The HTTP face for other machines: mutual TLS 1.3, for users whose certificate is on the list.

A node's certificate opens nothing here: nodes talk through their own door, where they are not people. What a user may
do is in the certificate; everything behind is the same application as on the node's socket.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from quorate.clusapi.addresses import HostPort
from quorate.clusapi.errors import ClusterError, FaultError
from quorate.clusapi.status import Status
from quorate.peers.tls import HANDSHAKE_TIMEOUT, Presented, presented, tune_connection
from quorate.server.audit import Audit, AuditedLogon
from quorate.server.callers import UserList
from quorate.server.http import CALLER, Face, QuietServer, error_answer

_SHOWN: Final = "certificate"  # in a connection's state: what the client has shown
_TOLD: Final = "audited"  # likewise: whether the audit knows that it was let in, or not
_HEAD_TIMEOUT: Final = 10.0  # seconds for the head of a request, from its first byte or the connection's beginning
_MAX_HEAD: Final = 16384
_MAX_CONNECTIONS: Final = 512
_CLOSE_PATIENCE: Final = 1.0
_TICKS_BETWEEN_CHECKS: Final = 100  # of uvicorn's clock, a tenth of a second each


class TlsFace(Face):
    """Serves an application over TLS. Every request is authenticated before the application sees it."""

    def __init__(
        self,
        app: Starlette,
        listener: socket.socket,
        context: ssl.SSLContext,
        users: UserList,
        audit: Audit | None = None,
    ) -> None:
        """Serve on a socket of :func:`listen_at` once started; ``context`` wants the users' certificates."""
        self._listener = listener
        self._users = users
        config = Config(
            _OnlyUsers(app, users, audit),
            http=_TlsProtocol,
            ws="none",
            loop="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
            limit_concurrency=_MAX_CONNECTIONS,
            h11_max_incomplete_event_size=_MAX_HEAD,
        )
        super().__init__(_TlsServer(config, context, self.drop_strangers), str(listener.getsockname()))

    async def start(self) -> None:
        """Begin to answer."""
        await self._serve(self._listener)

    def drop_strangers(self) -> None:
        """End the connections, streams too, of whoever may not enter any more: removed, replaced, expired.

        An operation that was let in is answered: it may be the one by which somebody got another certificate.
        """
        for connection in tuple(self._server.server_state.connections):
            if isinstance(connection, _TlsProtocol) and not connection.carries_out_operation:
                try:
                    self._users.caller(connection.shown)
                except ClusterError:
                    connection.transport.abort()


class _OnlyUsers:
    """Lets through whom the list of users knows, and tells the application who it is."""

    def __init__(self, app: ASGIApp, users: UserList, audit: Audit | None) -> None:
        self._app = app
        self._users = users
        self._audit = audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise FaultError(Status.ERROR_NOT_SUPPORTED, f"{scope['type']} is not served to other machines")
        try:
            caller = scope["state"][CALLER] = self._users.caller(scope["state"].get(_SHOWN))
            self._note(scope, caller.actor)
        except ClusterError as error:
            shown: Presented | None = scope["state"].get(_SHOWN)
            self._note(scope, "" if shown is None else shown.subject, error)
            await error_answer(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _note(self, scope: Scope, user: str, error: ClusterError | None = None) -> None:
        """Tell the audit of the first request on a connection, which is when it shows whether it is let in."""
        told: set[bool] = scope["state"].get(_TOLD, set())
        if self._audit is None or (error is None) in told:
            return
        told.add(error is None)
        source = (scope.get("client") or ("",))[0]
        self._audit.note_logon(AuditedLogon(user, source, error is None, "" if error is None else error.sentence))


class _TlsProtocol(H11Protocol):
    """uvicorn's, with what the client has shown, and no patience with whoever is slow to say what is wanted."""

    shown: Presented | None = None
    _slow: asyncio.TimerHandle | None = None

    @property
    def carries_out_operation(self) -> bool:
        """Tell whether an operation is under way, which takes its time and then ends; a stream is none."""
        return self.cycle is not None and not self.cycle.response_complete and self.scope["method"] == "POST"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tune_connection(transport.get_extra_info("socket"))
        self.shown = presented(transport.get_extra_info("peercert"))
        self.app_state = {**self.app_state, _SHOWN: self.shown, _TOLD: set()}
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_watch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_watch()
        elif self._slow is None:
            self._slow = self.loop.call_later(_HEAD_TIMEOUT, self.transport.abort)

    def _forget_watch(self) -> None:
        if self._slow is not None:
            self._slow.cancel()
            self._slow = None


class _TlsServer(QuietServer):
    """uvicorn's, with limits to the handshake, which it does not know of."""

    def __init__(self, config: Config, context: ssl.SSLContext, check: Callable[[], None]) -> None:
        super().__init__(config)
        self._context = context
        self._check = check

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on the sockets that were opened for it."""
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(
                lambda: _TlsProtocol(self.config, self.server_state, self.lifespan.state),
                sock=listener,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT,
                ssl_shutdown_timeout=_CLOSE_PATIENCE,
            )
            for listener in sockets or ()
        ]
        self.started = True

    async def on_tick(self, counter: int) -> bool:
        """Look now and then whether a certificate has expired while its connection stood."""
        if counter % _TICKS_BETWEEN_CHECKS == 0:
            self._check()
        return await super().on_tick(counter)


def listen_at(place: HostPort) -> socket.socket:
    """Listen at an address of this machine; port 0 is any free one. Raises FaultError 1117 when that cannot be."""
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        both = place.is_wildcard and family is socket.AF_INET6 and socket.has_dualstack_ipv6()
        listener = socket.create_server(address[:2], family=family, backlog=128, dualstack_ipv6=both)
    except OSError as error:
        sentence = f"the clients' door cannot be opened at {place}: {error.strerror or error}"
        raise FaultError(Status.ERROR_IO_DEVICE, sentence) from error
    listener.setblocking(False)
    return listener
