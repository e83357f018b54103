"""Every operation over a real unix socket, with real dispatchers and a real database."""

import http.client
import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeWorld, running_fake_cluster
from tests.unit.server.networks import make_networks

from quorate.client.blocking import BlockingClient
from quorate.clusapi.errors import CallerError, ClusterError, FaultError, RefusalError
from quorate.clusapi.fence_operations import FENCE_OPERATIONS
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import json_int, json_object, json_objects, json_text
from quorate.clusapi.operation_values import FieldValue, Values
from quorate.clusapi.operations import OPERATIONS
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list, parse_property_list
from quorate.clusapi.registry_operations import REGISTRY_OPERATIONS
from quorate.clusapi.states import VmState
from quorate.server.openapi import openapi
from quorate.server.reference import reference_page

START, CANCEL = 0x01600004, 0x01600008
TO_NODE2 = "node2\0".encode("utf-16-le")
SAVE = pack_property_list(PropertyList.of([("Virtual Machine", PropertyFormat.DWORD, 1)]))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[FakeWorld]:
    with running_fake_cluster(tmp_path, 2) as world:
        yield world


@pytest.fixture
def client(world: FakeWorld) -> BlockingClient:
    client = BlockingClient.at(str(world.directory))
    client.call("CreateVirtualMachine", name="web1", definition={"memory": "64M"}, node="node1")
    return client


def call(client: BlockingClient, name: str, inputs: dict[str, FieldValue], *, full_access: bool = True) -> Values:
    return client.call(name, full_access=full_access, **inputs)


def on_node2(world: FakeWorld) -> BlockingClient:
    return BlockingClient.at(str(world.directory / "node2.sock"))


def run_vm(world: FakeWorld, client: BlockingClient, name: str = "web1") -> None:
    group = client.call("GetGroupId", group=name).text("id")
    client.call("OnlineGroup", group=group, flags=2)  # synchronous


