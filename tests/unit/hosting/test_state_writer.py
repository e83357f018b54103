"""The writer of a group's states: what is only passed through is not written, what stays is written at once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import pytest
from tests.waiting import PATIENCE

from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.states import ResourceState
from quorate.database.group_configuration import GroupConfiguration
from quorate.hosting.state_writer import StateWriter

GROUP, RESOURCE = GroupId("g"), ResourceId("r")
OFFLINE, PENDING, ONLINE = ResourceState.OFFLINE, ResourceState.ONLINE_PENDING, ResourceState.ONLINE


class Written:
    """A database that notes what is written."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.state = OFFLINE
        self.writes: list[tuple[ResourceState, bool | None]] = []
        self.news = asyncio.Event()
        self.writer = StateWriter(self, GROUP, lambda: {RESOURCE: self.state})

    async def write_resource_states(
        self, group_id: GroupId, states: Mapping[ResourceId, ResourceState], persistent_state: bool | None
    ) -> None:
        self.writes.append((states[RESOURCE], persistent_state))
        self.news.set()

    async def configure(self, group_id: GroupId, change: GroupConfiguration, events: Sequence[EventRecord]) -> None:
        raise AssertionError("nobody configures here")

    def let_pass(self, seconds: float) -> None:
        """How long a pending state may go unwritten."""
        self._patch.setattr("quorate.hosting.state_writer._PASSING", seconds)

    def become(self, state: ResourceState, persistent: bool | None = None) -> None:
        self.state = state
        self.writer.note(persistent)


def written(body: Callable[[Written], Awaitable[None]]) -> Callable[[pytest.MonkeyPatch], None]:
    def test(monkeypatch: pytest.MonkeyPatch) -> None:
        async def main() -> None:
            async with asyncio.timeout(PATIENCE):
                await body(Written(monkeypatch))

        asyncio.run(main())

    return test


FOREVER = 60.0


@written
async def test_a_state_that_is_passed_through_is_not_written(world: Written) -> None:
    world.let_pass(FOREVER)
    world.become(PENDING)
    await asyncio.sleep(0.02)
    world.become(ONLINE)
    await world.writer.wait_idle()
    assert world.writes == [(ONLINE, None)]


@written
async def test_a_state_that_lasts_is_written_and_its_end_at_once(world: Written) -> None:
    world.become(PENDING)
    await world.news.wait()
    world.let_pass(FOREVER)
    world.become(ONLINE)
    await world.writer.wait_idle()
    assert world.writes == [(PENDING, None), (ONLINE, None)]


@written
async def test_what_a_person_wants_is_written_at_once(world: Written) -> None:
    world.let_pass(FOREVER)
    world.become(PENDING, persistent=True)
    await world.writer.wait_idle()
    assert world.writes == [(PENDING, True)]
