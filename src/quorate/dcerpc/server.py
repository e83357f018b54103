"""A server on TCP (ncacn_ip_tcp): listens, and serves each connection until it ends."""

import asyncio
from collections.abc import Callable

import structlog

from quorate.clusapi.errors import FaultError
from quorate.clusapi.status import Status
from quorate.dcerpc.associations import Associations
from quorate.dcerpc.connection import Connection
from quorate.dcerpc.frames import BUFFER, close_stream
from quorate.dcerpc.interfaces import Interface
from quorate.dcerpc.limits import Limits
from quorate.dcerpc.logon_desk import BeforeLogon, LogonDesk, OnLogon
from quorate.dcerpc.reassembly import Room
from quorate.dcerpc.security import AcceptorFactory, Principal, refuse_logons

_log = structlog.get_logger("dcerpc")


class RpcServer:
    """Serves interfaces at one port.

    ``door`` makes the acceptors of logons, see :class:`quorate.dcerpc.acceptors.LogonDoor`; without it nobody can log
    on, which is right for an endpoint mapper. ``on_logon`` is told of every logon, also of those refused;
    ``before_logon`` is awaited before each look at a token, for whoever has to learn first which accounts there are.
    """

    def __init__(
        self,
        *interfaces: Interface,
        door: AcceptorFactory = refuse_logons,
        limits: Limits | None = None,
        on_logon: OnLogon | None = None,
        before_logon: BeforeLogon | None = None,
    ) -> None:
        self._interfaces = interfaces
        self._door = door
        self._limits = limits or Limits()
        self._on_logon = on_logon
        self._before_logon = before_logon
        self._associations = Associations(self._limits.handles, self._limits.all_handles)
        self._room = Room(self._limits.all_requests)
        self._server: asyncio.Server | None = None
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._port = 0

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        return self._port

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    @property
    def groups(self) -> int:
        """How many association groups there are."""
        return len(self._associations)

    @property
    def handles(self) -> int:
        """How many context handles are open."""
        return self._associations.handles

    async def start(self, host: str, port: int = 0, *, shared: bool = False) -> None:
        """Begin to listen; port 0 is any free one. What is shared may be another server's as well, of this account.

        Raises:
            FaultError: 1117, the address is taken, not this machine's, or not for this user.
        """
        try:
            self._server = await asyncio.start_server(
                self._serve, host, port, limit=BUFFER, reuse_address=True, reuse_port=shared
            )
        except OSError as error:
            what = f"DCE/RPC cannot be served at {host}:{port}"
            raise FaultError(Status.ERROR_IO_DEVICE, f"{what}: {error.strerror or error}") from error
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening, end every call and every connection, run all handles down."""
        if self._server is not None:
            self._server.close()
        tasks = tuple(self._connections.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def put_out(self, is_unwanted: Callable[[Principal], bool]) -> None:
        """End the connections of those who have logged on and are not wanted any more, whatever they are doing."""
        for connection in tuple(self._connections):
            principal = connection.principal
            if principal is not None and is_unwanted(principal):
                connection.abort()

    def _is_full(self, source: str) -> bool:
        limits = self._limits
        strangers = [connection.source for connection in self._connections if connection.is_stranger]
        return (
            len(self._connections) >= limits.connections
            or len(strangers) >= limits.strangers
            or strangers.count(source) >= limits.strangers_of_source
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = str((writer.get_extra_info("peername") or ("",))[0])
        if self._is_full(source):
            _log.warning("a connection was refused: there are too many", source=source)
            await close_stream(writer)
            return
        desk = LogonDesk(self._door, source, self._on_logon, self._before_logon)
        connection = Connection(reader, writer, self._interfaces, self._associations, desk, self._limits, self._room)
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        try:
            await connection.serve()
        except asyncio.CancelledError:
            return  # closing; asyncio's own protocol would take the cancellation for a failure
        except Exception:  # noqa: BLE001 - the supervisor of connections: one that breaks must not be silent
            _log.exception("a connection failed", source=source)
        finally:
            del self._connections[connection]
