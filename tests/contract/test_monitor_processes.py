"""Real monitor processes: calls, reports, and who is harmed by a type that misbehaves."""

import os
import signal
import time
from pathlib import Path

import pytest
from tests.unit.hosting.fakes import PlainResource
from tests.unit.hosting.monitor_world import ALONE, BAD, GOOD, GROUP, MonitorWorld, R, monitor_test, strange_environment

from quorate.clusapi import control_codes as codes
from quorate.clusapi.errors import RefusalError
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    pack_property_list,
    parse_property_list,
)
from quorate.clusapi.states import ResourceMonitorState, ResourceStatus
from quorate.clusapi.status import Status
from quorate.hosting import host, monitor_pool
from quorate.hosting.contract import PropertyScope, ResourceProperties
from quorate.hosting.monitor_pool import MonitorNewsKind


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return strange_environment(tmp_path)


def test_a_type_that_hangs_gets_a_monitor_of_its_own_and_harms_no_other(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async def body(world: MonitorWorld) -> None:
        await world.online(GOOD, ALONE)
        shared, alone = world.pool.process_id(GOOD), world.pool.process_id(ALONE)
        assert shared != alone
        world.put(BAD, DeadlockTimeout=1500)
        world.mood(BAD, "hang in online")
        assert await world.host.online_resource(BAD) == Status.ERROR_IO_PENDING
        echo = await world.host.resource_control(GOOD, codes.CLUSCTL_RESOURCE_UNKNOWN, b"echo")
        assert echo.output == b"echo"
        await world.until(lambda: world.exists(BAD, "hangs"))
        states = {facts.pid: (facts.state, facts.resource) for facts in world.host.monitors()}
        assert states[shared] in {
            (ResourceMonitorState.ONLINE_RESOURCE, "bad"),
            (ResourceMonitorState.LOOKS_ALIVE_POLL, "good"),
        }
        world.mood(BAD, "")
        await world.until_state(BAD, R.FAILED)
        assert "DeadlockTimeout" in world.host.sentence(BAD)
        await world.until(lambda: world.pool.process_id(GOOD) not in (0, shared))
        await world.until_polled(GOOD, ALONE)
        assert world.pool.process_id(ALONE) == alone
        assert [failure.resource_id for failure in world.failures] == [BAD]
        assert world.failures[0].status == Status.ERROR_RESOURCE_CALL_TIMED_OUT
        assert "online of 'bad' did not return within 1.5 s" in world.heard(MonitorNewsKind.HUNG)[0]
        assert "it held 'good', 'bad'" in world.heard(MonitorNewsKind.LOST)[0]
        world.put(BAD, LooksAlivePollInterval=10)
        await world.online(BAD)
        pids = {world.pool.process_id(item) for item in (GOOD, BAD, ALONE)}
        assert len(pids) == 3
        assert shared not in pids

    monitor_test(environment, tmp_path, body)


def test_what_outlives_its_monitor_stays_online_and_what_does_not_has_failed(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async def body(world: MonitorWorld) -> None:
        await world.online(GOOD, BAD, ALONE)
        shared = world.pool.process_id(GOOD)
        (tmp_path / "bad.runs").unlink()  # as if it had been a child of the monitor
        os.kill(shared, signal.SIGKILL)
        await world.until_state(BAD, R.FAILED)
        await world.until_polled(GOOD, ALONE)
        await world.host.wait_settled(GROUP.id)
        assert [failure.resource_id for failure in world.failures] == [BAD]
        assert f"the monitor process {shared} ended by signal 9" in world.failures[0].sentence
        assert world.exists(BAD, "terminated")  # by the new monitor
        assert not world.exists(GOOD, "terminated")
        assert world.heard(MonitorNewsKind.STARTED)

    monitor_test(environment, tmp_path, body)


def test_a_monitor_of_its_own_takes_effect_with_the_next_online(environment: dict[str, str], tmp_path: Path) -> None:
    async def body(world: MonitorWorld) -> None:
        await world.online(GOOD, BAD)
        shared = world.pool.process_id(GOOD)
        data = pack_property_list(PropertyList.of([("SeparateMonitor", PropertyFormat.DWORD, 1)]))
        code = codes.CLUSCTL_RESOURCE_SET_COMMON_PROPERTIES
        answer = await world.host.resource_control(GOOD, code, data)
        assert answer.status == Status.ERROR_RESOURCE_PROPERTIES_STORED
        assert world.pool.process_id(GOOD) == shared
        await world.host.offline_resource(GOOD)
        await world.online(GOOD)
        assert world.pool.process_id(GOOD) not in (0, shared)
        assert world.pool.process_id(BAD) == shared
        common = await world.host.resource_control(GOOD, codes.CLUSCTL_RESOURCE_GET_RO_COMMON_PROPERTIES, None)
        assert parse_property_list(common.output)["MonitorProcessId"] == world.pool.process_id(GOOD)

    monitor_test(environment, tmp_path, body)


def test_a_monitor_that_dies_again_and_again_is_started_after_longer_and_longer_pauses(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor_pool, "_FIRST_PAUSE", 1000.0)
    assert [monitor_pool._pause(crashes) for crashes in (1, 2, 3)] == [0.0, 30.0, 30.0]

    async def body(world: MonitorWorld) -> None:
        world.mood(ALONE, "exit in online")
        await world.try_online(ALONE)
        await world.until(lambda: world.exists(ALONE, "terminated"))  # at once, in the second process
        assert "exit code 3" in world.failures[0].sentence
        await world.try_online(ALONE)
        await world.until(lambda: len(world.heard(MonitorNewsKind.LOST)) == 2)
        world.mood(ALONE, "")
        refused = await world.host.resource_control(ALONE, codes.CLUSCTL_RESOURCE_UNKNOWN, b"echo")
        assert refused.status == Status.ERROR_CLUSTER_RHS_FAILED_INITIALIZATION
        assert "crashed 2 times" in refused.sentence
        await world.online(GOOD)  # others do not wait
        await world.try_online(ALONE)
        await world.until_polled(GOOD)
        assert world.host.state(ALONE) == R.ONLINE_PENDING

    monitor_test(environment, tmp_path, body)


def test_calls_reports_properties_and_errors_pass_through(environment: dict[str, str], tmp_path: Path) -> None:
    async def body(world: MonitorWorld) -> None:
        world.mood(GOOD, "pending")
        await world.online(GOOD)
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
        too_long = await world.host.resource_control(GOOD, codes.CLUSCTL_RESOURCE_UNKNOWN, b"long")
        assert too_long.status == Status.ERROR_CLUSTER_CANT_DESERIALIZE_DATA
        world.mood(BAD, "raise in online")
        await world.try_online(BAD)
        await world.host.wait_settled(GROUP.id)
        assert world.failures[0].status == Status.ERROR_EXCEPTION_IN_RESOURCE_CALL
        assert "RuntimeError in online: oh no" in world.failures[0].sentence
        assert world.exists(BAD, "terminated")
        nobody = await world.host.resource_type_control("Nobody", codes.CLUSCTL_RESOURCE_TYPE_GET_FLAGS, None)
        assert nobody.status == Status.ERROR_CLUSTER_RESOURCE_TYPE_NOT_FOUND
        missing = await world.host.resource_type_control("Missing", codes.CLUSCTL_RESOURCE_TYPE_GET_FLAGS, None)
        assert missing.status == Status.ERROR_EXCEPTION_IN_RESOURCE_CALL
        flags = await world.host.resource_type_control("strange", codes.CLUSCTL_RESOURCE_TYPE_GET_FLAGS, None)
        assert flags.status == Status.ERROR_SUCCESS

    monitor_test(environment, tmp_path, body)


def test_what_the_node_lacks_and_why_a_start_failed_is_shown(environment: dict[str, str], tmp_path: Path) -> None:
    async def body(world: MonitorWorld) -> None:
        world.mood(BAD, "lacks")
        await world.try_online(BAD)
        await world.until_state(BAD, R.FAILED)
        await world.host.wait_settled(GROUP.id)
        common = await world.host.resource_control(BAD, codes.CLUSCTL_RESOURCE_GET_RO_COMMON_PROPERTIES, None)
        found = parse_property_list(common.output)
        assert found["StatusInformation"] == ResourceStatus.FAILED_DUE_TO_INSUFFICIENT_CPU
        assert found["LastOperationStatusCode"] == Status.ERROR_NOT_ENOUGH_MEMORY
        assert world.failures[0].lacking == ResourceStatus.FAILED_DUE_TO_INSUFFICIENT_CPU

    monitor_test(environment, tmp_path, body)


def test_polling_in_a_monitor_finds_the_dead(environment: dict[str, str], tmp_path: Path) -> None:
    async def body(world: MonitorWorld) -> None:
        await world.online(GOOD)
        world.mood(GOOD, "looks dead")  # is_alive, asked at once, says that it works
        await world.until_polled(GOOD)
        assert world.host.state(GOOD) == R.ONLINE
        (tmp_path / "good.runs").unlink()
        await world.until_state(GOOD, R.FAILED)
        await world.host.wait_settled(GROUP.id)
        assert world.exists(GOOD, "terminated")

    monitor_test(environment, tmp_path, body)


def test_monitors_end_what_they_hold_when_the_node_may_run_nothing_any_more(
    environment: dict[str, str], tmp_path: Path
) -> None:
    async def body(world: MonitorWorld) -> None:
        await world.online(GOOD, ALONE)
        world.deadline.set(time.clock_gettime(time.CLOCK_BOOTTIME) + 1000)
        await world.until_polled(GOOD, ALONE)
        assert not world.failures
        world.deadline.set(time.clock_gettime(time.CLOCK_BOOTTIME) - 0.001)
        for item in (GOOD, ALONE):
            await world.until(lambda item=item: world.exists(item, "terminated"))  # type: ignore[misc]
            world.mood(item, "looks dead")  # so that is_alive is asked
            await world.until_state(item, R.FAILED)
        await world.host.wait_settled(GROUP.id)
        await world.try_online(GOOD)
        await world.until(lambda: "holds no lease" in world.host.sentence(GOOD))
        world.deadline.set(time.clock_gettime(time.CLOCK_BOOTTIME) + 1000)
        await world.host.wait_settled(GROUP.id)
        await world.online(GOOD)
        assert world.exists(GOOD, "runs")

    monitor_test(environment, tmp_path, body)


def test_a_group_that_goes_is_ended_only_when_that_is_wanted(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_ENDED_WITHIN", 0.1)  # what hangs would be waited for at the end

    async def body(world: MonitorWorld) -> None:
        await world.online(GOOD)
        facts = PlainResource(GOOD, "good", "Strange", GROUP.id)
        await world.host.detach_group(GROUP.id)
        assert world.exists(GOOD, "runs")
        await world.attach(facts, states={GOOD: R.ONLINE})
        await world.until_polled(GOOD)
        world.mood(GOOD, "hang in terminate")
        await world.host.detach_group(GROUP.id, end=True)
        await world.until(lambda: world.exists(GOOD, "hangs"))
        with pytest.raises(RefusalError) as refused:
            await world.attach(facts, states={GOOD: R.OFFLINE})
        assert refused.value.status == Status.ERROR_CLUSTER_GROUP_BUSY

    monitor_test(environment, tmp_path, body)
