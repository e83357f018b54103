"""What follows when a virtual machine of a simulated node fails, and what a node looks after in its groups.

As `engine/failures.py` and `engine/group_upkeep.py` are in production.
"""

from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import GroupId
from quorate.clusapi.states import GroupStatus, ResourceState, RestartAction
from quorate.clusapi.status import Status
from quorate.cluster.failback import plan_failback
from quorate.cluster.failover import FailoverDecision, plan_parked, retry_at, room_beside_orphans
from quorate.cluster.picture import PARKED, GroupPicture, Picture
from quorate.cluster.placement import Room
from quorate.cluster.restart import RestartHistory, plan_restart
from quorate.engine.admission import NO_ROOM
from quorate.engine.failures import plan_failover_of, restart_policy
from quorate.engine.run_changes import run_when_given_up, run_when_parked
from quorate.simulator.holding import Held
from quorate.simulator.kernel import Timer
from quorate.simulator.owner import Cause
from quorate.simulator.trace import Kind

if TYPE_CHECKING:
    from quorate.simulator.daemon import Daemon

HEARD_PAUSE: Final = 1.0
"""Seconds between two looks at whether the database answers this node again."""
_OF_THE_NODE: Final = frozenset(
    {
        Status.ERROR_CLUSTER_NODE_NOT_MEMBER,
        Status.ERROR_CLUSTER_DATABASE_UPDATE_CONDITION_FAILED,
        Status.ERROR_SERVICE_NOT_ACTIVE,
    }
)
_CAME_FROM_ELSEWHERE: Final = frozenset({Cause.ARRIVAL, Cause.ROOM})
_LACKING: Final = GroupStatus.PHYSICAL_RESOURCES_LACKING