def test_every_operation_answers_over_http(world: FakeWorld, client: BlockingClient) -> None:
    calls: list[tuple[str, dict[str, FieldValue]]] = [
        ("GetClusterInformation", {}),
        ("CreateEnum", {"mask": 0x3F}),
        ("ClusterControl", {"control_code": 0x07000059}),
        ("GetStatus", {}),
        ("GetEvents", {"after": 0}),
        ("SetClusterName", {"name": "pocket"}),
        ("UpgradeClusterFunctionalLevel", {}),
        ("GetNodeId", {"node": "NODE1"}),
        ("GetNodeState", {"node": "1"}),
        ("PauseNode", {"node": "node2"}),
        ("ResumeNode", {"node": "node2"}),
        ("NodeControl", {"node": "node1", "control_code": 0x04000029}),
        ("CreateNodeEnum", {"node": "node1", "mask": 2}),
        ("GetNetworkId", {"network": "cluster network 1"}),
        ("GetNetworkState", {"network": "Cluster Network 1"}),
        ("NetworkControl", {"network": "Cluster Network 1", "control_code": 0x05000055}),
        ("CreateNetworkEnum", {"network": "Cluster Network 1", "mask": 1}),
        ("ListNetworks", {}),
        ("GetNetInterfaceId", {"interface": "node1 - eth0"}),
        ("GetNetInterfaceState", {"interface": "node1 - eth0"}),
        ("GetNetInterface", {"node": "node1", "network": "Cluster Network 1"}),
        ("NetInterfaceControl", {"interface": "node1 - eth0", "control_code": 0x06000055}),
        ("CreateNetInterfaceEnum", {}),
        ("ListNetInterfaces", {}),
        ("SetNetworkPriorityOrder", {"networks": ("Cluster Network 1", "Cluster Network 2")}),
        ("SetNetworkName", {"network": "Cluster Network 1", "name": "LAN"}),
        ("Validate", {}),
        ("ListNodes", {}),
        ("GetNodeReport", {"node": "node2"}),
        ("GetQuorumResource", {}),
        ("CreateResourceType", {"name": "Strange"}),
        ("CreateResTypeEnum", {"type": "Strange", "mask": 3}),
        ("DeleteResourceType", {"type": "Strange"}),
        ("CreateGroup", {"name": "spare"}),
        ("CreateResource", {"group": "spare", "name": "script", "type": "generic script"}),
        ("CreateResource", {"group": "spare", "name": "below", "type": "generic script"}),
        ("CanResourceBeDependent", {"resource": "script", "depends_on": "below"}),
        ("AddResourceDependency", {"resource": "script", "depends_on": "below"}),
        ("GetResourceDependencyExpression", {"resource": "script"}),
        ("RemoveResourceDependency", {"resource": "script", "depends_on": "below"}),
        ("SetResourceDependencyExpression", {"resource": "script", "expression": ""}),
        ("CreateGroup", {"name": "other"}),
        ("CreateGroupSet", {"name": "front"}),
        ("CreateGroupSet", {"name": "back"}),
        ("GetGroupSetId", {"group_set": "FRONT"}),
        ("AddGroupToGroupSet", {"group_set": "front", "group": "spare"}),
        ("MoveGroupToGroupSet", {"group_set": "front", "group": "spare"}),
        ("AddGroupSetDependency", {"group_set": "front", "provider_set": "back"}),
        ("RemoveGroupSetDependency", {"group_set": "front", "provider_set": "back"}),
        ("SetGroupSetDependencyExpression", {"group_set": "front", "expression": "[back]"}),
        ("AddGroupDependency", {"group": "spare", "depends_on": "other"}),
        ("RemoveGroupDependency", {"group": "spare", "depends_on": "other"}),
        ("SetGroupDependencyExpression", {"group": "spare", "expression": "[other]"}),
        ("AddGroupToGroupSetDependency", {"group": "spare", "provider_set": "back"}),
        ("RemoveGroupToGroupSetDependency", {"group": "spare", "provider_set": "back"}),
        ("GroupSetControl", {"group_set": "front", "control_code": 0x08000059}),
        ("CreateGroupSetEnum", {}),
        ("ListGroupSets", {}),
        ("RemoveGroupFromGroupSet", {"group": "spare"}),
        ("DeleteGroupSet", {"group_set": "front"}),
        ("ChangeResourceGroup", {"resource": "below", "group": "other"}),
        ("SetResourceName", {"resource": "below", "name": "provider"}),
        ("SetGroupName", {"group": "other", "name": "others"}),
        ("DeleteResource", {"resource": "provider"}),
        ("DeleteGroup", {"group": "others"}),
        ("GetGroupId", {"group": "spare"}),
        ("GetGroupState", {"group": "spare"}),
        ("GroupControl", {"group": "spare", "control_code": 0x03000055}),
        ("SetGroupNodeList", {"group": "spare", "nodes": ("node2", "1")}),
        ("CreateGroupResourceEnum", {"group": "spare", "mask": 3}),
        ("ListGroups", {}),
        ("GetResourceId", {"resource": "SCRIPT"}),
        ("GetResourceState", {"resource": "script"}),
        ("OnlineResource", {"resource": "script"}),
        ("ResourceControl", {"resource": "script", "control_code": 0x01000081}),
        ("RemoveResourceNode", {"resource": "script", "node": "node2"}),
        ("AddResourceNode", {"resource": "script", "node": "2"}),
        ("CreateResEnum", {"resource": "script", "mask": 7}),
        ("ResourceTypeControl", {"type": "Generic Script", "control_code": 0x02000081}),
        ("ListResources", {}),
        ("RestartResource", {"resource": "script"}),
        ("FailResource", {"resource": "script"}),
        ("OfflineResource", {"resource": "script"}),
        ("DeleteResource", {"resource": "script"}),
        ("DeleteGroup", {"group": "spare"}),
        ("OnlineGroup", {"group": "web1", "flags": 2}),
        ("PauseVirtualMachine", {"vm": "web1"}),
        ("ResumeVirtualMachine", {"vm": "web1"}),
        ("GetVirtualMachine", {"vm": "web1"}),
        ("ListVirtualMachines", {}),
        ("AddUserAccount", {"name": "alice", "role": "full", "password": "long enough"}),
        ("SetUserPassword", {"name": "alice", "password": "longer than that"}),
        ("ListUsers", {}),
        ("RemoveUser", {"name": "alice"}),
        ("GetMigrationProgress", {"vm": "web1"}),
        ("AssessMove", {"vm": "web1"}),
        ("ForecastMove", {"vm": "web1"}),
        ("ListMigrations", {"vm": "web1"}),
        ("MoveGroup", {"group": "web1", "destination": "node2"}),
        ("OfflineGroup", {"group": "web1", "in_buffer": SAVE}),
        ("DeleteVirtualMachine", {"vm": "web1"}),
    ]
    make_networks(world)
    called = {name for name, _ in calls}
    of_several_machines = {"IssueUserCertificate"}  # tests/contract/test_tls.py
    rest = {"CreateVirtualMachine", "CancelGroupOperation"}  # in the fixture, below
    of_members = {"CreateJoinToken", "EvictNode"}  # test_members.py
    of_fencing = {operation.name for operation in FENCE_OPERATIONS}  # test_fencing.py
    of_rehearsals = {"GetInventory"}  # test_inventory.py
    refused = {"SetQuorumResource", "ChangeCsvState", "GetResourceNetworkName"}  # test_resource_types.py
    of_registry = {operation.name for operation in REGISTRY_OPERATIONS}  # tests/unit/client/test_registry_functions.py
    elsewhere = of_several_machines | of_members | of_fencing | of_rehearsals | of_registry
    assert set(OPERATIONS) - called == rest | elsewhere | refused
    for name, inputs in calls:
        status = call(client, name, inputs).as_mapping().get("status", 0)
        assert status in (0, 997) or (name, status) == ("SetClusterName", 5024), name


