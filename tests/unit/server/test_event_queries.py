"""GetEvents: by moment, sequence, kind, object and node."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster

from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import EventKind, EventRecord
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_values import FieldValue

NOW = datetime.now(UTC)
DEFINITION: JsonObject = {"memory": "64M"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path_factory.mktemp("events"), 2) as world:
        database = world.nodes[NodeId("1")].database
        client = BlockingClient.at(str(world.directory))
        client.call("CreateVirtualMachine", name="web1", definition=DEFINITION, node="node1")
        snapshot = asyncio.run(database.snapshot())
        web1 = snapshot.group("web1")
        story = (
            (EventKind.VM_FAILED, web1.id, "web1", 50, "1"),
            (EventKind.RESOURCE_STATE, web1.resources[1], "Virtual Machine web1", 40, "2"),
            (EventKind.VM_STATE, "7c2e93b0-efbf-4097-8d21-3d324d07b0ea", "gone1", 30, "2"),
            (EventKind.NODE_STATE, "1", "node1", 3, "2"),
            (EventKind.NETWORK_STATE, "net", "LAN", 2, "1"),
        )
        for kind, id_, name, hours, node in story:
            event = EventRecord.of(
                kind,
                time=NOW - timedelta(hours=hours),
                node=NodeId(node),
                object_id=id_,
                object_name=name,
                sentence=f"{name} of old",
            )
            asyncio.run(database.append_events([event]))
        yield world


def told(world: FakeWorld, **inputs: FieldValue) -> list[str]:
    """The names of what the events are about, of those that were made up above."""
    found = BlockingClient.at(str(world.directory)).call("GetEvents", full_access=True, **inputs).objects("events")
    return [str(event["object_name"]) for event in found if str(event["sentence"]).endswith("of old")]


def ago(hours: float) -> str:
    return (NOW - timedelta(hours=hours)).isoformat()


def test_by_moment(world: FakeWorld) -> None:
    assert told(world, since=ago(45)) == ["Virtual Machine web1", "gone1", "node1", "LAN"]
    assert told(world, since=ago(45), until=ago(2.5)) == ["Virtual Machine web1", "gone1", "node1"]
    assert told(world, since=ago(45), until=ago(1), limit=1) == ["Virtual Machine web1"]
    assert told(world, since="2001-01-01", until="2002-01-01") == []
    assert told(world, until=ago(35)) == ["web1", "Virtual Machine web1"]


def test_by_kind(world: FakeWorld) -> None:
    assert told(world, kind="vm.failed", since=ago(99)) == ["web1"]
    assert told(world, kind="vm") == ["web1", "gone1"]
    assert told(world, kind="migration.failed") == []


def test_by_object(world: FakeWorld) -> None:
    assert told(world, object="WEB1") == ["web1", "Virtual Machine web1"]
    assert told(world, object="Virtual Machine web1") == ["Virtual Machine web1"]
    assert told(world, object="gone1") == ["gone1"], "an object that is deleted has a story too"
    assert told(world, object="7C2E93B0-efbf-4097-8d21-3d324d07b0ea") == ["gone1"]
    assert told(world, object="nothing") == []


def test_by_node(world: FakeWorld) -> None:
    assert told(world, node="node1") == ["web1", "node1", "LAN"]
    assert told(world, node="2", kind="vm") == ["gone1"]


@pytest.mark.parametrize(
    ("inputs", "part"),
    [
        ({"since": "yesterday"}, "since: 'yesterday'"),
        ({"until": ""}, "until"),
        ({"kind": "vm.faild"}, "do you mean vm.failed"),
        ({"kind": "zzz"}, "kinds are"),
    ],
)
def test_what_is_not_understood_is_said(world: FakeWorld, inputs: dict[str, FieldValue], part: str) -> None:
    with pytest.raises(ClusterError) as caught:
        told(world, **inputs)
    assert caught.value.status == 87
    assert part in caught.value.sentence


def test_a_node_that_is_not_there_is_5042(world: FakeWorld) -> None:
    with pytest.raises(ClusterError) as caught:
        told(world, node="node9")
    assert caught.value.status == 5042


def test_followed_events_are_sifted_too(world: FakeWorld) -> None:
    client = BlockingClient.at(str(world.directory))
    after = int(str(client.call("GetEvents", limit=1).objects("events")[-1]["sequence"]))
    client.call("CreateVirtualMachine", name="web2", definition=DEFINITION, node="node1")
    client.call("CreateGroup", name="spare")
    stream = client.stream(f"/v1/events?after={after}&kind=group&object=spare")
    assert next(event["object_name"] for kind, event in stream if kind == "event") == "spare"
    stream.close()  # type: ignore[attr-defined]
