"""Operations on the membership, on a cluster whose nodes are fakes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest
from tests.unit.cluster import pictures as p
from tests.unit.peers.certificates import Authorities
from tests.unit.server.fake import FakeWorld, running_fake_cluster

from quorate.client import functions as capi
from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import ClusterError, RefusalError
from quorate.clusapi.identity import GroupId, ImageId, NodeId, VmId
from quorate.clusapi.status import Status
from quorate.clusapi.versions import PROGRAM_LEVELS, LevelRange
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Put
from quorate.database.member_records import AuthorityRecord
from quorate.database.records import Lease, NodeFacts, Ownership, Versioned
from quorate.peers.authority import fingerprint
from quorate.peers.join_token import JoinWord
from quorate.server.services import ProcessFacts, QemuProcess

T = TypeVar("T")
NODE1, NODE2, NODE3 = NodeId("1"), NodeId("2"), NodeId("3")
LEVEL = PROGRAM_LEVELS.highest


@pytest.fixture
def world(tmp_path: Path) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 3) as world:
        yield world


@pytest.fixture
def client(world: FakeWorld, tmp_path: Path) -> BlockingClient:
    return BlockingClient.at(str(tmp_path))


def on(world: FakeWorld, work: Callable[[ClusterDatabase], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work(world.nodes[NODE1].database)

    return asyncio.run(main())


def dump(world: FakeWorld) -> dict[str, bytes]:
    async def read(database: ClusterDatabase) -> dict[str, bytes]:
        return {record.key: record.value for record in (await database.store.range("")).records}

    return on(world, read)


def refused(world: FakeWorld, call: Callable[[], object]) -> ClusterError:
    before = dump(world)
    with pytest.raises(ClusterError) as caught:
        call()
    assert {key: value for key, value in dump(world).items() if before.get(key) != value} == {}
    return caught.value


def give_vm(world: FakeWorld, node: NodeId, *, preferred: tuple[NodeId, ...] = ()) -> str:
    """A VM "web1" on a node; the group's id."""

    async def make(database: ClusterDatabase) -> str:
        ids = await database.create_virtual_machine("web1", "{}", node)
        await database.set_preferred_owners(ids.group, preferred)
        await database.set_possible_owners(ids.vm_resource, tuple(dict.fromkeys((NODE1, node))))
        return ids.group

    return on(world, make)


def take_down(world: FakeWorld, node: NodeId, *, ended: bool) -> None:
    async def write(database: ClusterDatabase) -> None:
        lease = Lease("i", 3, 0.2, ended=ended)
        outcome = await database.store.transact([], [Put(keys.lease(node), lease.encode())])
        world.silent_leases[node] = outcome.revision

    on(world, write)
    world.down.add(node)


# --- Tokens ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authorities() -> Authorities:
    return Authorities.make()


def give_authorities(world: FakeWorld, authorities: Authorities, addresses: dict[NodeId, str]) -> None:
    async def write(database: ClusterDatabase) -> None:
        record = AuthorityRecord(authorities.nodes.certificate_pem.decode(), authorities.nodes.key_pem.decode())
        await database.store.transact([], [Put(keys.NODES_AUTHORITY, record.encode())])
        for node, address in addresses.items():
            await database.write_node_facts(node, NodeFacts("unix:/h", address, 1, "0.1.0"))

    on(world, write)


def test_a_token_names_the_nodes_that_are_up_and_who_signs_for_them(
    world: FakeWorld, client: BlockingClient, authorities: Authorities
) -> None:
    give_authorities(world, authorities, {NODE1: "tcp:10.0.0.1:7", NODE2: "tcp:10.0.0.2:7", NODE3: "tcp:10.0.0.3:7"})
    world.down.add(NODE3)
    before = datetime.now(UTC)
    made = client.call("CreateJoinToken", lifetime=120)
    word = JoinWord.parse(made.text("token"))
    assert (word.cluster, word.addresses) == ("pocket", ("10.0.0.1:7", "10.0.0.2:7"))
    assert word.fingerprint == fingerprint(authorities.nodes.certificate_pem)
    assert word.id == made.text("id")
    expires = datetime.fromisoformat(made.text("expires"))
    assert timedelta(seconds=118) < expires - before < timedelta(seconds=122)
    stored = dump(world)[keys.token(word.id)]
    assert word.secret.encode() not in b"".join(dump(world).values())
    assert b"secret_hash" in stored
    event = client.call("GetEvents", limit=1).objects("events")[0]
    assert event["kind"] == "node.invited"
    assert word.secret not in str(event)


