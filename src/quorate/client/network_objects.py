"""Networks and network interfaces for asyncio programs."""

from dataclasses import dataclass

from quorate.client.asynchronous import AsyncClient
from quorate.clusapi.states import NetworkInterfaceState, NetworkState


@dataclass(frozen=True, slots=True)
class Network:
    """A network of the cluster. Its id never changes; its name is people's."""

    client: AsyncClient
    id: str
    name: str

    async def state(self) -> NetworkState:
        """Whether its interfaces reach each other."""
        return NetworkState((await self.client.call("GetNetworkState", network=self.id)).number("state"))

    async def rename(self, name: str) -> int:
        """Give it another name. Raises CallerError 5010 when that is taken."""
        return (await self.client.call("SetNetworkName", network=self.id, name=name)).number("status")

    async def interfaces(self) -> tuple["NetworkInterface", ...]:
        """The interfaces on it."""
        found = (await self.client.call("CreateNetInterfaceEnum", network=self.id)).objects("entries")
        return tuple(NetworkInterface(self.client, str(entry["id"]), str(entry["name"])) for entry in found)


@dataclass(frozen=True, slots=True)
class NetworkInterface:
    """One node's adapter on one network."""

    client: AsyncClient
    id: str
    name: str

    async def state(self) -> NetworkInterfaceState:
        """Whether the others reach it."""
        found = await self.client.call("GetNetInterfaceState", interface=self.id)
        return NetworkInterfaceState(found.number("state"))
