"""Types that hang, crash or never come to an end, in real monitor processes: nobody else notices, and all recover.

GOOD shares its monitor with the culprit, ALONE has one of its own. That they go on is read off the polls that their own
type counts; that nothing became of them, off the changes of state that the host told.
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.unit.hosting.monitor_world import (
    ALONE,
    BAD,
    GOOD,
    GROUP,
    MonitorWorld,
    R,
    monitor_test,
    strange_environment,
)

from quorate.clusapi import control_codes as codes
from quorate.clusapi.states import ResourceMonitorState, ResourceOfflineFlags
from quorate.clusapi.status import Status
from quorate.hosting.monitor_pool import MonitorNewsKind

DEADLOCK = 1500
"""Milliseconds of DeadlockTimeout: long for a poll on a machine under load, short for a test."""


def run(tmp_path: Path, body: Callable[[MonitorWorld], Awaitable[None]]) -> None:
    monitor_test(strange_environment(tmp_path), tmp_path, body)


async def prepared(world: MonitorWorld, **numbers: int) -> None:
    """Everything online, and restarted when it fails."""
    world.restarts = True
    times = {"LooksAlivePollInterval": 20, "IsAlivePollInterval": 50, "DeadlockTimeout": DEADLOCK, **numbers}
    world.put(BAD, **times)
    await world.online(GOOD, BAD, ALONE)
    world.changes.clear()


async def nobody_else_noticed(world: MonitorWorld) -> None:
    await world.until_polled(GOOD, ALONE)
    assert {change.resource_id for change in world.changes} <= {BAD}
    assert {failure.resource_id for failure in world.failures} <= {BAD}
    assert not world.exists(GOOD, "terminated")
    assert not world.exists(ALONE, "terminated")


async def it_came_back(world: MonitorWorld) -> None:
    """The culprit is online again, in a monitor of its own from now on."""
    await world.until_state(BAD, R.ONLINE)
    await world.until_polled(BAD)
    assert len({world.pool.process_id(item) for item in (GOOD, BAD, ALONE)}) == 3


async def trigger(world: MonitorWorld, entry: str) -> None:
    """Have an entry point of the culprit called that is not called by itself."""
    if entry == "control":
        await world.host.resource_control(BAD, codes.CLUSCTL_RESOURCE_UNKNOWN, None)
    elif entry in ("online", "offline"):
        await world.host.offline_resource(BAD)
        if entry == "online":
            await world.until_state(BAD, R.OFFLINE)
            await world.try_online(BAD)
    elif entry == "terminate":
        await world.host.fail_resource(BAD)


@pytest.mark.parametrize("entry", ["looks_alive", "is_alive", "control", "online", "offline", "terminate"])
def test_an_entry_point_that_never_returns(entry: str, tmp_path: Path) -> None:
    async def body(world: MonitorWorld) -> None:
        await prepared(world)
        world.mood(BAD, f"hang in {entry}")
        triggered = asyncio.create_task(trigger(world, entry))
        await world.until(lambda: world.exists(BAD, "hangs"))
        await nobody_else_noticed(world)
        world.mood(BAD, "")
        await triggered
        await world.until(lambda: bool(world.heard(MonitorNewsKind.LOST)))
        hung = world.heard(MonitorNewsKind.HUNG)
        assert any(f"{entry.replace('control', 'resource_control')} of 'bad' did not return" in item for item in hung)
        if entry == "offline":  # ended by force, as was asked
            await world.until_state(BAD, R.OFFLINE)
            await world.online(BAD)
        await it_came_back(world)
        await nobody_else_noticed(world)

    run(tmp_path, body)


def test_an_open_that_never_returns(tmp_path: Path) -> None:
    async def body(world: MonitorWorld) -> None:
        world.put(BAD, DeadlockTimeout=DEADLOCK, LooksAlivePollInterval=20)
        world.mood(BAD, "hang in open")
        await world.online(GOOD, ALONE)
        world.changes.clear()
        await world.try_online(BAD)
        await world.until_state(BAD, R.FAILED)
        assert "open of 'bad' did not return" in world.host.sentence(BAD)
        await nobody_else_noticed(world)
        world.mood(BAD, "")
        await world.online(BAD)
        await it_came_back(world)

    run(tmp_path, body)


@pytest.mark.parametrize("how", ["exit", "crash"])
@pytest.mark.parametrize("entry", ["is_alive", "control", "online", "offline", "terminate"])
def test_an_entry_point_that_ends_its_process(how: str, entry: str, tmp_path: Path) -> None:
    async def body(world: MonitorWorld) -> None:
        await prepared(world)
        world.mood(BAD, f"{how} in {entry}")
        triggered = asyncio.create_task(trigger(world, entry))
        await world.until(lambda: bool(world.heard(MonitorNewsKind.LOST)))
        world.mood(BAD, "")
        await triggered
        expected = "exit code 3" if how == "exit" else "by signal 11"
        assert expected in world.heard(MonitorNewsKind.LOST)[0]
        if entry == "offline":
            await world.until(lambda: world.host.state(BAD) in (R.OFFLINE, R.FAILED))
            await world.online(BAD)
        await it_came_back(world)
        await nobody_else_noticed(world)

    run(tmp_path, body)


def test_work_that_goes_on_for_ever_but_reports_stays_pending_until_force_ends_it(tmp_path: Path) -> None:
    async def body(world: MonitorWorld) -> None:
        await prepared(world, PendingTimeout=DEADLOCK)
        await world.host.offline_resource(BAD)
        await world.until_state(BAD, R.OFFLINE)
        world.mood(BAD, "pending for ever")
        assert await world.host.online_resource(BAD) == Status.ERROR_IO_PENDING
        first = world.host.sentence(BAD)
        began = asyncio.get_running_loop().time()
        await world.until(lambda: asyncio.get_running_loop().time() > began + 2 * DEADLOCK / 1000)
        assert world.host.state(BAD) == R.ONLINE_PENDING
        assert world.host.sentence(BAD) != first
        await nobody_else_noticed(world)
        await world.host.offline_resource(BAD, ResourceOfflineFlags.FORCE_WITH_TERMINATION)
        await world.until(lambda: world.exists(BAD, "stopped"))
        await world.until_state(BAD, R.OFFLINE)
        assert not world.failures
        assert not world.news

    run(tmp_path, body)


def test_work_that_does_not_report_is_terminated_and_its_monitor_lives_on(tmp_path: Path) -> None:
    async def body(world: MonitorWorld) -> None:
        await prepared(world, PendingTimeout=200)
        shared = world.pool.process_id(GOOD)
        await world.host.offline_resource(BAD)
        await world.until_state(BAD, R.OFFLINE)
        world.mood(BAD, "silent")
        world.restarts = False
        await world.try_online(BAD)
        await world.until_state(BAD, R.FAILED)
        await world.host.wait_settled(GROUP.id)
        assert "PendingTimeout" in world.failures[0].sentence
        assert world.failures[0].status == Status.ERROR_RESOURCE_CALL_TIMED_OUT
        assert world.exists(BAD, "terminated")
        assert world.pool.process_id(GOOD) == shared
        assert not world.news
        await nobody_else_noticed(world)

    run(tmp_path, body)


def test_a_monitor_that_is_stopped_is_taken_for_hung(tmp_path: Path) -> None:
    async def body(world: MonitorWorld) -> None:
        await prepared(world)
        shared = world.pool.process_id(GOOD)
        os.kill(shared, signal.SIGSTOP)
        await world.until_polled(ALONE)
        await world.until(lambda: bool(world.heard(MonitorNewsKind.HUNG)))
        await it_came_back(world)
        await nobody_else_noticed(world)
        assert shared not in [facts.pid for facts in world.host.monitors()]

    run(tmp_path, body)


def test_the_calls_of_a_type_that_hang_or_crash_harm_no_resource(tmp_path: Path) -> None:
    async def body(world: MonitorWorld) -> None:
        await prepared(world)
        code = codes.CLUSCTL_RESOURCE_TYPE_UNKNOWN
        ended = await world.host.resource_type_control("Strange", code, b"exit")
        assert ended.status == Status.ERROR_RESOURCE_FAILED
        await nobody_else_noticed(world)
        hanging = asyncio.create_task(world.host.resource_type_control("Strange", code, b"hang"))
        await world.until(
            lambda: ResourceMonitorState.RESOURCE_TYPE_CONTROL in {facts.state for facts in world.host.monitors()}
        )
        await nobody_else_noticed(world)
        await world.until_polled(BAD)
        hanging.cancel()

    run(tmp_path, body)
