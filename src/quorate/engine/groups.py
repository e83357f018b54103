"""The groups that this node owns: taken on when the record names this node, let go when it names another.

Moving a group without a running VM is a matter of its records: its giver has stopped it, writes the other node into the
record, and that node brings it online if it is wanted online.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace

import structlog

from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.states import (
    GroupMoveFlags,
    GroupPriority,
    NodeState,
    ResourceOfflineFlags,
    ResourceState,
    RestartAction,
    VmResdllContext,
    VmState,
)
from quorate.clusapi.status import Status
from quorate.cluster.restart import RestartHistory, RestartPolicy, plan_restart
from quorate.database.group_configuration import GroupConfiguration
from quorate.database.snapshot import TYPE_VIRTUAL_MACHINE, ClusterSnapshot, GroupInfo, ResourceInfo
from quorate.engine.context import EngineContext
from quorate.engine.hosted import HostedVm, OwnedGroup, to_brain
from quorate.engine.migrations import Migrations
from quorate.engine.supervised import spawn
from quorate.hosting.host import Host
from quorate.migration.ownership import Cas, CasAnswered, CasKind

DO_NOT_UPDATE_PERSISTENT_STATE = int(ResourceOfflineFlags.DO_NOT_UPDATE_PERSISTENT_STATE)
RETRY = 0.5
"""Seconds after which a group that could not be brought in line is looked at again."""

_log = structlog.get_logger("groups")


class Groups:
    """Implements `RunStates` of `hosting`, and the moves of groups."""

    def __init__(self, context: EngineContext, migrations: Migrations) -> None:
        """Own nothing until `start`."""
        self._context = context
        self._migrations = migrations
        self._host: Host | None = None
        self._owned: dict[GroupId, OwnedGroup] = {}
        self._attached: dict[GroupId, tuple[int, ...]] = {}
        self._restarts: dict[ResourceId, RestartHistory] = {}
        self._changed = asyncio.Event()
        self._moving: set[GroupId] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._follower: asyncio.Task[None] | None = None
        migrations.on_arrived = self._on_arrived
        migrations.on_left = self._on_left
        migrations.on_image_lost = self._on_image_lost
        migrations.on_vm_failed = self._on_vm_failed

    def bind(self, host: Host) -> None:
        """Know the host of resources; before anything is recovered."""
        self._host = host

    def start(self) -> None:
        """Begin to follow the records; what recovery has taken on already is attached first."""
        self._context.view.subscribe(lambda snapshot: self._changed.set())
        self._changed.set()
        self._follower = asyncio.create_task(self._follow())

    def look_again(self) -> None:
        """Bring everything in line once more: something has changed that the database does not show."""
        self._changed.set()

    async def close(self) -> None:
        """Follow no more; nothing that runs is touched."""
        tasks = [t for t in (self._follower, *self._tasks) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
        owned = self._owned.get(group_id)
        if owned is None:
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, "this node does not own the group")
        await owned.write_resource_states(states, persistent_state)

    async def configure(self, group_id: GroupId, change: GroupConfiguration, events: Sequence[EventRecord]) -> None:
        """Change common properties of a group of ours, all or none."""
        owned = self._owned.get(group_id)
        if owned is None:
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, "this node does not own the group")
        await owned.configure(change, events)

    # --- following the records -------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for group_id in tuple(self._owned):
                await self._supervised(group_id, self._settle_owned)
            for group in self._context.view.snapshot.groups_of(self._context.node):
                await self._supervised(group.id, self._settle_ours)

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
        if group is None or snapshot.owner_of(group_id) != self._context.node or self._is_busy(group_id):
            return
        known = _facts_revisions(group, snapshot.resources_of(group_id))
        if self._attached.get(group_id) != known and not self._is_older(snapshot, group_id):
            await self._take_on(group, snapshot, known)

    def _is_busy(self, group_id: GroupId) -> bool:
        """Tell whether a migration, or the recovery of one, has the say over a group."""
        migrations = self._migrations
        arriving = any(session.group == group_id for session in migrations.incoming.values())
        return arriving or group_id in migrations.outgoing or group_id in migrations.recovering

    def _is_older(self, snapshot: ClusterSnapshot, group: GroupId) -> bool:
        """Tell whether this node knows the group's record from a write that the snapshot does not show yet."""
        owned = self._owned.get(group)
        return owned is not None and snapshot.revision < owned.ownership.revision

    async def _take_on(self, group: GroupInfo, snapshot: ClusterSnapshot, known: tuple[int, ...]) -> None:
        assert self._host is not None, "groups are followed once there is a host"
        arrived = group.id not in self._attached
        owned = self._owned.get(group.id)
        if owned is None:
            owned = self._new_owned(group, snapshot)
            if owned is None:
                return
            self.own(owned)
        states = self._states_of(owned, snapshot)
        await self._host.attach_group(group, snapshot.resources_of(group.id), states)
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
        assert self._host is not None
        resources = snapshot.resources_of(group.id)
        vm_resource = snapshot.vm_resource(group.id)
        if isinstance(owned, HostedVm) and vm_resource is not None:
            if owned.instance is None and states.get(vm_resource.id) is ResourceState.ONLINE:
                self._migrations.report_lost(owned, "it was not there when the daemon looked")
                return
            if owned.instance is not None:
                return
        found = [states.get(r.id, ResourceState.OFFLINE) for r in resources]
        # What has failed stays failed: the policy has had its say, and a daemon's restart is no reason to ask again.
        if owned.run.persistent_state and ResourceState.FAILED not in found and set(found) - {ResourceState.ONLINE}:
            _log.info("bringing a group online that is wanted online", group=group.name)
            self._spawn(self._online_group(group.id), f"{group.name} comes online")

    async def _online_group(self, group: GroupId) -> None:
        assert self._host is not None
        try:
            await self._host.online_group(group)
        except ClusterError as error:
            _log.warning("a group was not brought online", group=group, sentence=error.sentence)

    async def _let_go(self, group: GroupId) -> None:
        assert self._host is not None
        owned = self._owned.pop(group, None)
        self._attached.pop(group, None)
        await self._host.detach_group(group)
        if isinstance(owned, HostedVm):
            if owned.instance is not None:
                # The record names another node: whatever this is, it may not run (I2).
                _log.error("a virtual machine that is not ours any more is ended here", vm=owned.name)
                owned.instance.kill()
            self._migrations.let_go(group)

    # --- news of migrations and of VMs that are gone ---------------------------------------------------------------

    async def _on_arrived(self, vm: HostedVm) -> None:
        assert self._host is not None
        self.own(vm)
        snapshot = self._context.view.snapshot
        group = snapshot.groups.get(vm.group)
        if group is None:
            self._changed.set()
            return
        resources = snapshot.resources_of(vm.group)
        states = {id_: ResourceState(state) for id_, state in vm.run.resource_states.items()}
        await self._host.attach_group(group, resources, states)
        self._attached[vm.group] = _facts_revisions(group, resources)

    async def _on_left(self, group: GroupId) -> None:
        assert self._host is not None
        self._owned.pop(group, None)
        self._attached.pop(group, None)
        await self._host.detach_group(group)
        self._changed.set()

    async def _on_image_lost(self, group: GroupId, sentence: str) -> None:
        vm = self._migrations.find(group)
        if vm is not None:
            self._migrations.report_lost(vm, sentence)

    def _on_vm_failed(self, group: GroupId, sentence: str, by_guest: bool) -> None:
        assert self._host is not None
        resource = self._context.view.snapshot.vm_resource(group)
        if resource is None or group not in self._attached:
            return
        if by_guest:
            self._host.on_resource_stopped(resource.id, sentence)
            self._spawn(self._no_longer_wanted(group), f"{resource.name} is not wanted online any more")
            return
        self._host.on_resource_failed(resource.id, sentence)
        history = self._restarts.get(resource.id, RestartHistory())
        policy = _restart_policy(resource)
        decision = plan_restart(policy, history, self._context.now())
        self._restarts[resource.id] = decision.history
        _log.info("a virtual machine has failed", vm=resource.name, sentence=decision.sentence)
        if decision.restart:
            self._spawn(self._restart(resource, policy.delay, decision.sentence), f"the restart of {resource.name}")

    async def _no_longer_wanted(self, group: GroupId) -> None:
        """A guest that shut itself down is not started again by the next daemon."""
        owned = self._owned.get(group)
        if owned is not None:
            await owned.tell(lambda run: replace(run, persistent_state=False), ())

    async def _restart(self, resource: ResourceInfo, delay: float, sentence: str) -> None:
        assert self._host is not None
        await asyncio.sleep(delay)
        if self._host.state(resource.id) is not ResourceState.FAILED:
            return  # somebody has taken it offline, or online, meanwhile
        event = self._context.event(EventKind.VM_STATE, resource.group_id, f"started from its disks: {sentence}")
        try:
            await self._context.database.append_events((event,))
            await self._host.online_resource(resource.id)
        except ClusterError as error:
            _log.warning("a virtual machine was not restarted", vm=resource.name, sentence=error.sentence)

    # --- moves -----------------------------------------------------------------------------------------------------

    async def move(
        self, group_id: GroupId, wanted: NodeId | None, flags: GroupMoveFlags, vm_context: VmResdllContext | None
    ) -> Status:
        """Move a group of ours: 997 under way, 0 there already."""
        owned = self._owned.get(group_id)
        if owned is None:
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, "this node does not own the group")
        if wanted == self._context.node:
            return Status.ERROR_SUCCESS
        vm = self._migrations.find(group_id)
        live = vm is not None and vm.state is VmState.RUNNING
        if live and vm_context is None:
            vm_context = _default_move_type(await self._context.database.snapshot(), group_id)
        if live and vm_context is VmResdllContext.LIVE_MIGRATION:
            name = None if wanted is None else self._context.name_of(wanted)
            await self._migrations.start_migration(group_id, name)
            return Status.ERROR_IO_PENDING
        if group_id in self._migrations.outgoing or group_id in self._moving:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{owned.name} is being moved: wait, or cancel that")
        destination = self._choose(group_id, wanted)
        self._moving.add(group_id)
        self._spawn(self._move_offline(owned, destination, vm_context), f"the move of {owned.name}")
        return Status.ERROR_IO_PENDING

    def _choose(self, group_id: GroupId, wanted: NodeId | None) -> NodeId:
        snapshot = self._context.view.snapshot
        resources = snapshot.resources_of(group_id)
        group = snapshot.groups[group_id]
        order = [*group.preferred_owners, *(n for n in snapshot.nodes if n not in group.preferred_owners)]
        for node in order if wanted is None else (wanted,):
            state = self._context.view.node_state(node)
            possible = all(node in r.possible_owners for r in resources)
            if node != self._context.node and state is NodeState.UP and possible:
                return node
        if wanted is None:
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_AVAILABLE, f"no other node can take {group.name} now")
        state = self._context.view.node_state(wanted)
        name = self._context.name_of(wanted)
        if state is NodeState.PAUSED:
            raise RefusalError(Status.ERROR_CLUSTER_NODE_PAUSED, f"{name} is paused: resume it, or name another node")
        if state is not NodeState.UP:
            raise RefusalError(Status.ERROR_CLUSTER_NODE_DOWN, f"{name} is down: start it, or name another node")
        raise RefusalError(
            Status.ERROR_NODE_CANT_HOST_RESOURCE, f"{name} is not a possible owner of all resources of {group.name}"
        )

    async def _move_offline(self, owned: OwnedGroup, destination: NodeId, context: VmResdllContext | None) -> None:
        """Take the group offline if it is not, write the other node into the record; it does the rest."""
        assert self._host is not None
        wanted_online = owned.run.persistent_state
        try:
            await self._host.offline_group(owned.group, DO_NOT_UPDATE_PERSISTENT_STATE, context)
            await self._host.wait_settled(owned.group)
            self._check_is_off(owned)
            await self._give(owned, destination, wanted_online)
        except ClusterError as error:
            _log.warning("a group was not moved", group=owned.name, sentence=error.sentence)
            if wanted_online:
                await self._online_group(owned.group)
        finally:
            self._moving.discard(owned.group)

    def _check_is_off(self, owned: OwnedGroup) -> None:
        """Check that nothing of a group runs here, before it is given away (I3).

        Raises:
            RefusalError: 5023, with what still runs and why.
        """
        assert self._host is not None
        states = self._host.states(owned.group)
        still_on = [id_ for id_, state in states.items() if state is not ResourceState.OFFLINE]
        if isinstance(owned, HostedVm) and owned.instance is not None:
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{owned.name} did not go off: {owned.vm.sentence}")
        if still_on:
            sentence = self._host.sentence(still_on[0])
            raise RefusalError(Status.ERROR_INVALID_STATE, f"{owned.name} did not go offline: {sentence}")

    async def _give(self, owned: OwnedGroup, destination: NodeId, wanted_online: bool) -> None:
        owned.check_ours("the move")
        record = to_brain(owned.ownership)
        cas = Cas(CasKind.GIVE, 1, record, destination, record.image)
        name = self._context.name_of(destination)
        event = self._context.event(
            EventKind.GROUP_OWNER,
            owned.group,
            f"given to {name}, epoch {cas.epoch}",
            before=self._context.node_name,
            after=name,
        )
        answer = await owned.change_owner(
            cas, lambda run: replace(run, default_owner=destination, persistent_state=wanted_online), (event,)
        )
        if not isinstance(answer, CasAnswered):
            raise RefusalError(
                Status.ERROR_CLUSTER_DATABASE_UPDATE_CONDITION_FAILED, f"the record of {owned.name} was not changed"
            )

    def _spawn(self, work: Coroutine[object, object, None], what: str) -> None:
        spawn(self._tasks, work, what)


