"""Makes tests/data/database-v1.sqlite, which every later version must open and understand.

    python tests/data/make_database.py tests/data/database-v1.sqlite

Run it once per schema version, when that version is new; never make a file again that was already released.
"""

import asyncio
import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import ImageId, NodeId
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Put
from quorate.database.records import Lease, NodeFacts, Ownership, RunState, VmRunState
from quorate.database.sqlite import SqliteStore
from quorate.database.values import RegistryValue


async def make_database(path: Path) -> None:
    """Write a small cluster that holds every kind of record and of value."""
    numbers = count(1)
    store = SqliteStore(path)
    database = ClusterDatabase(store, new_id=lambda: f"00000000-0000-4000-8000-{next(numbers):012d}")
    await database.create_cluster("demo", properties={"SameSubnetDelay": RegistryValue.dword(1000)})
    node1, node2 = await database.add_node("node1"), await database.add_node("Node2")
    facts = NodeFacts("unix:/run/1/http", "unix:/run/1/peers", 4711, "0.1.0", {"kind": "qemu", "cores": 2})
    await database.write_node_facts(node1, facts)
    await store.transact([], [Put(keys.lease(node1), Lease("incarnation-1", 42, 5.0).encode())])
    event = EventRecord.of(
        EventKind.VM_CREATED,
        time=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        node=node1,
        object_id="web1",
        object_name="web1",
        sentence="web1 was created",
    )
    ids = await database.create_virtual_machine("web1", '{"version":1}', node1, events=[event])
    current = await database.get_ownership(ids.group)
    taken = await database.change_ownership(
        ids.group,
        current,
        Ownership(node2, 2, ImageId("image-2"), ImageId("image-1"), node1),
        RunState(
            persistent_state=True,
            default_owner=node2,
            resource_states={ids.vm_resource: 2, ids.configuration_resource: 2},
            vm=VmRunState(32769, 5, 0x80004005, ImageId("image-3"), "/saved/web1", "it failed once"),
            status_information=4,
        ),
    )
    assert not hasattr(taken, "current"), "nobody else writes here"
    path_of_values = keys.parameters_path(ids.vm_resource)
    every_type = {
        "OfflineAction": RegistryValue.dword(0xFFFFFFFF),
        "Wide": RegistryValue.qword(0xFFFFFFFFFFFFFFFF),
        "Text": RegistryValue.sz("grüße"),
        "Path": RegistryValue.expand_sz("%HOME%"),
        "List": RegistryValue.multi_sz("one", "two"),
        "Bytes": RegistryValue.binary(b"\0\1\2\xff"),
    }
    await database.set_values(path_of_values, every_type)
    await database.set_preferred_owners(ids.group, [NodeId("2"), NodeId("1")])
    await store.close()
    path.with_name(path.name + ".signals").rmdir()


if __name__ == "__main__":
    asyncio.run(make_database(Path(sys.argv[1])))
