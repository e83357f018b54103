"""How objects come into the database: which records a new cluster, node, group, resource or VM consists of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from quorate.clusapi.identity import GroupId, NodeId, ResourceId, VmId
from quorate.clusapi.resource_types import IS_ALIVE_MS, LOOKS_ALIVE_MS, STANDARD_TYPES, TYPE_NETWORK_NAME
from quorate.clusapi.states import GroupType, ResourceState, VmState
from quorate.database import keys
from quorate.database.plan import Plan, Values
from quorate.database.records import Ownership, RunState, VmRunState, encode_schema
from quorate.database.snapshot import (
    NAME_RESOURCE,
    TYPE_VIRTUAL_MACHINE,
    TYPE_VIRTUAL_MACHINE_CONFIGURATION,
)
from quorate.database.values import RegistryValue

CLUSTER_GROUP: Final = "Cluster Group"
CLUSTER_NAME: Final = "Cluster Name"

RESOURCE_TYPES: Final[Mapping[str, Values]] = MappingProxyType(
    {
        name: MappingProxyType(
            {
                "DllName": RegistryValue.sz(type_.dll),
                "LooksAlivePollInterval": RegistryValue.dword(LOOKS_ALIVE_MS),
                "IsAlivePollInterval": RegistryValue.dword(IS_ALIVE_MS),
            }
        )
        for name, type_ in STANDARD_TYPES.items()
    }
)


@dataclass(frozen=True, slots=True)
class VirtualMachineIds:
    """What a new VM consists of."""

    group: GroupId
    vm_resource: ResourceId
    configuration_resource: ResourceId
    vm_id: VmId


@dataclass(frozen=True, slots=True)
class NewResource:
    """A resource to be made."""

    id: ResourceId
    name: str
    type: str
    properties: Values | None = None
    parameters: Values | None = None
    dependencies: Sequence[ResourceId] = ()
    possible_owners: Sequence[NodeId] | None = None  # None: all nodes


def plan_cluster(
    plan: Plan,
    name: str,
    instance_id: str,
    core_group: GroupId,
    name_resource: ResourceId,
    properties: Values | None,
) -> None:
    """A cluster without nodes: its key, its core group with its name, the resource types that are always there."""
    plan.create(keys.SCHEMA, encode_schema())
    named = {
        "ClusterName": RegistryValue.sz(name),
        "ClusterInstanceID": RegistryValue.sz(instance_id),
        NAME_RESOURCE: RegistryValue.sz(name_resource),
    }
    plan.create_key(keys.CLUSTER, {**(properties or {}), **named})
    for path in (
        keys.NODES,
        keys.GROUPS,
        keys.RESOURCES,
        keys.RESOURCE_TYPES,
        keys.GROUP_SETS,
        keys.NETWORKS,
        keys.NETWORK_INTERFACES,
    ):
        plan.create_key(path)
    for type_name, values in RESOURCE_TYPES.items():
        plan_resource_type(plan, type_name, values, None)
    plan_group_key(plan, core_group, CLUSTER_GROUP, GroupType.CORE_CLUSTER, (name_resource,), None)
    plan_resource(plan, cluster_name(name_resource, name))


def cluster_name(resource: ResourceId, name: str) -> "NewResource":
    """The resource "Cluster Name" of a cluster called ``name``."""
    return NewResource(resource, CLUSTER_NAME, TYPE_NETWORK_NAME, parameters={"Name": RegistryValue.sz(name)})


def plan_resource_type(plan: Plan, name: str, properties: Values | None, parameters: Values | None) -> None:
    """A resource type and its private properties."""
    plan.create_key(keys.resource_type_path(name), properties)
    plan.create_key(f"{keys.resource_type_path(name)}\\{keys.PARAMETERS}", parameters)


def plan_group_key(
    plan: Plan,
    group: GroupId,
    name: str,
    group_type: int,
    resources: Sequence[ResourceId],
    properties: Values | None,
) -> None:
    """A group's configuration and its name."""
    plan.claim_name("group", name, group)
    values: dict[str, RegistryValue] = {
        **(properties or {}),
        "Name": RegistryValue.sz(name),
        "GroupType": RegistryValue.dword(group_type),
    }
    if resources:
        values["Contains"] = RegistryValue.multi_sz(*resources)
    plan.create_key(keys.group_path(group), values)


def plan_group_owner(plan: Plan, group: GroupId, owner: NodeId, run: RunState) -> None:
    """A new group's two other records: who owns it (epoch 1) and its run state."""
    plan.create(keys.ownership(group), Ownership(holder=owner, epoch=1).encode())
    plan.create(keys.run(group), run.encode())


def plan_resource(plan: Plan, resource: NewResource) -> None:
    """A resource, its private properties and its name; its group must get it into Contains by itself."""
    plan.claim_name("resource", resource.name, resource.id)
    values: dict[str, RegistryValue] = {
        **(resource.properties or {}),
        "Name": RegistryValue.sz(resource.name),
        "Type": RegistryValue.sz(resource.type),
    }
    if resource.dependencies:
        values["Dependencies"] = RegistryValue.multi_sz(*resource.dependencies)
    if resource.possible_owners is not None:
        values["PossibleOwners"] = RegistryValue.multi_sz(*resource.possible_owners)
    plan.create_key(keys.resource_path(resource.id), values)
    plan.create_key(keys.parameters_path(resource.id), resource.parameters)


@dataclass(frozen=True, slots=True)
class NewVirtualMachine:
    """A VM to be made."""

    ids: VirtualMachineIds
    name: str
    definition: str
    owner: NodeId
    group_properties: Values | None = None
    parameters: Values | None = None
    configuration_parameters: Values | None = None
    persistent_state: bool = False


def plan_virtual_machine(plan: Plan, vm: NewVirtualMachine) -> None:
    """A VM: its group, its two resources, its owner, and a run state that says off."""
    ids = vm.ids
    members = (ids.configuration_resource, ids.vm_resource)
    plan_group_key(plan, ids.group, vm.name, GroupType.VIRTUAL_MACHINE, members, vm.group_properties)
    vm_id = {"VmId": RegistryValue.sz(ids.vm_id)}
    plan_resource(
        plan,
        NewResource(
            ids.configuration_resource,
            f"{TYPE_VIRTUAL_MACHINE_CONFIGURATION} {vm.name}",
            TYPE_VIRTUAL_MACHINE_CONFIGURATION,
            parameters={
                **(vm.configuration_parameters or {}),
                **vm_id,
                "Definition": RegistryValue.sz(vm.definition),
            },
        ),
    )
    plan_resource(
        plan,
        NewResource(
            ids.vm_resource,
            f"{TYPE_VIRTUAL_MACHINE} {vm.name}",
            TYPE_VIRTUAL_MACHINE,
            parameters={**(vm.parameters or {}), **vm_id},
            dependencies=(ids.configuration_resource,),
        ),
    )
    run = RunState(
        persistent_state=vm.persistent_state,
        default_owner=vm.owner,
        resource_states=dict.fromkeys(members, int(ResourceState.OFFLINE)),
        vm=VmRunState(vm_state=int(VmState.OFF)),
    )
    plan_group_owner(plan, ids.group, vm.owner, run)