@pytest.mark.parametrize("lifetime", [0, 59, 604801, 0xFFFFFFFF])
def test_a_lifetime_out_of_range_is_refused(
    lifetime: int, world: FakeWorld, client: BlockingClient, authorities: Authorities
) -> None:
    give_authorities(world, authorities, {NODE1: "tcp:10.0.0.1:7"})
    error = refused(world, lambda: client.call("CreateJoinToken", lifetime=lifetime))
    assert error.status == Status.ERROR_INVALID_PARAMETER


def test_a_cluster_that_nobody_can_reach_makes_no_token(
    world: FakeWorld, client: BlockingClient, authorities: Authorities
) -> None:
    error = refused(world, lambda: client.call("CreateJoinToken"))
    assert error.status == Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT
    give_authorities(world, authorities, {NODE1: "unix:/p"})
    error = refused(world, lambda: client.call("CreateJoinToken"))
    assert error.status == Status.ERROR_CLUSTER_NODE_UNREACHABLE


@pytest.mark.parametrize("operation", ["CreateJoinToken", "EvictNode", "SetClusterName"])
def test_readers_change_no_membership(operation: str, world: FakeWorld, client: BlockingClient) -> None:
    inputs = {"EvictNode": {"node": "node2"}, "SetClusterName": {"name": "x"}}.get(operation, {})
    error = refused(world, lambda: client.call(operation, full_access=False, **inputs))
    assert error.status == Status.ERROR_ACCESS_DENIED


# --- Eviction --------------------------------------------------------------------------------------------------------


def test_a_node_with_nothing_on_it_is_evicted_while_it_is_up(world: FakeWorld, client: BlockingClient) -> None:
    group = give_vm(world, NODE1, preferred=(NODE2, NODE3, NODE1))

    async def allow(database: ClusterDatabase) -> None:
        for resource in (await database.snapshot()).resources.values():
            await database.set_possible_owners(resource.id, (NODE1, NODE2))

    on(world, allow)
    assert client.call("EvictNode", node="NODE2").number("status") == 0
    snapshot = on(world, lambda database: database.snapshot())
    assert list(snapshot.nodes) == [NODE1, NODE3]
    assert snapshot.group(group).preferred_owners == (NODE3, NODE1)
    assert {resource.possible_owners for resource in snapshot.resources.values()} == {(NODE1,)}
    event = client.call("GetEvents", limit=1).objects("events")[0]
    assert (event["kind"], event["object_name"]) == ("node.evicted", "node2")


def test_a_node_that_is_up_and_has_work_stays(world: FakeWorld, client: BlockingClient) -> None:
    give_vm(world, NODE2)
    error = refused(world, lambda: client.call("EvictNode", node="node2"))
    assert error.status == Status.ERROR_CANT_EVICT_ACTIVE_NODE
    assert error.sentence == "node2 is up and owns web1: move that away first, or stop its daemon"


