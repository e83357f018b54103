"""What must be so some time after all faults are over: every wanted virtual machine runs, nothing is left over."""

from typing import TYPE_CHECKING, Final

from quorate.clusapi.identity import GroupId
from quorate.clusapi.states import GroupPriority, GroupStatus, MigrationState, ResourceState, VmState
from quorate.cluster.moves import DrainStage, Stage
from quorate.cluster.picture import PARKED
from quorate.database.records import RunState
from quorate.simulator.membership import terms_of
from quorate.simulator.qemu import Run

if TYPE_CHECKING:
    from quorate.simulator.machine import Machine
    from quorate.simulator.world import World

SLACK: Final = 60.0
"""Seconds for everything that takes its time when nothing is wrong: starts, restarts, moves, a drain's retries."""


def bound_of(world: "World") -> float:
    """Seconds within which all must be well: what the longest lease and its resilience take, and some more."""
    terms = terms_of(world.store.head())
    leases = [lease.value for lease in world.store.head().leases.values()]
    longest = max((lease.duration + lease.resilience for lease in leases), default=0.0)
    moving = sum(vm.memory for vm in world.setup.vms) / min(node.bandwidth for node in world.setup.nodes)
    return max(longest, terms.duration + terms.resilience) * 1.05 + SLACK + 3 * moving


def missing(world: "World") -> list[str]:
    """Say what is not well yet."""
    out: list[str] = []
    for machine in world.machines.values():
        out += _of_machine(world, machine)
    head = world.store.head()
    for group, record in head.ownership.items():
        run = head.run.get(group)
        holder = world.machines[record.value.holder]
        if holder.node not in head.nodes:
            out.append(f"{world.name_of(group)} is with {holder.name}, which was evicted")
            continue
        if holder.is_doomed and (not _can_be_ended(world, holder) or not _owners(world, group)):
            continue  # it stays with the dead node, as docs/failover.md says
        if run is not None and world.memory_of(group):
            out += _of_vm(world, group, run.value)
        if holder.is_doomed:
            out.append(f"{world.name_of(group)} is still with {holder.name}, which is off")
    for group, move in head.moves.items():
        if move.value.stage == Stage.BEGUN.value:
            out.append(f"the move of {world.name_of(group)} has begun and is not over")
    for node, drain in head.drains.items():
        if node not in head.nodes:
            out.append(f"there is a drain of {world.name_of(node)}, which was evicted")
        here = [world.name_of(group) for group, record in head.ownership.items() if record.value.holder == node]
        if here and drain.value.stage == DrainStage.COMPLETED.value and not world.machines[node].is_doomed:
            out.append(f"{world.name_of(node)} is drained, and holds {', '.join(here)}")
    return out


def _of_machine(world: "World", machine: "Machine") -> list[str]:
    if machine.node not in world.store.head().nodes:
        left = [world.name_of(qemu.group) for qemu in machine.qemus]
        is_up = machine.daemon is not None
        return [f"{machine.name} was evicted, and still has {', '.join(left) or 'a daemon'}"] if left or is_up else []
    if machine.is_doomed:
        lease = world.store.lease(machine.node)
        if lease is not None and not lease.value.ended and _can_be_ended(world, machine):
            return [f"the lease of {machine.name} is not ended"]
        return []
    daemon = machine.daemon
    if daemon is None or not daemon.has_started:
        return [f"the daemon of {machine.name} is not up"]
    out = []
    if not daemon.keeper.is_held:
        out.append(f"{machine.name} has no lease")
    migrations = daemon.migrations
    for group in migrations.outgoing:
        phase = migrations.outgoing[group].brain.phase.value
        out.append(f"{machine.name} still gives {world.name_of(group)} away: {phase}")
    out += [
        f"{machine.name} still receives {world.name_of(session.group)}: {session.brain.phase.value}"
        for session in migrations.incoming.values()
    ]
    out += [f"{machine.name} still recovers {world.name_of(group)}" for group in daemon.owner.recovering]
    out += [
        f"{machine.name} has a QEMU of {world.name_of(qemu.group)}: {qemu.run.value}"
        for qemu in machine.qemus
        if qemu.run is not Run.RUNNING
    ]
    for notes in (machine.outgoing_notes, machine.incoming_notes):
        out += [f"{machine.name} has a journal of {world.name_of(group)}" for group in notes]
    for held in daemon.owner.held.values():
        if held.lock.is_locked:
            out.append(f"{machine.name} is doing something to {held.name}")
    return out


