"""Group sets, and what groups wait for: operations and control codes over the local socket."""

from collections.abc import Iterator

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster

from quorate.client.blocking import BlockingClient
from quorate.clusapi import control_codes as codes
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.json_types import JsonObject
from quorate.clusapi.operation_values import FieldValue
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    pack_property_list,
    parse_multi_sz,
    parse_property_list,
    parse_sz,
)
from quorate.clusapi.states import ResourceState


@pytest.fixture
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path_factory.mktemp("sets"), 2) as world:
        yield world


@pytest.fixture
def client(world: FakeWorld) -> BlockingClient:
    client = BlockingClient.at(str(world.directory))
    for name in ("web", "app", "db"):
        client.call("CreateGroup", name=name)
    for name in ("front", "back"):
        client.call("CreateGroupSet", name=name)
    return client


def sets(client: BlockingClient) -> dict[str, JsonObject]:
    return {str(one["name"]): one for one in client.call("ListGroupSets").objects("group_sets")}


def refused(client: BlockingClient, operation: str, **inputs: FieldValue) -> int:
    with pytest.raises(ClusterError) as caught:
        client.call(operation, full_access=True, **inputs)
    return caught.value.status


def test_sets_come_and_go(client: BlockingClient) -> None:
    id_ = client.call("GetGroupSetId", group_set="FRONT").text("id")
    assert client.call("GetGroupSetId", group_set=id_).text("name") == "front"
    assert refused(client, "CreateGroupSet", name="Back") == 5010
    assert refused(client, "CreateGroupSet", name=" ") == 123
    entries = client.call("CreateGroupSetEnum").objects("entries")
    assert [(one["type"], one["name"]) for one in entries] == [(8, "back"), (8, "front")]
    client.call("DeleteGroupSet", group_set="front")
    assert [*sets(client)] == ["back"]
    assert refused(client, "DeleteGroupSet", group_set="front") == 5992
    client.call("CreateGroupSet", name="front")  # its name is free again
    assert refused(client, "GetGroupSetId", group_set=id_) == 5992


def test_a_group_is_in_one_set_at_most(client: BlockingClient) -> None:
    client.call("AddGroupToGroupSet", group_set="front", group="web", fault_domain=2)
    client.call("AddGroupToGroupSet", group_set="front", group="app")
    assert refused(client, "AddGroupToGroupSet", group_set="back", group="web") == 5011
    client.call("MoveGroupToGroupSet", group_set="back", group="web")
    assert {name: one["groups"] for name, one in sets(client).items()} == {"front": ["app"], "back": ["web"]}
    client.call("RemoveGroupFromGroupSet", group="web")
    assert refused(client, "RemoveGroupFromGroupSet", group="web") == 5992
    assert refused(client, "AddGroupToGroupSet", group_set="front", group="nobody") == 5013
    assert refused(client, "AddGroupToGroupSet", group_set="nowhere", group="db") == 5992
    got = client.call("GroupControl", group="web", control_code=codes.CLUSCTL_GROUP_GET_COMMON_PROPERTIES)
    values = {item.name: item.value for item in parse_property_list(got.data("output"))}
    assert values["FaultDomain"] == 2
    client.call("DeleteGroup", group="app")
    assert sets(client)["front"]["groups"] == []


def test_sets_wait_for_sets(client: BlockingClient) -> None:
    client.call("AddGroupSetDependency", group_set="front", provider_set="back")
    assert sets(client)["front"]["depends_on"] == "[back]"
    assert refused(client, "AddGroupSetDependency", group_set="front", provider_set="back") == 5003
    assert refused(client, "AddGroupSetDependency", group_set="back", provider_set="front") == 1059
    assert refused(client, "SetGroupSetDependencyExpression", group_set="back", expression="[back]") == 1059
    assert refused(client, "SetGroupSetDependencyExpression", group_set="back", expression="[back") == 87
    assert refused(client, "SetGroupSetDependencyExpression", group_set="back", expression="[nowhere]") == 5992
    assert refused(client, "DeleteGroupSet", group_set="back") == 5001
    client.call("RemoveGroupSetDependency", group_set="front", provider_set="back")
    assert refused(client, "RemoveGroupSetDependency", group_set="front", provider_set="back") == 5002
    client.call("CreateGroupSet", name="third")
    client.call("SetGroupSetDependencyExpression", group_set="front", expression="[back] or [third]")
    assert sets(client)["front"]["depends_on"] == "[back] or [third]"
    client.call("SetGroupSetDependencyExpression", group_set="front", expression="")
    client.call("DeleteGroupSet", group_set="back")


