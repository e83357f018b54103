"""What the host tells of failures, restarts with dependents, alternatives, and resources that leave their group."""

import asyncio
import os
from dataclasses import replace

import pytest
from tests.unit.hosting.fakes import PlainGroup, PlainResource, ToyType
from tests.unit.hosting.hosted_world import (
    APP,
    DISK,
    GROUP,
    NAME,
    OFFLINE,
    ONLINE,
    RESOURCES,
    R,
    World,
    host_test,
    until,
)

from quorate.clusapi import control_codes as codes
from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import GroupId
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    PropertyValue,
    pack_property_list,
    parse_property_list,
)
from quorate.clusapi.states import ResourceOfflineFlags
from quorate.clusapi.status import Status
from quorate.hosting.common_properties import effective_traits
from quorate.hosting.contract import PropertyScope, TypeProperties
from quorate.hosting.resource_type import TypeTraits

QUIET = TypeTraits(notifies_failure=True)
SLOW = TypeTraits(looks_alive_interval=3600.0)
EITHER = (
    PlainResource(APP, "App", "Toy", GROUP.id, expression="[disk] or [name]"),
    PlainResource(NAME, "Name", "Toy", GROUP.id),
    PlainResource(DISK, "Disk", "Toy", GROUP.id),
)


def test_every_failure_of_what_was_to_be_online_is_told_once() -> None:
    async def body(world: World) -> None:
        world.host.on_resource_failed(APP, "dead")
        await world.host.fail_resource(NAME)
        await world.host.wait_settled(GROUP.id)
        assert [(item.resource_id, item.status, item.type) for item in world.failures] == [
            (APP, Status.ERROR_RESOURCE_FAILED, "Toy"),
            (NAME, Status.ERROR_RESOURCE_FAILED, "Toy"),
        ]
        assert world.failures[0].sentence == "dead"
        world.toy.answers["offline disk"] = world.toy.answers["terminate disk"] = Status.ERROR_GEN_FAILURE
        with pytest.raises(RefusalError, match="terminate went wrong"):
            await world.host.offline_resource(DISK, ResourceOfflineFlags.DO_NOT_UPDATE_PERSISTENT_STATE)
        await until(lambda: world.host.state(DISK) == R.FAILED)
        assert len(world.failures) == 2  # it was to go offline: nothing to start again

    host_test(body, ONLINE, ToyType(times=QUIET))


def test_a_restart_takes_the_dependents_offline_first_and_brings_them_back() -> None:
    async def body(world: World) -> None:
        world.host.on_resource_failed(DISK, "dead")
        assert world.host.states(GROUP.id) == {DISK: R.FAILED, NAME: R.ONLINE, APP: R.ONLINE}
        world.toy.log.clear()
        world.host.restart_resource(DISK)
        await until(lambda: world.host.states(GROUP.id) == ONLINE)
        order = [item for item in world.toy.log if not item.startswith("terminate")]
        assert order == ["offline app", "offline name", "online disk", "online name", "online app"]
        await world.host.wait_settled(GROUP.id)
        assert world.runs.persistent.get(GROUP.id) is None  # nobody has changed his mind

    host_test(body, ONLINE, ToyType(times=QUIET))


def test_dependents_come_back_after_whichever_restart_succeeds() -> None:
    async def body(world: World) -> None:
        world.host.on_resource_failed(DISK, "dead")
        world.toy.answers["online disk"] = Status.ERROR_GEN_FAILURE
        world.host.restart_resource(DISK)
        await until(lambda: len(world.failures) == 2)
        assert world.host.states(GROUP.id) == {DISK: R.FAILED, NAME: R.OFFLINE, APP: R.OFFLINE}
        del world.toy.answers["online disk"]
        await world.host.wait_settled(GROUP.id)
        await world.host.online_resource(DISK)  # by a person, say
        await until(lambda: world.host.states(GROUP.id) == ONLINE)

    host_test(body, ONLINE, ToyType(times=QUIET))


def test_all_that_failed_together_come_back_in_order_whoever_is_restarted_first() -> None:
    async def body(world: World) -> None:
        for item in (DISK, NAME, APP):
            world.host.on_resource_failed(item, "dead")
        await world.host.wait_settled(GROUP.id)
        world.toy.log.clear()
        for item in (APP, NAME, DISK):
            world.host.restart_resource(item)
        await until(lambda: world.host.states(GROUP.id) == ONLINE)
        assert world.toy.log == ["online disk", "online name", "online app"]

    host_test(body, ONLINE, ToyType(times=QUIET))


