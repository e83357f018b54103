"""What happens in the database, as notices of both generations, and as batches of a registry key."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from tests.waiting import PATIENCE

from quorate.clusapi.dependencies import NO_DEPENDENCY
from quorate.clusapi.events import Change, EventKind, EventRecord
from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.notifications import (
    ClusterFlag,
    GroupFlag,
    NodeFlag,
    Notice,
    ObjectType,
    RegistryFlag,
    ResourceFlag,
)
from quorate.clusapi.registry_batch import BatchCommand, RegistryCommand
from quorate.clusapi.security_descriptors import ADMINISTRATORS, DEFAULT_DESCRIPTOR, AccessEntry, SecurityDescriptor
from quorate.clusapi.states import GroupType, ResourceState
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.memory import MemoryStore
from quorate.database.records import VmRunState
from quorate.database.snapshot_builder import SnapshotBuilder
from quorate.database.values import RegistryValue
from quorate.server.notices import NoticeMaker
from quorate.server.registry_notices import KeyChange, batch_of

_T = ObjectType
_C = RegistryCommand
ONE, TWO = NodeId("1"), NodeId("2")


@dataclass
class World:
    """A cluster with a group of two resources, and what is told of it."""

    database: ClusterDatabase
    group: GroupId
    first: ResourceId
    second: ResourceId
    maker: NoticeMaker
    keys: Sequence[KeyChange] = ()

    async def told(self, *calls: Awaitable[object]) -> list[Notice]:
        """What calls have changed."""
        for call in calls:
            await call
        now = (await self.database.store.range()).revision
        notices: list[Notice] = []
        changes: list[KeyChange] = []
        async with aclosing(self.database.store.watch("", self.maker.revision)) as batches:
            while self.maker.revision < now:
                news = self.maker.apply(await anext(batches))
                notices += news.notices
                changes += news.keys
        self.keys = changes
        return notices

    async def flags(self, *calls: Awaitable[object]) -> set[tuple[ObjectType, int, str]]:
        """The same without the registry's: type, flag and name."""
        found = await self.told(*calls)
        return {(one.object_type, int(one.flag), one.name) for one in found if one.object_type is not _T.REGISTRY}


