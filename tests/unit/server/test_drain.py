"""PauseNode and ResumeNode with their inputs, and what is shown of drains and of the queue of moves."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster
from tests.unit.server.test_members import NODE1, NODE2, on

from quorate.cli.main import run
from quorate.client import functions as capi
from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import CallerError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject, json_object, json_text
from quorate.clusapi.operation_values import FieldValue
from quorate.clusapi.states import NodeDrainStatus, NodePauseFlags, NodeResumeFailbackType
from quorate.database.move_records import DrainRecord, MoveRecord, MoveWrite, TroubleNote
from quorate.database.moves import DrainWrite

REMAIN = NodePauseFlags.REMAIN_ON_PAUSED_NODE_ON_MOVE_ERROR


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 3) as world:
        monkeypatch.setenv("QUORATE_CLUSTER", str(tmp_path))
        yield world


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeWorld]:
    """A cluster for all who are refused: none of them changes anything."""
    with running_fake_cluster(tmp_path_factory.mktemp("drain"), 3) as world:
        yield world


@pytest.fixture
def client(world: FakeWorld, tmp_path: Path) -> BlockingClient:
    return BlockingClient.at(str(tmp_path))


def node(client: BlockingClient, name: str) -> JsonObject:
    return next(one for one in client.call("ListNodes").objects("nodes") if json_text(one, "name") == name)


# --- what is asked -------------------------------------------------------------------------------------------------


def test_a_drain_is_asked_for_with_target_and_flags(world: FakeWorld, client: BlockingClient) -> None:
    client.call("PauseNode", full_access=True, node="node1")
    assert (world.paused, world.drains) == ({NODE1}, {})
    client.call("PauseNode", full_access=True, node="NODE1", drain=True, target="node2", flags=5)
    assert world.drains == {NODE1: (NODE2, REMAIN | NodePauseFlags.RETRY_DRAIN_ON_FAILURE)}
    client.call("ResumeNode", full_access=True, node="node1", failback=1)
    assert world.resumed == {NODE1: NodeResumeFailbackType.FAIL_BACK_IMMEDIATELY}


@pytest.mark.parametrize(
    ("operation", "inputs", "status", "says"),
    [
        ("PauseNode", {"target": "node2"}, 87, "a target is for a drain"),
        ("PauseNode", {"drain": True, "flags": 8}, 87, "flags 0x8 hold bits that mean nothing here"),
        ("PauseNode", {"drain": True, "target": "node9"}, 5042, "node9"),
        ("ResumeNode", {"failback": 3}, 87, "3 is no CLUSTER_NODE_RESUME_FAILBACK_TYPE"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_changes(
    unchanged: FakeWorld,
    operation: str,
    inputs: Mapping[str, FieldValue],
    status: int,
    says: str,
) -> None:
    client = BlockingClient.at(str(unchanged.directory))
    with pytest.raises(CallerError, match=says) as refused:
        client.call(operation, full_access=True, node="node1", **inputs)
    assert refused.value.status == status
    assert (unchanged.paused, unchanged.drains, unchanged.resumed) == (set(), {}, {})


def test_the_functions_of_clusapi(world: FakeWorld, tmp_path: Path) -> None:
    cluster = capi.OpenCluster(str(tmp_path))
    one, two = capi.OpenClusterNode(cluster, "node1"), capi.OpenClusterNode(cluster, "node2")
    assert capi.PauseClusterNodeEx(one, False) == 0
    assert world.drains == {}
    assert capi.PauseClusterNodeEx(one, True, int(REMAIN), two) == 0
    assert world.drains == {NODE1: (NODE2, REMAIN)}
    assert capi.PauseClusterNodeEx(one, True, 0, cluster) == 6
    assert capi.ResumeClusterNodeEx(one, 2, 1) == 87
    assert capi.ResumeClusterNodeEx(one, 2) == 0
    assert world.resumed == {NODE1: NodeResumeFailbackType.FAIL_BACK_PER_POLICY}


# --- what is shown -------------------------------------------------------------------------------------------------


def set_drain(world: FakeWorld, stage: str, sentence: str = "", **more: object) -> None:
    status = {"draining": NodeDrainStatus.IN_PROGRESS, "failed": NodeDrainStatus.FAILED}
    record = DrainRecord("d", 1.0, stage, sentence=sentence, **more)  # type: ignore[arg-type]

    def write(expected: int) -> object:
        return lambda database: database.moves.commit(
            drains=(DrainWrite(NODE1, record, expected, status.get(stage, NodeDrainStatus.COMPLETED)),)
        )

    known = on(world, lambda database: database.snapshot()).drains.get(NODE1)
    assert on(world, write(0 if known is None else known.revision))  # type: ignore[arg-type]


def test_a_node_tells_how_its_drain_stands(
    world: FakeWorld, client: BlockingClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert node(client, "node1")["drain"] == {}
    group = next(iter(on(world, lambda database: database.snapshot()).groups.values()))
    set_drain(world, "draining", total=4, troubles={group.id: TroubleNote(1, 4, "the link was lost", 9.0)})
    drain = json_object(node(client, "node1"), "drain")
    assert (drain["stage"], drain["status"], drain["total"], drain["moved"]) == ("draining", 1, 4, 0)
    assert "node1 is being drained: 0 moved" in json_text(drain, "sentence")
    assert run(["status"]) == 0
    page = capsys.readouterr().out
    assert "node1 is being drained: 0 moved" in page
    assert "the link was lost" in page
    set_drain(world, "failed", "node1 is not drained: web1 stays")
    assert run(["status"]) == 0
    assert "node1 is not drained: web1 stays" in capsys.readouterr().out


def test_a_group_that_waits_in_the_queue_shows_it(world: FakeWorld, client: BlockingClient) -> None:
    snapshot = on(world, lambda database: database.snapshot())
    group = next(group for group in snapshot.groups.values() if snapshot.owner_of(group.id) == NODE1)

    def shown() -> str:
        groups = client.call("ListGroups").objects("groups")
        return next(json_text(one, "status_information") for one in groups if json_text(one, "id") == group.id)

    assert shown() == "0"
    waiting = MoveRecord(NODE1, "drain", 1.0, 4, "waiting", drain="d")
    revision = on(world, lambda database: database.moves.commit((MoveWrite(group.id, waiting, 0),)))
    assert shown() == "4"
    stale = MoveRecord(NodeId("3"), "drain", 1.0, 4, "waiting", drain="d")
    revision = on(world, lambda database: database.moves.commit((MoveWrite(group.id, stale, revision),)))
    assert shown() == "0", "the entry is of an owner that has it no more"
    begun = MoveRecord(NODE1, "drain", 1.0, 4, "begun", NODE2, 2.0, drain="d")
    assert on(world, lambda database: database.moves.commit((MoveWrite(group.id, begun, revision),)))
    assert shown() == "0"


# --- the command line ----------------------------------------------------------------------------------------------


def test_the_commands(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["node", "drain", "node1", "--target", "node2"]) == 0
    assert capsys.readouterr().out == "node1 is being drained\n"
    assert world.drains == {NODE1: (NODE2, REMAIN)}
    assert run(["node", "drain", "node1", "--force", "--retry"]) == 0
    assert world.drains == {NODE1: (None, NodePauseFlags.RETRY_DRAIN_ON_FAILURE)}
    capsys.readouterr()
    assert run(["node", "resume", "node1", "--failback"]) == 0
    assert capsys.readouterr().out == "node1 takes virtual machines again, and what was drained from it comes back\n"
    assert world.resumed == {NODE1: NodeResumeFailbackType.FAIL_BACK_IMMEDIATELY}
    assert run(["node", "resume", "node1", "--failback", "--by-policy"]) == 2


@pytest.mark.parametrize(
    ("stage", "code", "says"),
    [("completed", 0, "node1 is drained"), ("failed", 1, "node1 is not drained: web1 stays")],
)
def test_waiting_for_a_drain(
    world: FakeWorld, capsys: pytest.CaptureFixture[str], stage: str, code: int, says: str
) -> None:
    set_drain(world, stage, says)
    assert run(["node", "drain", "node1", "--wait"]) == code
    assert capsys.readouterr().out == f"{says}\n"
    world.paused.clear()


def test_a_node_that_is_resumed_meanwhile_was_not_drained(world: FakeWorld, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["node", "drain", "node1", "--wait"]) == 1
    assert capsys.readouterr().out == "node1 was resumed before it was drained\n"
