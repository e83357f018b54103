"""C-shaped functions on group sets, resource types, quorum and the order of networks."""

from collections.abc import Iterator

import pytest
from tests.unit.server.fake import running_fake_cluster
from tests.unit.server.networks import make_networks

from quorate.client import functions as capi
from quorate.clusapi.property_lists import parse_multi_sz


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[capi.ClusterHandle]:
    with running_fake_cluster(tmp_path_factory.mktemp("functions"), 2) as world:
        make_networks(world)
        yield capi.OpenCluster(str(world.directory))


def test_group_sets(cluster: capi.ClusterHandle) -> None:
    web, db = (capi.CreateClusterGroup(cluster, name) for name in ("web", "db"))
    front, back = (capi.CreateClusterGroupSet(cluster, name) for name in ("front", "back"))
    assert capi.ClusterAddGroupToGroupSet(front, web) == 0
    assert capi.ClusterAddGroupToGroupSetWithDomains(back, db, 1, 2) == 0
    assert capi.ClusterAddGroupToGroupSet(back, web) == 5011
    assert capi.AddClusterGroupSetDependency(front, back) == 0
    assert capi.AddClusterGroupSetDependency(back, front) == 1059
    status, output, _ = capi.ClusterGroupSetControl(front, None, capi.CLUSCTL_GROUPSET_GET_PROVIDER_GROUPSETS)
    assert (status, parse_multi_sz(output)) == (0, ("back",))
    assert capi.RemoveClusterGroupSetDependency(front, back) == 0
    assert capi.SetClusterGroupSetDependencyExpression(front, "[back]") == 0
    assert capi.SetClusterGroupSetDependencyExpression(front, None) == 0
    assert capi.AddClusterGroupDependency(web, db) == 0
    assert capi.RemoveClusterGroupDependency(web, db) == 0
    assert capi.SetGroupDependencyExpression(web, "[db]") == capi.SetGroupDependencyExpression(web, None) == 0
    assert capi.AddClusterGroupToGroupSetDependency(web, back) == 0
    assert capi.RemoveClusterGroupToGroupSetDependency(web, back) == 0
    assert capi.RemoveClusterGroupToGroupSetDependency(web, web) == 6
    assert capi.ClusterRemoveGroupFromGroupSet(web) == 0
    assert capi.ClusterRemoveGroupFromGroupSet(web) == 5992
    assert capi.DeleteClusterGroupSet(capi.OpenClusterGroupSet(cluster, "FRONT")) == 0
    assert capi.CloseClusterGroupSet(front) is True
    assert capi.DeleteClusterGroupSet(front) == 6


def test_resource_types_and_what_is_rare(cluster: capi.ClusterHandle) -> None:
    assert capi.CreateClusterResourceType(cluster, "Strange", "", "x.dll", 5000, 60_000) == 0
    assert capi.CreateClusterResourceType(cluster, "Strange", "", "x.dll", 5000, 60_000) == 183
    group = capi.CreateClusterGroup(cluster, "g")
    it = capi.CreateClusterResource(group, "it", "Strange", 0)
    enum = capi.ClusterResourceTypeOpenEnum(cluster, "Strange", capi.CLUSTER_RESOURCE_TYPE_ENUM_ALL)
    assert [capi.ClusterEnum(enum, index)[2] for index in range(3)] == ["node1", "node2", "it"]
    assert capi.RestartClusterResource(it) == 5004
    assert capi.OnlineClusterResource(it) == capi.RestartClusterResource(it) == 0
    assert capi.GetClusterResourceNetworkName(it) == (False, "")
    assert capi.GetLastError() == 5002
    assert capi.DestroyClusterGroup(group) == 5019
    assert capi.DeleteClusterResourceType(cluster, "Strange") == 145
    assert capi.OfflineClusterResource(it) == capi.DestroyClusterGroup(group) == 0
    assert capi.DeleteClusterResourceType(cluster, "Strange") == 0


def test_quorum_and_the_order_of_networks(cluster: capi.ClusterHandle) -> None:
    assert capi.GetClusterQuorumResource(cluster) == (0, "", "", 0)
    name = capi.OpenClusterResource(cluster, "Cluster Name")
    assert capi.SetClusterQuorumResource(name, None, 0) == 5021
    networks = [capi.OpenClusterNetwork(cluster, f"Cluster Network {number}") for number in (2, 1)]
    assert capi.SetClusterNetworkPriorityOrder(cluster, networks) == 0
    assert capi.SetClusterNetworkPriorityOrder(cluster, networks[:1]) == 87
    assert capi.SetClusterNetworkPriorityOrder(cluster, [name]) == 6
