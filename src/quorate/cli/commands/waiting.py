"""Waiting until something is no longer pending."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import FaultError
from quorate.clusapi.json_types import JsonObject, JsonValue, json_int, json_object, json_text
from quorate.clusapi.states import GroupState, ResourceState
from quorate.clusapi.status import Status

_LOOK_EVERY: Final = 0.1
_LOOK_AT_DRAIN_EVERY: Final = 0.5


def settled_vm(client: BlockingClient, vm: str, timeout: float) -> JsonObject:
    """The VM once its resource is not pending. Raises FaultError 258 (WAIT_TIMEOUT) after the time."""
    deadline = time.monotonic() + timeout
    while True:
        facts = client.call("GetVirtualMachine", vm=vm).json("virtual_machine")
        if not ResourceState(json_int(facts, "resource_state")).is_pending:
            return facts
        _pause(deadline, f'"{vm}" is still {json_text(facts, "resource_state_name").lower().replace("_", " ")}')


def settled_group(client: BlockingClient, group: str, timeout: float) -> tuple[GroupState, str]:
    """State and owner of a group once it is not pending."""
    deadline = time.monotonic() + timeout
    while True:
        found = client.call("GetGroupState", group=group)
        state = GroupState(found.number("state"))
        if state is not GroupState.PENDING:
            return state, found.text("node")
        _pause(deadline, f'"{group}" is still pending')


def drained_node(
    client: BlockingClient, node: str, timeout: float, tell: Callable[[str], None]
) -> Mapping[str, JsonValue]:
    """The facts of a node's drain once that is over; ``tell`` hears how it goes. Empty when the node was resumed."""
    deadline = time.monotonic() + timeout
    found = client.call("GetNodeId", node=node).text("id")
    told = ""
    while True:
        nodes = client.call("ListNodes").objects("nodes")
        drain = next((json_object(one, "drain") for one in nodes if json_text(one, "id") == found), {})
        if drain.get("stage") != "draining":
            return drain
        sentence = json_text(drain, "sentence")
        if sentence != told:
            tell(sentence)
            told = sentence
        _pause(deadline, sentence, _LOOK_AT_DRAIN_EVERY)


def _pause(deadline: float, sentence: str, every: float = _LOOK_EVERY) -> None:
    if time.monotonic() > deadline:
        raise FaultError(Status.WAIT_TIMEOUT, f"{sentence}; it goes on, only this command stops waiting")
    time.sleep(every)