class Failures:
    """The failures of one node's virtual machines."""

    def __init__(self, daemon: "Daemon") -> None:
        """Know of none."""
        self._daemon = daemon
        self._histories: dict[GroupId, RestartHistory] = {}
        self._seen_to: set[GroupId] = set()

    def on_lost(self, held: Held, sentence: str, by_guest: bool) -> None:
        """A virtual machine that ran is gone."""
        owner = self._daemon.owner
        lapsed = held.group in owner.lost_with_lease
        owner.lost_with_lease.discard(held.group)
        if by_guest or held.group in self._daemon.moves.moving or held.group in self._seen_to:
            return
        if held.group in owner.lost_at_boot:
            owner.lost_at_boot.discard(held.group)
            self._daemon.starts.want(held.group, Cause.BOOT)
            if not self._daemon.starts.is_coming(held.group):
                self._see_to(held.group, held.set_states(ResourceState.OFFLINE))
            return
        if not held.run.persistent_state:
            return
        if lapsed or not self._is_heard():
            self._see_to(held.group, self._wait_to_be_heard(held, None))
            return
        self._judge(held, Status.ERROR_CLUSTER_RESOURCE_PROVIDER_FAILED, sentence, None)

    def on_failed(self, held: Held, status: Status, sentence: str, cause: Cause | None) -> None:
        """A start has failed."""
        group = held.group
        if self._daemon.owner.held.get(group) is not held or group in self._daemon.moves.moving:
            return
        if group in self._seen_to or cause is None or held.resource_state is not ResourceState.FAILED:
            return
        is_the_nodes = status in _OF_THE_NODE or not self._daemon.keeper.is_held
        if is_the_nodes or (status == Status.ERROR_TIMEOUT and not self._is_heard()):
            self._see_to(group, self._wait_to_be_heard(held, cause))
            return
        self._judge(held, status, sentence, cause)

    def _is_heard(self) -> bool:
        return self._daemon.keeper.is_held and self._daemon.keeper.is_writable

    def _judge(self, held: Held, status: Status, sentence: str, cause: Cause | None) -> None:
        resource = self._daemon.view.snapshot.vm_resource(held.group)
        if resource is None:
            return
        policy = restart_policy(resource)
        may_move = policy.action is RestartAction.RESTART_NOTIFY
        hopeless = status == NO_ROOM or cause in _CAME_FROM_ELSEWHERE
        if cause is Cause.RETRY:
            self._see_to(held.group, self._give_up(held, sentence, retried=True))
        elif may_move and hopeless:
            lacking = _LACKING if status == NO_ROOM else GroupStatus.NORMAL
            self._see_to(held.group, self._fail_over(held, sentence, lacking))
        elif status == NO_ROOM:
            self._see_to(held.group, self._park(held, _LACKING, sentence))
        else:
            now = self._daemon.machine.clock.monotonic()
            decision = plan_restart(policy, self._histories.get(held.group, RestartHistory()), now)
            self._histories[held.group] = decision.history
            self._daemon.say(Kind.DECISION, f"{held.name}: {decision.sentence}")
            if decision.restart:
                self._daemon.life.spawn(self._restart(held, policy.delay), f"the restart of {held.name}")
                return
            why = f"{sentence}; {decision.sentence}"
            self._see_to(held.group, self._fail_over(held, why) if may_move else self._give_up(held, why))

    def _see_to(self, group: GroupId, work: Awaitable[None]) -> None:
        self._seen_to.add(group)

        async def run() -> None:
            try:
                await work
            finally:
                self._seen_to.discard(group)

        self._daemon.life.spawn(run(), "what follows a failure")

    async def _restart(self, held: Held, delay: float) -> None:
        await self._daemon.life.sleep(delay)
        if held.resource_state is not ResourceState.FAILED or self._daemon.owner.held.get(held.group) is not held:
            return
        try:
            await self._daemon.owner.online(held, None)
        except ClusterError as error:
            self.on_failed(held, error.status, error.sentence, Cause.BOOT)

    async def _wait_to_be_heard(self, held: Held, cause: Cause | None) -> None:
        await self._daemon.life.sleep(HEARD_PAUSE)
        while not self._is_heard():
            await self._daemon.life.sleep(HEARD_PAUSE)
        if held.resource_state is ResourceState.FAILED:
            self._daemon.starts.request(held.group, cause or Cause.BOOT)

    # --- failover ----------------------------------------------------------------------------------------------------

    async def _fail_over(self, held: Held, why: str, lacking: GroupStatus = GroupStatus.NORMAL) -> None:
        if self._daemon.owner.held.get(held.group) is not held or not held.run.persistent_state:
            return
        decision = self._plan(held)
        self._daemon.say(Kind.DECISION, f"{held.name}: {decision.sentence}")
        if decision.destination is None:
            status = decision.status | lacking
            if status == GroupStatus.NORMAL:
                await self._give_up(held, decision.sentence)
            else:
                await self._park(held, status, decision.sentence)
            return
        try:
            await self._daemon.moves.fail_over(held, decision)
        except ClusterError as error:
            await self._give_up(held, f"{why}; but {error.sentence}")

    def _plan(self, held: Held) -> FailoverDecision:
        return plan_failover_of(self._daemon.picture(), self._daemon.node, held.group, held.run)

    async def _park(self, held: Held, status: GroupStatus, sentence: str) -> None:
        with suppress(ClusterError):  # it is somebody else's by now
            await self._daemon.owner.offline(held, "turn off", None)
            await held.tell(lambda run: run_when_parked(run, status, sentence))

    async def _give_up(self, held: Held, why: str, *, retried: bool = False) -> None:
        at = self._daemon.clock.now()
        with suppress(ClusterError):  # it is somebody else's by now
            await held.tell(lambda run: run_when_given_up(run, at, why, retried=retried))


# --- the upkeep -------------------------------------------------------------------------------------------------------

LOOK: Final = 5.0
SHORTEST: Final = 0.5
PAUSE: Final = 5.0
DEFAULT_RETRY: Final = 3_600_000
NOON: Final = 12
"""The hour of the day in a world without days: what failback windows are held against."""


