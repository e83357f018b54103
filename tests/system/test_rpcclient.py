"""A real client of others, Samba's rpcclient, on a real cluster: each of its clusapi_ commands does what it says."""

from collections.abc import Iterator

import pytest
from tests.system.wire_cluster import PASSWORD, READER, WireCluster, why_no_wire, wire_cluster

from quorate.clusapi.json_types import json_int, json_objects, json_text
from quorate.clusapi.states import NodeState, ResourceState, VmState
from quorate.dcerpc.ntlm_crypto import nt_hash

pytestmark = pytest.mark.skipif(why_no_wire() is not None, reason=str(why_no_wire()))

VM = "Virtual Machine web1"
BINDINGS = ("[seal]", "[seal,ntlm]", "[seal,spnego]")
"""Raw NTLMSSP twice, and SPNEGO; all of them find the port by the endpoint mapper."""
POOR_BINDINGS = ("", "[connect]", "[packet]", "[sign]", "[sign,spnego]")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WireCluster]:
    with wire_cluster(tmp_path_factory.mktemp("pc")) as running:
        running.create_builtin("web1")
        yield running


def node_state(cluster: WireCluster, name: str) -> NodeState:
    """The state of a node, asked of a node that is another one."""
    other = "node1" if name != "node1" else "node2"
    return NodeState(cluster.client_of(other).call("GetNodeState", node=name).number("state"))


def resource_state(cluster: WireCluster, name: str) -> ResourceState:
    return ResourceState(cluster.call("GetResourceState", resource=name).number("state"))


@pytest.mark.parametrize("binding", BINDINGS)
def test_the_cluster_is_opened_and_told(cluster: WireCluster, binding: str) -> None:
    code, said = cluster.rpcclient(
        "clusapi_open_cluster", "clusapi_get_cluster_name", "clusapi_get_cluster_version2", binding=binding
    )
    assert code == 0, said
    assert "successfully opened cluster" in said
    assert "successfully closed cluster" in said
    assert "ClusterName: pocket" in said
    assert "NodeName: node" in said
    assert said.count("rpc_status: WERR_OK") == 1


def test_every_node_answers_at_the_endpoint_mapper(cluster: WireCluster) -> None:
    seen: set[str] = set()

    def all_seen() -> bool:
        code, said = cluster.rpcclient("clusapi_get_cluster_name")
        assert code == 0, said
        seen.update(line.split()[-1] for line in said.splitlines() if line.startswith("NodeName:"))
        return len(seen) == cluster.nodes

    cluster.wait(all_seen, 60, "each node takes a connection at port 135 sometime")
    assert seen == {"node1", "node2", "node3"}


def test_the_old_version_is_not_told(cluster: WireCluster) -> None:
    code, said = cluster.rpcclient("clusapi_get_cluster_version")
    assert (code, "WERR_CALL_NOT_IMPLEMENTED" in said) == (1, True), said


def test_the_quorum_resource_is_told(cluster: WireCluster) -> None:
    code, said = cluster.rpcclient("clusapi_get_quorum_resource")
    assert code == 0, said
    assert "rpc_status: WERR_OK" in said


@pytest.mark.parametrize("command", ["clusapi_create_enum", "clusapi_create_enumex"])
@pytest.mark.parametrize("kind", ["", "1", "2", "4", "8", "10", "20", "1f", "80000000"])
def test_objects_of_every_kind_are_listed(cluster: WireCluster, command: str, kind: str) -> None:
    code, said = cluster.rpcclient(f"{command} {kind}".strip())
    assert (code, "rpc_status: WERR_OK" in said) == (0, True), said


@pytest.mark.parametrize("command", ["clusapi_create_enum", "clusapi_create_enumex"])
def test_kinds_that_there_are_not_are_refused(cluster: WireCluster, command: str) -> None:
    code, said = cluster.rpcclient(f"{command} 40")
    assert (code, "WERR_INVALID_PARAMETER" in said) == (1, True), said


def test_a_resource_is_opened_by_name_in_any_case_and_by_id(cluster: WireCluster) -> None:
    id_ = cluster.call("GetResourceId", resource=VM).text("id")
    for name in (VM, VM.upper(), id_):
        code, said = cluster.rpcclient(f'clusapi_open_resource "{name}"')
        assert (code, "rpc_status: WERR_OK" in said) == (0, True), said
    code, said = cluster.rpcclient("clusapi_open_resource nope")
    assert (code, "WERR_RESOURCE_NOT_FOUND" in said) == (1, True), said


def test_the_name_of_the_cluster_is_a_resource_that_is_online(cluster: WireCluster) -> None:
    code, said = cluster.rpcclient("clusapi_open_resource", "clusapi_online_resource", "clusapi_get_resource_state")
    assert (code, said.count("rpc_status: WERR_OK")) == (0, 3), said
    assert resource_state(cluster, "Cluster Name") is ResourceState.ONLINE


