import asyncio
from contextlib import suppress

import pytest
from tests.unit.hosting.fakes import PlainResource, ToyType
from tests.unit.hosting.hosted_world import (
    APP,
    DISK,
    GROUP,
    NAME,
    OFFLINE,
    ONLINE,
    R,
    World,
    host_test,
    until,
)

from quorate.clusapi import control_codes as codes
from quorate.clusapi.errors import FaultError, RefusalError
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.property_lists import (
    PropertyFormat,
    parse_sz,
)
from quorate.clusapi.states import GroupState, ResourceOfflineFlags
from quorate.clusapi.status import Status
from quorate.hosting import hosted_group
from quorate.hosting.resource_type import TypeTraits

# --- Order and states ----------------------------------------------------------------------------------------------


def test_a_group_goes_online_providers_first_and_offline_dependents_first() -> None:
    async def body(world: World) -> None:
        assert await world.host.online_group(GROUP.id) == Status.ERROR_SUCCESS
        assert world.toy.log == ["online disk", "online name", "online app"]
        assert world.host.group_state(GROUP.id) == GroupState.ONLINE
        await world.host.wait_settled(GROUP.id)
        assert (world.runs.states[GROUP.id], world.runs.persistent[GROUP.id]) == (ONLINE, True)
        world.toy.log.clear()
        assert await world.host.offline_group(GROUP.id) == Status.ERROR_SUCCESS
        assert world.toy.log == ["offline app", "offline name", "offline disk"]
        await world.host.wait_settled(GROUP.id)
        assert (world.runs.states[GROUP.id], world.runs.persistent[GROUP.id]) == (OFFLINE, False)

    host_test(body)


def test_a_group_that_moves_goes_offline_and_is_still_wanted_online() -> None:
    async def body(world: World) -> None:
        await world.host.online_group(GROUP.id)
        await world.host.offline_group(GROUP.id, ResourceOfflineFlags.DO_NOT_UPDATE_PERSISTENT_STATE)
        await world.host.wait_settled(GROUP.id)
        assert (world.runs.states[GROUP.id], world.runs.persistent[GROUP.id]) == (OFFLINE, True)

    host_test(body)


def test_a_resource_brings_its_providers_along_and_a_provider_takes_its_dependents_down() -> None:
    async def body(world: World) -> None:
        await world.host.online_resource(NAME)
        assert world.toy.log == ["online disk", "online name"]
        assert world.host.group_state(GROUP.id) == GroupState.PARTIAL_ONLINE
        world.toy.log.clear()
        await world.host.offline_resource(DISK)
        assert world.toy.log == ["offline name", "offline disk"]

    host_test(body)


def test_pending_is_997_and_reports_bring_it_to_an_end() -> None:
    async def body(world: World) -> None:
        world.toy.answers["online disk"] = Status.ERROR_IO_PENDING
        assert await world.host.online_group(GROUP.id) == Status.ERROR_IO_PENDING
        assert world.host.group_state(GROUP.id) == GroupState.PENDING
        assert world.toy.log == ["online disk"]
        report = world.toy.reports["online disk"]
        assert report(R.ONLINE_PENDING, 1, "half way")
        assert world.host.sentence(DISK) == "half way"
        assert not report(R.ONLINE, 2, "there")
        await world.host.wait_settled(GROUP.id)
        assert world.host.states(GROUP.id) == ONLINE
        assert not report(R.FAILED, 3, "too late")
        assert world.host.state(DISK) == R.ONLINE

    host_test(body)


def test_what_cannot_come_online_is_refused_with_its_sentence_and_fails() -> None:
    async def body(world: World) -> None:
        world.toy.answers["online disk"] = Status.ERROR_GEN_FAILURE
        with pytest.raises(RefusalError) as refused:
            await world.host.online_resource(APP)
        assert refused.value.status == Status.ERROR_CLUSTER_RESOURCE_PROVIDER_FAILED
        with pytest.raises(RefusalError, match="online went wrong") as refused:
            await world.host.online_resource(DISK)
        assert refused.value.status == Status.ERROR_GEN_FAILURE
        assert world.host.state(DISK) == R.FAILED
        assert "terminate disk" in world.toy.log
        assert await world.host.offline_resource(DISK) == Status.ERROR_SUCCESS
        assert world.host.state(DISK) == R.OFFLINE

    host_test(body)


def test_pending_timeout_fails_and_terminates() -> None:
    async def body(world: World) -> None:
        await world.set(codes.CLUSCTL_RESOURCE_SET_COMMON_PROPERTIES, ("PendingTimeout", PropertyFormat.DWORD, 20))
        world.toy.answers["online app"] = Status.ERROR_IO_PENDING
        with suppress(RefusalError):  # it may have failed before anybody is answered
            await world.host.online_resource(APP)
        await world.host.wait_settled(GROUP.id)
        assert world.host.state(APP) == R.FAILED
        assert world.toy.log[-1] == "terminate app"

    host_test(body)


def test_force_terminates_what_hangs_and_the_late_answer_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosted_group, "ANSWER_WITHIN", 0.05)

    async def body(world: World) -> None:
        gate = world.toy.blocked["offline app"] = asyncio.Event()
        assert await world.host.offline_resource(APP) == Status.ERROR_IO_PENDING
        flags = ResourceOfflineFlags.FORCE_WITH_TERMINATION
        await world.host.offline_resource(APP, flags)
        await until(lambda: world.host.state(APP) == R.OFFLINE)
        assert world.toy.log == ["offline app", "terminate app"]
        gate.set()
        await world.host.wait_settled(GROUP.id)
        assert world.host.state(APP) == R.OFFLINE

    host_test(body, ONLINE, ToyType(times=TypeTraits(notifies_failure=True)))