def _can_be_ended(world: "World", dead: "Machine") -> bool:
    """Tell whether anybody may conclude from time alone that a node is dead: somebody it knew of."""
    head = world.store.head()
    lease = world.store.lease(dead.node)
    if lease is None or lease.value.ended:
        return True
    others = [one for one in world.machines.values() if not one.is_doomed and one.node in head.nodes]
    return any(head.admissions.get(one.node, 0) <= lease.value.seen for one in others)


def _of_vm(world: "World", group: GroupId, run: RunState) -> list[str]:
    name = world.name_of(group)
    running = world.laws.running.get(group, {})
    state = ResourceState(next(iter(run.resource_states.values()), ResourceState.OFFLINE))
    vm = run.vm
    out = []
    if vm is not None and MigrationState(vm.migration_state).is_under_way and group not in world.store.head().moves:
        out.append(f"{name} shows a migration: {MigrationState(vm.migration_state).name}")
    if bool(running) != (state is ResourceState.ONLINE):
        out.append(f"{name} {'runs' if running else 'does not run'}, and its state is {state.name}")
    elif running and vm is not None and vm.vm_state != VmState.RUNNING:
        out.append(f"{name} runs, and its VmState is {VmState(vm.vm_state).name}")
    if run.persistent_state and not running:
        is_disappointed = state is ResourceState.FAILED and group in world.people.disappointed
        waits_for_people = state is ResourceState.OFFLINE and group in world.people.disabled
        if not (is_disappointed or waits_for_people or _stands_still(world, group, run)):
            out.append(f"{name} is wanted online and does not run")
        elif _waits_for_room(world, group, run) and _fits_somewhere(world, group):
            out.append(f"{name} waits for room, and there is some: {run.failover.sentence}")
    return out


def _takes_room(world: "World", group: GroupId) -> bool:
    """Tell whether its place must be kept free: it runs, or is wanted online and was neither parked nor given up."""
    run = world.store.head().run.get(group)
    if world.laws.running.get(group):
        return True
    return run is not None and run.value.persistent_state and not _stands_still(world, group, run.value)


def _is_disabled(world: "World", group: GroupId) -> bool:
    """Tell whether a group is of Priority 0: nothing starts it by itself."""
    properties = world.store.head().groups[group].properties
    return properties.number("Priority", GroupPriority.MEDIUM) == GroupPriority.DISABLED


def _waits_for_room(world: "World", group: GroupId, run: RunState) -> bool:
    lacks = bool(run.status_information & int(GroupStatus.PHYSICAL_RESOURCES_LACKING))
    return lacks and not _is_disabled(world, group)


def _stands_still(world: "World", group: GroupId, run: RunState) -> bool:
    """Tell whether the policy leaves a group offline: given up, parked, or of Priority 0."""
    return (
        _is_disabled(world, group) or run.failover.failed_at is not None or bool(run.status_information & int(PARKED))
    )


def _owners(world: "World", group: GroupId) -> list["Machine"]:
    """The living nodes that take new groups, and may have this one; a locked one does not leave a living node."""
    head = world.store.head()
    holder = world.machines[head.ownership[group].value.holder]
    stays = head.groups[group].properties.number("LockedFromMoving") and not holder.is_doomed
    out = []
    for node, info in head.nodes.items():
        machine = world.machines[node]
        is_possible = all(machine.node in resource.possible_owners for resource in head.resources_of(group))
        is_possible = is_possible and (machine is holder or not stays)
        if is_possible and not (machine.is_doomed or info.paused or info.status):
            out.append(machine)
    return out


def _fits_somewhere(world: "World", group: GroupId) -> bool:
    """Tell whether some living node that may have it has the room for a virtual machine now."""
    head = world.store.head()
    needed = world.memory_of(group)
    for machine in _owners(world, group):
        taken = sum(
            world.memory_of(other)
            for other, record in head.ownership.items()
            if record.value.holder == machine.node and other != group and _takes_room(world, other)
        )
        if taken + needed <= machine.memory:
            return True
    return False