class Upkeep:
    """What a node looks after in its groups: those that wait for room, are to be tried again, or go home."""

    def __init__(self, daemon: "Daemon") -> None:
        """Look after nothing until something changes."""
        self._daemon = daemon
        self._left_alone: dict[GroupId, float] = {}
        self._timer: Timer | None = None
        self._looked_at = -SHORTEST
        self._noted: set[GroupId] = set()

    def note(self, held: Held) -> None:
        """The run state of a group is known, or has changed: it may have to be looked after."""
        if self._stands_still(held) or held.run.failover.away:
            self._noted.add(held.group)
        else:
            self._noted.discard(held.group)

    def _looked_after(self) -> list[Held]:
        """Those of the groups that this node has of which something may have to be done."""
        if not self._noted:
            return []
        return [held for group, held in self._daemon.owner.held.items() if group in self._noted]

    @property
    def waits(self) -> bool:
        """Tell whether anything here may have to be done because of what happens elsewhere."""
        return any(self._stands_still(held) or self._is_away(held) for held in self._looked_after())

    def look_soon(self) -> None:
        """Something has changed."""
        soonest = self._looked_at + SHORTEST
        if self._timer is not None and self._timer.at <= max(soonest, self._daemon.life.kernel.now):
            return
        if any(self._is_candidate(held) for held in self._looked_after()):
            if self._timer is not None:
                self._timer.cancel()
            wait = max(0.0, soonest - self._daemon.life.kernel.now)
            self._timer = self._daemon.life.later(wait, self._look, routine=True)

    def _look(self) -> None:
        self._timer = None
        self._looked_at = self._daemon.life.kernel.now
        candidates = [held for held in self._looked_after() if self._is_candidate(held)]
        if candidates and self._daemon.keeper.is_held:
            picture = self._daemon.picture()
            room = room_beside_orphans(picture)
            for held in sorted(candidates, key=lambda one: -_priority(picture, one.group)):
                group = picture.groups.get(held.group)
                mine = group is not None and group.owner == self._daemon.node
                if group is not None and mine and group.epoch == held.ownership.value.epoch:
                    self._look_at(picture, room, held, group)
        if self.waits:
            self._timer = self._daemon.life.later(LOOK, self._look, routine=True)

    def _stands_still(self, held: Held) -> bool:
        run = held.run
        return bool(run.status_information & int(PARKED)) or run.failover.failed_at is not None

    def _is_away(self, held: Held) -> bool:
        info = self._daemon.view.snapshot.groups.get(held.group)
        return info is not None and held.run.failover.away and bool(info.properties.number("AutoFailbackType"))

    def _is_candidate(self, held: Held) -> bool:
        owner = self._daemon.owner
        if held.group not in owner.attached or not (self._stands_still(held) or self._is_away(held)):
            return False
        if owner.is_busy(held.group) or held.group in self._daemon.moves.moving:
            return False
        now = self._daemon.machine.clock.monotonic()
        return now >= self._left_alone.get(held.group, 0.0) and not self._daemon.starts.is_coming(held.group)

    def _look_at(self, picture: Picture, room: Room, held: Held, group: GroupPicture) -> None:
        if group.status & PARKED and group.starts_by_itself and not group.runs:
            self._unpark(picture, room, held, group)
        elif group.failed_at is not None:
            self._retry(picture, held, group)
        elif group.away and group.failback:
            self._go_home(picture, room, held, group)

    def _unpark(self, picture: Picture, room: Room, held: Held, group: GroupPicture) -> None:
        choice = plan_parked(picture, replace(group, status=group.status & ~PARKED), room)
        if choice.node is None:
            return
        room.take(group, choice.node)
        self._leave_alone(group.id)
        self._daemon.say(Kind.DECISION, f"{group.name} waited for room: {choice.sentence}")
        if choice.node == self._daemon.node:
            self._daemon.starts.request(group.id, Cause.ROOM)
        else:
            self._daemon.life.spawn(self._daemon.moves.give_parked(held, choice.node), f"room for {group.name}")

    def _retry(self, picture: Picture, held: Held, group: GroupPicture) -> None:
        resource = self._daemon.view.snapshot.vm_resource(group.id)
        if held.run.failover.retried or resource is None:
            return
        usual = int(RestartAction.RESTART_NOTIFY)
        restarts = resource.properties.number("RestartAction", usual) != RestartAction.DONT_RESTART
        due = retry_at(group, resource.properties.number("RetryPeriodOnFailure", DEFAULT_RETRY), restarts=restarts)
        if due is not None and picture.clock >= due:
            self._leave_alone(group.id)
            self._daemon.starts.request(group.id, Cause.RETRY)

    def _go_home(self, picture: Picture, room: Room, held: Held, group: GroupPicture) -> None:
        decision = plan_failback(picture, group, NOON, room)
        if decision.destination is None:
            return
        room.take(group, decision.destination)
        self._leave_alone(group.id, 12 * PAUSE)
        self._daemon.say(Kind.DECISION, decision.sentence)
        work = self._daemon.moves.move(held, decision.destination)
        self._daemon.life.spawn(work, f"the failback of {group.name}")

    def _leave_alone(self, group: GroupId, seconds: float = PAUSE) -> None:
        self._left_alone[group] = self._daemon.machine.clock.monotonic() + seconds


def _priority(picture: Picture, group: GroupId) -> int:
    found = picture.groups.get(group)
    return 0 if found is None else found.priority
