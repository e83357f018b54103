"""Routing between nodes: who answers, who must not, and what happens while a group changes hands."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeWorld, start_fake_cluster, stop_fake_cluster

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import GroupId, NodeId
from quorate.clusapi.json_types import JsonObject, json_int, json_object
from quorate.clusapi.operation_values import Values
from quorate.clusapi.operations import OPERATIONS
from quorate.server.handlers import HANDLERS
from quorate.server.services import CallContext, NodeServices

CONTEXT = CallContext("anna", True, "op-1")


def with_world(test: Callable[[FakeWorld], Awaitable[None]]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            world = await start_fake_cluster(Path(directory), 2)
            try:
                await call(world, "1", "CreateVirtualMachine", name="web1", definition={"memory": 1}, node="1")
                await test(world)
            finally:
                await stop_fake_cluster(world)

    asyncio.run(run())


async def call(world: FakeWorld, asked: str, operation: str, **inputs: object) -> Values:
    values = Values(inputs)  # type: ignore[arg-type]
    return await world.nodes[NodeId(asked)].dispatcher.call(operation, values, CONTEXT)


def test_every_operation_has_a_handler() -> None:
    assert set(HANDLERS) == set(OPERATIONS)


def test_the_fake_node_is_a_node() -> None:
    async def test(world: FakeWorld) -> None:
        node: NodeServices = world.nodes[NodeId("1")]
        assert node.node_name == "node1"

    with_world(test)


@pytest.mark.parametrize(
    ("operation", "inputs", "status"),
    [
        ("OnlineGroup", {"group": "web1"}, 5016),
        ("OnlineResource", {"resource": "Virtual Machine web1"}, 5015),
        ("ResourceControl", {"resource": "Virtual Machine web1", "control_code": 0x01000081}, 5015),
        ("ResourceControl", {"resource": "Virtual Machine web1", "control_code": 0x01600004}, 5023),
    ],
)
def test_a_forwarded_request_is_never_forwarded_again(operation: str, inputs: JsonObject, status: int) -> None:
    async def test(world: FakeWorld) -> None:
        request: JsonObject = {"inputs": inputs, "context": CONTEXT.to_json()}
        answer = await world.nodes[NodeId("2")].dispatcher.serve_forwarded(operation, request)
        assert json_int(json_object(answer, "error"), "status") == status

    with_world(test)


def test_a_request_follows_a_group_that_changes_hands_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(world: FakeWorld) -> None:
        first = world.nodes[NodeId("1")]
        asked = []

        async def gives_it_away(group_id: GroupId) -> bool:
            asked.append(group_id)
            await first.move_group(group_id, NodeId("2"), 0, {}, CONTEXT)  # type: ignore[arg-type]
            return False

        monkeypatch.setattr(first, "wait_attached", gives_it_away)
        assert (await call(world, "2", "GetGroupState", group="web1")).text("node") == "node2"
        assert len(asked) == 1

    with_world(test)


def test_a_request_for_a_named_node_does_not_follow() -> None:
    async def test(world: FakeWorld) -> None:
        with pytest.raises(RefusalError) as caught:
            await call(
                world, "2", "ResourceControl", resource="Virtual Machine web1", control_code=0x01000081, host_node="2"
            )
        assert caught.value.status == 5015

    with_world(test)


def test_the_other_node_hears_who_asked() -> None:
    async def test(world: FakeWorld) -> None:
        heard: list[CallContext] = []
        first = world.nodes[NodeId("1")]
        original = first.move_group

        async def listen(*arguments: object) -> object:
            heard.append(arguments[-1])  # type: ignore[arg-type]
            return await original(*arguments)  # type: ignore[arg-type]

        first.move_group = listen  # type: ignore[method-assign, assignment]
        await call(world, "2", "MoveGroup", group="web1")
        assert [(context.actor, context.operation_id, context.forwarded) for context in heard] == [
            ("anna", "op-1", True)
        ]

    with_world(test)
