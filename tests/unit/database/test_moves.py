"""The records of the queue of moves and of drains, and the transactions that write them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.states import NodeDrainStatus, NodeStatus
from quorate.database import keys
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.memory import MemoryData, MemoryStore
from quorate.database.move_records import DrainRecord, MoveRecord, MoveWrite, QueuedWrite, QueueTurn, TroubleNote
from quorate.database.moves import DrainWrite
from quorate.database.values import RegistryValue

ONE, TWO = NodeId("1"), NodeId("2")
MOVE = MoveRecord(ONE, "drain", 12.5, 4, "waiting", TWO, bandwidth_limit=200, drain="d", sentence="it leaves")
DRAIN = DrainRecord(
    "d",
    12.0,
    "draining",
    target=TWO,
    flags=1,
    total=3,
    troubles={GroupId("g"): TroubleNote(2, 1, "it failed", 17.0, (TWO,), nowhere=True)},
    failback=1,
    sentence="it is being drained",
)


def cluster_test(body: Callable[[ClusterDatabase, GroupId], Awaitable[None]]) -> Callable[[], None]:
    def test() -> None:
        async def main() -> None:
            database = ClusterDatabase(MemoryStore(MemoryData()))
            await database.create_cluster("test")
            await database.add_node("node1")
            await database.add_node("node2")
            group = await database.create_group("web", 111, ONE)
            await body(database, group)

        asyncio.run(main())

    test.__name__ = body.__name__
    return test


def test_records_survive_the_database_and_keep_what_a_newer_version_added() -> None:
    assert MoveRecord.decode(MOVE.encode()) == MOVE
    assert DrainRecord.decode(DRAIN.encode()) == DRAIN
    assert QueueTurn.decode(QueueTurn(7).encode()) == QueueTurn(7)
    newer = MOVE.encode().replace(b"{", b'{"weather":"rain",', 1)
    assert MoveRecord.decode(newer).extra == {"weather": "rain"}
    assert b"rain" in MoveRecord.decode(newer).encode()
    with pytest.raises(FaultError, match="an entry of the queue in the cluster database is damaged"):
        MoveRecord.decode(b'{"version":1}')


@cluster_test
async def test_what_was_written_is_in_the_snapshot(database: ClusterDatabase, group: GroupId) -> None:
    revision = await database.moves.commit((MoveWrite(group, MOVE, 0),), (DrainWrite(ONE, DRAIN, 0),), turn=0)
    snapshot = await database.snapshot()
    assert (snapshot.moves[group].value, snapshot.moves[group].revision) == (MOVE, revision)
    assert (snapshot.drains[ONE].value, snapshot.drains[ONE].revision) == (DRAIN, revision)
    assert snapshot.turn == revision
    assert await database.moves.commit((MoveWrite(group, None, revision),), (DrainWrite(ONE, None, revision),))
    snapshot = await database.snapshot()
    assert (dict(snapshot.moves), dict(snapshot.drains)) == ({}, {})


@cluster_test
async def test_nothing_is_written_where_anything_stands_elsewhere(database: ClusterDatabase, group: GroupId) -> None:
    turn = await database.moves.commit(turn=0)
    assert turn
    assert not await database.moves.commit((MoveWrite(group, MOVE, 0),), turn=0), "somebody else has taken the turn"
    assert not await database.moves.commit((MoveWrite(group, MOVE, 5),), turn=turn)
    assert not await database.moves.commit((MoveWrite(group, MOVE, 0),), (DrainWrite(ONE, DRAIN, 9),))
    assert (await database.snapshot()).moves == {}
    assert await database.moves.commit((MoveWrite(group, MOVE, 0),), turn=turn)


@cluster_test
async def test_a_node_shows_its_drain_and_keeps_its_other_bits(database: ClusterDatabase, group: GroupId) -> None:
    quarantined = RegistryValue.dword(int(NodeStatus.QUARANTINED))
    await database.set_values(keys.node_path(ONE), {"StatusInformation": quarantined})
    write = DrainWrite(ONE, DRAIN, 0, NodeDrainStatus.IN_PROGRESS, paused=True, adds=NodeStatus.AVOID_PLACEMENT)
    revision = await database.moves.commit(drains=(write,))
    info = (await database.snapshot()).node("1")
    assert info.paused
    assert info.status == NodeStatus.QUARANTINED | NodeStatus.DRAIN_IN_PROGRESS | NodeStatus.AVOID_PLACEMENT
    assert (info.properties.number("NodeDrainStatus"), info.properties.number("NodeDrainTarget")) == (1, 2)

    revision = await database.moves.commit(drains=(DrainWrite(ONE, DRAIN, revision, NodeDrainStatus.FAILED),))
    info = (await database.snapshot()).node("1")
    assert info.paused
    assert NodeStatus.DRAIN_FAILED in info.status
    assert NodeStatus.DRAIN_IN_PROGRESS not in info.status

    removes = NodeStatus.QUARANTINED | NodeStatus.AVOID_PLACEMENT
    assert await database.moves.commit(drains=(DrainWrite(ONE, None, revision, paused=False, removes=removes),))
    info = (await database.snapshot()).node("1")
    assert (info.paused, info.status) == (False, NodeStatus.NORMAL)
    assert (info.properties.number("NodeDrainStatus"), info.properties.number("NodeDrainTarget")) == (0, 0xFFFFFFFF)


@cluster_test
async def test_a_drain_of_an_evicted_node_is_taken_away_all_the_same(database: ClusterDatabase, group: GroupId) -> None:
    gone = NodeId("9")
    revision = await database.moves.commit(drains=(DrainWrite(gone, DRAIN, 0),))
    assert await database.moves.commit(drains=(DrainWrite(gone, None, revision),))
    assert (await database.snapshot()).drains == {}


@cluster_test
async def test_a_run_state_and_an_entry_are_written_together_or_not_at_all(
    database: ClusterDatabase, group: GroupId
) -> None:
    ownership, run = await database.get_ownership(group), (await database.get_run_state(group)).value
    wanted = replace(run, persistent_state=True)
    answer = await database.write_queued_run_state(group, ownership, wanted, MoveWrite(group, MOVE, 7))
    assert answer[0] is QueuedWrite.QUEUE_MOVED
    old = replace(ownership, revision=ownership.revision - 1)
    answer = await database.write_queued_run_state(group, old, wanted, MoveWrite(group, MOVE, 0))
    assert answer[0] is QueuedWrite.NOT_OWNER
    assert not (await database.get_run_state(group)).value.persistent_state
    answer = await database.write_queued_run_state(group, ownership, wanted, MoveWrite(group, MOVE, 0, turn=0))
    assert answer[0] is QueuedWrite.LANDED
    snapshot = await database.snapshot()
    assert (snapshot.moves[group].revision, snapshot.turn) == (answer[1], answer[1])
    assert snapshot.run[group].value.persistent_state