def test_a_node_on_which_a_machine_arrives_stays(
    world: FakeWorld, client: BlockingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = ProcessFacts(1002, (QemuProcess(VmId("x"), 77, "destination"),))
    monkeypatch.setattr(world.nodes[NODE2], "process_facts", lambda: facts)
    error = refused(world, lambda: client.call("EvictNode", node="node2"))
    assert error.status == Status.ERROR_CANT_EVICT_ACTIVE_NODE
    assert "1 QEMU of it still live" in error.sentence


def show(world: FakeWorld, group: str, *, possible: tuple[int, ...]) -> None:
    """What node1 sees of a VM of node2, which is dead."""
    ownership = on(world, lambda database: database.get_ownership(GroupId(group)))
    seen = replace(p.vm("web1", 2, possible=possible, revision=ownership.revision), id=GroupId(group))
    world.picture = p.picture([p.node(1), p.dead(2), p.node(3)], [seen])


def test_what_a_dead_node_owned_goes_to_a_possible_owner_and_to_nobody_else(
    world: FakeWorld, client: BlockingClient
) -> None:
    group = give_vm(world, NODE2)
    take_down(world, NODE2, ended=True)
    show(world, group, possible=(2,))
    error = refused(world, lambda: client.call("EvictNode", node="node2"))
    assert error.status == Status.ERROR_NODE_CANT_HOST_RESOURCE
    assert "no other node can take web1: node1 is not a possible owner of all resources of web1" in error.sentence
    show(world, group, possible=(2, 3))
    assert client.call("EvictNode", node="node2").number("status") == 0
    assert on(world, lambda database: database.snapshot()).owner_of(GroupId(group)) == NODE3


def test_an_eviction_plans_with_the_groups_as_they_are_now(world: FakeWorld, client: BlockingClient) -> None:
    group = give_vm(world, NODE2)
    take_down(world, NODE2, ended=True)
    show(world, group, possible=(1, 2))
    assert world.picture is not None
    seen = world.picture.groups[GroupId(group)]
    world.picture = replace(world.picture, groups={seen.id: replace(seen, revision=seen.revision - 1)})
    assert refused(world, lambda: client.call("EvictNode", node="node2")).status == Status.ERROR_RETRY


def test_what_a_dead_node_owned_goes_to_another_when_its_lease_is_over_for_certain(
    world: FakeWorld, client: BlockingClient
) -> None:
    group = give_vm(world, NODE2)
    take_down(world, NODE2, ended=False)
    error = refused(world, lambda: client.call("EvictNode", node="node2"))
    assert error.status == Status.ERROR_RETRY
    assert "its lease is not over for certain yet" in error.sentence
    take_down(world, NODE2, ended=True)
    show(world, group, possible=(1, 2))
    assert client.call("EvictNode", node="node2").number("status") == 0
    snapshot = on(world, lambda database: database.snapshot())
    ownership = snapshot.ownership[snapshot.group(group).id].value
    assert (ownership.holder, ownership.epoch, ownership.image) == (NODE1, 2, None)
    assert keys.lease(NODE2) not in dump(world)


def write_lease(world: FakeWorld, node: NodeId, *, ended: bool = False) -> None:
    async def write(database: ClusterDatabase) -> None:
        await database.store.transact([], [Put(keys.lease(node), Lease("i", 3, 0.2, ended=ended).encode())])

    on(world, write)


def test_a_node_that_does_not_say_what_runs_on_it_stays_until_its_lease_is_over(
    world: FakeWorld, client: BlockingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lease(world, NODE2)

    async def silent(*arguments: object) -> dict[str, object]:
        raise TimeoutError

    monkeypatch.setattr(world.nodes[NODE1], "forward", silent)
    error = refused(world, lambda: client.call("EvictNode", node="node2"))
    assert error.status == Status.ERROR_RETRY
    assert "does not say whether a QEMU of it lives, and its lease is not over for certain yet" in error.sentence
    write_lease(world, NODE2, ended=True)
    assert client.call("EvictNode", node="node2").number("status") == 0


def test_a_dead_node_that_owns_nothing_stays_until_its_lease_is_over(world: FakeWorld, client: BlockingClient) -> None:
    take_down(world, NODE2, ended=False)
    error = refused(world, lambda: client.call("EvictNode", node="node2"))
    assert error.status == Status.ERROR_RETRY
    take_down(world, NODE2, ended=True)
    assert client.call("EvictNode", node="node2").number("status") == 0


def test_a_node_that_comes_back_while_its_doors_are_closed_is_looked_at_as_one_that_is_up(
    world: FakeWorld, client: BlockingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_down(world, NODE2, ended=True)
    members, facts = world.nodes[NODE1].database.members, ProcessFacts(1002, (QemuProcess(VmId("x"), 77, "source"),))
    close_doors = members.close_doors

    async def close_doors_late(node: NodeId) -> int:
        lease = Lease("of now", 1, 5.0)
        await world.nodes[NODE1].database.store.transact([], [Put(keys.lease(node), lease.encode())])
        world.down.discard(node)
        return await close_doors(node)

    monkeypatch.setattr(members, "close_doors", close_doors_late)
    monkeypatch.setattr(world.nodes[NODE2], "process_facts", lambda: facts)
    with pytest.raises(RefusalError) as caught:
        client.call("EvictNode", node="node2")
    assert caught.value.status == Status.ERROR_CANT_EVICT_ACTIVE_NODE
    assert NODE2 in on(world, lambda database: database.snapshot()).nodes


def give(world: FakeWorld, group: str, giver: NodeId, holder: NodeId) -> None:
    async def write(database: ClusterDatabase) -> None:
        old = await database.get_ownership(GroupId(group))
        new = Ownership(holder, old.value.epoch + 1, ImageId("new"), ImageId("old"), giver)
        assert isinstance(await database.change_ownership(GroupId(group), old, new), Versioned)

    on(world, write)


def test_what_a_living_giver_may_take_back_is_not_taken_by_an_eviction(
    world: FakeWorld, client: BlockingClient
) -> None:
    give(world, give_vm(world, NODE3), NODE3, NODE2)
    take_down(world, NODE2, ended=True)
    write_lease(world, NODE3)
    error = refused(world, lambda: client.call("EvictNode", node="node2"))
    assert error.status == Status.ERROR_RETRY
    assert "node3 was giving web1 to node2 and may still take it back with its memory" in error.sentence


def test_a_giver_stays_until_its_gift_is_marked(world: FakeWorld, client: BlockingClient) -> None:
    give(world, give_vm(world, NODE2), NODE2, NODE3)
    for ended in (False, True):
        take_down(world, NODE2, ended=ended)
        error = refused(world, lambda: client.call("EvictNode", node="node2"))
        assert error.status == Status.ERROR_RETRY
        assert "node2 has given web1 away, and its new owner has not said yet that it runs" in error.sentence


def test_a_node_evicts_itself_to_another_that_is_up(world: FakeWorld, client: BlockingClient) -> None:
    spare = on(world, lambda database: database.create_group("spare", 9999, NODE2))
    world.down.add(NODE1)
    itself = BlockingClient(tuple(node for node in client.nodes if node.name == "node2"))
    assert itself.call("EvictNode", node="node2").number("status") == 0
    assert on(world, lambda database: database.snapshot()).owner_of(spare) == NODE3


def test_nobody_to_take_over_is_no_eviction(world: FakeWorld, client: BlockingClient) -> None:
    world.down |= {NODE2, NODE3}
    itself = BlockingClient(tuple(node for node in client.nodes if node.name == "node1"))
    error = refused(world, lambda: itself.call("EvictNode", node="node1"))
    assert error.status == Status.ERROR_HOST_NODE_NOT_AVAILABLE
    assert refused(world, lambda: client.call("EvictNode", node="nobody")).status == Status.ERROR_CLUSTER_NODE_NOT_FOUND
    for node in ("node2", "node3"):
        client.call("EvictNode", node=node)
    error = refused(world, lambda: client.call("EvictNode", node="node1"))
    assert error.status == Status.ERROR_CLUSTER_EVICT_INVALID_REQUEST


def test_a_node_that_is_being_evicted_gets_no_new_machine(
    world: FakeWorld, client: BlockingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = world.nodes[NODE1].database.members
    evict = members.evict
    refusals: list[RefusalError] = []

    async def create_meanwhile(*arguments: object) -> None:
        try:
            await world.nodes[NODE1].database.create_virtual_machine("late", "{}", NODE2)
        except RefusalError as error:
            refusals.append(error)
        await evict(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(members, "evict", create_meanwhile)
    client.call("EvictNode", node="node2")
    assert [error.status for error in refusals] == [Status.ERROR_CLUSTER_NODE_PAUSED]
    assert "node2 is being evicted" in refusals[0].sentence


def test_an_eviction_that_fails_leaves_the_node_as_it_was(
    world: FakeWorld, client: BlockingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = world.nodes[NODE1].database.members

    async def fail(*arguments: object) -> None:
        raise ClusterError(Status.ERROR_RETRY, "not now")

    monkeypatch.setattr(members, "evict", fail)
    with pytest.raises(ClusterError, match="not now"):
        client.call("EvictNode", node="node2")
    assert not on(world, lambda database: database.snapshot()).node("node2").paused


def test_clusapis_functions_evict_and_rename(world: FakeWorld, tmp_path: Path) -> None:
    cluster = capi.OpenCluster(str(tmp_path))
    assert capi.EvictClusterNode(capi.OpenClusterNode(cluster, "node3")) == 0
    give_vm(world, NODE2)
    assert capi.EvictClusterNodeEx(capi.OpenClusterNode(cluster, "node2"), 1000) == (5009, 0)
    assert capi.SetClusterName(cluster, "blue") == 5024
    assert capi.GetClusterInformation(cluster)[1] == "blue"
    assert capi.SetClusterName(cluster, " ") == 123
    assert capi.ClusterUpgradeFunctionalLevel(cluster, True) == 0


# --- Level -----------------------------------------------------------------------------------------------------------


def know(world: FakeWorld, **levels: LevelRange) -> None:
    async def note(database: ClusterDatabase) -> None:
        for node in (await database.snapshot()).nodes.values():
            await database.members.note_levels(node.id, levels.get(node.name, PROGRAM_LEVELS))

    on(world, note)


NEWER = LevelRange(LEVEL, LEVEL + 1)


def test_the_level_is_raised_when_every_node_can(world: FakeWorld, client: BlockingClient) -> None:
    know(world, node1=NEWER, node2=NEWER, node3=NEWER)
    before = dump(world)
    plan = client.call("UpgradeClusterFunctionalLevel")
    assert (plan.number("level"), plan.number("target")) == (LEVEL, LEVEL + 1)
    assert dump(world) == before, "asking changes nothing"
    client.call("UpgradeClusterFunctionalLevel", perform=True)
    assert on(world, lambda database: database.snapshot()).cluster.level == LEVEL + 1
    again = client.call("UpgradeClusterFunctionalLevel", perform=True)
    assert (again.number("level"), again.number("target")) == (LEVEL + 1, LEVEL + 1)
    events = [event for event in client.call("GetEvents").objects("events") if event["kind"] == "cluster.upgraded"]
    assert [event["sentence"] for event in events] == [
        f"the cluster's functional level was raised from {LEVEL} to {LEVEL + 1}"
    ]


def test_the_node_that_holds_the_level_back_is_named(world: FakeWorld, client: BlockingClient) -> None:
    know(world, node1=NEWER, node3=NEWER)
    error = refused(world, lambda: client.call("UpgradeClusterFunctionalLevel", perform=True))
    assert error.status == Status.ERROR_CLUSTER_UPGRADE_INCOMPATIBLE_VERSIONS
    assert f"stays at functional level {LEVEL}: node2 cannot go beyond it, others know {LEVEL + 1}" in error.sentence


def test_a_cluster_of_one_version_has_nothing_to_raise(world: FakeWorld, client: BlockingClient) -> None:
    before = dump(world)
    plan = client.call("UpgradeClusterFunctionalLevel", perform=True)
    assert (plan.number("level"), plan.number("target")) == (LEVEL, LEVEL)
    assert dump(world) == before


def test_the_level_goes_as_far_as_all_can(world: FakeWorld, client: BlockingClient) -> None:
    know(world, node1=LevelRange(LEVEL, LEVEL + 2), node2=NEWER, node3=NEWER)
    plan = client.call("UpgradeClusterFunctionalLevel", perform=True)
    assert plan.number("target") == LEVEL + 1
    assert f"(not {LEVEL + 2}: node2, node3)" in plan.text("sentence")
