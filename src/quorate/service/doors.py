"""The node's doors, and its way to the others': sockets of this machine, or TLS between machines.

A node of a pocket cluster has two sockets: one for clients, one for its peers. A node of a cluster of several machines
answers its peers over TCP (`peers`), and clients of other machines too (`listen`); it keeps the clients' socket for
whoever is on the machine itself.
"""

import asyncio
import socket
from collections.abc import Mapping

from starlette.applications import Starlette

from quorate.clusapi.addresses import HTTPS, UNIX, HostPort
from quorate.clusapi.identity import NodeId
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.credentials import UserRecord
from quorate.database.records import Versioned
from quorate.database.snapshot import ClusterSnapshot
from quorate.engine.paths import NodePaths
from quorate.engine.view import ClusterView
from quorate.peers.client import Peers
from quorate.peers.identity import NodeIdentity
from quorate.peers.server import Handler, PeerServer, TlsDoor
from quorate.peers.tls import NodeTls
from quorate.server.audit import Audit
from quorate.server.callers import UserList
from quorate.server.http import HttpFace
from quorate.server.https import TlsFace, listen_at
from quorate.service.certificates import CertificateKeeper, utc_now
from quorate.service.configuration import NodeConfiguration


class Doors:
    """Everything through which a node is reached, and reaches others."""

    def __init__(
        self, configuration: NodeConfiguration, paths: NodePaths, view: ClusterView, database: ClusterDatabase
    ) -> None:
        """Open nothing yet. The view has been started. Raises FaultError when the certificates do not serve."""
        self._configuration = configuration
        self._paths = paths
        self._view = view
        self._tls = self._load_certificates()
        self.peers = Peers(self._address_of, self._tls)
        self._peer_server: PeerServer | None = None
        self._http: HttpFace | None = None
        self._https: TlsFace | None = None
        self._listener: socket.socket | None = None  # of the clients' door over TLS
        self._users: Mapping[str, Versioned[UserRecord]] = view.snapshot.users
        self._unsubscribe = view.subscribe(self._on_view)
        self._keeper = None if self._tls is None else self._new_keeper(self._tls, database)

    @property
    def migration_host(self) -> str | None:
        """The node's own address, at which memory of virtual machines comes in; None: by sockets of this machine."""
        return None if self._configuration.peers is None else self._configuration.peers.host

    @property
    def certificates(self) -> NodeIdentity | None:
        """The node's certificates; None: it has none."""
        return None if self._tls is None else self._tls.identity

    @property
    def peers_address(self) -> str:
        """Where the other nodes reach this one."""
        assert self._peer_server is not None, "the peers' door is not open yet"
        return self._peer_server.address

    @property
    def http_address(self) -> str:
        """Where clients reach this node: from other machines if they can, else from this one."""
        listen, peers = self._configuration.listen, self._configuration.peers
        if listen is None or self._listener is None:
            return f"{UNIX}{self._paths.http_socket}"
        host = peers.host if listen.is_wildcard and peers is not None else listen.host
        return f"{HTTPS}{HostPort(host, self._listener.getsockname()[1])}"

    async def open_peers(self, handler: Handler) -> None:
        """Answer the other nodes, and take the clients' place. Raises FaultError when somebody else has it."""
        configuration = self._configuration
        if configuration.listen is not None:
            self._listener = listen_at(configuration.listen)
        if configuration.peers is None or self._tls is None:
            self._peer_server = PeerServer(self._paths.peers_socket, handler)
        else:
            self._peer_server = PeerServer(TlsDoor(configuration.peers, self._tls, self._is_member), handler)
        await self._peer_server.start()

    async def open_http(self, app: Starlette, audit: Audit | None = None) -> None:
        """Answer clients; the audit is told who comes from other machines."""
        self._http = HttpFace(app, self._paths.http_socket)
        await self._http.start()
        if self._listener is not None and self._tls is not None:
            users = UserList(self._tls.instance_id, lambda: self._view.snapshot.users, utc_now)
            self._https = TlsFace(app, self._listener, self._tls.users_server, users, audit)
            await self._https.start()
        if self._keeper is not None:
            self._keeper.start()

    async def close_http(self) -> None:
        """Answer clients no more."""
        if self._keeper is not None:
            await self._keeper.close()
        await asyncio.gather(*(face.stop() for face in (self._https, self._http) if face is not None))
        if self._listener is not None:
            self._listener.close()

    async def close_peers(self) -> None:
        """Answer the other nodes no more."""
        self._unsubscribe()
        if self._peer_server is not None:
            await self._peer_server.close()

    def _load_certificates(self) -> NodeTls | None:
        directory = self._configuration.certificates
        if directory is None:
            return None
        return NodeTls(NodeIdentity(directory), self._view.snapshot.cluster.instance_id)

    def _new_keeper(self, tls: NodeTls, database: ClusterDatabase) -> CertificateKeeper:
        configuration = self._configuration
        places = (configuration.listen, configuration.peers)
        names = [place.host for place in places if place is not None and not place.is_wildcard]
        return CertificateKeeper(configuration.node, tls, self._view, database, names)

    def _address_of(self, node: NodeId) -> str | None:
        facts = self._view.snapshot.facts.get(node)
        return None if facts is None else facts.value.peers_address

    def _is_member(self, node: NodeId) -> bool:
        return node in self._view.snapshot.nodes

    def _on_view(self, snapshot: ClusterSnapshot) -> None:
        if snapshot.users is not self._users:
            self._users = snapshot.users
            if self._https is not None:
                self._https.drop_strangers()
