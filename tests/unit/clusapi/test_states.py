"""States: the numbers are ClusAPI's, and computed states follow its rules."""

from enum import IntEnum, IntFlag

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.states import (
    LIVE_MIGRATION_MOVE_FLAGS,
    Characteristics,
    ClusterEnum,
    GroupMoveFlags,
    GroupPriority,
    GroupState,
    GroupStatus,
    GroupType,
    MigrationState,
    NetworkInterfaceState,
    NetworkState,
    NodeEnum,
    NodeState,
    NodeStatus,
    OfflineAction,
    ResourceEnum,
    ResourceState,
    ResourceStatus,
    VmResdllContext,
    VmState,
    group_state,
    resource_state_of_vm,
)

FAILED, ONLINE, OFFLINE = ResourceState.FAILED, ResourceState.ONLINE, ResourceState.OFFLINE


@pytest.mark.parametrize(
    ("member", "number"),
    [
        (NodeState.UP, 0),
        (NodeState.DOWN, 1),
        (NodeState.PAUSED, 2),
        (NodeState.JOINING, 3),
        (NodeStatus.AVOID_PLACEMENT, 32),
        (NetworkState.PARTITIONED, 2),
        (NetworkInterfaceState.UNREACHABLE, 2),
        (GroupState.ONLINE, 0),
        (GroupState.PENDING, 4),
        (GroupStatus.WAITING_FOR_DEPENDENCIES, 0x1000),
        (GroupType.VIRTUAL_MACHINE, 111),
        (GroupType.CORE_SDDC, 123),
        (GroupPriority.HIGH, 3000),
        (ResourceState.ONLINE, 2),
        (ResourceState.ONLINE_PENDING, 129),
        (ResourceState.OFFLINE_PENDING, 130),
        (ResourceStatus.OFFLINE_NOT_LOCAL_DISK_OWNER, 0x200),
        (Characteristics.DRAIN_LOCAL_OFFLINE, 0x80000),
        (VmState.RUNNING, 2),
        (VmState.SAVED, 32769),
        (VmState.RESUMING, 32777),
        (MigrationState.FAILURE, 5),
        (OfflineAction.SHUTDOWN_FORCE, 3),
        (VmResdllContext.LIVE_MIGRATION, 4),
        (LIVE_MIGRATION_MOVE_FLAGS, 0xE),
        (GroupMoveFlags.IGNORE_AFFINITY_RULE, 0x20),
        (ClusterEnum.ALL, 0x3F),
        (ClusterEnum.INTERNAL_NETWORK, 0x80000000),
        (NodeEnum.ALL, 3),
        (ResourceEnum.ALL, 7),
    ],
)
def test_a_member_has_the_headers_number(member: IntEnum | IntFlag, number: int) -> None:
    assert member.value == number


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        (NodeState, [-1, 0, 1, 2, 3]),
        (NodeStatus, [1, 2, 4, 8, 16, 32]),
        (NetworkState, [-1, 0, 1, 2, 3]),
        (NetworkInterfaceState, [-1, 0, 1, 2, 3]),
        (GroupState, [-1, 0, 1, 2, 3, 4]),
        (GroupStatus, [1 << bit for bit in range(13)]),
        (GroupType, [1, 2, 3, 4, 5, *range(100, 124), 9999]),
        (ResourceState, [-1, 0, 1, 2, 3, 4, 128, 129, 130]),
        (ResourceStatus, [1 << bit for bit in range(10)]),
        (Characteristics, [1 << bit for bit in range(20)]),
        (VmState, [0, 2, 3, 32768, 32769, 32770, 32773, 32774, 32776, 32777]),
        (MigrationState, [0, 1, 2, 3, 4, 5]),
        (OfflineAction, [0, 1, 2, 3]),
        (VmResdllContext, [0, 1, 2, 3, 4]),
        (GroupMoveFlags, [1, 2, 4, 8, 16, 32]),
    ],
)
def test_an_enumeration_has_exactly_the_headers_numbers(
    kind: type[IntEnum] | type[IntFlag], numbers: list[int]
) -> None:
    assert sorted(member.value for member in kind) == numbers


