"""The operations on fencing, on a cluster whose nodes are fakes; the agent is a real program."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.unit.server.agents import FakeAgent
from tests.unit.server.fake import FakeWorld, running_fake_cluster
from tests.unit.server.test_members import NODE1, NODE2, dump, on, refused, take_down

from quorate.client.blocking import BlockingClient
from quorate.clusapi.control_codes import CLUSCTL_NODE_GET_PRIVATE_PROPERTIES
from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.contract import Delete, Put
from quorate.database.records import Lease
from quorate.database.values import RegistryValue

SECRET = "open sesame"
OPTIONS: JsonObject = {"ip": "10.0.0.9", "plug": "2", "password": SECRET}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 3) as world:
        yield world


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeWorld]:
    """A cluster for all who are refused: none of them changes anything."""
    with running_fake_cluster(tmp_path_factory.mktemp("fencing"), 3) as world:
        FakeAgent(world.directory / "agents")
        yield world


@pytest.fixture
def client(world: FakeWorld, tmp_path: Path) -> BlockingClient:
    return BlockingClient.at(str(tmp_path))


@pytest.fixture
def agent(world: FakeWorld) -> FakeAgent:
    return FakeAgent(world.directory / "agents")


def test_an_agent_is_kept_with_its_secrets_and_shown_without(
    world: FakeWorld, client: BlockingClient, agent: FakeAgent
) -> None:
    client.call("SetNodeFenceAgent", node="NODE2", agent=agent.NAME, options=OPTIONS, timeout=7)
    assert SECRET.encode() in dump(world)[keys.fence(NODE2)]
    shown = client.call("GetNodeFenceAgents", node="node2").objects("agents")
    options = ["ip", "password", "plug"]
    assert shown == ({"level": 1, "agent": "fence_fake", "action": "off", "timeout": 7, "options": options},)
    events = client.call("GetEvents", limit=50).as_json()
    assert "node2 is switched off by fence_fake (ip, password, plug), level 1" in json.dumps(events)
    assert SECRET not in json.dumps(events)
    answer = client.call("NodeControl", node="node2", control_code=CLUSCTL_NODE_GET_PRIVATE_PROPERTIES, in_buffer=None)
    assert SECRET.encode("utf-16-le") not in answer.data("output")
    client.call("RemoveNodeFenceAgents", node="node2")
    assert keys.fence(NODE2) not in dump(world)
    assert client.call("GetNodeFenceAgents", node="node2").objects("agents") == ()


def test_agents_are_tried_in_the_order_of_their_levels(client: BlockingClient, agent: FakeAgent) -> None:
    for level, plug in ((1, "a"), (2, "b"), (1, "c")):
        client.call("SetNodeFenceAgent", node="node2", agent=agent.NAME, options={"plug": plug}, level=level)
    client.call("TestNodeFenceAgents", node="node2")
    assert {line for line in agent.told() if line.startswith("plug")} == {"plug=c", "plug=b"}
    client.call("RemoveNodeFenceAgents", node="node2", level=1)
    assert len(client.call("GetNodeFenceAgents", node="node2").objects("agents")) == 1


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"agent": "reboot"}, Status.ERROR_INVALID_PARAMETER, "no name of a fence agent"),
        ({"agent": "fence_../../bin/sh"}, Status.ERROR_INVALID_PARAMETER, "no name of a fence agent"),
        ({"agent": "fence_none"}, Status.ERROR_FILE_NOT_FOUND, "there is no program fence_none in"),
        ({"action": "on"}, Status.ERROR_INVALID_PARAMETER, "'on' is none of off, reboot"),
        ({"timeout": 0}, Status.ERROR_INVALID_PARAMETER, "timeout: 0 is outside 1 to 300 s"),
        ({"timeout": 301}, Status.ERROR_INVALID_PARAMETER, "timeout: 301 is outside"),
        ({"level": 0}, Status.ERROR_INVALID_PARAMETER, "level: 0 is not 1 to 1"),
        ({"level": 2}, Status.ERROR_INVALID_PARAMETER, "level: 2 is not 1 to 1"),
        ({"options": {"plug": 2}}, Status.ERROR_INVALID_PARAMETER, "plug is 2, not a text"),
        ({"options": {"Plug!": "2"}}, Status.ERROR_INVALID_PARAMETER, "no name of an option"),
        ({"options": {"plug": "2\naction=on"}}, Status.ERROR_INVALID_PARAMETER, "cannot be printed"),
        ({"options": {"action": "on"}}, Status.ERROR_INVALID_PARAMETER, "said by the cluster itself"),
        ({"options": {"ssh-path": "/tmp/evil"}}, Status.ERROR_INVALID_PARAMETER, "could make the agent run a program"),
        ({"options": {"passwd_script": "/tmp/evil"}}, Status.ERROR_INVALID_PARAMETER, "could make the agent run"),
        ({"options": {"debug_file": "/etc/shadow"}}, Status.ERROR_INVALID_PARAMETER, "write a file"),
        ({"options": {f"o{number}": "" for number in range(33)}}, Status.ERROR_INVALID_PARAMETER, "there are 33"),
        ({"node": "node9"}, Status.ERROR_CLUSTER_NODE_NOT_FOUND, 'no node "node9"'),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_changed(
    unchanged: FakeWorld, changes: dict[str, object], status: Status, words: str
) -> None:
    client = BlockingClient.at(str(unchanged.directory))
    inputs = {"node": "node2", "agent": FakeAgent.NAME, "options": OPTIONS, **changes}
    error = refused(unchanged, lambda: client.call("SetNodeFenceAgent", **inputs))  # type: ignore[arg-type]
    assert isinstance(error, CallerError)
    assert error.status is status
    assert words in error.sentence
    assert SECRET not in error.sentence


def test_a_node_without_agents_has_none_to_remove_or_to_test(world: FakeWorld, client: BlockingClient) -> None:
    for operation in ("RemoveNodeFenceAgents", "TestNodeFenceAgents"):
        error = refused(world, lambda operation=operation: client.call(operation, node="node2"))  # type: ignore[misc]
        assert error.status is Status.ERROR_NOT_FOUND
        assert "node2 has no fence agent" in error.sentence


@pytest.mark.parametrize(
    ("state", "works", "power", "words"),
    [
        ("on", True, "on", "fence_fake says that it is on"),
        ("off", True, "off", "fence_fake says that it is off"),
        ("broken", False, "unknown", "does not reach its device: ERROR: cannot log in with ***"),
        ("wedged", False, "unknown", "cannot tell whether it is off: ERROR: the relay is stuck"),
        ("slow", False, "unknown", "it did not answer within 1 s"),
    ],
)
def test_a_test_asks_and_switches_nothing(
    client: BlockingClient, agent: FakeAgent, state: str, works: bool, power: str, words: str
) -> None:
    agent.set("2", state)
    patience = 1 if state == "slow" else 60
    client.call("SetNodeFenceAgent", node="node2", agent=agent.NAME, options=OPTIONS, timeout=patience)
    answer = client.call("TestNodeFenceAgents", node="node2", host_node="node3")
    assert answer.text("tested_on") == "node3"
    (result,) = answer.objects("results")
    assert (result["works"], result["power"]) == (works, power)
    assert words in str(result["sentence"])
    assert {line for line in agent.told() if line.startswith("action=")} <= {"action=monitor", "action=status"}
    assert agent.power("2") == state


# --- a person's word -------------------------------------------------------------------------------------------------


def test_a_persons_word_ends_the_lease_of_a_node_that_is_down(world: FakeWorld, client: BlockingClient) -> None:
    take_down(world, NODE2, ended=False)
    client.call("ConfirmNodeOff", node="node2")
    lease = on(world, lambda database: database.get_lease(NODE2))
    assert lease is not None
    assert lease.value.ended
    events = client.call("GetEvents", limit=10).objects("events")
    assert [event["kind"] for event in events][-2:] == ["node.fenced", "node.state"]
    assert "says that node2 is switched off" in str(events[-1]["sentence"])
    before = dump(world)
    client.call("ConfirmNodeOff", node="node2")  # known already
    assert dump(world) == before


def test_nobodys_word_counts_against_the_node_that_answers(world: FakeWorld, client: BlockingClient) -> None:
    take_down(world, NODE1, ended=False)
    error = refused(world, lambda: client.call("ConfirmNodeOff", node="node1"))
    assert isinstance(error, RefusalError)
    assert (error.status, error.sentence) == (
        Status.ERROR_CLUSTER_NODE_UP,
        "node1 is the node that answers you: it is not off",
    )


@contextmanager
def renewing(world: FakeWorld) -> Iterator[None]:
    """Node 2 renews its lease all the time; the node that answers takes it for what it took it for."""
    is_over, lease = threading.Event(), Put(keys.lease(NODE2), Lease("i", 4, 0.2).encode())

    def renew() -> None:
        while not is_over.wait(0.02):
            on(world, lambda database: database.store.transact([], [lease]))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_nobodys_word_counts_against_a_node_that_renews_its_lease(world: FakeWorld, client: BlockingClient) -> None:
    on(world, lambda database: database.set_values("", {"SameSubnetDelay": RegistryValue.dword(400)}))
    take_down(world, NODE2, ended=False)
    world.down.clear()
    with (
        renewing(world),
        pytest.raises(RefusalError, match="node2 has renewed its lease while it was watched: it is not off") as caught,
    ):
        client.call("ConfirmNodeOff", node="node2")
    assert caught.value.status is Status.ERROR_CLUSTER_NODE_UP
    lease = on(world, lambda database: database.get_lease(NODE2))
    assert lease is not None
    assert not lease.value.ended


def test_a_node_that_has_come_back_is_watched_though_it_still_looks_down(
    world: FakeWorld, client: BlockingClient
) -> None:
    on(world, lambda database: database.set_values("", {"SameSubnetDelay": RegistryValue.dword(400)}))
    take_down(world, NODE2, ended=False)
    seen = world.silent_leases[NODE2]
    take_down(world, NODE2, ended=False)  # its first renewal, which the node that answers has not seen
    world.silent_leases[NODE2] = seen
    with (
        renewing(world),
        pytest.raises(RefusalError, match="node2 has renewed its lease while it was watched: it is not off"),
    ):
        client.call("ConfirmNodeOff", node="node2")


def test_a_node_that_was_evicted_ends_nobodys_lease(world: FakeWorld, client: BlockingClient) -> None:
    take_down(world, NODE2, ended=False)
    key = keys.registry_key(keys.node_path(NODE1))
    on(world, lambda database: database.store.transact([], [Delete(key)]))
    error = refused(world, lambda: client.call("ConfirmNodeOff", node="node2"))
    assert error.status is Status.ERROR_CLUSTER_NODE_NOT_MEMBER