def test_a_request_to_go_offline_ends_the_wish_to_come_back() -> None:
    async def body(world: World) -> None:
        world.host.on_resource_failed(DISK, "dead")
        world.toy.answers["online disk"] = Status.ERROR_GEN_FAILURE
        world.host.restart_resource(DISK)
        await until(lambda: len(world.failures) == 2)
        await world.host.offline_resource(NAME)
        del world.toy.answers["online disk"]
        await world.host.online_resource(DISK)
        await world.host.wait_settled(GROUP.id)
        assert world.host.states(GROUP.id) == {DISK: R.ONLINE, NAME: R.OFFLINE, APP: R.OFFLINE}

    host_test(body, ONLINE, ToyType(times=QUIET))


def test_a_dependent_that_stays_online_is_not_forced_by_a_restart() -> None:
    async def body(world: World) -> None:
        world.toy.answers["offline app"] = Status.ERROR_IO_PENDING
        world.host.on_resource_failed(NAME, "dead")
        world.host.restart_resource(NAME)
        await until(lambda: "offline app" in world.toy.reports)
        assert "online name" not in world.toy.log
        world.toy.reports["offline app"](R.ONLINE, 1, "it cannot be saved")
        await until(lambda: world.host.states(GROUP.id) == ONLINE)
        assert world.toy.log == ["terminate name", "offline app", "online name"]

    host_test(body, ONLINE, ToyType(times=QUIET))


def test_of_alternatives_one_is_enough() -> None:
    async def body(world: World) -> None:
        world.toy.answers["online disk"] = Status.ERROR_GEN_FAILURE
        await world.host.online_resource(APP)
        await world.host.wait_settled(GROUP.id)
        assert world.host.states(GROUP.id) == {DISK: R.FAILED, NAME: R.ONLINE, APP: R.ONLINE}
        del world.toy.answers["online disk"]
        await world.host.online_resource(DISK)
        world.toy.log.clear()
        await world.host.offline_resource(NAME)
        assert world.toy.log == ["offline name"]
        await world.host.offline_resource(DISK)
        assert world.toy.log == ["offline name", "offline app", "offline disk"]

    host_test(body, OFFLINE, ToyType(times=QUIET), resources=EITHER)


def test_a_provider_that_fails_takes_nothing_down_that_has_another() -> None:
    async def body(world: World) -> None:
        world.host.on_resource_failed(DISK, "dead")
        world.host.restart_resource(DISK)
        await until(lambda: world.host.states(GROUP.id) == ONLINE)
        assert world.toy.log == ["terminate disk", "online disk"]

    host_test(body, ONLINE, ToyType(times=QUIET), resources=EITHER)


def test_what_stops_by_itself_in_order_is_not_wanted_online_any_more() -> None:
    async def body(world: World) -> None:
        world.host.on_resource_stopped(APP, "the guest shut down")
        await until(lambda: world.host.state(APP) == R.OFFLINE)
        await world.host.wait_settled(GROUP.id)
        assert world.runs.persistent[GROUP.id] is False
        assert not world.failures

    host_test(body, ONLINE, ToyType(times=QUIET))


def test_new_dependencies_hold_from_the_next_request_on() -> None:
    async def body(world: World) -> None:
        apart = [replace(item, dependencies=()) for item in RESOURCES]
        await world.host.attach_group(GROUP, apart, ONLINE)
        await world.host.wait_requirement(APP, apart[0].requirement)
        await world.host.offline_resource(DISK)
        assert world.host.states(GROUP.id) == {DISK: R.OFFLINE, NAME: R.ONLINE, APP: R.ONLINE}

    host_test(body, ONLINE, ToyType(times=QUIET))


def test_a_resource_goes_on_in_another_group_and_one_that_is_gone_is_ended() -> None:
    other = PlainGroup(GroupId("h"), "other")

    async def body(world: World) -> None:
        moved = replace(RESOURCES[2], group_id=other.id)
        left = [replace(item, dependencies=()) for item in RESOURCES[:2]]
        await world.host.attach_group(other, [moved], {DISK: R.ONLINE})  # before the group that it was in hears of it
        await world.host.attach_group(GROUP, left, ONLINE)
        assert world.host.states(other.id) == {DISK: R.ONLINE}
        assert "terminate disk" not in world.toy.log
        with world.host.keeping([DISK]):
            await world.host.attach_group(other, [], {})  # and the other way round
        await world.host.attach_group(GROUP, [*left, RESOURCES[2]], ONLINE)
        assert world.host.states(GROUP.id) == ONLINE
        assert "terminate disk" not in world.toy.log
        await world.host.attach_group(GROUP, left, ONLINE)
        await until(lambda: "terminate disk" in world.toy.log)

    host_test(body, ONLINE, ToyType(times=SLOW))


