"""What administrators change in resources and virtual machines. Part of ``ClusterDatabase``."""

from collections.abc import Callable, Sequence

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.identity import GroupId, NodeId, ResourceId, VmId
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.administration import Administration, Events
from quorate.database.creation import (
    NewResource,
    NewVirtualMachine,
    VirtualMachineIds,
    plan_resource,
    plan_virtual_machine,
)
from quorate.database.plan import Plan, Values, check_ids, commit_until_done
from quorate.database.registry import ValueChanges
from quorate.database.snapshot import ResourceInfo
from quorate.database.values import RegistryValue


class ResourceAdministration(Administration):
    """Changes of resources and virtual machines."""

    # --- Resources -------------------------------------------------------------------------------------------------

    async def create_resource(
        self,
        name: str,
        type_name: str,
        group: GroupId,
        *,
        resource_id: ResourceId | None = None,
        properties: Values | None = None,
        parameters: Values | None = None,
        dependencies: Sequence[ResourceId] = (),
        possible_owners: Sequence[NodeId] | None = None,
        events: Events = (),
    ) -> ResourceId:
        """Make a resource in a group; ``possible_owners`` None means all nodes.

        Raises CallerError: ERROR_OBJECT_ALREADY_EXISTS, ERROR_GROUP_NOT_FOUND, ERROR_CLUSTER_RESOURCE_TYPE_NOT_FOUND,
        ERROR_DEPENDENCY_NOT_FOUND, ERROR_CLUSTER_NODE_NOT_FOUND.
        """
        resource = ResourceId(self._new_id()) if resource_id is None else resource_id

        async def plan() -> tuple[Plan, ResourceId]:
            snapshot = await self.snapshot()
            info = snapshot.group(group)
            type_ = snapshot.resource_type(type_name)
            check_ids("resource of this group", dependencies, info.resources, Status.ERROR_DEPENDENCY_NOT_FOUND)
            check_ids("node", possible_owners or (), snapshot.nodes, Status.ERROR_CLUSTER_NODE_NOT_FOUND)
            planned = Plan()
            new = NewResource(resource, name, type_.name, properties, parameters, dependencies, possible_owners)
            plan_resource(planned, new)
            planned.expect(await self._registry_record(keys.resource_type_path(type_.name)))  # nobody deletes it now
            await self._set_members(planned, info, (*info.resources, resource))
            self._log.add(planned, events)
            return planned, resource

        return (await commit_until_done(self._store, plan))[1]

    async def rename_resource(self, resource: ResourceId, name: str, *, events: Events = ()) -> None:
        """Give a resource another name. Raises CallerError: ERROR_OBJECT_ALREADY_EXISTS, ERROR_RESOURCE_NOT_FOUND."""
        await self.configure_resource(resource, {}, name=name, events=events)

    async def configure_resource(
        self, resource: ResourceId, values: ValueChanges, *, name: str | None = None, events: Events = ()
    ) -> None:
        """Change values of a resource's key and its name, all or none.

        Raises CallerError: ERROR_OBJECT_ALREADY_EXISTS, ERROR_INVALID_NAME, ERROR_RESOURCE_NOT_FOUND.
        """

        async def plan() -> tuple[Plan, None]:
            info = (await self.snapshot()).resource(resource)
            planned = Plan()
            await self._configure(planned, "resource", keys.resource_path(resource), info, name, values)
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def delete_resource(self, resource: ResourceId, *, events: Events = ()) -> None:
        """Delete a resource.

        Raises CallerError ERROR_RESOURCE_NOT_FOUND, RefusalError ERROR_DEPENDENT_RESOURCE_EXISTS, or
        ERROR_CORE_RESOURCE for "Cluster Name".
        """

        async def plan() -> tuple[Plan, None]:
            snapshot = await self.snapshot()
            info = snapshot.resource(resource)
            if resource == snapshot.cluster.name_resource:
                raise RefusalError(Status.ERROR_CORE_RESOURCE, f"{info.name!r} is the cluster's own: it stays")
            group = snapshot.groups[info.group_id]
            for other in snapshot.resources_of(group.id):
                if resource in other.dependencies:
                    sentence = f"the resource {other.name!r} depends on {info.name!r}: remove that dependency first"
                    raise RefusalError(Status.ERROR_DEPENDENT_RESOURCE_EXISTS, sentence)
            planned = Plan()
            await self._delete_resource(planned, info)
            await self._set_members(planned, group, tuple(id_ for id_ in group.resources if id_ != resource))
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def set_possible_owners(
        self, resource: ResourceId, nodes: Sequence[NodeId] | None, *, events: Events = ()
    ) -> None:
        """Name the nodes that can host a resource; None means all. Raises CallerError."""
        snapshot = await self.snapshot()
        snapshot.resource(resource)
        check_ids("node", nodes or (), snapshot.nodes, Status.ERROR_CLUSTER_NODE_NOT_FOUND)
        value = None if nodes is None else RegistryValue.multi_sz(*nodes)
        await self.set_values(keys.resource_path(resource), {"PossibleOwners": value}, events=events)

    async def add_possible_owner(self, resource: ResourceId, node: NodeId, *, events: Events = ()) -> None:
        """Let one more node host a resource.

        Raises CallerError: ERROR_RESOURCE_NOT_FOUND, ERROR_CLUSTER_NODE_NOT_FOUND, ERROR_OBJECT_IN_LIST.
        """
        await self._node_record(node)

        def added(info: ResourceInfo) -> Sequence[NodeId]:
            if node in info.possible_owners:
                sentence = f"node {node} is a possible owner of the resource {info.name!r} already"
                raise CallerError(Status.ERROR_OBJECT_IN_LIST, sentence)
            return (*info.possible_owners, node)

        await self._change_possible_owners(resource, added, events)

    async def remove_possible_owner(self, resource: ResourceId, node: NodeId, *, events: Events = ()) -> None:
        """Let a node no longer host a resource; what runs there goes on.

        Raises CallerError: ERROR_RESOURCE_NOT_FOUND, ERROR_CLUSTER_NODE_NOT_FOUND (it is no possible owner),
        RefusalError ERROR_NODE_CANT_HOST_RESOURCE when it is the last one.
        """

        def left(info: ResourceInfo) -> Sequence[NodeId]:
            if node not in info.possible_owners:
                sentence = f"node {node} is not a possible owner of the resource {info.name!r}"
                raise CallerError(Status.ERROR_CLUSTER_NODE_NOT_FOUND, sentence)
            if info.possible_owners == (node,):
                sentence = f"node {node} is the last possible owner of the resource {info.name!r}: add another first"
                raise RefusalError(Status.ERROR_NODE_CANT_HOST_RESOURCE, sentence)
            return tuple(other for other in info.possible_owners if other != node)

        await self._change_possible_owners(resource, left, events)

    async def _change_possible_owners(
        self, resource: ResourceId, change: Callable[[ResourceInfo], Sequence[NodeId]], events: Events
    ) -> None:
        async def plan() -> tuple[Plan, None]:
            info = (await self.snapshot()).resource(resource)
            planned = Plan()
            values = {"PossibleOwners": RegistryValue.multi_sz(*change(info))}
            await self._configure(planned, "resource", keys.resource_path(resource), info, None, values)
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    # --- Virtual machines ------------------------------------------------------------------------------------------

    def new_vm_ids(self, vm_id: VmId | None = None) -> VirtualMachineIds:
        """Make up the ids of a new VM, for definitions and events that name them before it exists."""
        group, vm, configuration = (self._new_id() for _ in range(3))
        return VirtualMachineIds(
            GroupId(group), ResourceId(vm), ResourceId(configuration), VmId(self._new_id()) if vm_id is None else vm_id
        )

    async def create_virtual_machine(
        self,
        name: str,
        definition_json: str,
        owner: NodeId,
        *,
        ids: VirtualMachineIds | None = None,
        group_properties: Values | None = None,
        parameters: Values | None = None,
        configuration_parameters: Values | None = None,
        persistent_state: bool = False,
        events: Events = (),
    ) -> VirtualMachineIds:
        """Make a VM that is off: group NAME, "Virtual Machine NAME" and "Virtual Machine Configuration NAME".

        The definition becomes the value Definition of the configuration's parameters. Raises CallerError:
        ERROR_OBJECT_ALREADY_EXISTS, ERROR_CLUSTER_NODE_NOT_FOUND.
        """
        new = NewVirtualMachine(
            ids=self.new_vm_ids() if ids is None else ids,
            name=name,
            definition=definition_json,
            owner=owner,
            group_properties=group_properties,
            parameters=parameters,
            configuration_parameters=configuration_parameters,
            persistent_state=persistent_state,
        )

        async def plan() -> tuple[Plan, VirtualMachineIds]:
            planned = Plan()
            await self._expect_owner(planned, owner)
            plan_virtual_machine(planned, new)
            self._log.add(planned, events)
            return planned, new.ids

        return (await commit_until_done(self._store, plan))[1]
