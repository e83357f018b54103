"""Resource types, quorum, shared volumes, the order of networks, and the cluster's name: operations."""

from collections.abc import Iterator

import pytest
from tests.unit.server.fake import running_fake_cluster
from tests.unit.server.networks import make_networks

from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.json_types import json_objects
from quorate.clusapi.operation_values import FieldValue
from quorate.clusapi.resource_types import STANDARD_TYPES


@pytest.fixture
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingClient]:
    with running_fake_cluster(tmp_path_factory.mktemp("types"), 2) as world:
        make_networks(world)
        yield BlockingClient.at(str(world.directory))


def refused(client: BlockingClient, operation: str, **inputs: FieldValue) -> tuple[int, str]:
    with pytest.raises(ClusterError) as caught:
        client.call(operation, full_access=True, **inputs)
    return caught.value.status, caught.value.sentence


def types(client: BlockingClient) -> set[object]:
    return {entry["name"] for entry in client.call("CreateEnum", mask=2).objects("entries")}


def test_a_type_is_registered_and_deleted(client: BlockingClient) -> None:
    assert types(client) == {*STANDARD_TYPES}
    client.call("CreateResourceType", name="Strange", display_name="Strange Things", dll_name="strange.dll", is_alive=7)
    assert "Strange" in types(client)
    assert refused(client, "CreateResourceType", name="strange")[0] == 183
    assert refused(client, "CreateResourceType", name="a\\b")[0] == 123
    assert refused(client, "CreateResourceType", name="other", looks_alive=0)[0] == 87
    client.call("CreateGroup", name="g")
    client.call("CreateResource", group="g", name="thing", type="STRANGE")
    entries = client.call("CreateResTypeEnum", type="strange", mask=3).objects("entries")
    assert [(entry["type"], entry["name"]) for entry in entries] == [(1, "node1"), (1, "node2"), (2, "thing")]
    assert client.call("CreateResTypeEnum", type="strange", mask=0xF0).objects("entries") == ()
    assert refused(client, "DeleteResourceType", type="Strange") == (
        145,
        '1 resources are of the type "Strange" ("thing"): delete them first',
    )
    client.call("DeleteResource", resource="thing")
    client.call("DeleteResourceType", type="Strange")
    assert "Strange" not in types(client)
    assert refused(client, "DeleteResourceType", type="Strange")[0] == 5078
    assert refused(client, "CreateResTypeEnum", type="Strange", mask=3)[0] == 5078


def test_what_every_cluster_has_stays(client: BlockingClient) -> None:
    assert refused(client, "DeleteResourceType", type="physical disk")[0] == 5026
    assert refused(client, "DeleteResource", resource="Cluster Name")[0] == 5026
    assert refused(client, "DeleteGroup", group="Cluster Group", force=True)[0] == 5026


@pytest.mark.parametrize("type_", [one.name for one in STANDARD_TYPES.values() if one.refusal])
def test_no_resource_is_made_of_a_type_that_has_no_meaning_here(client: BlockingClient, type_: str) -> None:
    client.call("CreateGroup", name="g")
    status, sentence = refused(client, "CreateResource", group="g", name="it", type=type_.lower())
    assert (status, STANDARD_TYPES[type_].refusal in sentence) == (5079, True)
    nodes = client.call("CreateResTypeEnum", type=type_, mask=1).objects("entries")
    assert len(nodes) == (2 if type_ == "Network Name" else 0)


def test_the_quorum_is_the_databases(client: BlockingClient) -> None:
    found = client.call("GetQuorumResource")
    assert (found.text("resource"), found.text("device"), found.number("max_log_size")) == ("", "", 0)
    wanted: dict[str, FieldValue] = {"device": "Q:", "max_log_size": 0}
    assert refused(client, "SetQuorumResource", resource="Cluster Name", **wanted)[0] == 5021
    assert refused(client, "SetQuorumResource", resource="nothing", **wanted)[0] == 5007


def test_no_resource_is_a_shared_volume(client: BlockingClient) -> None:
    assert refused(client, "ChangeCsvState", resource="Cluster Name", state=1)[0] == 5964
    assert refused(client, "ChangeCsvState", resource="Cluster Name", state=2)[0] == 87
    assert refused(client, "ChangeCsvState", resource="nothing", state=1)[0] == 5007


def test_a_network_name_is_found_among_what_a_resource_depends_on(client: BlockingClient) -> None:
    for name in ("low", "high"):
        client.call("CreateResource", group="Cluster Group", name=name, type="Generic Script")
    client.call("AddResourceDependency", resource="high", depends_on="low")
    assert refused(client, "GetResourceNetworkName", resource="high")[0] == 5002
    client.call("AddResourceDependency", resource="low", depends_on="Cluster Name")
    assert client.call("GetResourceNetworkName", resource="high").text("name") == "pocket"
    client.call("SetClusterName", name="prod")
    assert client.call("GetResourceNetworkName", resource="low").text("name") == "prod"


def test_networks_are_put_in_order(client: BlockingClient) -> None:
    def order() -> list[object]:
        return [entry["name"] for entry in client.call("CreateEnum", mask=0x80000000).objects("entries")]

    first, second = order()
    client.call("SetNetworkPriorityOrder", networks=(str(first), str(second)))  # as it is: nothing changes
    networks = client.call("ListNetworks").objects("networks")
    assert [network["auto_metric"] for network in networks] == [True, True]
    client.call("SetNetworkPriorityOrder", networks=(str(second), str(first)))
    assert order() == [second, first]
    networks = client.call("ListNetworks").objects("networks")
    assert [network["auto_metric"] for network in networks] == [False, False]
    assert refused(client, "SetNetworkPriorityOrder", networks=(str(first),))[0] == 87
    assert refused(client, "SetNetworkPriorityOrder", networks=(str(first), str(first)))[0] == 87
    assert refused(client, "SetNetworkPriorityOrder", networks=(str(first), "nowhere"))[0] == 5045


@pytest.mark.parametrize("mask", [0, 0x40, 0x43])
def test_a_mask_with_a_bit_that_is_no_kind_is_refused(client: BlockingClient, mask: int) -> None:
    assert refused(client, "CreateEnum", mask=mask)[0] == 87


def test_the_clusters_name_is_a_resource_of_its_group(client: BlockingClient) -> None:
    groups = {group["name"]: group for group in client.call("ListGroups").objects("groups")}
    assert [resource["name"] for resource in json_objects(groups["Cluster Group"], "resources")] == ["Cluster Name"]
    assert client.call("GetResourceId", resource="cluster name").text("type") == "Network Name"
