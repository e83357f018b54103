"""The groups that this node owns: taken on when the record names this node, let go when it names another.

What is done with them is in `starts` (the order in which they come online), `failures` (restart and failover), `moves`
(to other nodes), `errands` (what the queue of moves has for this node) and `group_upkeep` (what waits, is tried again,
or goes home).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence

import structlog

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.states import GroupMoveFlags, ResourceState, VmResdllContext, VmState
from quorate.clusapi.status import Status
from quorate.cluster.picture import PARKED
from quorate.database.group_configuration import GroupConfiguration
from quorate.database.holders import Holders
from quorate.database.snapshot import (
    TYPE_VIRTUAL_MACHINE,
    TYPE_VIRTUAL_MACHINE_CONFIGURATION,
    ClusterSnapshot,
    GroupInfo,
    ResourceInfo,
)
from quorate.engine.cluster_clock import ClusterClock
from quorate.engine.context import EngineContext
from quorate.engine.errands import Errands
from quorate.engine.failures import Failures
from quorate.engine.group_upkeep import GroupUpkeep
from quorate.engine.holdings import Holdings
from quorate.engine.hosted import HostedVm, OwnedGroup
from quorate.engine.migrations import Migrations
from quorate.engine.moves import Moves
from quorate.engine.pictures import PictureOf
from quorate.engine.regrouping import change_resource_group
from quorate.engine.starts import Cause, Starts
from quorate.engine.supervised import spawn
from quorate.hosting.contract import ResourceFailure, ResourceStateChange
from quorate.hosting.host import Host

_VM_TYPES = frozenset({TYPE_VIRTUAL_MACHINE.casefold(), TYPE_VIRTUAL_MACHINE_CONFIGURATION.casefold()})
RETRY = 0.5
"""Seconds after which a group that could not be brought in line is looked at again."""

_log = structlog.get_logger("groups")


class Groups:
    """Implements `RunStates` of `hosting`, and the moves of groups."""

    def __init__(
        self,
        context: EngineContext,
        migrations: Migrations,
        picture: PictureOf,
        clock: ClusterClock,
        is_writable: Callable[[], bool],
    ) -> None:
        """Own nothing until `start`. ``picture`` is how placement sees the cluster.

        ``is_writable`` tells whether the database has answered this node lately.
        """
        self._context = context
        self._migrations = migrations
        self._holdings = self.holdings = Holdings(context, migrations)
        self._starts = Starts(self._holdings, clock)
        self._moves = Moves(self._holdings, picture, lambda group: self._starts.request(group, Cause.BOOT))
        self._failures = Failures(self._holdings, self._starts, self._moves, picture, clock, is_writable)
        migrations.queue.bind(picture)
        self._errands = Errands(self._holdings, self._moves, self._starts)
        self._upkeep = GroupUpkeep(self._holdings, self._starts, self._moves, picture)
        self._owned = self._holdings.owned
        self._attached = self._holdings.attached
        self._in_line: dict[GroupId, tuple[GroupInfo, Mapping[ResourceId, ResourceInfo]]] = {}
        """Of the groups that the host has, the snapshot's own objects by which that was found to be so."""
        self._holders = Holders()
        self._ranks: tuple[Mapping[GroupId, GroupInfo], dict[GroupId, int]] = ({}, {})
        """The order of a snapshot's groups."""
        self._first_look = True
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._follower: asyncio.Task[None] | None = None
        migrations.on_arrived = self._on_arrived
        migrations.on_left = self._on_left
        migrations.on_image_lost = self._on_image_lost
        migrations.on_not_arrived = self._failures.expect_lost_at_boot  # its giver has died: it waits for its turn
        migrations.on_vm_failed = self._on_vm_failed

    def bind(self, host: Host) -> None:
        """Know the host of resources; before anything is recovered."""
        self._holdings.bind(host)

    @property
    def _host(self) -> Host:
        return self._holdings.host

    def start(self) -> None:
        """Begin to follow the records; what recovery has taken on already is attached first."""
        self._context.view.subscribe(lambda snapshot: self._changed.set())
        self._changed.set()
        self._follower = asyncio.create_task(self._follow())
        self._upkeep.start()
        self._errands.start()

    def look_again(self) -> None:
        """Bring everything in line once more: something has changed that the database does not show."""
        self._changed.set()

    async def close(self) -> None:
        """Follow no more; nothing that runs is touched."""
        tasks = [t for t in (self._follower, *self._tasks) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for part in (self._errands, self._upkeep, self._failures, self._moves, self._starts):
            await part.close()

    def own(self, group: OwnedGroup) -> None:
        """Own a group that was recovered or has arrived."""
        self._owned[group.group] = group

    async def wait_attached(self, group: GroupId, timeout: float) -> bool:
        """Wait until this node hosts a group that the record says is ours."""
        deadline = self._context.now() + timeout
        while group not in self._attached:
            if self._context.now() > deadline:
                return False
            await asyncio.sleep(0.005)
        return True

    # --- RunStates of hosting --------------------------------------------------------------------------------------

    async def write_resource_states(
        self, group_id: GroupId, states: Mapping[ResourceId, ResourceState], persistent_state: bool | None
    ) -> None:
        """Write the states of all resources of a group of ours."""
        await self._holdings.get(group_id).write_resource_states(states, persistent_state)

    async def configure(self, group_id: GroupId, change: GroupConfiguration, events: Sequence[EventRecord]) -> None:
        """Change common properties of a group of ours, all or none."""
        await self._holdings.get(group_id).configure(change, events)

    async def change_resource_group(self, resource: ResourceId, group: GroupId, events: Sequence[EventRecord]) -> None:
        """Put a resource with its dependency tree into another group; both are ours."""
        await change_resource_group(self._holdings, resource, group, events)

    # --- what others ask, and news of the host ---------------------------------------------------------------------

    async def move(
        self, group_id: GroupId, wanted: NodeId | None, flags: GroupMoveFlags, vm_context: VmResdllContext | None
    ) -> Status:
        """Move a group of ours: 997 under way, 0 there already."""
        return await self._moves.move(group_id, wanted, flags, vm_context)

    def on_state_changed(self, change: ResourceStateChange) -> None:
        """A resource of this node has changed its state."""
        self._failures.on_state_changed(change)

    def on_failed(self, failure: ResourceFailure) -> None:
        """A resource of this node that was to be online has failed."""
        self._failures.on_failed(failure)

    # --- following the records -------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for group_id in self._owned.keys() - set(self._ours()):
                await self._supervised(group_id, self._settle_owned)
            ours = self._ours()
            come = {group_id for group_id in ours if group_id not in self._attached}
            # All at a time: a dead node's come by the hundred.
            await asyncio.gather(*(self._supervised(one, self._settle_ours) for one in ours if one in come))
            snapshot = self._context.view.snapshot
            for group_id in [one for one in ours if one not in come and not self._is_in_line(snapshot, one)]:
                await self._supervised(group_id, self._settle_ours)
            self._first_look = False
            self._starts.look()

    def _ours(self) -> list[GroupId]:
        """The groups that the record gives to this node."""
        snapshot = self._context.view.snapshot
        if self._ranks[0] is not snapshot.groups:
            self._ranks = snapshot.groups, {id_: number for number, id_ in enumerate(snapshot.groups)}
        ranks = self._ranks[1]
        ours = self._holders.groups_of(self._context.node, snapshot.ownership)
        return sorted((id_ for id_ in ours if id_ in ranks), key=ranks.__getitem__)

    def _is_in_line(self, snapshot: ClusterSnapshot, group: GroupId) -> bool:
        """Tell whether the host has a group as the snapshot shows it, without comparing anything of it."""
        info, resources = self._in_line.get(group, (None, None))
        shown = info is snapshot.groups.get(group) and resources is snapshot.resources
        return group in self._attached and shown and not self._has_come_back(snapshot, group)

    async def _supervised(self, group_id: GroupId, settle: Callable[[GroupId], Awaitable[None]]) -> None:
        """Bring one group in line; whatever goes wrong with it holds up no other, and is tried again."""
        try:
            await settle(group_id)
        except Exception as error:  # noqa: BLE001 - the supervisor of groups: one that breaks must not end the others
            sentence = error.sentence if isinstance(error, ClusterError) else repr(error)
            unexpected = None if isinstance(error, ClusterError) else error
            _log.warning("a group was not brought in line", group=group_id, sentence=sentence, exc_info=unexpected)
            asyncio.get_running_loop().call_later(RETRY, self._changed.set)

    async def _settle_owned(self, group_id: GroupId) -> None:
        """Let go of a group that the record gives to another node."""
        snapshot = self._context.view.snapshot
        if group_id in self._migrations.outgoing or self._is_older(snapshot, group_id):
            return
        if group_id not in snapshot.groups or snapshot.owner_of(group_id) != self._context.node:
            await self._let_go(group_id)

    async def _settle_ours(self, group_id: GroupId) -> None:
        """Take on a group that the record gives to this node, or what has changed of one."""
        snapshot = self._context.view.snapshot
        group = snapshot.groups.get(group_id)
        if group is None or snapshot.owner_of(group_id) != self._context.node or self._holdings.is_busy(group_id):
            return
        if self._has_come_back(snapshot, group_id):
            await self._let_go(group_id)
        known = _facts_revisions(group, snapshot.resources_of(group_id))
        if self._attached.get(group_id) != known:
            if self._is_older(snapshot, group_id):
                return
            await self._take_on(group, snapshot, known)
        self._in_line[group_id] = (group, snapshot.resources)

    def _has_come_back(self, snapshot: ClusterSnapshot, group: GroupId) -> bool:
        """Tell whether the group was another node's since this one looked last, so that nothing known of it holds.

        A write of our own whose answer was lost raises the epoch by one; that is settled by who has sent it (R1).
        """
        owned, record = self._owned.get(group), snapshot.ownership.get(group)
        if owned is None or record is None or group in self._migrations.outgoing or self._is_older(snapshot, group):
            return False
        return record.value.epoch > owned.ownership.value.epoch + 1

    def _is_older(self, snapshot: ClusterSnapshot, group: GroupId) -> bool:
        """Tell whether this node knows the group's record from a write that the snapshot does not show yet."""
        owned = self._owned.get(group)
        return owned is not None and snapshot.revision < owned.ownership.revision

    async def _take_on(self, group: GroupInfo, snapshot: ClusterSnapshot, known: tuple[int, ...]) -> None:
        arrived = group.id not in self._attached
        owned = self._owned.get(group.id)
        if owned is None:
            owned = self._new_owned(group, snapshot)
            if owned is None:
                return
            self.own(owned)
        states = self._states_of(owned, snapshot)
        await self._host.attach_group(group, snapshot.resources_of(group.id), states, _written(owned, snapshot))
        self._attached[group.id] = known
        if arrived:
            await self._after_arrival(owned, group, snapshot, states)

    def _states_of(self, owned: OwnedGroup, snapshot: ClusterSnapshot) -> dict[ResourceId, ResourceState]:
        """Give the states in which the resources are taken on.

        A pending one was left by a daemon that did not finish it: of a VM, what its QEMU does decides.
        """
        states = {id_: ResourceState(state) for id_, state in owned.run.resource_states.items()}
        if not isinstance(owned, HostedVm):
            return states
        pending = (ResourceState.ONLINE_PENDING, ResourceState.OFFLINE_PENDING)
        runs = owned.instance is not None
        for resource in snapshot.resources_of(owned.group):
            if resource.type.casefold() not in _VM_TYPES:
                continue  # something else in the group: whether that runs, its own type says
            if runs or states.get(resource.id) in pending:
                states[resource.id] = ResourceState.ONLINE if runs else ResourceState.OFFLINE
        return states

    def _new_owned(self, group: GroupInfo, snapshot: ClusterSnapshot) -> OwnedGroup | None:
        ownership, run = snapshot.ownership.get(group.id), snapshot.run.get(group.id)
        if ownership is None or run is None:
            return None
        vm_resource = snapshot.vm_resource(group.id)
        if vm_resource is None or vm_resource.vm_id is None:
            return OwnedGroup(self._context, group.id, ownership, run.value)
        vm = HostedVm(self._context, group.id, vm_resource.vm_id, ownership, run.value)
        self._migrations.take_on(vm)
        return vm

    async def _after_arrival(
        self, owned: OwnedGroup, group: GroupInfo, snapshot: ClusterSnapshot, states: Mapping[ResourceId, ResourceState]
    ) -> None:
        """A group that is ours since now: report what is lost, start what is wanted and does not run."""
        cause = Cause.BOOT if self._first_look else Cause.ARRIVAL
        vm_resource = snapshot.vm_resource(group.id)
        if isinstance(owned, HostedVm) and vm_resource is not None:
            if owned.instance is not None:
                return
            if states.get(vm_resource.id) is ResourceState.ONLINE:
                self._failures.expect_lost_at_boot(group.id)
                self._migrations.report_lost(owned, "it was not there when the daemon looked")
                return
            if owned.state not in (VmState.OFF, VmState.SAVED):
                # Left by a daemon that did not live to see the end of what it was doing.
                await owned.set_state(VmState.OFF if owned.vm.saved_image is None else VmState.SAVED, "it does not run")
        found = {states.get(r.id, ResourceState.OFFLINE) for r in snapshot.resources_of(group.id)}
        # What the policy has given up, or has parked, stays so: a daemon's restart is no reason to ask again.
        stands_still = owned.run.failover.failed_at is not None or owned.run.status_information & int(PARKED)
        if owned.run.persistent_state and not stands_still and found - {ResourceState.ONLINE}:
            _log.info("bringing a group online that is wanted online", group=group.name, cause=cause.value)
            self._starts.want(group.id, cause)

    async def _let_go(self, group: GroupId) -> None:
        owned = self._owned.pop(group, None)
        self._attached.pop(group, None)
        self._in_line.pop(group, None)
        if owned is not None:
            owned.is_let_go = True
        if isinstance(owned, HostedVm):
            if owned.instance is not None:
                # The record names another node: whatever this is, it may not run (I2). Nothing is awaited before.
                _log.error("a virtual machine that is not ours any more is ended here", vm=owned.name)
                owned.instance.kill()
            self._migrations.let_go(group)
        await self._host.detach_group(group, end=True)

    # --- news of migrations and of VMs that are gone ---------------------------------------------------------------

    async def _on_arrived(self, vm: HostedVm) -> None:
        self.own(vm)
        snapshot = self._context.view.snapshot
        group = snapshot.groups.get(vm.group)
        if group is None:
            self._changed.set()
            return
        resources = snapshot.resources_of(vm.group)
        try:  # it runs, also where somebody had wanted it offline when that was too late for the node that gave it
            await self._host.attach_group(group, resources, self._states_of(vm, snapshot), _written(vm, snapshot))
        except RefusalError as error:  # what else was in the group is still being ended here: it is attached then
            _log.info("a group that has arrived is not attached yet", group=group.name, sentence=error.sentence)
            self._changed.set()
            return
        self._attached[vm.group] = _facts_revisions(group, resources)

    async def _on_left(self, group: GroupId) -> None:
        self._owned.pop(group, None)
        self._attached.pop(group, None)
        self._in_line.pop(group, None)
        await self._host.detach_group(group, end=True)  # what is in the group besides the VM comes online over there
        self._changed.set()

    async def _on_image_lost(self, group: GroupId, sentence: str) -> None:
        vm = self._migrations.find(group)
        if vm is not None and group in self._attached:  # else it is found lost, and told once, when it is taken on
            self._migrations.report_lost(vm, sentence)

    def _on_vm_failed(self, group: GroupId, sentence: str, by_guest: bool) -> None:
        resource = self._context.view.snapshot.vm_resource(group)
        if resource is None or group not in self._attached:
            return
        if by_guest:
            self._host.on_resource_stopped(resource.id, sentence)  # and, by its ShutdownAction, is not wanted any more
            return
        self._host.on_resource_failed(resource.id, sentence)

    def _spawn(self, work: Coroutine[object, object, None], what: str) -> None:
        spawn(self._tasks, work, what)


def _written(owned: OwnedGroup, snapshot: ClusterSnapshot) -> dict[ResourceId, ResourceState]:
    """The states as they are recorded: what an earlier owner left pending is still to be written."""
    states = owned.run.resource_states
    return {
        one.id: ResourceState(states.get(one.id, ResourceState.OFFLINE)) for one in snapshot.resources_of(owned.group)
    }


def _facts_revisions(group: GroupInfo, resources: tuple[ResourceInfo, ...]) -> tuple[int, ...]:
    return (group.revision, *(r.revision for r in resources))