def test_what_failed_before_this_daemon_is_ended_before_it_is_offline() -> None:
    async def body(world: World) -> None:
        await world.host.offline_resource(APP)
        assert world.host.state(APP) == R.OFFLINE
        assert world.toy.log == ["terminate app"]
        world.host.on_resource_failed(DISK, "dead")
        await world.host.wait_settled(GROUP.id)
        world.toy.log.clear()
        await world.host.offline_resource(DISK)
        await world.host.wait_settled(GROUP.id)
        assert world.host.states(GROUP.id) == OFFLINE
        assert world.toy.log == ["terminate name"]  # the disk was ended by this daemon when it failed

    host_test(body, {DISK: R.ONLINE, NAME: R.FAILED, APP: R.ONLINE_PENDING}, ToyType(times=QUIET))


def test_a_group_that_this_node_lost_is_ended_and_not_polled_any_more() -> None:
    async def body(world: World) -> None:
        gate = world.toy.blocked["terminate app"] = asyncio.Event()
        await world.host.detach_group(GROUP.id, end=True)
        await until(lambda: {"terminate app", "terminate name", "terminate disk"} <= set(world.toy.log))
        assert world.host.states(GROUP.id) == {}
        gate.set()
        await until(lambda: "close app" in world.toy.log)
        assert world.runs.writes == 0

    host_test(body, ONLINE, ToyType(times=SLOW))


def test_a_new_interval_holds_at_once() -> None:
    async def body(world: World) -> None:
        await asyncio.sleep(0)
        before = world.toy.log.count("looks_alive app")
        code = codes.CLUSCTL_RESOURCE_SET_COMMON_PROPERTIES
        await world.set(code, ("LooksAlivePollInterval", PropertyFormat.DWORD, 10))
        await until(lambda: world.toy.log.count("looks_alive app") > before + 2)
        asked = world.toy.log.count("looks_alive disk")
        data = pack_property_list(PropertyList.of([("LooksAlivePollInterval", PropertyFormat.DWORD, 10)]))
        type_code = codes.CLUSCTL_RESOURCE_TYPE_SET_COMMON_PROPERTIES
        assert (await world.host.resource_type_control("Toy", type_code, data)).status == 0
        assert TypeProperties("Toy", PropertyScope.COMMON) in world.store.values
        await until(lambda: world.toy.log.count("looks_alive disk") > asked + 2)

    host_test(body, ONLINE, ToyType(times=SLOW))


def test_a_hung_poll_of_a_type_blocks_only_its_own_resource() -> None:
    async def body(world: World) -> None:
        world.toy.blocked["looks_alive app"] = asyncio.Event()
        await until(lambda: "looks_alive app" in world.toy.log)
        polls = world.toy.log.count("looks_alive disk")
        await until(lambda: world.toy.log.count("looks_alive disk") > polls + 3)
        assert world.toy.log.count("looks_alive app") == 1

    host_test(body, ONLINE, ToyType(times=TypeTraits(looks_alive_interval=0.005)))


def test_an_exception_in_a_type_that_lives_in_the_daemon_is_5930() -> None:
    class Broken(ToyType):
        async def resource_control(self, *arguments: object) -> object:  # type: ignore[override]
            raise KeyError("oh no")

    async def body(world: World) -> None:
        answer = await world.control(codes.CLUSCTL_RESOURCE_UNKNOWN)
        assert answer.status == Status.ERROR_EXCEPTION_IN_RESOURCE_CALL
        assert "KeyError in resource_control" in answer.sentence

    host_test(body, ONLINE, Broken(times=QUIET))


@pytest.mark.parametrize(
    ("own", "of_type", "expected"),
    [(None, None, 5.0), (None, 70, 0.07), (0xFFFFFFFF, 70, 0.07), (1, 1, 0.001), (20, 70, 0.02)],
)
def test_an_interval_of_one_or_of_all_ones_is_the_types(own: int | None, of_type: int | None, expected: float) -> None:
    def values(number: int | None, name: str) -> dict[str, PropertyValue]:
        return {} if number is None else {name: PropertyValue.of(PropertyFormat.DWORD, number)}

    for name, field in (
        ("LooksAlivePollInterval", "looks_alive_interval"),
        ("IsAlivePollInterval", "is_alive_interval"),
    ):
        found = effective_traits(TypeTraits(is_alive_interval=5.0), values(of_type, name), values(own, name))
        assert getattr(found, field) == expected
    forever = effective_traits(TypeTraits(), {}, values(0xFFFFFFFF, "PendingTimeout"))
    assert forever.pending_timeout == 0xFFFFFFFF / 1000  # not "use the type's": it has no such rule


def test_the_monitor_of_a_type_in_the_daemon_is_the_daemon() -> None:
    async def body(world: World) -> None:
        answer = await world.control(codes.CLUSCTL_RESOURCE_GET_RO_COMMON_PROPERTIES)
        assert parse_property_list(answer.output)["MonitorProcessId"] == os.getpid()

    host_test(body, ONLINE, ToyType(times=QUIET))
