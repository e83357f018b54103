"""A connection to whichever server answers, logged on; made when it is needed, and again when it broke."""

import asyncio
from typing import Final

from quorate.client.account import Account
from quorate.client.mscmrp.places import Place
from quorate.client.wire import unreachable
from quorate.clusapi.errors import ClusterError
from quorate.dcerpc.client import RpcClient
from quorate.dcerpc.epm import find_port
from quorate.dcerpc.errors import ConnectionLost, ProtocolError, RpcFault
from quorate.dcerpc.initiators import Credentials, Logon
from quorate.mscmrp.interface import SERVICE_CLASS, SYNTAX

CONNECT_TIMEOUT: Final = 5.0
LOGON_TIMEOUT: Final = 15.0
"""Longer, since a server holds its answers back when somebody guesses passwords."""


class Link:
    """The servers of one cluster, and the connection to one of them."""

    def __init__(self, places: tuple[Place, ...], account: Account) -> None:
        """Reach these servers, the first that answers first."""
        self._places = list(places)
        credentials = Credentials(account.user, account.password, account.domain)
        self._logon = Logon(credentials, service=SERVICE_CLASS)
        self._client: RpcClient | None = None
        self._turn = asyncio.Lock()

    @property
    def places(self) -> tuple[Place, ...]:
        """The servers, in the order in which they are tried."""
        return tuple(self._places)

    async def connected(self) -> RpcClient:
        """The connection; a new one when there is none that can be used.

        Raises LogonRefused, and FaultError 1722 when no server answers.
        """
        async with self._turn:
            if self._client is None or not self._client.is_open:
                await self._drop()
                self._client = await self._connect()
            return self._client

    async def leave(self, client: RpcClient) -> None:
        """Give up a connection that broke, and try its server last."""
        async with self._turn:
            if client is self._client:
                await self._drop()
                self._places.append(self._places.pop(0))

    async def close(self) -> None:
        """End the connection."""
        async with self._turn:
            await self._drop()

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connect(self) -> RpcClient:
        reasons: list[str] = []
        for place in tuple(self._places):
            try:
                return await self._open(place)
            except (ConnectionLost, ProtocolError, RpcFault) as error:
                reasons.append(error.sentence)
                self._places.append(self._places.pop(0))
        raise unreachable(f"no node of the cluster answers: {'; '.join(reasons)}")

    async def _open(self, place: Place) -> RpcClient:
        port = place.port or await find_port(place.host, SYNTAX, within=CONNECT_TIMEOUT)
        client = await RpcClient.connect(place.host, port, within=CONNECT_TIMEOUT)
        try:
            await client.bind(SYNTAX, self._logon, within=LOGON_TIMEOUT)
        except (ClusterError, asyncio.CancelledError):
            await client.close()
            raise
        return client
