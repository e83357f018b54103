"""Moves groups of this node to others: asked for by people, or by the failover policy.

Moving a group without a running VM is a matter of its records: its giver has stopped it, writes the other node into the
record, and that node brings it online if it is wanted online. Nothing is given while anything of it may run here (I3).
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.events import EventKind
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import (
    GroupMoveFlags,
    GroupStatus,
    ResourceOfflineFlags,
    ResourceState,
    VmResdllContext,
    VmState,
)
from quorate.clusapi.status import Status
from quorate.cluster.failover import FailoverDecision
from quorate.cluster.moves import Move
from quorate.cluster.placement import Room, Rule, check_node, choose
from quorate.database.records import RunState
from quorate.engine.admission import NO_ROOM
from quorate.engine.holdings import Holdings
from quorate.engine.hosted import OwnedGroup, to_brain
from quorate.engine.move_types import default_move_type
from quorate.engine.pictures import PictureOf
from quorate.engine.run_changes import run_after_errand, run_after_failover, run_after_move, run_after_wait
from quorate.engine.supervised import spawn
from quorate.migration.ownership import Cas, CasAnswered, CasKind

DO_NOT_UPDATE_PERSISTENT_STATE: Final = int(ResourceOfflineFlags.DO_NOT_UPDATE_PERSISTENT_STATE)
_AT_REST: Final = (VmState.PAUSED, VmState.SAVED, VmState.OFF)
"""A virtual machine in one of these does not run, and is not about to: a move that is not live costs it nothing."""
_WAITS: Final = int(GroupStatus.PHYSICAL_RESOURCES_LACKING | GroupStatus.OFFLINE_DUE_TO_ANTIAFFINITY_CONFLICT)
_STATUS: Final = {
    Rule.NOT_UP: Status.ERROR_CLUSTER_NODE_DOWN,
    Rule.PAUSED: Status.ERROR_CLUSTER_NODE_PAUSED,
    Rule.ISOLATED: Status.ERROR_CLUSTER_NODE_ISOLATED,
    Rule.QUARANTINED: Status.ERROR_CLUSTER_NODE_QUARANTINED,
    Rule.NOT_POSSIBLE: Status.ERROR_NODE_CANT_HOST_RESOURCE,
    Rule.MEMORY: NO_ROOM,
    Rule.ANTI_AFFINITY: Status.ERROR_CLUSTER_AFFINITY_CONFLICT,
}
_REMEDY: Final = {
    Rule.NOT_UP: ": start it, or name another node",
    Rule.PAUSED: ": resume it, or name another node",
}

_log = structlog.get_logger("groups")


class Moves:
    """The moves away from this node."""

    def __init__(self, holdings: Holdings, picture: PictureOf, bring_back: Callable[[GroupId], None]) -> None:
        """``bring_back`` starts a group here again whose move has failed."""
        self._holdings = holdings
        self._context = holdings.context
        self._picture = picture
        self._bring_back = bring_back
        self.moving: set[GroupId] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Begin no more."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- asked for by people ----------------------------------------------------------------------------------------

    async def move(
        self, group_id: GroupId, wanted: NodeId | None, flags: GroupMoveFlags, vm_context: VmResdllContext | None
    ) -> Status:
        """Move a group of ours: 997 under way, 0 there already."""
        owned = self._holdings.get(group_id)
        if wanted == self._context.node:
            return Status.ERROR_SUCCESS
        migrations = self._holdings.migrations
        if migrations.queue.waiting(group_id) is not None:
            sentence = f"{owned.name} waits in the queue of moves: cancel that first"
            raise RefusalError(Status.ERROR_CLUSTER_GROUP_QUEUED, sentence)
        vm = migrations.find(group_id)
        live = vm is not None and vm.state is VmState.RUNNING
        if vm is not None and vm.state in (VmState.RUNNING, VmState.PAUSED) and vm_context is None:
            vm_context = default_move_type(await self._context.database.snapshot(), group_id)
        if vm_context is VmResdllContext.LIVE_MIGRATION:
            if live:
                name = None if wanted is None else self._context.name_of(wanted)
                await migrations.start_migration(group_id, name)
                return Status.ERROR_IO_PENDING
            if vm is not None and (vm.lock.locked() or vm.state not in _AT_REST):
                sentence = (
                    f"{owned.name} is {vm.state.name.lower()}, and something is being done to it: it is moved live "
                    "when it runs; wait until that is over, or ask for it to be saved, shut down or turned off instead"
                )
                raise RefusalError(Status.ERROR_INVALID_STATE, sentence)
            vm_context = VmResdllContext.SAVE  # one that is paused loses nothing by standing, and nothing of its memory
        if group_id in migrations.outgoing or group_id in self.moving:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{owned.name} is being moved: wait, or cancel that")
        destination = self._choose(owned, wanted)
        self.moving.add(group_id)
        work = self._move_offline(owned, destination, vm_context)
        spawn(self._tasks, work, f"the move of {owned.name}")
        return Status.ERROR_IO_PENDING

    def _choose(self, owned: OwnedGroup, wanted: NodeId | None) -> NodeId:
        """The node to move to. Raises RefusalError with the reason why that cannot be, or no other."""
        picture = self._picture()
        group = picture.groups.get(owned.group)
        if group is None:
            raise RefusalError(Status.ERROR_GROUP_NOT_FOUND, f"{owned.name} is being deleted")
        room, to_run = Room(picture), owned.run.persistent_state
        if wanted is not None:
            node = picture.nodes.get(wanted)
            if node is None:
                raise RefusalError(Status.ERROR_CLUSTER_NODE_NOT_FOUND, f"the cluster has no node {wanted} any more")
            refusal = check_node(picture, room, group, node, to_run=to_run)
            if refusal is None:
                return wanted
            raise RefusalError(_STATUS[refusal.rule], refusal.sentence + _REMEDY.get(refusal.rule, ""))
        choice = choose(picture, room, group, without=frozenset({self._context.node}), to_run=to_run)
        if choice.node is not None:
            return choice.node
        only_memory = choice.refusals and all(refusal.rule is Rule.MEMORY for refusal in choice.refusals)
        status = NO_ROOM if only_memory else Status.ERROR_HOST_NODE_NOT_AVAILABLE
        raise RefusalError(status, f"no other node can take {owned.name} now: {choice.sentence}")

    async def _move_offline(self, owned: OwnedGroup, destination: NodeId, context: VmResdllContext | None) -> None:
        """Take the group offline if it is not, write the other node into the record; it does the rest."""
        wanted_online = owned.run.persistent_state

        try:
            await self._take_offline(owned, context)
            await self._give(owned, destination, lambda run: run_after_move(run, destination, wanted=wanted_online), "")
        except ClusterError as error:
            _log.warning("a group was not moved", group=owned.name, sentence=error.sentence)
            if wanted_online:
                self._bring_back(owned.group)
        finally:
            self.moving.discard(owned.group)

    # --- decided by the coordinator ---------------------------------------------------------------------------------

    async def carry(self, owned: OwnedGroup, move: Move) -> None:
        """Move a group whose move has begun, and of which no virtual machine is migrated.

        What had been given up stays so, and what waits for room goes on waiting. Raises ClusterError: it is still ours,
        and is being brought online again where it was.
        """
        destination = move.destination
        assert destination is not None, "a move that has begun goes somewhere"
        wanted_online = owned.run.persistent_state

        def change(run: RunState) -> RunState:
            return run_after_errand(run, move, destination, wanted=wanted_online)

        context = VmResdllContext.SAVE if move.is_live else move.how
        self.moving.add(owned.group)
        try:
            await self._take_offline(owned, context)
            await self._give(owned, destination, change, move.sentence)
        except ClusterError:
            if wanted_online:
                self._bring_back(owned.group)
            raise
        finally:
            self.moving.discard(owned.group)

    # --- decided by the failover policy -----------------------------------------------------------------------------

    async def fail_over(self, owned: OwnedGroup, decision: FailoverDecision) -> None:
        """Give a group to the node that the policy has chosen, to be brought online there.

        Raises:
            ClusterError: it is still ours, and offline or failed; with the reason.
        """
        destination = decision.destination
        assert destination is not None, "there is somewhere to go"

        def change(run: RunState) -> RunState:
            return run_after_failover(run, decision, destination)

        self.moving.add(owned.group)
        try:
            await self._take_offline(owned, None)
            await self._give(owned, destination, change, decision.sentence)
        finally:
            self.moving.discard(owned.group)

    async def give_parked(self, owned: OwnedGroup, destination: NodeId, sentence: str) -> None:
        """Give a group that waits for room to a node that has it. Raises ClusterError: it is still ours."""
        self.moving.add(owned.group)
        try:
            self._check_is_off(owned)
            await self._give(owned, destination, lambda run: run_after_wait(run, destination), sentence)
        finally:
            self.moving.discard(owned.group)

    # --- giving -----------------------------------------------------------------------------------------------------

    async def _take_offline(self, owned: OwnedGroup, context: VmResdllContext | None) -> None:
        host = self._holdings.host
        await host.offline_group(owned.group, DO_NOT_UPDATE_PERSISTENT_STATE, context)
        await host.wait_settled(owned.group)
        self._check_is_off(owned)

    def _check_is_off(self, owned: OwnedGroup) -> None:
        """Check that nothing of a group runs here, before it is given away (I3).

        Raises:
            RefusalError: 5023, with what still runs and why.
        """
        host = self._holdings.host
        still_on = [id_ for id_, state in host.states(owned.group).items() if state is not ResourceState.OFFLINE]
        if self._holdings.runs_vm(owned.group):
            why = host.sentence(still_on[0]) if still_on else "its process is still there"
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{owned.name} did not go off: {why}")
        if still_on:
            sentence = host.sentence(still_on[0])
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{owned.name} did not go offline: {sentence}")

    async def _give(
        self, owned: OwnedGroup, destination: NodeId, change: Callable[[RunState], RunState], sentence: str
    ) -> None:
        owned.check_ours("the move")
        record = to_brain(owned.ownership)
        cas = Cas(CasKind.GIVE, 1, record, destination, record.image)
        name = self._context.name_of(destination)
        event = self._context.event(
            EventKind.GROUP_OWNER,
            owned.group,
            f"given to {name}, epoch {cas.epoch}" + (f": {sentence}" if sentence else ""),
            before=self._context.node_name,
            after=name,
        )
        answer = await owned.change_owner(cas, change, (event,))
        if not isinstance(answer, CasAnswered):
            raise RefusalError(
                Status.ERROR_CLUSTER_DATABASE_UPDATE_CONDITION_FAILED, f"the record of {owned.name} was not changed"
            )
