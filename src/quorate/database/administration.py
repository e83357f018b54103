"""What administrators change in the cluster, its nodes and groups. Part of ``ClusterDatabase``.

Every method is one transaction, planned on what it read and planned anew when somebody else was quicker.
"""

from collections.abc import Callable, Sequence
from uuid import uuid4

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.events import EventRecord
from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.states import GroupType, NodeStatus
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.contract import Record, Store
from quorate.database.creation import (
    CLUSTER_GROUP,
    plan_cluster,
    plan_group_key,
    plan_group_owner,
)
from quorate.database.events import EventLog
from quorate.database.group_configuration import GroupConfiguration
from quorate.database.new_node import plan_new_node
from quorate.database.plan import Plan, Values, check_ids, check_name, commit_until_done
from quorate.database.records import NameEntry, Ownership, RunState, Versioned
from quorate.database.registry import ValueChanges, plan_values
from quorate.database.snapshot import NAME_RESOURCE, ClusterSnapshot, GroupInfo, ResourceInfo
from quorate.database.snapshot_builder import SnapshotBuilder
from quorate.database.values import KeyRecord, RegistryValue, RegistryValues

STATUS_INFORMATION = "StatusInformation"
Events = Sequence[EventRecord]
"""Events that are written in the same transaction, so that they are there exactly when what they tell is true."""


def random_id() -> str:
    """A new GUID as text."""
    return str(uuid4())