def test_an_operation_runs_where_the_group_is_whoever_is_asked(world: FakeWorld, client: BlockingClient) -> None:
    run_vm(world, on_node2(world))
    assert client.call("GetGroupState", group="web1").text("node") == "node1"
    resource = client.call("GetVirtualMachine", vm="web1").json("virtual_machine")["vm_resource"]
    on_node2(world).call("ResourceControl", resource=str(resource), control_code=0x01000081, in_buffer=b"")
    assert world.controls[-1] == ("1", resource, 0x01000081, b"")


def test_start_through_a_node_that_does_not_host_the_vm_is_5023(world: FakeWorld, client: BlockingClient) -> None:
    run_vm(world, client)
    for code in (START, CANCEL):
        with pytest.raises(RefusalError) as caught:
            client.call(
                "ResourceControl", resource="Virtual Machine web1", control_code=code, in_buffer=TO_NODE2, host_node="2"
            )
        assert caught.value.status == 5023
        assert "node1" in caught.value.sentence
    with pytest.raises(RefusalError) as caught:
        client.call("ResourceControl", resource="Virtual Machine web1", control_code=0x01000081, host_node="2")
    assert caught.value.status == 5015
    answer = client.call(
        "ResourceControl", resource="Virtual Machine web1", control_code=START, in_buffer=TO_NODE2, host_node="node1"
    )
    assert answer.number("status") == 0


def test_read_access_is_refused_what_modifies_before_anything_else(world: FakeWorld, client: BlockingClient) -> None:
    inputs: dict[str, FieldValue] = {"resource": "no such thing", "in_buffer": TO_NODE2, "host_node": "node9"}
    with pytest.raises(CallerError) as caught:
        call(client, "ResourceControl", {**inputs, "control_code": START}, full_access=False)
    assert caught.value.status == 5
    client.call("ResourceControl", full_access=False, resource="Virtual Machine web1", control_code=0x01000081)
    with pytest.raises(CallerError, match="read access"):
        client.call("OnlineGroup", full_access=False, group="web1")


