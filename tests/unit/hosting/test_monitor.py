"""Real monitor processes with types that misbehave."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.hosting.fakes import MemoryProperties, MemoryRunStates, PlainGroup, PlainResource

from quorate.clusapi import control_codes as codes
from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.json_types import JsonValue
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    PropertyValue,
    pack_property_list,
    parse_property_list,
)
from quorate.clusapi.states import ResourceState, VmResdllContext
from quorate.clusapi.status import Status
from quorate.hosting import monitor_messages as messages
from quorate.hosting.contract import ControlAnswer, PropertyScope, ResourceProperties
from quorate.hosting.host import Host
from quorate.hosting.monitored_types import MonitorPool
from quorate.hosting.resource_type import OfflineRequest, OpenedResource

R = ResourceState
GROUP = PlainGroup(GroupId("g"), "group")
GOOD, BAD, ALONE = ResourceId("good"), ResourceId("bad"), ResourceId("alone")
TYPE = '''
import os, threading, time
from pathlib import Path
from quorate.clusapi.status import Status
from quorate.clusapi.states import ResourceState
from quorate.hosting.contract import ControlAnswer, NOT_MINE

class Strange:
    """Does what the private property or the file Mood in its directory says."""
    def __init__(self): self.moods = {}
    def open(self, resource): self.directory = Path(resource.settings["directory"])
    def close(self, resource_id): pass
    def mood(self, resource_id):
        path = self.directory / resource_id
        return path.read_text() if path.exists() else ""
    def act(self, entry, resource_id):
        mood = self.mood(resource_id)
        if mood == f"hang in {entry}": time.sleep(60)
        if mood == f"die in {entry}": os._exit(3)
        if mood == f"raise in {entry}": raise RuntimeError("oh no")
        return mood
    def online(self, resource_id, parameters, report):
        if self.act("online", resource_id) == "pending":
            def work():
                for checkpoint in range(1, 4): report(ResourceState.ONLINE_PENDING, checkpoint, f"step {checkpoint}")
                report(ResourceState.ONLINE, 4, "there")
            threading.Thread(target=work).start()
            return Status.ERROR_IO_PENDING
        return Status.ERROR_SUCCESS
    def offline(self, resource_id, request, report): return Status.ERROR_SUCCESS
    def terminate(self, resource_id): (self.directory / f"{resource_id}.terminated").touch()
    def looks_alive(self, resource_id): return True
    def is_alive(self, resource_id): return self.act("is_alive", resource_id) != "dead"
    def resource_control(self, resource_id, code, data, parameters):
        if data == b"echo": return ControlAnswer(Status.ERROR_SUCCESS, data, changes={"Gone": None, **parameters})
        return NOT_MINE
    def resource_type_control(self, code, data, parameters): return NOT_MINE
'''


@dataclass
class World:
    host: Host
    pool: MonitorPool
    store: MemoryProperties
    directory: Path

    def mood(self, resource_id: ResourceId, mood: str) -> None:
        (self.directory / resource_id).write_text(mood)

    def put(self, resource_id: ResourceId, **numbers: int) -> None:
        values = {name: PropertyValue.of(PropertyFormat.DWORD, number) for name, number in numbers.items()}
        self.store.values[ResourceProperties(resource_id, PropertyScope.COMMON)] = values

    async def until(self, resource_id: ResourceId, state: R) -> None:
        async with asyncio.timeout(5):
            while self.host.state(resource_id) != state:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A place where an installed package would be."""
    place = tmp_path / "site"
    metadata = place / "strange-1.0.dist-info"
    metadata.mkdir(parents=True)
    (place / "strange_type.py").write_text(TYPE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: strange\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[quorate.resource_types]\nStrange = strange_type:Strange\n")
    return {**os.environ, "PYTHONPATH": str(place)}


def monitor_test(environment: dict[str, str], directory: Path, body: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        pool, store = MonitorPool(environment), MemoryProperties()
        host = Host([], store, MemoryRunStates(), monitors=pool, settings={"directory": str(directory)})
        world = World(host, pool, store, directory)
        world.put(ALONE, SeparateMonitor=1)
        resources = [PlainResource(item, item, "Strange", GROUP.id) for item in (GOOD, BAD, ALONE)]
        await host.attach_group(GROUP, resources, {})
        try:
            async with asyncio.timeout(15):
                await body(world)
        finally:
            await host.close()

    asyncio.run(main())


async def online(world: World, *resources: ResourceId) -> None:
    for item in resources:
        await world.host.online_resource(item)
        await world.until(item, R.ONLINE)


def test_a_type_that_hangs_loses_its_monitor_and_harms_no_other(environment: dict[str, str], tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await online(world, GOOD, ALONE)
        shared, alone = world.pool.process_id(GOOD), world.pool.process_id(ALONE)
        assert shared != alone
        world.put(BAD, DeadlockTimeout=400)
        world.mood(BAD, "hang in online")
        hanging = asyncio.create_task(world.host.online_resource(BAD))
        await world.until(BAD, R.ONLINE_PENDING)
        echo = await world.host.resource_control(GOOD, codes.CLUSCTL_RESOURCE_UNKNOWN, b"echo")
        assert echo.output == b"echo"
        assert world.host.state(BAD) == R.ONLINE_PENDING
        assert await hanging == Status.ERROR_IO_PENDING
        await world.until(BAD, R.FAILED)
        await world.until(GOOD, R.FAILED)
        assert "DeadlockTimeout" in world.host.sentence(BAD)
        assert "was ended" in world.host.sentence(GOOD)
        assert (world.host.state(ALONE), world.pool.process_id(ALONE)) == (R.ONLINE, alone)
        world.mood(BAD, "")
        await online(world, GOOD, BAD)
        assert len({shared, alone, world.pool.process_id(GOOD), world.pool.process_id(BAD)}) == 4

    monitor_test(environment, tmp_path, body)


def test_a_monitor_that_dies_fails_what_it_held(environment: dict[str, str], tmp_path: Path) -> None:
    async def body(world: World) -> None:
        await online(world, GOOD, ALONE)
        os.kill(world.pool.process_id(GOOD), signal.SIGKILL)
        await world.until(GOOD, R.FAILED)
        assert "ended by signal 9" in world.host.sentence(GOOD)
        assert world.host.state(ALONE) == R.ONLINE
        world.mood(BAD, "die in online")
        with pytest.raises(RefusalError):
            await world.host.online_resource(BAD)
            await world.host.wait_settled(GROUP.id)
            await world.host.online_resource(BAD)
        assert world.host.state(BAD) == R.FAILED

    monitor_test(environment, tmp_path, body)


def test_calls_reports_properties_and_errors_pass_through(environment: dict[str, str], tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.mood(GOOD, "pending")
        await online(world, GOOD)
        assert world.host.sentence(GOOD) == "there"
        private = ResourceProperties(GOOD, PropertyScope.PRIVATE)
        data = pack_property_list(
            PropertyList.of([("Gone", PropertyFormat.DWORD, 1), ("Stays", PropertyFormat.SZ, "ü")])
        )
        await world.host.resource_control(GOOD, codes.CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES, data)
        assert set(world.store.values[private]) == {"Gone", "Stays"}
        await world.host.resource_control(GOOD, codes.CLUSCTL_RESOURCE_UNKNOWN, b"echo")
        got = await world.host.resource_control(GOOD, codes.CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTIES, None)
        assert parse_property_list(got.output)["stays"] == "ü"
        common = await world.host.resource_control(GOOD, codes.CLUSCTL_RESOURCE_GET_RO_COMMON_PROPERTIES, None)
        assert parse_property_list(common.output)["MonitorProcessId"] == world.pool.process_id(GOOD)
        world.mood(BAD, "raise in online")
        with pytest.raises(RefusalError, match="RuntimeError in online: oh no") as refused:
            await world.host.online_resource(BAD)
        assert refused.value.status == Status.ERROR_EXCEPTION_IN_RESOURCE_CALL
        await world.host.wait_settled(GROUP.id)
        assert (tmp_path / "bad.terminated").exists()
        nobody = await world.host.resource_type_control("Nobody", codes.CLUSCTL_RESOURCE_TYPE_GET_FLAGS, None)
        assert nobody.status == Status.ERROR_CLUSTER_RESOURCE_TYPE_NOT_FOUND
        flags = await world.host.resource_type_control("strange", codes.CLUSCTL_RESOURCE_TYPE_GET_FLAGS, None)
        assert flags.status == Status.ERROR_SUCCESS

    monitor_test(environment, tmp_path, body)


def test_polling_in_a_monitor_finds_the_dead(environment: dict[str, str], tmp_path: Path) -> None:
    async def body(world: World) -> None:
        world.put(GOOD, LooksAlivePollInterval=10, IsAlivePollInterval=10)
        await online(world, GOOD)
        world.mood(GOOD, "dead")
        await world.until(GOOD, R.FAILED)
        await world.host.wait_settled(GROUP.id)
        assert (tmp_path / "good.terminated").exists()

    monitor_test(environment, tmp_path, body)


VALUE = PropertyValue.of(PropertyFormat.MULTI_SZ, ("a", "b"))


def test_messages_are_read_as_they_were_written() -> None:
    opened = OpenedResource(
        GOOD, "n", "t", GROUP.id, "g", was_online=True, settings={"a": "b"}, parameters={"P": VALUE}
    )
    assert messages.parse_opened(messages.pack_opened(opened)) == opened
    request = OfflineRequest({"P": VALUE}, 3, VmResdllContext.SAVE)
    assert messages.parse_offline_request(messages.pack_offline_request(request)) == request
    answer = ControlAnswer(Status.ERROR_SUCCESS, b"x", "said", {"P": VALUE, "Q": None})
    assert messages.parse_answer(messages.pack_answer(answer)) == answer
    assert messages.parse_data(messages.pack_data(None)) is None
    assert messages.parse_data(messages.pack_data(b"")) == b""


@pytest.mark.parametrize("value", [None, 1, {"status": True}, {"resource": "x", "settings": []}, "?"])
def test_what_is_no_message_is_refused(value: JsonValue) -> None:
    for parse in (messages.parse_answer, messages.parse_opened, messages.parse_offline_request):
        with pytest.raises(messages.BadMessage):
            parse(value)
    with pytest.raises(messages.BadMessage):
        messages.parse_message(b"[]")
