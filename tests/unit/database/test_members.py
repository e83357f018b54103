"""The membership in the database: founded, admitted, evicted, upgraded; each in one transaction."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from tests.waiting import PATIENCE

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import GroupId, NodeId, ResourceId
from quorate.clusapi.states import GroupType
from quorate.clusapi.status import Status
from quorate.clusapi.versions import PROGRAM_LEVELS, RECORD_VERSIONS, LevelRange
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase, ConflictingOwnership
from quorate.database.contract import Put
from quorate.database.member_records import AuthorityRecord, EvictedNode, JoinToken, StoreAccess, hash_secret
from quorate.database.members import Applicant, Eviction, Founding
from quorate.database.memory import MemoryStore
from quorate.database.records import (
    SCHEMA,
    Admission,
    Counter,
    Lease,
    NameEntry,
    NodeFacts,
    Ownership,
    RunState,
    Versioned,
)
from quorate.database.values import KeyRecord

NODE1, NODE2 = NodeId("1"), NodeId("2")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LEVEL = PROGRAM_LEVELS.highest
NEWER = LevelRange(LEVEL, LEVEL + 1)
FOUNDING = Founding(
    name="Prod",
    instance_id="11111111-2222-3333-4444-555555555555",
    core_group=GroupId("99999999-2222-3333-4444-555555555555"),
    name_resource=ResourceId("99999999-2222-3333-4444-666666666666"),
    node_name="alpha",
    nodes_authority=AuthorityRecord("nodes certificate", "nodes key"),
    users_authority=AuthorityRecord("users certificate", "users key"),
    store_access=StoreAccess(("https://10.0.0.1:2379",), "quorate/prod/", "ca", "certificate", "key"),
)
TOKEN = JoinToken(hash_secret("secret"), NOW + timedelta(hours=1), "root")


def in_cluster(body: Callable[[ClusterDatabase], Awaitable[None]], founding: Founding = FOUNDING) -> None:
    """Run a test on a cluster that was just founded."""

    async def main() -> None:
        database = ClusterDatabase(MemoryStore())
        assert await database.members.found(founding, (event(),)) == NODE1
        async with asyncio.timeout(PATIENCE):
            await body(database)

    asyncio.run(main())


def event(node: NodeId = NODE1) -> EventRecord:
    return EventRecord.of(
        EventKind.NODE_ADDED, time=NOW, node=NODE1, object_id=node, object_name="x", sentence="something happened"
    )


async def refused(call: Awaitable[object]) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        await call
    return caught.value


async def dump(database: ClusterDatabase) -> dict[str, bytes]:
    return {record.key: record.value for record in (await database.store.range("")).records}


async def admit(
    database: ClusterDatabase, name: str = "beta", id_: str = "t1", levels: LevelRange = PROGRAM_LEVELS
) -> NodeId:
    if await database.members.token(id_) is None:
        await database.members.add_token(id_, TOKEN, NOW)
    token = await database.members.token(id_)
    assert token is not None
    return await database.members.admit(Applicant(name, f"key of {name}", levels), id_, token, event)


# --- Records ---------------------------------------------------------------------------------------------------------


def test_every_record_is_listed_in_the_version_in_which_it_is_written() -> None:
    written = {
        "schema": SCHEMA,
        "registry key": KeyRecord.VERSION,
        "ownership": Ownership.VERSION,
        "run state": RunState.VERSION,
        "lease": Lease.VERSION,
        "admission": Admission.VERSION,
        "node facts": NodeFacts.VERSION,
        "name": NameEntry.VERSION,
        "counter": Counter.VERSION,
        "authority": AuthorityRecord.VERSION,
        "store access": StoreAccess.VERSION,
        "token": JoinToken.VERSION,
        "eviction": EvictedNode.VERSION,
    }
    assert {kind: RECORD_VERSIONS[LEVEL][kind] for kind in written} == written
    assert set(RECORD_VERSIONS) == set(range(PROGRAM_LEVELS.lowest, LEVEL + 1))


@pytest.mark.parametrize(
    "record",
    [
        AuthorityRecord("c", "k", {"new": 1}),
        StoreAccess(("https://a:1", "https://b:2"), "p/", "ca", "c", "k", handed_over=False, extra={"new": 1}),
        TOKEN,
        TOKEN.used_by(NODE2, "machine"),
        EvictedNode("beta", NOW, "root", {"new": [1]}),
    ],
)
def test_a_record_survives_writing(record: AuthorityRecord | StoreAccess | JoinToken | EvictedNode) -> None:
    assert type(record).decode(record.encode()) == record


@pytest.mark.parametrize("kind", [AuthorityRecord, StoreAccess, JoinToken, EvictedNode])
@pytest.mark.parametrize("data", [b"", b"[]", b'{"version":1}', b'{"version":99}', b'{"version":1,"time":"x"}'])
def test_a_damaged_or_newer_record_is_refused(kind: type[AuthorityRecord], data: bytes) -> None:
    with pytest.raises(ClusterError):
        kind.decode(data)


# --- The founding ----------------------------------------------------------------------------------------------------


def test_a_founded_cluster_is_there_whole_at_one_revision() -> None:
    async def body(database: ClusterDatabase) -> None:
        assert {record.revision for record in (await database.store.range("")).records} == {1}
        snapshot = await database.snapshot()
        assert (snapshot.cluster.name, snapshot.cluster.instance_id) == ("Prod", FOUNDING.instance_id)
        assert snapshot.cluster.level == LEVEL
        assert snapshot.node("alpha").levels == PROGRAM_LEVELS
        core = snapshot.group("Cluster Group")
        assert (core.group_type, snapshot.owner_of(core.id)) == (GroupType.CORE_CLUSTER, NODE1)
        assert await database.credentials.nodes_authority() == FOUNDING.nodes_authority
        assert await database.credentials.users_authority() == FOUNDING.users_authority
        assert await database.members.store_access() == FOUNDING.store_access
        assert await database.members.instance_id() == FOUNDING.instance_id
        assert [event.sequence for event in await database.events()] == [1]

    in_cluster(body)


def test_a_second_cluster_changes_nothing() -> None:
    async def body(database: ClusterDatabase) -> None:
        before = await dump(database)
        error = await refused(database.members.found(FOUNDING, (event(),)))
        assert error.status == Status.ERROR_CLUSTER_CANT_CREATE_DUP_CLUSTER_NAME
        assert await dump(database) == before

    in_cluster(body)


def test_a_cluster_of_one_machine_has_no_authorities_and_nothing_to_hand_over() -> None:
    async def main() -> None:
        database = ClusterDatabase(MemoryStore())
        assert await database.members.instance_id() is None
        await database.create_cluster("pocket")
        assert (await refused(database.members.store_access())).status == Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT
        error = await refused(database.credentials.nodes_authority())
        assert error.status == Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT

    asyncio.run(main())


# --- Admission -------------------------------------------------------------------------------------------------------


def test_a_node_is_admitted_in_the_transaction_that_uses_its_token() -> None:
    async def body(database: ClusterDatabase) -> None:
        assert await admit(database) == NODE2
        token = await database.members.token("t1")
        assert token is not None
        assert (token.value.node, token.value.machine) == (NODE2, "key of beta")
        snapshot = await database.snapshot()
        assert snapshot.nodes[NODE2].revision == token.revision == snapshot.admissions[NODE2]
        assert (await database.events())[-1].sequence == token.revision
        assert (await database.events())[-1].object_id == NODE2

    in_cluster(body)


def test_a_token_is_good_for_one_of_two_that_come_at_once() -> None:
    async def body(database: ClusterDatabase) -> None:
        await database.members.add_token("t1", TOKEN, NOW)
        token = await database.members.token("t1")
        assert token is not None
        applicants = [Applicant(name, name, PROGRAM_LEVELS) for name in ("beta", "gamma", "delta")]
        answers = await asyncio.gather(
            *(database.members.admit(applicant, "t1", token, event) for applicant in applicants), return_exceptions=True
        )
        assert answers.count(NODE2) == 1
        refusals = [answer.status for answer in answers if isinstance(answer, ClusterError)]
        assert refusals == [Status.ERROR_CLUSTER_OBJECT_ALREADY_USED] * 2
        assert len((await database.snapshot()).nodes) == 2

    in_cluster(body)


def test_a_taken_name_leaves_the_token_as_it_was() -> None:
    async def body(database: ClusterDatabase) -> None:
        await database.members.add_token("t1", TOKEN, NOW)
        before = await dump(database)
        assert (await refused(admit(database, "ALPHA"))).status == Status.ERROR_CLUSTER_NODE_EXISTS
        assert (await refused(admit(database, " "))).status == Status.ERROR_INVALID_NAME
        assert await dump(database) == before
        assert await admit(database, "beta") == NODE2

    in_cluster(body)


def test_old_tokens_are_forgotten_when_a_new_one_is_made() -> None:
    async def body(database: ClusterDatabase) -> None:
        await database.members.add_token("old", TOKEN, NOW)
        later = NOW + timedelta(hours=2)
        await database.members.add_token("t2", JoinToken("x", later + timedelta(hours=1), "root"), later)
        assert await database.members.token("old") is not None, "it is expired, and whoever tries it shall hear that"
        much_later = NOW + timedelta(days=2)
        await database.members.add_token("t3", JoinToken("x", much_later, "root"), much_later)
        assert await database.members.token("old") is None
        assert await database.members.token("t2") is None
        assert await database.members.token("t3") is not None

    in_cluster(body)


def test_only_the_secret_fits() -> None:
    assert TOKEN.fits("secret")
    assert not TOKEN.fits("Secret")
    assert not TOKEN.fits("")
    assert b"secret" not in TOKEN.encode().replace(b"secret_hash", b"")


# --- Eviction --------------------------------------------------------------------------------------------------------


async def close(database: ClusterDatabase, node: NodeId) -> int:
    return await database.members.close_doors(node)


def test_an_evicted_node_leaves_nothing_but_a_note_and_its_number_is_not_given_again() -> None:
    async def body(database: ClusterDatabase) -> None:
        before = await dump(database)
        node = await admit(database)
        await database.write_node_facts(node, NodeFacts("unix:/h", "tcp:10.0.0.2:1", 1, "0.1.0"))
        await database.store.transact([], [Put(keys.lease(node), Lease("i", 1, 5.0).encode())])
        await database.set_parameters(keys.node_path(node), {})
        note = EvictedNode("beta", NOW, "root")
        await database.members.evict(Eviction(node, note, NODE1, await close(database, node)), (event(node),))
        after = await dump(database)
        new = {key for key in after if before.get(key) != after[key] and not key.startswith((keys.EVENTS, keys.TOKENS))}
        assert new == {keys.evicted(node), keys.counter("nodes")}
        assert await database.members.evicted(node) == await database.members.last_eviction() == note
        again = await refused(database.members.evict(Eviction(node, note, NODE1, 0)))
        assert again.status == Status.ERROR_CLUSTER_NODE_NOT_FOUND
        assert await admit(database, "beta", "t2") == NodeId("3")

    in_cluster(body)


def test_nothing_is_given_to_a_node_that_is_being_evicted() -> None:
    async def body(database: ClusterDatabase) -> None:
        node = await admit(database)
        group = await database.create_group("spare", 9999, NODE1)
        old = await database.get_ownership(group)
        closed_at = await close(database, node)
        gift = Ownership(node, old.value.epoch + 1)
        assert await database.change_ownership(group, old, gift) == ConflictingOwnership(old)
        await database.members.open_doors(node, closed_at + 1)  # the word of somebody else stands
        assert await database.change_ownership(group, old, gift) == ConflictingOwnership(old)
        await database.members.open_doors(node, closed_at)
        given = await database.change_ownership(group, old, gift)
        assert isinstance(given, Versioned)
        back = Ownership(NODE1, gift.epoch + 1)
        await close(database, node)
        assert isinstance(await database.change_ownership(group, given, back), Versioned), "what it has, it may give"

    in_cluster(body)


def test_nothing_is_given_to_a_node_that_was_evicted() -> None:
    """A write that it repeats for a gift of then would make it the holder of what nobody could ever take from it."""

    async def body(database: ClusterDatabase) -> None:
        node = await admit(database)
        group = await database.create_group("spare", 9999, NODE1)
        old = await database.get_ownership(group)
        note = EvictedNode("beta", NOW, "root")
        await database.members.evict(Eviction(node, note, NODE1, await close(database, node)))
        late = Ownership(node, old.value.epoch + 1)
        assert await database.change_ownership(group, old, late) == ConflictingOwnership(old)
        assert (await database.get_ownership(group)).value.holder == NODE1

    in_cluster(body)


def test_a_node_whose_lease_is_not_as_it_was_judged_is_not_evicted() -> None:
    async def body(database: ClusterDatabase) -> None:
        node = await admit(database)
        note, closed_at = EvictedNode("beta", NOW, "root"), await close(database, node)
        put = await database.store.transact([], [Put(keys.lease(node), Lease("i", 1, 5.0).encode())])
        for judged in (0, put.revision - 1):
            error = await refused(database.members.evict(Eviction(node, note, NODE1, closed_at, lease=judged)))
            assert error.status == Status.ERROR_RETRY
            assert "beta has come back" in error.sentence
        await database.members.evict(Eviction(node, note, NODE1, closed_at, lease=put.revision))
        assert keys.lease(node) not in await dump(database)

    in_cluster(body)


def test_who_resumes_a_node_ends_its_eviction() -> None:
    async def body(database: ClusterDatabase) -> None:
        node = await admit(database)
        closed_at = await close(database, node)
        await database.set_node_paused(node, False)
        note = EvictedNode("beta", NOW, "root")
        error = await refused(database.members.evict(Eviction(node, note, NODE1, closed_at)))
        assert error.status == Status.ERROR_RETRY
        assert node in (await database.snapshot()).nodes

    in_cluster(body)


def test_groups_without_resources_go_to_the_heir() -> None:
    async def body(database: ClusterDatabase) -> None:
        node = await admit(database)
        core = (await database.snapshot()).group("Cluster Group").id
        spare = await database.create_group("spare", 9999, node)
        closed_at = await close(database, NODE1)
        await database.members.evict(Eviction(NODE1, EvictedNode("alpha", NOW, "root"), node, closed_at, (core, spare)))
        snapshot = await database.snapshot()
        assert snapshot.owner_of(core) == snapshot.owner_of(spare) == node
        assert (snapshot.ownership[core].value.epoch, snapshot.ownership[spare].value.epoch) == (2, 1)

    in_cluster(body)


def test_the_daemon_of_an_evicted_node_hears_why_it_may_not_take_part() -> None:
    async def body(database: ClusterDatabase) -> None:
        node = await admit(database)
        await database.members.note_levels(node)
        closed_at = await close(database, node)
        await database.members.evict(Eviction(node, EvictedNode("beta", NOW, "root"), NODE1, closed_at))
        error = await refused(database.members.note_levels(node))
        assert error.status == Status.ERROR_CLUSTER_NODE_NOT_MEMBER
        assert error.sentence.startswith(
            "beta was evicted from the cluster at 2026-01-02 03:04:05 UTC by root; to join"
        )
        assert "no node with the number 77" in (await refused(database.members.note_levels(NodeId("77")))).sentence

    in_cluster(body)


# --- Functional level ------------------------------------------------------------------------------------------------


def test_a_program_that_does_not_know_the_level_may_not_take_part() -> None:
    async def body(database: ClusterDatabase) -> None:
        before = await dump(database)
        old = await refused(database.members.note_levels(NODE1, LevelRange(LEVEL - 1, LEVEL - 1)))
        new = await refused(database.members.note_levels(NODE1, LevelRange(LEVEL + 1, LEVEL + 2)))
        assert (old.status, new.status) == (
            Status.ERROR_CLUSTER_OLD_VERSION,
            Status.ERROR_CLUSTER_INCOMPATIBLE_VERSIONS,
        )
        assert old.sentence == (
            f"the cluster is at functional level {LEVEL}, this program knows {LEVEL - 1}: install a newer Quorate on "
            "this node"
        )
        await database.members.add_token("t1", TOKEN, NOW)
        late = await refused(admit(database, levels=LevelRange(LEVEL - 1, LEVEL - 1)))
        assert late.status == Status.ERROR_CLUSTER_OLD_VERSION
        assert {key: old for key, old in (await dump(database)).items() if not key.startswith(keys.TOKENS)} == before

    in_cluster(body)


def test_a_node_says_once_which_levels_it_knows() -> None:
    async def body(database: ClusterDatabase) -> None:
        await database.members.note_levels(NODE1, NEWER)
        snapshot = await database.snapshot()
        assert snapshot.node("1").levels == NEWER
        await database.members.note_levels(NODE1, NEWER)
        assert (await database.snapshot()).revision == snapshot.revision

    in_cluster(body)


def test_the_level_is_raised_only_when_every_node_knows_it() -> None:
    async def body(database: ClusterDatabase) -> None:
        await database.members.note_levels(NODE1, NEWER)
        await admit(database)
        before = await dump(database)
        assert (await refused(raise_level(database))).status == Status.ERROR_CLUSTER_SYSTEM_CONFIG_CHANGED
        assert await dump(database) == before
        await database.members.note_levels(NODE2, NEWER)
        await raise_level(database)
        assert (await database.snapshot()).cluster.level == LEVEL + 1
        assert (await refused(raise_level(database))).status == Status.ERROR_CLUSTER_SYSTEM_CONFIG_CHANGED
        error = await refused(database.members.note_levels(NODE2, PROGRAM_LEVELS))
        assert error.status == Status.ERROR_CLUSTER_OLD_VERSION

    async def raise_level(database: ClusterDatabase) -> None:
        await database.members.raise_level(LEVEL, LEVEL + 1, (event(),))

    in_cluster(body)


def test_a_node_that_joins_while_the_level_is_raised_is_either_seen_or_refused() -> None:
    async def body(database: ClusterDatabase) -> None:
        await database.members.note_levels(NODE1, NEWER)
        await database.members.add_token("t1", TOKEN, NOW)
        answers = await asyncio.gather(
            admit(database), database.members.raise_level(LEVEL, LEVEL + 1), return_exceptions=True
        )
        assert sum(isinstance(answer, ClusterError) for answer in answers) == 1
        snapshot = await database.snapshot()
        assert all(snapshot.cluster.level in node.levels for node in snapshot.nodes.values())

    in_cluster(body)