def test_a_status_that_is_no_success_is_still_an_answer(client: BlockingClient) -> None:
    answer = client.call("ResourceControl", resource="Virtual Machine web1", control_code=START, in_buffer=TO_NODE2)
    assert answer.number("status") == 5023
    assert "start it" in answer.text("sentence")
    answer = client.call(
        "ResourceControl", resource="Virtual Machine web1", control_code=0x01000081, in_buffer=bytes(9), out_size=4
    )
    assert (answer.number("status"), answer.data("output"), answer.number("required")) == (234, b"", 9)


def test_internal_codes_and_codes_of_other_objects_are_unknown(client: BlockingClient) -> None:
    answer = client.call("ResourceControl", resource="Virtual Machine web1", control_code=0x01500006)
    assert answer.number("status") == 1
    assert client.call("GroupControl", group="web1", control_code=0x04000029).number("status") == 1


def test_groups_tell_their_properties(client: BlockingClient) -> None:
    output = client.call("GroupControl", group="web1", control_code=0x03000055).data("output")
    properties = parse_property_list(output)
    assert properties.integer("GroupType") == 111
    assert (
        parse_property_list(client.call("GroupControl", group="web1", control_code=0x03000059).data("output")).integer(
            "Priority"
        )
        == 2000
    )


def test_a_node_that_is_down_is_said_to_be(world: FakeWorld, client: BlockingClient) -> None:
    world.down.add(NodeId("1"))
    other = on_node2(world)
    with pytest.raises(RefusalError) as caught:
        other.call("OnlineGroup", group="web1")
    assert caught.value.status == 5050
    facts = other.call("GetVirtualMachine", vm="web1").json("virtual_machine")
    assert facts["vm_state"] == VmState.OFF  # as stored: off stays off
    assert [json_text(node, "state_name") for node in other.call("ListNodes").objects("nodes")] == ["DOWN", "UP"]


def test_what_does_not_exist_has_its_own_status(client: BlockingClient) -> None:
    calls: list[tuple[str, dict[str, FieldValue], int]] = [
        ("GetNodeId", {"node": "x"}, 5042),
        ("GetGroupId", {"group": "x"}, 5013),
        ("GetResourceId", {"resource": "x"}, 5007),
        ("GetVirtualMachine", {"vm": "x"}, 5013),
        ("ResourceTypeControl", {"type": "x", "control_code": 1}, 5078),
        ("CancelGroupOperation", {"group": "web1"}, 5023),
        ("ResumeNode", {"node": "node1"}, 5058),
        ("CreateGroup", {"name": "WEB1"}, 5010),
    ]
    for operation, inputs, status in calls:
        with pytest.raises(ClusterError) as caught:
            call(client, operation, inputs)
        assert caught.value.status == status, operation


def test_a_running_vm_is_deleted_only_when_it_may_be_turned_off(world: FakeWorld, client: BlockingClient) -> None:
    run_vm(world, client)
    with pytest.raises(RefusalError) as caught:
        client.call("DeleteVirtualMachine", vm="web1")
    assert caught.value.status == 5019
    client.call("DeleteVirtualMachine", vm="web1", turn_off=True)
    assert client.call("ListVirtualMachines").objects("virtual_machines") == ()


def test_a_bad_definition_names_the_key_and_creates_nothing(client: BlockingClient) -> None:
    with pytest.raises(CallerError, match="memory: is missing"):
        client.call("CreateVirtualMachine", name="web2", definition={})
    assert len(client.call("ListGroups").objects("groups")) == 2


def raw(world: FakeWorld, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, object]]:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(world.directory / "node1.sock"))
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_errors_carry_status_name_and_sentence(world: FakeWorld, client: BlockingClient) -> None:
    assert raw(world, "POST", "/v1/GetGroupId", b'{"group": "x"}') == (
        400,
        {"status": 5013, "name": "ERROR_GROUP_NOT_FOUND", "sentence": 'there is no group "x"'},
    )
    assert raw(world, "POST", "/v1/ResumeNode", b'{"node": "node1"}')[0] == 409
    assert raw(world, "POST", "/v1/Nonsense")[1]["status"] == 120
    assert raw(world, "POST", "/v1/GetStatus", b"{")[1]["status"] == 87
    assert raw(world, "POST", "/v1/GetStatus", b"{}", **{"quorate-access": "some"})[1]["status"] == 87
    code, answer = raw(world, "POST", "/v1/GetGroupState", b'{"group": "web1"}')
    assert (code, answer) == (200, {"state": 1, "node": "node1"})