class Administration:
    """Changes of the configuration."""

    def __init__(self, store: Store, log: EventLog, new_id: Callable[[], str]) -> None:
        """Work on this store; ``new_id`` makes GUIDs."""
        self._store = store
        self._log = log
        self._new_id = new_id

    async def snapshot(self) -> ClusterSnapshot:
        """The cluster as it is now. Raises RefusalError ERROR_CLUSTER_NOT_INSTALLED when none was created here."""
        return SnapshotBuilder(await self._store.range(*SnapshotBuilder.PREFIXES)).build()

    # --- The cluster and its nodes ---------------------------------------------------------------------------------

    async def is_created(self) -> bool:
        """Answer whether a cluster was created in this database."""
        return await self._store.get(keys.SCHEMA) is not None

    async def create_cluster(self, name: str, *, properties: Values | None = None, events: Events = ()) -> None:
        """Make a cluster without nodes. Raises CallerError ERROR_OBJECT_ALREADY_EXISTS when there is one."""
        check_name("cluster", name)
        plan = Plan()
        ids = self._new_id(), GroupId(self._new_id()), ResourceId(self._new_id())
        plan_cluster(plan, name, *ids, properties)
        self._log.add(plan, events)
        if await self.is_created() or not (await plan.commit(self._store)).succeeded:
            raise CallerError(Status.ERROR_OBJECT_ALREADY_EXISTS, "this database holds a cluster already")

    async def add_node(self, name: str, *, properties: Values | None = None, events: Events = ()) -> NodeId:
        """Add a node and give it a number that no node ever had; the first one gets the core group.

        Raises CallerError ERROR_OBJECT_ALREADY_EXISTS when the name is taken.
        """

        async def plan() -> tuple[Plan, NodeId]:
            planned = Plan()
            planned.expect(await self._schema())
            node = await plan_new_node(planned, self._store, name, properties)
            core = await self._store.get(keys.name_index("group", CLUSTER_GROUP))
            if node == "1" and core is not None:
                core_group = GroupId(NameEntry.decode(core.value).id)
                plan_group_owner(planned, core_group, node, RunState(persistent_state=True, default_owner=node))
            self._log.add(planned, events)
            return planned, node

        return (await commit_until_done(self._store, plan))[1]

    async def set_node_paused(self, node: NodeId, paused: bool, *, events: Events = ()) -> None:
        """Note that a node takes no new groups, or that it does again: that ends a quarantine as well.

        Whoever resumes a node means that it stays: an eviction that was under way, or has died half-way, is over.
        Raises CallerError for an unknown node.
        """
        record = await self._store.get(keys.registry_key(keys.node_path(node)))
        if record is None:
            raise CallerError(Status.ERROR_CLUSTER_NODE_NOT_FOUND, f"the cluster has no node {node!r}")
        values = {"Paused": RegistryValue.dword(paused)}
        status = KeyRecord.decode(record.value).values.number(STATUS_INFORMATION)
        if not paused and status & NodeStatus.QUARANTINED:
            values[STATUS_INFORMATION] = RegistryValue.dword(status & ~NodeStatus.QUARANTINED)
        if not paused:
            doors = Plan()
            doors.remove(keys.leaving(node))
            await doors.commit(self._store)
        await self.set_values(keys.node_path(node), values, events=events)

    async def rename_cluster(self, name: str, *, events: Events = ()) -> None:
        """Give the cluster another name, and the resource that stands for it."""
        check_name("cluster", name)

        async def plan() -> tuple[Plan, None]:
            planned = Plan()
            root = await self._registry_record(keys.CLUSTER)
            planned.replace(root, changed_key(root, {"ClusterName": RegistryValue.sz(name)}))
            resource = KeyRecord.decode(root.value).values.text(NAME_RESOURCE)
            if resource:
                own = await self._registry_record(keys.parameters_path(ResourceId(resource)))
                planned.replace(own, changed_key(own, {"Name": RegistryValue.sz(name)}))
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    # --- Groups ----------------------------------------------------------------------------------------------------

    async def create_group(
        self,
        name: str,
        group_type: int,
        owner: NodeId,
        *,
        group_id: GroupId | None = None,
        properties: Values | None = None,
        persistent_state: bool = False,
        events: Events = (),
    ) -> GroupId:
        """Make an empty group that ``owner`` owns with epoch 1.

        Raises CallerError: ERROR_OBJECT_ALREADY_EXISTS, ERROR_CLUSTER_NODE_NOT_FOUND; RefusalError
        ERROR_CLUSTER_NODE_PAUSED for a node that is being evicted.
        """
        group = GroupId(self._new_id()) if group_id is None else group_id

        async def plan() -> tuple[Plan, GroupId]:
            planned = Plan()
            await self._expect_owner(planned, owner)
            plan_group_key(planned, group, name, group_type, (), properties)
            plan_group_owner(planned, group, owner, RunState(persistent_state, owner))
            self._log.add(planned, events)
            return planned, group

        return (await commit_until_done(self._store, plan))[1]

    async def rename_group(self, group: GroupId, name: str, *, events: Events = ()) -> None:
        """Give a group another name. Raises CallerError: ERROR_OBJECT_ALREADY_EXISTS, ERROR_GROUP_NOT_FOUND."""
        await self.configure_group(group, GroupConfiguration(name=name), events=events)

    async def configure_group(
        self,
        group: GroupId,
        change: GroupConfiguration,
        *,
        run: RunState | None = None,
        ownership: Versioned[Ownership] | None = None,
        events: Events = (),
    ) -> None:
        """Change values of a group's key and its name, and write its run state ``run``, all or none.

        With ``ownership``, which ``run`` needs, only while that still stands: else RefusalError
        ERROR_HOST_NODE_NOT_GROUP_OWNER. Raises CallerError: ERROR_OBJECT_ALREADY_EXISTS, ERROR_INVALID_NAME,
        ERROR_GROUP_NOT_FOUND.
        """
        if run is not None and ownership is None:
            raise ValueError("a run state is written by the group's owner alone")

        async def plan() -> tuple[Plan, None]:
            snapshot = await self.snapshot()
            info = snapshot.group(group)
            planned = Plan()
            await self._configure(planned, "group", keys.group_path(group), info, change.name, change.values)
            if ownership is not None:
                await self._expect_ownership(planned, group, ownership)
            if run is not None:
                if (known := snapshot.run.get(group)) is not None:
                    planned.compares[keys.run(group)] = known.revision  # none that was lost lands over it later
                planned.put(keys.run(group), run.encode())
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def delete_group(
        self, group: GroupId, *, ownership: Versioned[Ownership] | None = None, events: Events = ()
    ) -> None:
        """Delete a group with all its resources, its owner and its run state.

        With ``ownership`` only while that still stands: else RefusalError ERROR_RETRY. Raises CallerError
        ERROR_GROUP_NOT_FOUND, RefusalError ERROR_CORE_RESOURCE for the core group.
        """

        async def plan() -> tuple[Plan, None]:
            snapshot = await self.snapshot()
            info = snapshot.group(group)
            if info.group_type == GroupType.CORE_CLUSTER:
                raise RefusalError(Status.ERROR_CORE_RESOURCE, f"the core group {info.name!r} cannot be deleted")
            current = snapshot.ownership.get(group)
            if ownership is not None and current != ownership:
                raise RefusalError(Status.ERROR_RETRY, f"the owner of the group {info.name!r} has changed meanwhile")
            planned = Plan()
            for resource in snapshot.resources_of(group):
                await self._delete_resource(planned, resource)
            await self._delete_key(planned, keys.group_path(group), info.revision)
            planned.remove(keys.name_index("group", info.name))
            planned.remove(keys.run(group))
            planned.remove(keys.ownership(group))
            if current is not None:
                planned.compares[keys.ownership(group)] = current.revision
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    async def set_preferred_owners(self, group: GroupId, nodes: Sequence[NodeId], *, events: Events = ()) -> None:
        """Set the nodes that a group prefers, in order; none clears the list. Raises CallerError."""
        snapshot = await self.snapshot()
        snapshot.group(group)
        check_ids("node", nodes, snapshot.nodes, Status.ERROR_CLUSTER_NODE_NOT_FOUND)
        value = RegistryValue.multi_sz(*nodes) if nodes else None
        await self.set_values(keys.group_path(group), {"PreferredOwners": value}, events=events)

    # --- Values ----------------------------------------------------------------------------------------------------

    async def set_values(
        self, path: str, changes: ValueChanges, *, expected: int | None = None, events: Events = ()
    ) -> int:
        """Change values of a registry key (see keys.py), all or none; None removes one. Returns the new revision.

        With ``expected`` only while the key stands at that revision: else RefusalError ERROR_RETRY. Raises
        CallerError ERROR_FILE_NOT_FOUND when there is no such key.
        """

        async def plan() -> tuple[Plan, None]:
            record = await self._store.get(keys.registry_key(path))
            _, write = plan_values(path, record, changes, expected)
            planned = Plan()
            assert record is not None  # plan_values refuses otherwise
            planned.replace(record, write.value)
            self._log.add(planned, events)
            return planned, None

        return (await commit_until_done(self._store, plan))[0].revision

    async def key_values(self, path: str, *, private: bool = False) -> RegistryValues:
        """The values of an object's key, or of the key Parameters below it; none when there is no such key."""
        record = await self._store.get(keys.registry_key(keys.below(path) if private else path))
        return RegistryValues() if record is None else KeyRecord.decode(record.value).values

    async def set_parameters(self, path: str, changes: ValueChanges, *, events: Events = ()) -> None:
        """Change private properties of an object: values of the key Parameters below its own, all or none.

        Raises CallerError ERROR_FILE_NOT_FOUND when there is no such object.
        """
        below = keys.below(path)

        async def plan() -> tuple[Plan, None]:
            planned = Plan()
            record = await self._store.get(keys.registry_key(below))
            if record is None:
                parent = await self._store.get(keys.registry_key(path))
                _, touched = plan_values(path, parent, {}, None)  # refuses when there is none
                assert parent is not None
                planned.replace(parent, touched.value)  # so that nobody deletes it meanwhile
                planned.create_key(below, {name: value for name, value in changes.items() if value is not None})
            else:
                planned.replace(record, plan_values(below, record, changes, None)[1].value)
            self._log.add(planned, events)
            return planned, None

        await commit_until_done(self._store, plan)

    # --- Parts -----------------------------------------------------------------------------------------------------

    async def _schema(self) -> Record:
        record = await self._store.get(keys.SCHEMA)
        if record is None:
            raise RefusalError(Status.ERROR_CLUSTER_NOT_INSTALLED, "this database holds no cluster yet")
        return record

    async def _node_record(self, node: NodeId) -> Record:
        record = await self._store.get(keys.registry_key(keys.node_path(node)))
        if record is None:
            raise CallerError(Status.ERROR_CLUSTER_NODE_NOT_FOUND, f"the cluster has no node with the id {node!r}")
        return record

    async def _expect_owner(self, planned: Plan, node: NodeId) -> None:
        """Plan that the node may be given a group. Raises also RefusalError ERROR_CLUSTER_NODE_PAUSED."""
        record = await self._node_record(node)
        if await self._store.get(keys.leaving(node)) is not None:
            name = KeyRecord.decode(record.value).values.text("NodeName")
            sentence = f"{name} is being evicted, and is given nothing; choose another node"
            raise RefusalError(Status.ERROR_CLUSTER_NODE_PAUSED, sentence)
        planned.expect(record)
        planned.compares[keys.leaving(node)] = 0

    async def _registry_record(self, path: str) -> Record:
        record = await self._store.get(keys.registry_key(path))
        if record is None:  # it was in the snapshot: somebody deletes it right now
            raise RefusalError(Status.ERROR_RETRY, f"{path!r} is being deleted by somebody else")
        return record

    async def _expect_ownership(self, plan: Plan, group: GroupId, ownership: Versioned[Ownership]) -> None:
        record = await self._store.get(keys.ownership(group))
        if record is None or record.revision != ownership.revision:
            sentence = "the group's owner has changed meanwhile: nothing was written"
            raise RefusalError(Status.ERROR_HOST_NODE_NOT_GROUP_OWNER, sentence)
        plan.expect(record)

    async def _configure(
        self,
        plan: Plan,
        kind: str,
        path: str,
        old: GroupInfo | ResourceInfo,
        name: str | None,
        values: ValueChanges,
    ) -> None:
        """Change values of an object's key, and its name unless that is None."""
        changes = dict(values)
        if name is not None:
            changes["Name"] = RegistryValue.sz(name)
            if keys.name_index(kind, old.name) != keys.name_index(kind, name):
                plan.claim_name(kind, name, old.id)
                plan.remove(keys.name_index(kind, old.name))
            else:
                check_name(kind, name)
        record = await self._registry_record(path)
        plan.replace(record, changed_key(record, changes))
        plan.compares[record.key] = old.revision  # planned on the snapshot, not on this later reading

    async def _delete_resource(self, plan: Plan, resource: ResourceInfo) -> None:
        await self._delete_key(plan, keys.resource_path(resource.id), resource.revision)
        plan.remove(keys.name_index("resource", resource.name))

    async def _delete_key(self, plan: Plan, path: str, revision: int) -> None:
        """Delete a key, which the snapshot showed at a revision, with all that is below it."""
        record = await self._registry_record(path)
        plan.delete(record)
        plan.compares[record.key] = revision  # planned on the snapshot, not on this later reading
        for below in (await self._store.range(keys.registry_key(path) + "/")).records:
            plan.delete(below)

    async def _set_members(self, plan: Plan, group: GroupInfo, members: Sequence[ResourceId]) -> None:
        record = await self._registry_record(keys.group_path(group.id))
        value = RegistryValue.multi_sz(*members) if members else None
        plan.replace(record, changed_key(record, {"Contains": value}))
        plan.compares[record.key] = group.revision  # planned on the snapshot, not on this later reading


def changed_key(record: Record, changes: ValueChanges) -> bytes:
    """The registry key of a record after a change of its values."""
    key = KeyRecord.decode(record.value)
    return KeyRecord(key.name, key.values.changed(changes), key.extra).encode()
