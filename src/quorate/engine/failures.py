"""What follows when a resource of this node fails ([object-model] 7): restart, failover of its group, standing still.

::

    failed ──RestartAction, RestartThreshold, RestartPeriod──▶ started again after RestartDelay
       │  no more restarts, RestartAction 2; or it could not even start where it has just arrived
       ├──FailoverThreshold, FailoverPeriod, placement──▶ the whole group goes to the next node
       │  no node has the room
       ├──▶ parked: offline with StatusInformation 0x8 or 0x40 until some node has (`engine/group_upkeep.py`)
       │  everything else
       └──▶ stays Failed, with the sentence; tried once more after RetryPeriodOnFailure

An online that a person asked for and that fails is answered to that person, and is not repeated behind his back.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.states import GroupStatus, ResourceState, RestartAction
from quorate.clusapi.status import Status
from quorate.cluster.failover import FailoverDecision, plan_failover
from quorate.cluster.picture import Failover, Picture
from quorate.cluster.restart import RestartHistory, RestartPolicy, plan_restart
from quorate.database.records import RunState
from quorate.database.snapshot import ResourceInfo
from quorate.engine.admission import NO_ROOM
from quorate.engine.cluster_clock import ClusterClock
from quorate.engine.holdings import Holdings
from quorate.engine.hosted import OwnedGroup
from quorate.engine.moves import DO_NOT_UPDATE_PERSISTENT_STATE, Moves
from quorate.engine.pictures import PictureOf
from quorate.engine.run_changes import run_when_given_up, run_when_parked
from quorate.engine.starts import Cause, Starts
from quorate.engine.supervised import spawn
from quorate.hosting.contract import ResourceFailure, ResourceStateChange

_log = structlog.get_logger("groups")

HEARD_PAUSE: Final = 1.0
"""Seconds between two looks at whether the database answers this node again."""
_OF_THE_NODE: Final = frozenset(
    {
        Status.ERROR_CLUSTER_NODE_NOT_MEMBER,  # the lease ran out during the start
        Status.ERROR_CLUSTER_DATABASE_UPDATE_CONDITION_FAILED,  # the write that gives the right to run had no answer
    }
)
_LACKING: Final = GroupStatus.PHYSICAL_RESOURCES_LACKING
_CAME_FROM_ELSEWHERE: Final = frozenset({Cause.ARRIVAL, Cause.ROOM})


class Failures:
    """The failures of this node's resources."""

    def __init__(
        self,
        holdings: Holdings,
        starts: Starts,
        moves: Moves,
        picture: PictureOf,
        clock: ClusterClock,
        is_writable: Callable[[], bool],
    ) -> None:
        """Know of none; ``is_writable`` tells whether the database has answered this node lately."""
        self._is_writable = is_writable
        self._holdings = holdings
        self._context = holdings.context
        self._starts = starts
        self._moves = moves
        self._picture = picture
        self._clock = clock
        self._histories: dict[ResourceId, RestartHistory] = {}
        self._restarting: set[ResourceId] = set()
        self._ran: set[ResourceId] = set()
        self._lost_at_boot: set[GroupId] = set()
        self._seen_to: set[GroupId] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Do nothing more about any."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def expect_lost_at_boot(self, group: GroupId) -> None:
        """The next failure of a group is that its VM was gone when the daemon came up: it waits for its turn."""
        self._lost_at_boot.add(group)

    # --- news of the host -------------------------------------------------------------------------------------------

    def on_state_changed(self, change: ResourceStateChange) -> None:
        """Remember what ran until it failed, and what has come back."""
        if change.new is ResourceState.FAILED:
            if change.old is ResourceState.ONLINE:
                self._ran.add(change.resource_id)
            return
        self._ran.discard(change.resource_id)
        if change.new is not ResourceState.ONLINE_PENDING:
            self._restarting.discard(change.resource_id)

    def on_failed(self, failure: ResourceFailure) -> None:
        """A resource that was to be online has failed."""
        group, resource_id = failure.group_id, failure.resource_id
        ran, restarted = resource_id in self._ran, resource_id in self._restarting
        self._ran.discard(resource_id)
        self._restarting.discard(resource_id)
        with_lease = self._holdings.migrations.lost_with_lease
        lapsed = group in with_lease
        with_lease.discard(group)
        cause = self._starts.cause_of(group)
        resource = self._context.view.snapshot.resources.get(resource_id)
        if resource is None or group in self._moves.moving or group in self._seen_to:
            return
        if group in self._lost_at_boot:
            self._lost_at_boot.discard(group)
            self._starts.want(group, Cause.BOOT)
            if not self._starts.is_coming(group):
                self._see_to(group, self._leave_off(group))
            return
        if not (ran or restarted or cause is not None):
            _log.info("what a person asked for has failed", resource=failure.name, sentence=failure.sentence)
            return
        if lapsed or self._is_the_nodes_fault(failure):
            self._see_to(group, self._wait_to_be_heard(resource, failure.sentence, cause))
            return
        self._judge(resource, failure, None if ran else cause)

    def _judge(self, resource: ResourceInfo, failure: ResourceFailure, cause: Cause | None) -> None:
        policy = restart_policy(resource)
        may_move = policy.action is RestartAction.RESTART_NOTIFY
        hopeless = failure.status == NO_ROOM or cause in _CAME_FROM_ELSEWHERE
        if cause is Cause.RETRY:
            self._see_to(resource.group_id, self._give_up(resource.group_id, failure.sentence, retried=True))
            return
        if may_move and hopeless:
            lacking = _LACKING if failure.status == NO_ROOM else GroupStatus.NORMAL
            why = f"{failure.name}: {failure.sentence}"
            self._see_to(resource.group_id, self._fail_over(resource.group_id, why, lacking))
            return
        if failure.status == NO_ROOM:
            self._see_to(
                resource.group_id, self._wait_for_room(resource.group_id, f"{failure.name}: {failure.sentence}")
            )
            return
        decision = plan_restart(policy, self._histories.get(resource.id, RestartHistory()), self._context.now())
        self._histories[resource.id] = decision.history
        _log.info("a resource has failed", resource=resource.name, sentence=decision.sentence)
        if decision.restart:
            self._restarting.add(resource.id)
            work = self._restart(resource, policy.delay, decision.sentence)
            spawn(self._tasks, work, f"the restart of {resource.name}")
            return
        why = f"{failure.name} failed ({failure.sentence}) and is {decision.sentence}"
        following = self._fail_over if may_move else self._give_up
        self._see_to(resource.group_id, following(resource.group_id, why))

    def _see_to(self, group: GroupId, work: Awaitable[None]) -> None:
        """Do what follows a failure of a group once, however many of its resources fail together."""
        self._seen_to.add(group)

        async def run() -> None:
            try:
                await work
            finally:
                self._seen_to.discard(group)

        spawn(self._tasks, run(), f"what follows the failure of {group}")

    async def _leave_off(self, group: GroupId) -> None:
        """What was lost with the machine and is not to be started has not failed: it is off."""
        try:
            await self._holdings.host.offline_group(group, DO_NOT_UPDATE_PERSISTENT_STATE)
        except ClusterError as error:
            _log.warning("a group was not taken offline", group=group, sentence=error.sentence)

    # --- restart ----------------------------------------------------------------------------------------------------

    async def _restart(self, resource: ResourceInfo, delay: float, sentence: str) -> None:
        await asyncio.sleep(delay)
        if self._holdings.host.state(resource.id) is not ResourceState.FAILED:
            return  # somebody has taken it offline, or online, meanwhile
        event = self._context.event(EventKind.RESOURCE_STATE, resource.group_id, f"{resource.name}: {sentence}")
        try:
            self._holdings.host.restart_resource(resource.id)
            await self._context.database.append_events((event,))
        except ClusterError as error:
            _log.warning("a resource was not restarted", resource=resource.name, sentence=error.sentence)

    def _is_the_nodes_fault(self, failure: ResourceFailure) -> bool:
        """Without the lease the guard ends what runs, and without the database nothing can be started."""
        if failure.status in _OF_THE_NODE or not self._context.lease.is_held:
            return True
        return failure.status == Status.ERROR_TIMEOUT and not self._is_heard()

    def _is_heard(self) -> bool:
        """Tell whether the database has answered this node lately: if not, a failure may be nobody's."""
        return self._context.lease.is_held and self._is_writable()

    async def _wait_to_be_heard(self, resource: ResourceInfo, sentence: str, cause: Cause | None) -> None:
        """Start what the lack of the database or of the lease has cost, when they are back; it counts not."""
        _log.warning("a start waits for the database", resource=resource.name, sentence=sentence)
        await asyncio.sleep(HEARD_PAUSE)
        while not self._is_heard():  # noqa: ASYNC110 - the lease's thread renews it
            await asyncio.sleep(HEARD_PAUSE)
        if self._holdings.host.state(resource.id) is ResourceState.FAILED:
            self._starts.request(resource.group_id, cause or Cause.BOOT)

    # --- failover ---------------------------------------------------------------------------------------------------

    async def _fail_over(self, group_id: GroupId, why: str, lacking: GroupStatus = GroupStatus.NORMAL) -> None:
        """Give the group to the next node; where there is none it stands still, or waits for what is ``lacking``."""
        owned = self._holdings.find(group_id)
        if owned is None:
            return
        if not owned.run.persistent_state:
            _log.info("a group that is not wanted online is not failed over", group=owned.name, sentence=why)
            return
        decision = self._plan(owned)
        _log.warning("a group cannot be online here", group=owned.name, why=why, sentence=decision.sentence)
        sentence = f"{why}; {decision.sentence}"
        if decision.destination is None:
            await self._stand_still(owned, decision.status | lacking, sentence)
            return
        try:
            await self._moves.fail_over(owned, replace(decision, sentence=sentence))
        except ClusterError as error:
            await self._give_up(group_id, f"{sentence}; but {error.sentence}")

    def _plan(self, owned: OwnedGroup) -> FailoverDecision:
        return plan_failover_of(self._picture(), self._context.node, owned.group, owned.run)

    async def _stand_still(self, owned: OwnedGroup, status: GroupStatus, sentence: str) -> None:
        if status == GroupStatus.NORMAL:
            await self._give_up(owned.group, sentence)
        else:
            await self._park(owned, status, sentence)

    async def _wait_for_room(self, group_id: GroupId, why: str) -> None:
        owned = self._holdings.find(group_id)
        if owned is not None:
            await self._park(owned, _LACKING, why)

    async def _park(self, owned: OwnedGroup, status: GroupStatus, sentence: str) -> None:
        """Offline, though wanted online, until some node has the room."""
        event = self._context.event(EventKind.GROUP_STATE, owned.group, f"waits, offline: {sentence}")
        try:
            await self._holdings.host.offline_group(owned.group, DO_NOT_UPDATE_PERSISTENT_STATE)
            await self._holdings.host.wait_settled(owned.group)
            await owned.tell(lambda run: run_when_parked(run, status, sentence), (event,))
        except ClusterError as error:
            _log.warning("a group was not parked", group=owned.name, sentence=error.sentence)

    async def _give_up(self, group_id: GroupId, why: str, *, retried: bool = False) -> None:
        """Leave a group Failed: until its one retry, or until a person acts."""
        owned = self._holdings.find(group_id)
        if owned is None:
            return
        at = self._clock.now()
        event = self._context.event(EventKind.GROUP_STATE, group_id, f"stays failed: {why}")
        try:
            await self._holdings.host.wait_settled(group_id)
            await owned.tell(lambda run: run_when_given_up(run, at, why, retried=retried), (event,))
        except ClusterError as error:
            _log.warning("a group's failure was not written", group=owned.name, sentence=error.sentence)


def plan_failover_of(picture: Picture, me: NodeId, group_id: GroupId, run: RunState) -> FailoverDecision:
    """Decide where a group of this node goes that has failed here, by the run state that its owner knows."""
    group = picture.groups.get(group_id)
    if group is None or group.owner != me:
        return FailoverDecision(None, "it is not ours any more")
    failed = replace(
        group,
        states=(ResourceState.FAILED,),
        wanted=run.persistent_state,
        failovers=tuple(Failover(one.at, one.node) for one in run.failover.failovers),
        failed_at=None,
    )
    return plan_failover(picture, failed)


def restart_policy(resource: ResourceInfo) -> RestartPolicy:
    """The common properties of a resource that say what follows its failure."""
    values = resource.properties
    return RestartPolicy(
        action=RestartAction(values.number("RestartAction", RestartAction.RESTART_NOTIFY)),
        threshold=values.number("RestartThreshold", 3),
        period=values.number("RestartPeriod", 900_000) / 1000,
        delay=values.number("RestartDelay", 500) / 1000,
    )
