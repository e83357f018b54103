"""What a node looks after in the groups that it owns: those that wait for room, are to be tried again, or go home.

It looks when the cluster changes and every few seconds, acts on one picture at a time, and leaves what it has begun
alone until that is over.
"""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import replace
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import GroupId
from quorate.clusapi.states import GroupMoveFlags, ResourceState, RestartAction
from quorate.cluster.failback import plan_failback
from quorate.cluster.failover import plan_parked, retry_at, room_beside_orphans
from quorate.cluster.picture import PARKED, GroupPicture, Picture
from quorate.cluster.placement import Room
from quorate.engine.holdings import Holdings
from quorate.engine.hosted import OwnedGroup
from quorate.engine.moves import Moves
from quorate.engine.pictures import PictureOf
from quorate.engine.starts import Cause, Starts
from quorate.engine.supervised import spawn

LOOK: Final = 5.0
"""Seconds between two looks while nothing changes: hours of windows and retries pass without a change."""
SHORTEST: Final = 0.5
"""Seconds between two looks, however much changes."""
PAUSE: Final = 5.0
"""Seconds for which a group is left alone after something was begun with it that may have come to nothing."""
DEFAULT_RETRY: Final = 3_600_000
"""RetryPeriodOnFailure, milliseconds."""

_log = structlog.get_logger("groups")


class GroupUpkeep:
    """The upkeep of this node's groups."""

    def __init__(self, holdings: Holdings, starts: Starts, moves: Moves, picture: PictureOf) -> None:
        """Look after nothing until `start`."""
        self._holdings = holdings
        self._context = holdings.context
        self._starts = starts
        self._moves = moves
        self._picture = picture
        self._left_alone: dict[GroupId, float] = {}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._context.view.subscribe(lambda snapshot: self._changed.set())
        self._task = asyncio.create_task(self._run(), name="upkeep of groups")

    async def close(self) -> None:
        """Look no more."""
        tasks = [task for task in (self._task, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:  # noqa: BLE001 - the supervisor of the upkeep: one group must not end it for all
                _log.exception("the upkeep of groups broke; it is tried again")
            await asyncio.sleep(SHORTEST)
            try:
                async with asyncio.timeout(LOOK):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()

    def look(self) -> None:
        """Look at all groups of this node once."""
        candidates = [owned for owned in self._holdings.owned.values() if self._is_candidate(owned)]
        if not candidates or not self._context.lease.is_held:
            return
        picture = self._picture()
        room = room_beside_orphans(picture)
        for owned in sorted(candidates, key=lambda owned: -_priority(picture, owned.group)):
            group = picture.groups.get(owned.group)
            if group is not None and group.owner == self._context.node and group.epoch == owned.ownership.value.epoch:
                self._look_at(picture, room, owned, group)

    def _is_candidate(self, owned: OwnedGroup) -> bool:
        run = owned.run
        info = self._context.view.snapshot.groups.get(owned.group)
        if info is None or owned.group not in self._holdings.attached:
            return False
        stands_still = run.status_information & int(PARKED) or run.failover.failed_at is not None
        is_abroad = run.failover.away or bool(run.failover.drained)
        if not stands_still and not (is_abroad and info.properties.number("AutoFailbackType")):
            return False
        if self._holdings.is_busy(owned.group) or owned.group in self._moves.moving:
            return False
        if self._holdings.migrations.queue.find(owned.group) is not None:
            return False
        quiet = self._context.now() < self._left_alone.get(owned.group, 0.0)
        return not quiet and not self._starts.is_coming(owned.group)

    def _look_at(self, picture: Picture, room: Room, owned: OwnedGroup, group: GroupPicture) -> None:
        if group.status & PARKED and group.starts_by_itself and not group.runs:
            self._unpark(picture, room, owned, group)
        elif group.failed_at is not None:
            self._retry(picture, owned, group)
        elif group.away and group.failback:
            self._go_home(picture, room, owned, group)

    def _unpark(self, picture: Picture, room: Room, owned: OwnedGroup, group: GroupPicture) -> None:
        choice = plan_parked(picture, replace(group, status=group.status & ~PARKED), room)
        if choice.node is None:
            return
        room.take(group, choice.node)
        self._leave_alone(group.id)
        if choice.node == self._context.node:
            self._tell(group, f"{group.name} waited for room and is started: {choice.sentence}")
            self._starts.request(group.id, Cause.ROOM)
            return
        sentence = f"it waited for room: {choice.sentence}"
        work = self._moves.give_parked(owned, choice.node, sentence)
        spawn(self._tasks, _logged(work, group.name), f"room for {group.name}")

    def _retry(self, picture: Picture, owned: OwnedGroup, group: GroupPicture) -> None:
        if owned.run.failover.retried:
            return
        states = owned.run.resource_states
        resources = self._context.view.snapshot.resources_of(group.id)
        failed = [one.properties for one in resources if states.get(one.id) == ResourceState.FAILED]
        usual = int(RestartAction.RESTART_NOTIFY)
        restarts = all(one.number("RestartAction", usual) != RestartAction.DONT_RESTART for one in failed)
        periods = [one.number("RetryPeriodOnFailure", DEFAULT_RETRY) for one in failed]
        due = retry_at(group, max(periods, default=DEFAULT_RETRY), restarts=restarts)
        if due is not None and picture.clock >= due:
            self._tell(group, f"{group.name} had failed and is tried once more, as RetryPeriodOnFailure is over")
            self._leave_alone(group.id)
            self._starts.request(group.id, Cause.RETRY)

    def _go_home(self, picture: Picture, room: Room, owned: OwnedGroup, group: GroupPicture) -> None:
        decision = plan_failback(picture, group, time.localtime().tm_hour, room)
        if decision.destination is None:
            return
        room.take(group, decision.destination)
        self._leave_alone(group.id, 12 * PAUSE)
        self._tell(group, decision.sentence)
        move = self._moves.move(group.id, decision.destination, GroupMoveFlags.FAILBACK, None)
        spawn(self._tasks, _logged(move, group.name), f"the failback of {group.name}")

    def _tell(self, group: GroupPicture, sentence: str) -> None:
        """Let people read what was begun with a group, and why."""
        _log.info("the upkeep begins something", group=group.name, sentence=sentence)
        event = self._context.event(EventKind.GROUP_STATE, group.id, sentence)
        spawn(self._tasks, _logged(self._context.database.append_events((event,)), group.name), f"news of {group.name}")

    def _leave_alone(self, group: GroupId, seconds: float = PAUSE) -> None:
        self._left_alone[group] = self._context.now() + seconds


def _priority(picture: Picture, group: GroupId) -> int:
    found = picture.groups.get(group)
    return 0 if found is None else found.priority


async def _logged(work: Awaitable[object], group: str) -> None:
    try:
        await work
    except ClusterError as error:
        _log.warning("what was begun with a group came to nothing", group=group, sentence=error.sentence)
