"""A host with a group of three resources of a toy type, for the tests of the host."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.unit.hosting.fakes import MemoryProperties, MemoryRunStates, PlainGroup, PlainResource, ToyType
from tests.waiting import PATIENCE

from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    Value,
    pack_property_list,
)
from quorate.clusapi.states import ResourceState
from quorate.hosting.cluster_handling import PlainClusterHandling
from quorate.hosting.contract import ControlResult, ResourceFailure
from quorate.hosting.host import Host

GROUP = PlainGroup(GroupId("g"), "web")
DISK, NAME, APP = ResourceId("disk"), ResourceId("name"), ResourceId("app")
RESOURCES = (
    PlainResource(APP, "App", "Toy", GROUP.id, (NAME, DISK)),
    PlainResource(NAME, "Name", "Toy", GROUP.id, (DISK,)),
    PlainResource(DISK, "Disk", "Toy", GROUP.id),
)
R = ResourceState
OFFLINE = dict.fromkeys((DISK, NAME, APP), R.OFFLINE)
ONLINE = dict.fromkeys((DISK, NAME, APP), R.ONLINE)


@dataclass
class World:
    toy: ToyType
    store: MemoryProperties
    runs: MemoryRunStates
    host: Host
    heard: list[tuple[ResourceId, R]]
    failures: list[ResourceFailure]

    async def control(self, code: int, data: bytes | None = None, out_size: int | None = None) -> ControlResult:
        return await self.host.resource_control(APP, code, data, out_size)

    async def set(self, code: int, *items: tuple[str, PropertyFormat, Value]) -> ControlResult:
        return await self.control(code, pack_property_list(PropertyList.of(items)))


def host_test(
    body: Callable[[World], Awaitable[None]],
    states: Mapping[ResourceId, R] = OFFLINE,
    toy: ToyType | None = None,
    cluster: PlainClusterHandling | None = None,
    resources: Sequence[PlainResource] = RESOURCES,
) -> None:
    async def main() -> None:
        heard: list[tuple[ResourceId, R]] = []
        failures: list[ResourceFailure] = []
        parts = toy or ToyType(), MemoryProperties(), MemoryRunStates()
        host = Host(
            [parts[0]],
            parts[1],
            parts[2],
            cluster=cluster,
            on_state_changed=lambda change: heard.append((change.resource_id, change.new)),
            on_failed=failures.append,
        )
        world = World(*parts, host, heard, failures)
        await host.attach_group(GROUP, resources, states)
        world.toy.log.clear()
        try:
            async with asyncio.timeout(PATIENCE):
                await body(world)
        finally:
            await host.close()

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 — whatever the condition is
            await asyncio.sleep(0.001)