def test_entry_points_of_one_resource_do_not_overlap_except_terminate() -> None:
    async def body(world: World) -> None:
        gate = world.toy.blocked["control app"] = asyncio.Event()
        first = asyncio.create_task(world.control(codes.CLUSCTL_RESOURCE_GET_FLAGS))
        second = asyncio.create_task(world.control(codes.CLUSCTL_RESOURCE_GET_FLAGS))
        await until(lambda: world.toy.running == 1)
        assert (await world.host.resource_control(DISK, codes.CLUSCTL_RESOURCE_GET_FLAGS, None)).status == 0
        await world.host.fail_resource(APP)
        await until(lambda: "terminate app" in world.toy.log)
        assert world.toy.log.count("control app") == 1
        gate.set()
        await asyncio.gather(first, second)

    host_test(body, ONLINE, ToyType(times=TypeTraits(notifies_failure=True)))


def test_an_entry_point_that_hangs_is_got_rid_of() -> None:
    async def body(world: World) -> None:
        world.toy.blocked["online disk"] = asyncio.Event()
        with pytest.raises(RefusalError, match="DeadlockTimeout") as refused:
            await world.host.online_resource(DISK)
        assert refused.value.status == Status.ERROR_RESOURCE_CALL_TIMED_OUT
        assert world.toy.log == ["online disk", "deadlock disk", "terminate disk"]

    host_test(body, toy=ToyType(times=TypeTraits(deadlock_timeout=0.02)))


def test_polling_finds_the_dead_unless_the_type_gives_notice() -> None:
    async def body(world: World) -> None:
        await until(lambda: "looks_alive app" in world.toy.log)
        world.toy.alive = False
        await until(lambda: "terminate app" in world.toy.log)
        assert "is_alive app" in world.toy.log
        assert world.host.group_state(GROUP.id) == GroupState.FAILED

    host_test(body, ONLINE, ToyType(times=TypeTraits(looks_alive_interval=0.005)))

    async def silent(world: World) -> None:
        await asyncio.sleep(0.03)
        assert world.toy.log == []
        world.host.on_resource_failed(APP, "QEMU ended")
        assert (world.host.state(APP), world.host.sentence(APP)) == (R.FAILED, "QEMU ended")
        world.host.on_resource_stopped(NAME, "the guest shut down")
        await until(lambda: world.host.state(NAME) == R.OFFLINE)
        world.host.on_resource_failed(ResourceId("elsewhere"), "not ours")

    host_test(silent, ONLINE, ToyType(times=TypeTraits(notifies_failure=True, looks_alive_interval=0.001)))


def test_states_that_were_pending_when_the_daemon_died_have_failed() -> None:
    async def body(world: World) -> None:
        found = {DISK: R.ONLINE, NAME: R.FAILED, APP: R.OFFLINE}
        assert world.host.states(GROUP.id) == found
        await world.host.wait_settled(GROUP.id)
        assert world.runs.states[GROUP.id] == found

    host_test(body, {DISK: R.ONLINE, NAME: R.ONLINE_PENDING})


def test_attaching_again_takes_over_new_facts_and_detaching_stops_nothing() -> None:
    async def body(world: World) -> None:
        renamed = PlainResource(DISK, "Disk 2", "Toy", GROUP.id)
        await world.host.attach_group(GROUP, [renamed], OFFLINE)
        assert world.host.states(GROUP.id) == {DISK: R.ONLINE}
        answer = await world.host.resource_control(DISK, codes.CLUSCTL_RESOURCE_GET_NAME, None)
        assert parse_sz(answer.output) == "Disk 2"
        world.toy.log.clear()
        await world.host.detach_group(GROUP.id)
        assert world.toy.log == ["close disk"]
        assert world.host.state(DISK) == R.UNKNOWN
        with pytest.raises(RefusalError) as refused:
            await world.host.online_group(GROUP.id)
        assert refused.value.status == Status.ERROR_HOST_NODE_NOT_GROUP_OWNER
        with pytest.raises(RefusalError) as refused:
            await world.host.online_resource(DISK)
        assert refused.value.status == Status.ERROR_HOST_NODE_NOT_RESOURCE_OWNER

    host_test(body, ONLINE, ToyType(times=TypeTraits(notifies_failure=True)))


def test_states_are_written_again_when_the_database_did_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quorate.hosting.state_writer._RETRY_AFTER", 0.01)

    async def body(world: World) -> None:
        world.runs.failures = [FaultError(Status.ERROR_TIMEOUT, "no answer")]
        world.host.on_resource_failed(APP, "dead")
        await world.host.wait_settled(GROUP.id)
        assert world.runs.states[GROUP.id][APP] == R.FAILED
        world.runs.failures = [RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, "not yours")]
        world.host.on_resource_failed(NAME, "dead")
        await world.host.wait_settled(GROUP.id)
        assert world.runs.states[GROUP.id][NAME] == R.ONLINE  # dropped: another node owns the group

    host_test(body, ONLINE, ToyType(times=TypeTraits(notifies_failure=True)))


def test_only_what_is_online_can_be_made_to_fail() -> None:
    async def body(world: World) -> None:
        with pytest.raises(RefusalError) as refused:
            await world.host.fail_resource(APP)
        assert refused.value.status == Status.ERROR_RESOURCE_NOT_ONLINE

    host_test(body)
