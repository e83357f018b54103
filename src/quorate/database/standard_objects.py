"""The objects that every cluster has from its first moment, brought into a database that an older version made.

A new cluster gets them with its first transaction (creation.py). Each daemon looks when it starts and adds what is
missing, in one transaction that compares what it read: nodes that start at once add it once.
"""

from collections.abc import Callable

from quorate.clusapi.identity import GroupId, ResourceId
from quorate.database import keys
from quorate.database.contract import Store
from quorate.database.creation import CLUSTER_GROUP, RESOURCE_TYPES, cluster_name, plan_resource, plan_resource_type
from quorate.database.plan import Plan, commit_until_done
from quorate.database.records import NameEntry
from quorate.database.snapshot import NAME_RESOURCE
from quorate.database.values import KeyRecord, RegistryValue


async def add_standard_objects(store: Store, new_id: Callable[[], str]) -> bool:
    """Add the standard objects that the cluster lacks; tells whether there were any.

    Raises CallerError 5010 when somebody has given another resource the name of a standard one.
    """

    async def plan() -> tuple[Plan, bool]:
        planned = Plan()
        await _add_types(planned, store)
        if not (await store.range(keys.registry_key(keys.GROUP_SETS))).records:
            planned.create_key(keys.GROUP_SETS)
        await _add_cluster_name(planned, store, new_id)
        return planned, bool(planned.writes)

    planned, _ = await plan()
    return bool(planned.writes) and (await commit_until_done(store, plan))[1]


async def _add_types(planned: Plan, store: Store) -> None:
    found = {record.key: record for record in (await store.range(keys.registry_key(keys.RESOURCE_TYPES))).records}
    for name, values in RESOURCE_TYPES.items():
        record = found.get(keys.registry_key(keys.resource_type_path(name)))
        if record is None:
            plan_resource_type(planned, name, values, None)
            continue
        key = KeyRecord.decode(record.value)
        if "DllName" not in key.values:
            changed = key.values.changed({"DllName": values["DllName"]})
            planned.replace(record, KeyRecord(key.name, changed, key.extra).encode())


async def _add_cluster_name(planned: Plan, store: Store, new_id: Callable[[], str]) -> None:
    """Make "Cluster Name", unless the cluster has it or has no core group, which nobody can delete."""
    root = await store.get(keys.registry_key(keys.CLUSTER))
    entry = await store.get(keys.name_index("group", CLUSTER_GROUP))
    if root is None or entry is None:
        return
    cluster = KeyRecord.decode(root.value)
    core = await store.get(keys.registry_key(keys.group_path(GroupId(NameEntry.decode(entry.value).id))))
    if NAME_RESOURCE in cluster.values or core is None:
        return
    resource = ResourceId(new_id())
    plan_resource(planned, cluster_name(resource, cluster.values.text("ClusterName")))
    named = cluster.values.changed({NAME_RESOURCE: RegistryValue.sz(resource)})
    planned.replace(root, KeyRecord(cluster.name, named, cluster.extra).encode())
    group = KeyRecord.decode(core.value)
    members = RegistryValue.multi_sz(*group.values.texts("Contains"), resource)
    planned.replace(core, KeyRecord(group.name, group.values.changed({"Contains": members}), group.extra).encode())
