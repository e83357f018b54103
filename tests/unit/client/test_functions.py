"""The C-shaped functions against real sockets."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster
from tests.waiting import wait_until

from quorate.client import functions as capi
from quorate.client.functions import (
    CLUSAPI_ALL_ACCESS,
    CLUSAPI_READ_ACCESS,
    CLUSCTL_GROUP_GET_NAME,
    CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION,
    CLUSCTL_RESOURCE_VM_START_MIGRATION,
    ClusterError,
)

TO_NODE2 = "node2\0".encode("utf-16-le")
START = CLUSCTL_RESOURCE_VM_START_MIGRATION


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 2) as world:
        monkeypatch.setenv("QUORATE_CLUSTER", str(tmp_path))
        yield world


@pytest.fixture
def cluster(world: FakeWorld) -> capi.ClusterHandle:
    cluster = capi.OpenCluster(None)
    cluster.call("CreateVirtualMachine", name="web1", definition={"memory": "64M"}, node="node1")
    cluster.call("OnlineGroup", group="web1", flags=2)
    return cluster


def test_a_migration_as_a_c_program_does_it(world: FakeWorld, cluster: capi.ClusterHandle) -> None:
    world.pace = 60.0  # it is cancelled before it is over, however busy the machine is
    resource = capi.OpenClusterResource(cluster, "Virtual Machine web1")
    assert capi.GetClusterResourceState(resource) == (capi.ClusterResourceOnline, "node1", "web1")
    assert capi.ClusterResourceControl(resource, None, START, TO_NODE2) == (0, b"", 0)
    assert capi.ClusterResourceControl(resource, None, CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION)[0] == 0
    world.pace = 0.01
    wait_until(lambda: capi.ClusterResourceControl(resource, None, START, TO_NODE2)[0] == 0)
    wait_until(lambda: capi.GetClusterResourceState(resource)[1] == "node2")
    assert capi.CloseClusterResource(resource) is True
    assert capi.CloseCluster(cluster) is True


def test_closed_and_wrong_handles_are_6(cluster: capi.ClusterHandle) -> None:
    resource = capi.OpenClusterResource(cluster, "Virtual Machine web1")
    group = capi.OpenClusterGroup(cluster, "web1")
    node = capi.OpenClusterNode(cluster, "node1")
    capi.CloseClusterResource(resource)
    for wrong in (resource, cluster, group, node, None, 0, "web1"):
        assert capi.ClusterResourceControl(wrong, None, START, TO_NODE2) == (6, b"", 0)
        assert capi.OnlineClusterResource(wrong) == 6
        assert capi.GetClusterResourceState(wrong) == (-1, "", "")
        assert capi.GetLastError() == 6
        assert capi.CloseClusterResource(wrong) is False
    good = capi.OpenClusterResource(cluster, "Virtual Machine web1")
    assert capi.ClusterResourceControl(good, group, START, TO_NODE2)[0] == 6  # the host node is no node
    assert capi.MoveClusterGroup(group, good) == 6
    assert capi.MoveClusterGroup(good) == 6
    assert capi.GetClusterNodeState(group) == -1
    assert capi.GetClusterNodeId(None) == (6, "")
    assert capi.ClusterEnum(cluster, 0) == (6, 0, "")
    with pytest.raises(ClusterError) as caught:
        capi.OpenClusterResource(resource, "Virtual Machine web1")
    assert caught.value.status == 6
    capi.CloseCluster(cluster)
    with pytest.raises(ClusterError):
        capi.OpenClusterResource(cluster, "Virtual Machine web1")
    assert capi.GetClusterResourceState(good)[0] == capi.ClusterResourceOnline  # children live on


def test_read_access_is_5_for_what_modifies(cluster: capi.ClusterHandle) -> None:
    reading = capi.OpenClusterEx(None, CLUSAPI_READ_ACCESS)
    handles = [
        capi.OpenClusterResourceEx(cluster, "Virtual Machine web1", CLUSAPI_READ_ACCESS),
        capi.OpenClusterResource(reading, "Virtual Machine web1"),
        capi.OpenClusterResourceEx(reading, "Virtual Machine web1", CLUSAPI_ALL_ACCESS),
    ]
    for handle in handles:
        assert handle.granted_access == CLUSAPI_READ_ACCESS
        assert capi.ClusterResourceControl(handle, None, START, TO_NODE2)[0] == 5
        assert capi.ClusterResourceControl(handle, None, capi.CLUSCTL_RESOURCE_GET_NAME)[0] == 0
        assert capi.OfflineClusterResource(handle) == 5
    full = capi.OpenClusterResource(cluster, "Virtual Machine web1")
    node = capi.OpenClusterNodeEx(cluster, "node1", CLUSAPI_READ_ACCESS)
    assert capi.ClusterResourceControl(full, node, START, TO_NODE2)[0] == 5
    assert capi.PauseClusterNode(node) == 5
    assert capi.MoveClusterGroup(capi.OpenClusterGroupEx(cluster, "web1", CLUSAPI_READ_ACCESS)) == 5
    with pytest.raises(ClusterError) as caught:
        capi.CreateClusterGroup(reading, "spare")
    assert caught.value.status == 5


def test_start_on_a_host_node_that_does_not_host_the_vm_is_5023(cluster: capi.ClusterHandle) -> None:
    resource = capi.OpenClusterResource(cluster, "Virtual Machine web1")
    other = capi.OpenClusterNode(cluster, "node2")
    assert capi.ClusterResourceControl(resource, other, START, TO_NODE2)[0] == 5023


def test_no_buffer_is_not_an_empty_buffer(world: FakeWorld, cluster: capi.ClusterHandle) -> None:
    resource = capi.OpenClusterResource(cluster, "Virtual Machine web1")
    for buffer in (None, b"", bytearray(b"x"), memoryview(b"y")):
        capi.ClusterResourceControl(resource, None, capi.CLUSCTL_RESOURCE_UNKNOWN, buffer)
    assert [data for _, _, _, data in world.controls] == [None, b"", b"x", b"y"]
    assert capi.ClusterResourceControl(resource, None, capi.CLUSCTL_RESOURCE_UNKNOWN, "text")[0] == 87


def test_too_small_a_buffer_is_234_with_the_size_needed(cluster: capi.ClusterHandle) -> None:
    resource = capi.OpenClusterResource(cluster, "Virtual Machine web1")
    code = capi.CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTIES
    assert capi.ClusterResourceControl(resource, None, code, bytes(100), 99) == (234, b"", 100)
    assert capi.ClusterResourceControl(resource, None, code, bytes(100), 100) == (0, bytes(100), 100)


def test_enumerations_end_with_259(cluster: capi.ClusterHandle) -> None:
    enum = capi.ClusterOpenEnum(cluster, capi.CLUSTER_ENUM_NODE | capi.CLUSTER_ENUM_GROUP)
    entries = [capi.ClusterEnum(enum, index) for index in range(capi.ClusterGetEnumCount(enum))]
    assert entries == [(0, 1, "node1"), (0, 1, "node2"), (0, 8, "Cluster Group"), (0, 8, "web1")]
    assert capi.ClusterEnum(enum, 4) == (259, 0, "")
    assert capi.ClusterCloseEnum(enum) == 0
    assert capi.ClusterCloseEnum(enum) == 6
    group = capi.OpenClusterGroup(cluster, "web1")
    of_group = capi.ClusterGroupOpenEnum(group, capi.CLUSTER_GROUP_ENUM_CONTAINS)
    assert capi.ClusterGroupGetEnumCount(of_group) == 2
    assert capi.ClusterEnum(of_group, 0)[0] == 6  # of another kind
    resource = capi.OpenClusterResource(cluster, "Virtual Machine web1")
    depends = capi.ClusterResourceOpenEnum(resource, capi.CLUSTER_RESOURCE_ENUM_DEPENDS)
    assert capi.ClusterResourceEnum(depends, 0) == (0, 1, "Virtual Machine Configuration web1")


def test_groups_and_nodes(cluster: capi.ClusterHandle) -> None:
    group = capi.OpenClusterGroup(cluster, "WEB1")
    assert capi.GetClusterGroupState(group) == (capi.ClusterGroupOnline, "node1")
    assert capi.ClusterGroupControl(group, None, CLUSCTL_GROUP_GET_NAME)[1].decode("utf-16-le") == "web1\0"
    node = capi.OpenClusterNode(cluster, "node2")
    assert capi.GetClusterNodeId(node) == (0, "2")
    assert capi.MoveClusterGroup(group, node) == 997
    assert capi.MoveClusterGroup(group, node) == 0  # there already
    assert capi.PauseClusterNode(node) == 0
    assert capi.GetClusterNodeState(node) == capi.ClusterNodePaused
    assert capi.ResumeClusterNode(node) == 0
    assert capi.ResumeClusterNode(node) == 5058
    assert capi.CancelClusterGroupOperation(group, 0) == 5023
    assert capi.CancelClusterGroupOperation(group, 1) == 87
    assert capi.OfflineClusterGroup(group) == 0
    assert capi.MoveClusterGroupEx(group, None, 0xE, b"rubbish") in (13, 87)
    status, name, info = capi.GetClusterInformation(cluster)
    assert (status, name, info is not None and info.vendor_id) == (0, "pocket", "Quorate")


def test_node_lists(cluster: capi.ClusterHandle) -> None:
    group, resource = capi.OpenClusterGroup(cluster, "web1"), capi.OpenClusterResource(cluster, "Virtual Machine web1")
    node1, node2 = capi.OpenClusterNode(cluster, "node1"), capi.OpenClusterNode(cluster, "node2")

    def preferred() -> list[str]:
        enum = capi.ClusterGroupOpenEnum(group, capi.CLUSTER_GROUP_ENUM_NODES)
        return [capi.ClusterGroupEnum(enum, index)[2] for index in range(capi.ClusterGroupGetEnumCount(enum))]

    def possible() -> list[str]:
        enum = capi.ClusterResourceOpenEnum(resource, capi.CLUSTER_RESOURCE_ENUM_NODES)
        return [capi.ClusterResourceEnum(enum, index)[2] for index in range(capi.ClusterResourceGetEnumCount(enum))]

    assert (preferred(), possible()) == ([], ["node1", "node2"])
    assert capi.SetClusterGroupNodeList(group, [node2, node1]) == 0
    assert preferred() == ["node2", "node1"]
    assert capi.SetClusterGroupNodeList(group, [node2, node2]) == 5011
    assert capi.SetClusterGroupNodeList(group, [node2, group]) == 6
    assert preferred() == ["node2", "node1"]
    assert capi.SetClusterGroupNodeList(group, None) == 0
    assert capi.AddClusterResourceNode(resource, node2) == 5011
    assert capi.RemoveClusterResourceNode(resource, node2) == 0
    assert capi.RemoveClusterResourceNode(resource, node2) == 5042
    assert (preferred(), possible()) == ([], ["node1"])
    assert capi.RemoveClusterResourceNode(resource, node1) == 5071
    assert capi.AddClusterResourceNode(resource, node2) == 0
    assert possible() == ["node1", "node2"]
    assert capi.AddClusterResourceNode(resource, None) == capi.RemoveClusterResourceNode(node1, node2) == 6
    reading = capi.OpenClusterResourceEx(cluster, "Virtual Machine web1", CLUSAPI_READ_ACCESS)
    assert capi.RemoveClusterResourceNode(reading, node2) == 5


def test_groups_and_resources_are_made_and_deleted(cluster: capi.ClusterHandle) -> None:
    group = capi.CreateClusterGroup(cluster, "spare")
    resource = capi.CreateClusterResource(group, "script", "Generic Script")
    assert capi.DeleteClusterGroup(group) == 145
    assert capi.OnlineClusterResource(resource) == 0
    assert capi.DeleteClusterResource(resource) == 5019
    assert capi.OfflineClusterResource(resource) == 0
    assert capi.DeleteClusterResource(resource) == 0
    assert capi.OnlineClusterResource(resource) == 5007
    assert capi.DeleteClusterGroup(group) == 0


def test_dependencies_names_and_groups_are_changed_as_a_c_program_does_it(
    world: FakeWorld, cluster: capi.ClusterHandle
) -> None:
    group, other = capi.CreateClusterGroup(cluster, "scripts"), capi.CreateClusterGroup(cluster, "spare")
    a, b = (capi.CreateClusterResource(group, name, "Generic Script") for name in "ab")
    c = capi.CreateClusterResource(group, "c", "Generic Script", 1)
    with pytest.raises(ClusterError, match="bits that mean nothing"):
        capi.CreateClusterResource(group, "d", "Generic Script", 2)
    far = capi.CreateClusterResource(other, "far", "Generic Script")
    assert capi.CanResourceBeDependent(a, b) is True
    assert capi.AddClusterResourceDependency(a, b) == 0
    assert capi.AddClusterResourceDependency(a, b) == 5003
    assert (capi.AddClusterResourceDependency(b, a), capi.AddClusterResourceDependency(a, a)) == (1059, 87)
    assert capi.AddClusterResourceDependency(a, far) == 87
    assert (capi.CanResourceBeDependent(b, a), capi.GetLastError()) == (False, 1059)
    ids = {"b": b.object_id(), "c": c.object_id()}
    assert capi.GetClusterResourceDependencyExpression(a) == (0, f"[{ids['b']}]")
    assert capi.SetClusterResourceDependencyExpression(a, "[b] or [C]") == 0
    assert capi.GetClusterResourceDependencyExpression(a) == (0, f"[{ids['b']}] or [{ids['c']}]")
    assert capi.SetClusterResourceDependencyExpression(a, "[b] or") == 87
    assert capi.SetClusterResourceDependencyExpression(a, "[nobody]") == 5007
    assert capi.SetClusterResourceDependencyExpression(a, "(" * 9 + "[b]" + ")" * 9) == 5929
    assert capi.OnlineClusterResource(a) == 0
    assert capi.SetClusterResourceDependencyExpression(a, "[b] and [c]") == 5019
    assert capi.OfflineClusterResource(a) == 0
    assert capi.RemoveClusterResourceDependency(a, c) == 0
    assert capi.RemoveClusterResourceDependency(a, c) == 5002
    assert capi.SetClusterResourceDependencyExpression(a, None) == 0
    assert capi.AddClusterResourceDependency(a, b) == 0
    assert capi.ChangeClusterResourceGroup(b, other) == 0
    assert {capi.GetClusterResourceState(item)[2] for item in (a, b)} == {"spare"}
    assert capi.GetClusterResourceState(c)[2] == "scripts"
    assert capi.ChangeClusterResourceGroup(b, other) == 183
    vm = capi.OpenClusterResource(cluster, "Virtual Machine web1")
    assert capi.ChangeClusterResourceGroup(vm, other) == 50
    assert capi.ChangeClusterResourceGroupEx(c, other, 2) == 87
    assert capi.SetClusterResourceName(a, "B") == 5010
    assert capi.SetClusterResourceName(a, "alpha") == capi.SetClusterGroupName(other, "beta") == 0
    assert capi.SetClusterResourceName(a, 7) == 87  # type: ignore[arg-type]
    assert capi.GetClusterResourceState(capi.OpenClusterResource(cluster, "ALPHA"))[2] == "beta"
    reading = capi.OpenClusterResourceEx(cluster, "alpha", CLUSAPI_READ_ACCESS)
    assert capi.RemoveClusterResourceDependency(reading, b) == capi.SetClusterResourceName(reading, "x") == 5
    assert capi.CanResourceBeDependent(reading, group) is False
    assert capi.GetLastError() == 6


def test_without_a_cluster_opening_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORATE_CLUSTER", str(tmp_path / "nothing"))
    with pytest.raises(ClusterError) as caught:
        capi.OpenCluster(None)
    assert caught.value.status == 1722
    assert capi.GetNodeClusterState(None) == (0, capi.ClusterStateNotConfigured)


def test_the_local_node_is_running(world: FakeWorld) -> None:
    assert capi.GetNodeClusterState(None) == (0, capi.ClusterStateRunning)


def test_every_function_of_the_contract_is_there() -> None:
    names = """
    OpenCluster OpenClusterEx CloseCluster OpenClusterNode OpenClusterNodeEx CloseClusterNode OpenClusterGroup
    OpenClusterGroupEx CloseClusterGroup OpenClusterResource OpenClusterResourceEx CloseClusterResource
    ClusterResourceControl ClusterResourceTypeControl ClusterGroupControl ClusterNodeControl ClusterControl
    GetClusterResourceState GetClusterGroupState GetClusterNodeState GetClusterNodeId GetClusterInformation
    GetNodeClusterState OnlineClusterResource OfflineClusterResource OnlineClusterGroup OfflineClusterGroup
    MoveClusterGroup MoveClusterGroupEx CancelClusterGroupOperation PauseClusterNode ResumeClusterNode
    FailClusterResource ClusterOpenEnum ClusterEnum ClusterGetEnumCount ClusterCloseEnum ClusterGroupOpenEnum
    ClusterGroupEnum ClusterGroupCloseEnum CreateClusterGroup DeleteClusterGroup CreateClusterResource
    DeleteClusterResource AddClusterResourceNode RemoveClusterResourceNode SetClusterGroupNodeList
    CLUSCTL_RESOURCE_VM_START_MIGRATION CLUSTER_ENUM_NODE ClusterResourceOnline"""
    assert [name for name in names.split() if not hasattr(capi, name)] == []