def test_a_resource_that_is_taken_offline_is_off_and_comes_back_online(cluster: WireCluster) -> None:
    assert cluster.vm_state("web1") is VmState.RUNNING
    code, said = cluster.rpcclient(f'clusapi_offline_resource "{VM}"', f'clusapi_get_resource_state "{VM}"')
    assert (code, said.count("rpc_status: WERR_OK")) == (0, 2), said
    assert resource_state(cluster, VM) is ResourceState.OFFLINE
    assert cluster.vm_state("web1") in (VmState.OFF, VmState.SAVED)
    assert not cluster.qemu_pids()
    code, said = cluster.rpcclient(f'clusapi_online_resource "{VM}"')
    assert (code, "rpc_status: WERR_OK" in said) == (0, True), said
    assert resource_state(cluster, VM) is ResourceState.ONLINE
    assert cluster.vm_state("web1") is VmState.RUNNING
    assert len(cluster.qemu_pids()) == 1


def test_a_node_that_is_paused_is_paused_and_one_that_is_not_cannot_be_resumed(cluster: WireCluster) -> None:
    code, said = cluster.rpcclient("clusapi_pause_node node2")
    assert (code, "has been paused" in said) == (0, True), said
    assert node_state(cluster, "node2") is NodeState.PAUSED
    code, said = cluster.rpcclient("clusapi_resume_node node2")
    assert (code, "has been resumed" in said) == (0, True), said
    assert node_state(cluster, "node2") is NodeState.UP
    code, said = cluster.rpcclient("clusapi_resume_node node2")
    assert (code, "WERR_CLUSTER_NODE_NOT_PAUSED" in said) == (1, True), said
    code, said = cluster.rpcclient("clusapi_pause_node")
    assert (code, "WERR_CLUSTER_NODE_NOT_FOUND" in said) == (1, True), said


def test_who_may_read_only_opens_nothing_for_changes(cluster: WireCluster) -> None:
    for command in ("clusapi_open_cluster", "clusapi_pause_node node2", f'clusapi_offline_resource "{VM}"'):
        code, said = cluster.rpcclient(command, user=READER)
        assert (code, "WERR_ACCESS_DENIED" in said) == (1, True), said
    assert node_state(cluster, "node2") is NodeState.UP
    assert cluster.vm_state("web1") is VmState.RUNNING
    code, said = cluster.rpcclient("clusapi_get_cluster_name", user=READER)
    assert (code, "ClusterName: pocket" in said) == (0, True), said


@pytest.mark.parametrize("binding", POOR_BINDINGS)
def test_nobody_is_let_in_below_privacy(cluster: WireCluster, binding: str) -> None:
    code, said = cluster.rpcclient("clusapi_open_cluster", binding=binding)
    assert (code, "ACCESS_DENIED" in said) == (1, True), said


def test_a_wrong_password_and_an_old_protocol_are_refused(cluster: WireCluster) -> None:
    for binding in ("[seal]", "[seal,spnego]"):
        code, said = cluster.rpcclient("clusapi_open_cluster", binding=binding, user="nobody", password="wrong")
        assert (code, "ACCESS_DENIED" in said or "LOGON_FAILURE" in said) == (1, True), said
    code, said = cluster.rpcclient("clusapi_open_cluster", option="--option=clientntlmv2auth=no")
    assert (code, "ACCESS_DENIED" in said) == (1, True), said
    assert PASSWORD not in said


def test_what_was_asked_for_is_in_the_audit(cluster: WireCluster) -> None:
    assert cluster.rpcclient("clusapi_pause_node node3", "clusapi_resume_node node3")[0] == 0

    def written() -> bool:
        events = json_objects(cluster.call("GetEvents", kind="audit", limit=1000).as_json(), "events")
        sentences = [json_text(event, "sentence") for event in events]
        return any('PauseNode of "node3"' in sentence for sentence in sentences)

    cluster.wait(written, 20, "an event tells who paused node3")


def test_no_file_but_the_database_has_the_hash_of_a_password_and_none_the_password(cluster: WireCluster) -> None:
    secrets = (PASSWORD.encode(), PASSWORD.encode("utf-16-le"), nt_hash(PASSWORD), nt_hash(PASSWORD).hex().encode())
    files = [path for path in cluster.directory.rglob("*") if path.is_file() and path.stat().st_size < 1 << 26]
    holding = {path.name for path in files if any(secret in path.read_bytes() for secret in secrets)}
    assert {"daemon.log", "cluster.sqlite"} <= {path.name for path in files}
    assert {name for name in holding if not name.startswith("cluster.sqlite")} == set()
    assert not any(secret in path.read_bytes() for path in files for secret in secrets[:2])
    assert holding  # else this test would look in the wrong place


def test_no_handle_and_no_connection_is_left(cluster: WireCluster) -> None:
    """Last of all: what rpcclient opened is gone with it."""

    def nothing_left() -> bool:
        report = cluster.machine.run(["ss", "-Htn", "state", "established"]).stdout
        return not [line for line in report.splitlines() if f":{cluster.port('node1')}" in line]

    cluster.wait(nothing_left, 20, "no connection is left")
    assert json_int(cluster.vm("web1"), "vm_state") == VmState.RUNNING