def with_world(test: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        database = ClusterDatabase(MemoryStore())
        await database.create_cluster("demo")
        for name in ("node1", "node2"):
            await database.add_node(name)
        group = await database.create_group("web", GroupType.UNKNOWN, ONE)
        first = await database.create_resource("first", "Generic Script", group)
        second = await database.create_resource("second", "Generic Script", group)
        maker = NoticeMaker(await database.store.range(*SnapshotBuilder.PREFIXES))
        async with asyncio.timeout(PATIENCE):
            await test(World(database, group, first, second, maker))

    asyncio.run(main())


def an_event(kind: EventKind, object_id: str, name: str) -> EventRecord:
    return EventRecord.of(
        kind, time=datetime(2026, 1, 1, tzinfo=UTC), node=ONE, object_id=object_id, object_name=name, sentence=""
    )


def test_groups_and_resources_come_and_go() -> None:
    async def test(world: World) -> None:
        database = world.database
        told = await world.told(database.create_group("mail", GroupType.UNKNOWN, TWO))
        mail = (await database.snapshot()).group("mail").id
        assert Notice(_T.CLUSTER, ClusterFlag.GROUP_ADDED, "", mail, "mail") in told
        assert Notice(_T.NODE, NodeFlag.GROUP_GAINED, TWO, TWO, "node2") in told
        told = await world.told(database.create_resource("inbox", "Generic Script", mail))
        inbox = (await database.snapshot()).resource("inbox").id
        assert Notice(_T.GROUP, GroupFlag.RESOURCE_ADDED, mail, inbox, "inbox", mail, "Generic Script") in told
        told = await world.told(database.delete_resource(inbox))
        assert Notice(_T.RESOURCE, ResourceFlag.DELETED, inbox, inbox, "inbox", mail, "Generic Script") in told
        assert await world.flags(database.delete_group(mail)) == {
            (_T.GROUP, GroupFlag.DELETED, "mail"),
            (_T.NODE, NodeFlag.GROUP_LOST, "node2"),
        }

    with_world(test)


def test_states_and_owners_are_told_of_all_that_they_concern() -> None:
    async def test(world: World) -> None:
        database, group = world.database, world.group
        ownership, run = await database.get_ownership(group), (await database.get_run_state(group)).value
        online = replace(run, resource_states={world.first: ResourceState.ONLINE})
        assert await world.flags(database.write_run_state(group, ownership, online)) == {
            (_T.RESOURCE, ResourceFlag.STATE, "first"),
            (_T.GROUP, GroupFlag.STATE, "web"),
        }
        assert await world.flags(database.write_run_state(group, ownership, online)) == set()
        persistent = replace(online, persistent_state=True)
        assert await world.flags(database.write_run_state(group, ownership, persistent)) == {
            (_T.GROUP, GroupFlag.COMMON_PROPERTY, "web")
        }
        moved = replace(ownership.value, holder=TWO, epoch=ownership.value.epoch + 1)
        assert await world.flags(database.change_ownership(group, ownership, moved)) == {
            (_T.GROUP, GroupFlag.OWNER_NODE, "web"),
            (_T.NODE, NodeFlag.GROUP_LOST, "node1"),
            (_T.NODE, NodeFlag.GROUP_GAINED, "node2"),
        }

    with_world(test)


def test_a_migration_shows_as_a_private_property_of_its_resource() -> None:
    async def test(world: World) -> None:
        database = world.database
        ids = await database.create_virtual_machine("vm", "{}", ONE)
        await world.told()
        ownership, run = await database.get_ownership(ids.group), (await database.get_run_state(ids.group)).value
        migrating = replace(run, vm=VmRunState(vm_state=2, migration_state=1))
        assert await world.flags(database.write_run_state(ids.group, ownership, migrating)) == {
            (_T.RESOURCE, ResourceFlag.PRIVATE_PROPERTY, "Virtual Machine vm")
        }

    with_world(test)


def test_relations_have_flags_of_their_own_and_are_no_properties() -> None:
    async def test(world: World) -> None:
        database = world.database
        assert await world.flags(database.add_dependency(world.first, world.second)) == {
            (_T.RESOURCE, ResourceFlag.DEPENDENCIES, "first"),
            (_T.RESOURCE, ResourceFlag.DEPENDENTS, "second"),
        }
        await world.told(database.set_dependencies(world.first, NO_DEPENDENCY))
        assert await world.flags(database.set_preferred_owners(world.group, [TWO])) == {
            (_T.GROUP, GroupFlag.PREFERRED_OWNERS, "web")
        }
        assert await world.flags(database.remove_possible_owner(world.first, TWO)) == {
            (_T.RESOURCE, ResourceFlag.POSSIBLE_OWNERS, "first")
        }
        other = await database.create_group("other", GroupType.UNKNOWN, ONE)
        await world.told()
        writers = {
            one: (await database.get_ownership(one), (await database.get_run_state(one)).value)
            for one in (world.group, other)
        }
        told = await world.flags(database.change_resource_group(world.first, other, writers))
        assert {
            (_T.RESOURCE, ResourceFlag.OWNER_GROUP, "first"),
            (_T.GROUP, GroupFlag.RESOURCE_LOST, "first"),
            (_T.GROUP, GroupFlag.RESOURCE_GAINED, "first"),
        } <= told

    with_world(test)


@pytest.mark.parametrize(
    ("path", "object_type", "common", "name"),
    [
        ("", _T.CLUSTER, ClusterFlag.COMMON_PROPERTY, "demo"),
        ("Nodes\\1", _T.NODE, NodeFlag.COMMON_PROPERTY, "node1"),
        ("ResourceTypes\\Generic Script", _T.RESOURCE_TYPE, 2, "Generic Script"),
    ],
)
def test_common_and_private_properties_are_told_apart(
    path: str, object_type: ObjectType, common: int, name: str
) -> None:
    async def test(world: World) -> None:
        value = {"Description": RegistryValue.sz("x")}
        assert await world.flags(world.database.set_values(path, value)) == {(object_type, common, name)}
        assert await world.flags(world.database.set_values(path, value)) == set()
        assert await world.flags(world.database.set_parameters(path, value)) == {(object_type, common << 1, name)}

    with_world(test)


def test_what_registry_calls_set_is_told_as_properties_too() -> None:
    async def test(world: World) -> None:
        path = keys.group_path(world.group)
        told = await world.told(world.database.registry.set_value(path, "Priority", RegistryValue.dword(3000)))
        assert told == [
            Notice(_T.GROUP, GroupFlag.COMMON_PROPERTY, world.group, world.group, "web"),
            Notice(_T.REGISTRY, RegistryFlag.VALUE, path, path, path),
        ]
        path = keys.parameters_path(world.first)
        told = await world.told(world.database.registry.set_value(path, "ScriptFilepath", RegistryValue.sz("/x")))
        assert [(one.object_type, one.flag, one.name) for one in told] == [
            (_T.RESOURCE, ResourceFlag.PRIVATE_PROPERTY, "first"),
            (_T.REGISTRY, RegistryFlag.VALUE, path),
        ]

    with_world(test)


def test_the_cluster_is_renamed_and_nodes_are_added() -> None:
    async def test(world: World) -> None:
        told = await world.flags(world.database.rename_cluster("other"))
        assert (_T.CLUSTER, ClusterFlag.RENAME, "other") in told
        assert (_T.CLUSTER, ClusterFlag.COMMON_PROPERTY, "other") not in told
        told = await world.flags(world.database.add_node("node3"))
        assert (_T.CLUSTER, ClusterFlag.NODE_ADDED, "node3") in told
        assert (_T.RESOURCE, ResourceFlag.POSSIBLE_OWNERS, "first") in told  # all nodes, as none were named
        paused = an_event(EventKind.NODE_PAUSED, ONE, "node1")
        assert await world.flags(world.database.set_node_paused(ONE, True, events=[paused])) == {
            (_T.NODE, NodeFlag.STATE, "node1")
        }

    with_world(test)


def test_states_that_no_record_shows_are_taken_from_events() -> None:
    async def test(world: World) -> None:
        events = [
            an_event(EventKind.NODE_STATE, ONE, "node1"),
            an_event(EventKind.NETWORK_STATE, "n", "LAN"),
            an_event(EventKind.NETINTERFACE_STATE, "i", "node1 - eth0"),
            an_event(EventKind.MIGRATION_STATE, "x", "x"),
        ]
        told = await world.told(world.database.append_events(events))
        changes = [one.change for one in told]
        assert changes == [Change.NODE_STATE, Change.NETWORK_STATE, Change.NETINTERFACE_STATE]

    with_world(test)


def test_the_registry_tells_names_values_and_attributes() -> None:
    async def test(world: World) -> None:
        registry = world.database.registry

        def shown(told: Sequence[Notice]) -> list[tuple[int, str, str]]:
            return [(one.flag, one.target, one.name) for one in told]

        assert shown(await world.told(registry.create("a\\B"))) == [
            (RegistryFlag.NAME, "", "a"),
            (RegistryFlag.NAME, "a", "a\\B"),
        ]
        assert shown(await world.told(registry.set_value("A\\b", "x", RegistryValue.dword(1)))) == [
            (RegistryFlag.VALUE, "a\\B", "a\\B")
        ]
        assert shown(await world.told(registry.set_value("a\\b", "x", RegistryValue.dword(1)))) == []
        security = registry.set_security("a\\b", DEFAULT_DESCRIPTOR.encode())
        assert shown(await world.told(security)) == [(RegistryFlag.ATTRIBUTES, "a\\B", "a\\B")]
        assert shown(await world.told(registry.delete("a\\b"))) == [(RegistryFlag.NAME, "a", "a\\B")]

    with_world(test)


def test_a_batch_port_is_told_what_a_transaction_has_made_of_a_key() -> None:
    async def test(world: World) -> None:
        registry = world.database.registry
        await registry.create("top\\Old\\Deep")
        await registry.set_value("top", "N", RegistryValue.dword(1))
        await world.told()
        number = (2).to_bytes(4, "little")
        commands = [
            BatchCommand(_C.SET_VALUE, "N", 4, number),
            BatchCommand(_C.SET_VALUE, "M", 4, number),
            BatchCommand(_C.CREATE_KEY, "New\\Deep"),
            BatchCommand(_C.SET_VALUE, "K", 4, number),
            BatchCommand(_C.DELETE_KEY, "Old"),
        ]
        await world.told(registry.execute("top", commands))
        assert batch_of("TOP", world.keys) == (
            BatchCommand(_C.SET_VALUE, "M", 4, number),
            BatchCommand(_C.VALUE_DELETED, "N", 4, b"\1\0\0\0"),
            BatchCommand(_C.SET_VALUE, "N", 4, number),
            BatchCommand(_C.CREATE_KEY, "New"),
            BatchCommand(_C.CREATE_KEY, "New\\Deep"),
            BatchCommand(_C.SET_VALUE, "K", 4, number),
            BatchCommand(_C.DELETE_KEY, "Old"),
        )
        assert batch_of("elsewhere", world.keys) == ()
        assert batch_of("top\\new\\deep", world.keys) == (
            BatchCommand(_C.CREATE_KEY, ""),
            BatchCommand(_C.SET_VALUE, "K", 4, number),
        )
        await world.told(registry.delete_value("top", "N"))
        assert batch_of("", world.keys) == (
            BatchCommand(_C.CREATE_KEY, "top"),
            BatchCommand(_C.VALUE_DELETED, "N", 4, number),
            BatchCommand(_C.DELETE_VALUE, "N"),
        )

    with_world(test)


def test_whoever_may_not_read_a_key_is_not_told_its_values() -> None:
    async def test(world: World) -> None:
        registry = world.database.registry
        await registry.create("secret\\below")
        only = SecurityDescriptor(dacl=(AccessEntry(0, 2, 0xF003F, ADMINISTRATORS),))
        await registry.set_security("secret", only.encode())
        await world.told()
        await world.told(registry.set_value("secret\\below", "x", RegistryValue.dword(1)))
        (change,) = world.keys
        assert change.is_readable(frozenset({ADMINISTRATORS}))
        assert not change.is_readable(frozenset())

    with_world(test)