FOLLOW_CLUSTER_RULE = 0xFFFFFFFF
"""DefaultMoveType: as the group's priority and the type's MoveTypeThreshold say."""


def _default_move_type(snapshot: ClusterSnapshot, group: GroupId) -> VmResdllContext:
    """Tell how a running VM moves when nobody says: as its DefaultMoveType, or live unless its priority is low."""
    resource = snapshot.vm_resource(group)
    own = (
        FOLLOW_CLUSTER_RULE if resource is None else resource.parameters.number("DefaultMoveType", FOLLOW_CLUSTER_RULE)
    )
    if own <= VmResdllContext.LIVE_MIGRATION:
        return VmResdllContext(own)
    type_ = snapshot.find_resource_type(TYPE_VIRTUAL_MACHINE)
    usual = int(GroupPriority.MEDIUM)
    threshold = usual if type_ is None else type_.parameters.number("MoveTypeThreshold", usual)
    priority = snapshot.groups[group].properties.number("Priority", usual)
    return VmResdllContext.LIVE_MIGRATION if priority >= threshold else VmResdllContext.SAVE


def _facts_revisions(group: GroupInfo, resources: tuple[ResourceInfo, ...]) -> tuple[int, ...]:
    return (group.revision, *(r.revision for r in resources))


def _restart_policy(resource: ResourceInfo) -> RestartPolicy:
    values = resource.properties
    return RestartPolicy(
        action=RestartAction(values.number("RestartAction", RestartAction.RESTART_NOTIFY)),
        threshold=values.number("RestartThreshold", 3),
        period=values.number("RestartPeriod", 900_000) / 1000,
        delay=values.number("RestartDelay", 500) / 1000,
    )