@pytest.mark.parametrize("kind", [NodeState, NetworkState, NetworkInterfaceState, GroupState, ResourceState])
def test_unknown_is_all_ones_on_the_wire(kind: type[NodeState]) -> None:
    assert kind(0xFFFFFFFF) is kind.UNKNOWN
    assert kind.UNKNOWN.dword == 0xFFFFFFFF
    assert kind.UNKNOWN.value == -1


def test_a_number_that_is_no_state_is_refused() -> None:
    with pytest.raises(ValueError, match="77 is not a valid NodeState"):
        NodeState(77)


@pytest.mark.parametrize(
    ("resources", "state"),
    [
        ([], GroupState.OFFLINE),
        ([ONLINE], GroupState.ONLINE),
        ([ONLINE, ONLINE], GroupState.ONLINE),
        ([OFFLINE, OFFLINE], GroupState.OFFLINE),
        ([ONLINE, OFFLINE], GroupState.PARTIAL_ONLINE),
        ([ONLINE, ResourceState.ONLINE_PENDING], GroupState.PENDING),
        ([OFFLINE, ResourceState.OFFLINE_PENDING], GroupState.PENDING),
        ([ResourceState.ONLINE_PENDING, FAILED], GroupState.FAILED),
        ([ONLINE, FAILED], GroupState.FAILED),
        ([ResourceState.UNKNOWN], GroupState.OFFLINE),
        ([ONLINE, ResourceState.UNKNOWN], GroupState.PARTIAL_ONLINE),
    ],
)
def test_a_groups_state_follows_from_its_resources(resources: list[ResourceState], state: GroupState) -> None:
    assert group_state(resources) is state


@given(st.lists(st.sampled_from(ResourceState)))
def test_a_groups_state_does_not_depend_on_the_order_of_its_resources(
    resources: list[ResourceState],
) -> None:
    assert group_state(resources) is group_state(sorted(resources)) is group_state(reversed(resources))


@given(st.lists(st.sampled_from(ResourceState)))
def test_a_failed_resource_fails_its_group_whatever_else_is_there(resources: list[ResourceState]) -> None:
    assert group_state([*resources, FAILED]) is GroupState.FAILED


@pytest.mark.parametrize(
    ("vm", "resource"),
    [
        (VmState.UNKNOWN, ResourceState.UNKNOWN),
        (VmState.RUNNING, ONLINE),
        (VmState.PAUSED, ONLINE),
        (VmState.PAUSING, ONLINE),
        (VmState.RESUMING, ONLINE),
        (VmState.OFF, OFFLINE),
        (VmState.SAVED, OFFLINE),
        (VmState.STARTING, ResourceState.ONLINE_PENDING),
        (VmState.SAVING, ResourceState.OFFLINE_PENDING),
        (VmState.STOPPING, ResourceState.OFFLINE_PENDING),
    ],
)
def test_the_cluster_shows_a_vm_as_a_resource_state(vm: VmState, resource: ResourceState) -> None:
    assert resource_state_of_vm(vm) is resource


def test_every_vm_state_has_a_resource_state() -> None:
    assert all(isinstance(resource_state_of_vm(vm), ResourceState) for vm in VmState)


def test_only_the_two_pending_states_are_on_their_way() -> None:
    on_their_way = {state for state in ResourceState if state.is_pending}

    assert on_their_way == {ResourceState.PENDING, ResourceState.ONLINE_PENDING, ResourceState.OFFLINE_PENDING}


def test_a_migration_is_under_way_until_the_group_has_moved_but_cancellable_only_before() -> None:
    assert [state.value for state in MigrationState if state.is_under_way] == [1, 2, 3]
    assert [state.value for state in MigrationState if state.is_cancellable] == [1, 2]
