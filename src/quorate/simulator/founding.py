"""The database of a simulated cluster at its beginning: the records that production writes, written at once."""

import json
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from quorate.clusapi.identity import GroupId, ImageId, NodeId, ResourceId, VmId
from quorate.clusapi.states import ResourceState, VmState
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase, VirtualMachineIds
from quorate.database.contract import Change, Compare, Outcome, Put, Record, Snapshot, Write
from quorate.database.creation import NewVirtualMachine, plan_virtual_machine
from quorate.database.memory import MemoryData
from quorate.database.plan import Plan
from quorate.database.records import NodeFacts, Ownership, RunState, VmRunState
from quorate.database.values import KeyRecord, RegistryValue
from quorate.engine.pictures import MEMORY_CONFIGURED, MEMORY_TOTAL
from quorate.simulator.kernel import complete
from quorate.simulator.setup import NodeSetup, Setup, VmSetup
from quorate.simulator.store import SharedStore

AT_ONCE = 10
"""Virtual machines that are made in one transaction."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A virtual machine that runs from the beginning."""

    group: GroupId
    vm_id: VmId
    node: NodeId
    image: ImageId


@dataclass(frozen=True, slots=True)
class Founded:
    """What the objects of a new cluster are called inside."""

    nodes: dict[str, NodeId]
    groups: dict[str, GroupId]
    guests: tuple[Guest, ...]
    """Those that run already."""


class _Store:
    """A store without anything between it and who asks it."""

    def __init__(self, data: MemoryData, shared: SharedStore | None = None) -> None:
        self._data = data
        self._transact = data.transact if shared is None else shared.transact

    async def get(self, key: str) -> Record | None:
        return self._data.get(key)

    async def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        return self._data.range(prefixes, after)

    async def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        return self._transact(compares, writes)

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[tuple[Change, ...], None]:
        raise NotImplementedError
        yield ()

    async def close(self) -> None:
        pass


def ids() -> Callable[[], str]:
    """Make GUIDs, always the same ones."""
    number = 0

    def new() -> str:
        nonlocal number
        number += 1
        return str(UUID(int=number))

    return new


def found(data: MemoryData, setup: Setup) -> Founded:
    """Write a cluster into an empty store."""
    new_id = ids()
    database = ClusterDatabase(_Store(data), new_id=new_id)
    properties = {name: RegistryValue.dword(value) for name, value in setup.properties.items()}
    complete(database.create_cluster("virtual", properties=properties))
    nodes = {}
    for node in setup.nodes:
        id_ = nodes[node.name] = complete(database.add_node(node.name))
        data.transact((), (facts_of(id_, node),))
    groups: dict[str, GroupId] = {}
    guests: list[Guest] = []
    for start in range(0, len(setup.vms), AT_ONCE):
        plan = Plan()
        for vm in setup.vms[start : start + AT_ONCE]:
            made = _plan_vm(plan, vm, nodes, new_id)
            groups[vm.name] = made.group
            if setup.is_up and vm.online:
                guests.append(_let_run(plan, made, nodes[vm.on], ImageId(f"i{len(guests) + 1}")))
        complete(plan.commit(_Store(data)))
    return Founded(nodes, groups, tuple(guests))


def add_node(store: SharedStore, name: str) -> NodeId:
    """Add a node to a cluster that is there. Raises CallerError when the name is taken."""
    return complete(ClusterDatabase(_Store(store.data, store)).add_node(name))


def facts_of(node: NodeId, setup: NodeSetup) -> Put:
    """Have a node say what it has."""
    hypervisor = {MEMORY_TOTAL: str(setup.memory), MEMORY_CONFIGURED: str(setup.memory)}
    return Put(keys.node_facts(node), NodeFacts("", "", 1, "simulated", hypervisor).encode())


def _let_run(plan: Plan, made: VirtualMachineIds, node: NodeId, image: ImageId) -> Guest:
    """Have the records of a virtual machine that is being made say that it runs."""
    key = keys.ownership(made.group)
    plan.writes[key] = replace(Ownership.decode(_planned(plan, key)), image=image).encode()
    key = keys.run(made.group)
    run = RunState.decode(_planned(plan, key))
    states = dict.fromkeys(run.resource_states, int(ResourceState.ONLINE))
    running = replace(run, resource_states=states, vm=VmRunState(vm_state=int(VmState.RUNNING)))
    plan.writes[key] = running.encode()
    return Guest(made.group, made.vm_id, node, image)


def _planned(plan: Plan, key: str) -> bytes:
    written = plan.writes[key]
    assert written is not None, "it has just been planned"
    return written


def _plan_vm(plan: Plan, vm: VmSetup, nodes: dict[str, NodeId], new_id: Callable[[], str]) -> VirtualMachineIds:
    made = VirtualMachineIds(GroupId(new_id()), ResourceId(new_id()), ResourceId(new_id()), VmId(new_id()))
    values = {"Priority": RegistryValue.dword(vm.priority)}
    if vm.preferred:
        values["PreferredOwners"] = RegistryValue.multi_sz(*(nodes[name] for name in vm.preferred))
    if vm.classes:
        values["AntiAffinityClassNames"] = RegistryValue.multi_sz(*vm.classes)
    if vm.failback:
        values["AutoFailbackType"] = RegistryValue.dword(1)
    if vm.locked:
        values["LockedFromMoving"] = RegistryValue.dword(1)
    definition = json.dumps({"memory": vm.memory})
    new = NewVirtualMachine(made, vm.name, definition, nodes[vm.on], values, persistent_state=vm.online)
    plan_virtual_machine(plan, new)
    if vm.move_type is not None:
        _change(plan, keys.parameters_path(made.vm_resource), "DefaultMoveType", RegistryValue.dword(vm.move_type))
    if vm.possible is not None:
        _narrow(plan, made, tuple(nodes[name] for name in vm.possible))
    return made


def _narrow(plan: Plan, made: VirtualMachineIds, owners: tuple[NodeId, ...]) -> None:
    """Name the possible owners of a virtual machine that is being made."""
    for resource in (made.vm_resource, made.configuration_resource):
        _change(plan, keys.resource_path(resource), "PossibleOwners", RegistryValue.multi_sz(*owners))


def _change(plan: Plan, path: str, name: str, value: RegistryValue) -> None:
    """Set a value of a key that is being made."""
    key = keys.registry_key(path)
    record = KeyRecord.decode(_planned(plan, key))
    plan.writes[key] = KeyRecord(record.name, record.values.changed({name: value})).encode()
