"""Networks as asyncio programs see them."""

import asyncio
from pathlib import Path

import pytest
from tests.unit.server.fake import running_fake_cluster
from tests.unit.server.networks import make_networks, say_reach

from quorate.client import connect
from quorate.clusapi.errors import CallerError
from quorate.clusapi.states import NetworkInterfaceState, NetworkState


def test_networks_and_interfaces_are_objects(tmp_path: Path) -> None:
    async def body() -> None:
        async with connect(str(tmp_path)) as cluster:
            lan, san = await cluster.networks()
            assert [(await one.state(), one.name) for one in (lan, san)] == [
                (NetworkState.UP, "Cluster Network 1"),
                (NetworkState.PARTITIONED, "Cluster Network 2"),
            ]
            states = [await one.state() for one in await san.interfaces()]
            assert states == [NetworkInterfaceState.FAILED, NetworkInterfaceState.UP]
            assert len(await cluster.network_interfaces()) == 4
            assert await lan.rename("LAN") == 0
            assert (await cluster.network("lan")).id == lan.id
            with pytest.raises(CallerError):
                await cluster.network("Cluster Network 1")
            assert (await cluster.validate())["verdict"] == "ok"

    with running_fake_cluster(tmp_path, 2) as world:
        make_networks(world)
        say_reach(world, "1", links={"eth1": False})
        asyncio.run(body())
