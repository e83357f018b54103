"""Waiting inside a call: for the state, for an end that is another one, and not for ever."""

import asyncio
from collections.abc import Sequence

import pytest

from quorate.clusapi.errors import RefusalError
from quorate.clusapi.operation_values import Values
from quorate.clusapi.states import GroupState, ResourceState
from quorate.clusapi.status import Status
from quorate.server.mscmrp import settling
from quorate.server.mscmrp.access import GrantedAccess
from quorate.server.mscmrp.handles import OpenGroup, OpenResource
from quorate.server.mscmrp.settling import settled_group, settled_resource

RESOURCE = OpenResource(GrantedAccess.ALL, "r", "a resource")
GROUP = OpenGroup(GrantedAccess.ALL, "g", "a group")
PENDING = int(ResourceState.ONLINE_PENDING)


class Asked:
    """A call to which one state after the other is told; the last one again and again."""

    def __init__(self, states: Sequence[int]) -> None:
        self._states = list(states)
        self.asked = 0

    async def ask(self, operation: str, inputs: object, through: object) -> Values:
        self.asked += 1
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        if state < 0:
            raise RefusalError(Status.ERROR_CLUSTER_NODE_DOWN, "its owner is down")
        return Values({"state": state})


def resource(states: Sequence[int], status: int = 997, wanted: ResourceState = ResourceState.ONLINE) -> tuple[int, int]:
    """The status that it settles at, and how often the state was asked for."""
    call = Asked(states)
    settled = asyncio.run(settled_resource(call, RESOURCE, status, wanted))  # type: ignore[arg-type]
    return settled, call.asked


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "_PACE", 0.001)


def test_what_is_not_under_way_is_not_waited_for() -> None:
    assert resource([PENDING], status=0) == (0, 0)
    assert resource([PENDING], status=5023) == (5023, 0)


def test_it_is_waited_for_as_long_as_it_is_under_way() -> None:
    assert resource([PENDING, ResourceState.INITIALIZING, PENDING, ResourceState.ONLINE]) == (0, 4)
    offline = [ResourceState.OFFLINE_PENDING, ResourceState.OFFLINE]
    assert resource(offline, wanted=ResourceState.OFFLINE) == (0, 2)


def test_an_end_that_is_another_one_is_a_failure() -> None:
    assert resource([PENDING, ResourceState.FAILED]) == (5038, 2)
    assert resource([PENDING, ResourceState.OFFLINE]) == (5038, 2)


def test_what_was_accepted_stays_so_when_nobody_can_tell_how_it_is() -> None:
    assert resource([PENDING, -1]) == (997, 2)


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "PATIENCE", 0.02)
    assert resource([PENDING])[0] == 997


def test_groups_settle_alike() -> None:
    call = Asked([GroupState.PENDING, GroupState.PENDING, GroupState.ONLINE])
    settled = asyncio.run(settled_group(call, GROUP, 997, GroupState.ONLINE))  # type: ignore[arg-type]
    assert (settled, call.asked) == (0, 3)