def test_groups_wait_for_groups_and_sets(client: BlockingClient) -> None:
    client.call("AddGroupDependency", group="web", depends_on="app")
    assert refused(client, "AddGroupDependency", group="web", depends_on="app") == 5003
    assert refused(client, "AddGroupDependency", group="app", depends_on="web") == 1059
    client.call("SetGroupDependencyExpression", group="web", expression="[app] or [db]")
    client.call("AddGroupToGroupSetDependency", group="web", provider_set="back")
    assert refused(client, "AddGroupToGroupSetDependency", group="web", provider_set="back") == 5003
    assert refused(client, "AddGroupToGroupSet", group_set="back", group="web") == 1059
    answers = [
        parse_multi_sz(client.call("GroupControl", group="web", control_code=code).data("output"))
        for code in (codes.CLUSCTL_GROUP_GET_PROVIDER_GROUPS, codes.CLUSCTL_GROUP_GET_PROVIDER_GROUPSETS)
    ]
    assert answers == [("app", "db"), ("back",)]
    assert refused(client, "DeleteGroupSet", group_set="back") == 5001
    client.call("RemoveGroupToGroupSetDependency", group="web", provider_set="back")
    assert refused(client, "RemoveGroupToGroupSetDependency", group="web", provider_set="back") == 5002
    client.call("RemoveGroupDependency", group="web", depends_on="app")
    assert refused(client, "RemoveGroupDependency", group="web", depends_on="app") == 5002
    left = client.call("GroupControl", group="web", control_code=codes.CLUSCTL_GROUP_GET_PROVIDER_GROUPS)
    assert parse_multi_sz(left.data("output")) == ("db",)


def test_control_codes_of_sets(client: BlockingClient, world: FakeWorld) -> None:
    client.call("AddGroupToGroupSet", group_set="front", group="web")
    client.call("AddGroupSetDependency", group_set="front", provider_set="back")

    def ask(code: int, data: bytes | None = None) -> bytes:
        answer = client.call("GroupSetControl", group_set="front", control_code=code, in_buffer=data)
        assert answer.number("status") == 0, answer.optional_text("sentence")
        return answer.data("output")

    assert len(parse_sz(ask(codes.CLUSCTL_GROUPSET_GET_ID))) == 36
    assert parse_multi_sz(ask(codes.CLUSCTL_GROUPSET_GET_GROUPS)) == ("web",)
    assert parse_multi_sz(ask(codes.CLUSCTL_GROUPSET_GET_PROVIDER_GROUPSETS)) == ("back",)
    assert parse_multi_sz(ask(codes.CLUSCTL_GROUPSET_GET_PROVIDER_GROUPS)) == ()
    change = pack_property_list(PropertyList.of([("ReadyCount", PropertyFormat.DWORD, 1)]))
    ask(codes.CLUSCTL_GROUPSET_SET_COMMON_PROPERTIES, change)
    values = {item.name: item.value for item in parse_property_list(ask(codes.CLUSCTL_GROUPSET_GET_COMMON_PROPERTIES))}
    assert (values["ReadyCount"], values["ReadySetting"]) == (1, 2)
    assert "Groups" not in values
    fixed = {
        item.name: item.value for item in parse_property_list(ask(codes.CLUSCTL_GROUPSET_GET_RO_COMMON_PROPERTIES))
    }
    assert fixed == {"Name": "front", "StatusInformation": 0}
    unknown = client.call("GroupSetControl", group_set="front", control_code=codes.CLUSCTL_GROUP_GET_ID)
    assert unknown.number("status") == 1
    assert refused(client, "GroupSetControl", group_set="nowhere", control_code=codes.CLUSCTL_GROUPSET_GET_ID) == 5992


def test_each_change_is_told(client: BlockingClient) -> None:
    client.call("AddGroupToGroupSet", group_set="front", group="web")
    client.call("AddGroupDependency", group="web", depends_on="db")
    events = client.call("GetEvents", limit=2).objects("events")
    assert [(event["kind"], event["sentence"]) for event in events] == [
        ("group_set.property", '"web" was put into the group set "front"'),
        ("group.property", '"web" waits for [db]'),
    ]


def test_a_group_goes_by_force_with_all_that_it_holds(client: BlockingClient, world: FakeWorld) -> None:
    client.call("CreateResource", group="web", name="script", type="Generic Script")
    client.call("OnlineResource", resource="script")
    assert refused(client, "DeleteGroup", group="web") == 145
    assert refused(client, "DeleteGroup", group="web", force=True) == 5019
    client.call("OfflineResource", resource="script")
    client.call("DeleteGroup", group="web", force=True)
    assert refused(client, "GetGroupId", group="web") == 5013
    assert refused(client, "GetResourceId", resource="script") == 5007


def test_what_depends_on_a_resource_is_restarted_with_it(client: BlockingClient, world: FakeWorld) -> None:
    for name in ("lower", "upper"):
        client.call("CreateResource", group="web", name=name, type="Generic Script")
    assert refused(client, "RestartResource", resource="lower") == 5004
    client.call("OnlineResource", resource="lower")
    assert refused(client, "RestartResource", resource="lower", flags=1) == 87
    assert client.call("RestartResource", resource="lower").number("status") == 0
    states = [client.call("GetResourceState", resource=name).number("state") for name in ("lower", "upper")]
    assert states == [ResourceState.ONLINE, ResourceState.OFFLINE]