def test_openapi_lists_every_operation(world: FakeWorld) -> None:
    code, page = raw(world, "GET", "/openapi.json")
    assert code == 200
    assert page == json.loads(json.dumps(openapi(str(json_object(page, "info")["version"]))))  # type: ignore[arg-type]
    paths = page["paths"]
    assert isinstance(paths, dict)
    assert {path.removeprefix("/v1/") for path, item in paths.items() if "post" in item} == set(OPERATIONS)


def test_the_reference_page_lists_every_operation() -> None:
    page = reference_page()
    assert [line[3:] for line in page.splitlines() if line.startswith("## ")] == list(OPERATIONS)


def test_only_the_owner_may_open_the_socket(world: FakeWorld) -> None:
    assert stat.S_IMODE((world.directory / "node1.sock").stat().st_mode) == 0o600


def test_progress_is_streamed_by_any_node_across_the_change_of_owner(world: FakeWorld, client: BlockingClient) -> None:
    run_vm(world, client)
    client.call("ResourceControl", resource="Virtual Machine web1", control_code=START, in_buffer=TO_NODE2)
    seen = [part for _, part in on_node2(world).stream("/v1/migrations/web1/progress")]
    assert [json_int(part, "migration_state") for part in seen][-2:] == [3, 0]
    assert json_text(seen[-1], "node") == "node2"
    assert json_int(seen[-1], "percent") == 100


def test_a_stream_about_nothing_is_refused_before_it_begins(world: FakeWorld) -> None:
    assert raw(world, "GET", "/v1/migrations/nothing/progress")[1]["status"] == 5013
    assert raw(world, "GET", "/v1/events?after=yesterday")[1]["status"] == 87


def test_events_are_streamed_from_a_sequence_on(world: FakeWorld, client: BlockingClient) -> None:
    first = client.call("GetEvents", after=0).objects("events")[-1]
    stream = client.stream(f"/v1/events?after={json_text(first, 'sequence')}")
    on_node2(world).call("CreateGroup", name="spare")
    kind, event = next(stream)
    assert (kind, json_text(event, "kind"), json_text(event, "object_name")) == ("event", "group.added", "spare")
    assert int(json_text(event, "sequence")) > int(json_text(first, "sequence"))
    stream.close()  # type: ignore[attr-defined]


def test_a_dead_node_is_passed_over_for_reading_but_not_for_changing(world: FakeWorld, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)  # accepts and says nothing: a daemon that died in the middle
    listener.bind(str(tmp_path / "mute.sock"))
    listener.listen()
    described = json.loads((tmp_path / "cluster.json").read_text())
    gone = {"id": "8", "name": "gone", "http": str(tmp_path / "gone.sock")}
    described["nodes"].insert(0, gone)
    (tmp_path / "cluster.json").write_text(json.dumps(described))
    assert BlockingClient.at(str(tmp_path)).call("GetClusterInformation").text("name") == "pocket"
    BlockingClient.at(str(tmp_path)).call("CreateGroup", name="spare")  # nobody was reached before: safe
    listener.close()
    with pytest.raises(FaultError) as caught:
        BlockingClient.at(str(tmp_path / "mute.sock")).call("CreateGroup", name="other")
    assert caught.value.status == 1722


def test_lists_agree_with_each_other(client: BlockingClient) -> None:
    status = client.call("GetStatus").as_json()
    assert json_objects(status, "groups") == client.call("ListGroups").objects("groups")
    assert json_objects(status, "virtual_machines") == client.call("ListVirtualMachines").objects("virtual_machines")
