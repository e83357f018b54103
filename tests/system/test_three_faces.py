"""Each operation of the table over HTTP, over MS-CMRP with our client, and directly: the three answers are compared.

One script of calls is carried out three times on the same cluster, with the same names, and undone at its end. Where
MS-CMRP has no call for an operation, the client must say so (120), and the call is made directly, so that the script
goes on. What the protocol has no word for, within an answer that our client puts together, must be empty there.
"""

import struct
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pytest
from tests.system.three_faces import PASSWORD, USER, Answer, Face, InProcessCluster, in_process_cluster

from quorate.client.mscmrp.performers import PERFORMERS
from quorate.clusapi import control_codes as codes
from quorate.clusapi.operation_values import FieldValue
from quorate.clusapi.operations import OPERATIONS
from quorate.clusapi.property_lists import PropertyFormat, PropertyList, pack_property_list, pack_sz
from quorate.clusapi.registry_batch import BatchCommand, RegistryCommand, write_batch
from quorate.clusapi.states import GroupState
from quorate.clusapi.status import Status
from quorate.dcerpc.ntlm_crypto import nt_hash

CALL_NOT_IMPLEMENTED: Final = int(Status.ERROR_CALL_NOT_IMPLEMENTED)
UNDER_WAY: Final = int(Status.ERROR_IO_PENDING)
STORED: Final = int(Status.ERROR_RESOURCE_PROPERTIES_STORED)
VM: Final = "Virtual Machine vm1"
SCRIPT_FILE: Final = "three-faces.sh"
SAVE: Final = pack_property_list(PropertyList.of([("Virtual Machine", PropertyFormat.DWORD, 1)]))
DESCRIBED: Final = pack_property_list(PropertyList.of([("Description", PropertyFormat.SZ, "by one of three faces")]))
DWORD: Final = (5).to_bytes(4, "little")
FOR_EVERYONE: Final = (
    struct.pack("<BBHIIII", 1, 0, 0x8004, 0, 0, 0, 20)  # self-relative, with a DACL
    + struct.pack("<BBHHH", 2, 0, 28, 1, 0)
    + struct.pack("<BBHI", 0, 0, 20, 0xF003F)  # KEY_ALL_ACCESS is allowed to
    + struct.pack("<BB6sI", 1, 1, b"\0\0\0\0\0\1", 0)  # S-1-1-0
)
BATCH: Final = write_batch(
    [BatchCommand(RegistryCommand.CREATE_KEY, "Deep"), BatchCommand(RegistryCommand.SET_VALUE, "Number", 4, DWORD)]
)
READ_BATCH: Final = write_batch(
    [BatchCommand(RegistryCommand.READ_KEY, "Deep"), BatchCommand(RegistryCommand.READ_VALUE, "Number")]
)


@dataclass(frozen=True, slots=True)
class Step:
    """One call; then what it began is waited for: ``settles`` is a group, or "group@node" for one that moves there."""

    operation: str
    inputs: Mapping[str, FieldValue] = field(default_factory=dict)
    settles: str = ""


def step(operation: str, settles: str = "", /, **inputs: FieldValue) -> Step:
    return Step(operation, inputs, settles)


CLUSTER: Final = (
    step("GetClusterInformation"),
    step("CreateEnum", mask=0x3F),
    step("CreateEnum", mask=0x80000000),
    step("CreateEnum", mask=0x40),
    step("ClusterControl", control_code=codes.CLUSCTL_CLUSTER_SET_COMMON_PROPERTIES, in_buffer=DESCRIBED),
    step("ClusterControl", control_code=codes.CLUSCTL_CLUSTER_GET_COMMON_PROPERTIES),
    step("ClusterControl", control_code=codes.CLUSCTL_CLUSTER_GET_RO_COMMON_PROPERTIES, out_size=1),
    step("ClusterControl", control_code=0),
    step("GetEvents", after=0, limit=1),
    step("Validate"),
    step("SetClusterName", name="renamed"),
    step("SetClusterName", name="pocket"),
    step("SetClusterName", name=""),
    step("UpgradeClusterFunctionalLevel"),
    step("CreateJoinToken"),
    step("GetQuorumResource"),
    step("SetQuorumResource", resource="Cluster Name", device="", max_log_size=0),
    step("ChangeCsvState", resource="Cluster Name", state=1),
    step("ChangeCsvState", resource="Cluster Name", state=0, volume="C:"),
)
NODES: Final = (
    step("GetNodeId", node="NODE2"),
    step("GetNodeId", node="nobody"),
    step("GetNodeState", node="node1"),
    step("PauseNode", node="node2"),
    step("GetNodeState", node="node2"),
    step("ResumeNode", node="node2"),
    step("ResumeNode", node="node2"),
    step("NodeControl", node="node1", control_code=codes.CLUSCTL_NODE_GET_NAME),
    step("NodeControl", node="node2", control_code=codes.CLUSCTL_NODE_GET_COMMON_PROPERTIES, host_node="node1"),
    step("CreateNodeEnum", node="node1", mask=3),
    step("ListNodes"),
    step("GetNodeReport", node="node1"),
    step("EvictNode", node="nobody"),
    step("SetNodeFenceAgent", node="node2", agent="fence_nothing", options={}),
    step("GetNodeFenceAgents", node="node2"),
    step("TestNodeFenceAgents", node="node2"),
    step("RemoveNodeFenceAgents", node="node2"),
    step("ConfirmNodeOff", node="node1"),
)
NETWORKS: Final = (
    step("GetNetworkId", network="cluster network 1"),
    step("GetNetworkId", network="nowhere"),
    step("GetNetworkState", network="Cluster Network 1"),
    step("SetNetworkName", network="Cluster Network 1", name="LAN"),
    step("SetNetworkName", network="LAN", name="Cluster Network 2"),
    step("SetNetworkName", network="LAN", name="Cluster Network 1"),
    step("SetNetworkPriorityOrder", networks=("Cluster Network 2", "Cluster Network 1")),
    step("SetNetworkPriorityOrder", networks=("Cluster Network 2",)),
    step("SetNetworkPriorityOrder", networks=("Cluster Network 1", "Cluster Network 2")),
    step("NetworkControl", network="Cluster Network 1", control_code=codes.CLUSCTL_NETWORK_GET_COMMON_PROPERTIES),
    step("CreateNetworkEnum", network="Cluster Network 1", mask=1),
    step("ListNetworks"),
    step("GetNetInterfaceId", interface="NODE1 - eth0"),
    step("GetNetInterfaceState", interface="node1 - eth0"),
    step("GetNetInterface", node="node2", network="Cluster Network 2"),
    step("GetNetInterface", node="node2", network="nowhere"),
    step("NetInterfaceControl", interface="node1 - eth0", control_code=codes.CLUSCTL_NETINTERFACE_GET_NODE),
    step("CreateNetInterfaceEnum", node="node1", network="Cluster Network 1"),
    step("CreateNetInterfaceEnum"),
    step("ListNetInterfaces"),
    step("GetStatus"),
    step("GetInventory"),
)
GROUPS: Final = (
    step("CreateGroup", name="g"),
    step("CreateGroup", name="G"),
    step("CreateGroup", name="other", group_type=106),
    step("GetGroupId", group="g"),
    step("GetGroupState", group="g"),
    step("SetGroupName", group="other", name="others"),
    step("SetGroupNodeList", group="g", nodes=("node2", "node1")),
    step("SetGroupNodeList", group="g", nodes=("nobody",)),
    step("GroupControl", group="g", control_code=codes.CLUSCTL_GROUP_SET_COMMON_PROPERTIES, in_buffer=DESCRIBED),
    step("GroupControl", group="g", control_code=codes.CLUSCTL_GROUP_GET_COMMON_PROPERTIES),
    step("CreateGroupResourceEnum", group="g", mask=3),
    step("MoveGroup", "g@node2", group="g", destination="node2"),
    step("MoveGroup", "g@node1", group="g", destination="node1"),
    step("CancelGroupOperation", group="g"),
    step("ListGroups"),
    step("GetGroupId", group="nobody"),
)
RESOURCES: Final = (
    step("CreateResource", group="g", name="a", type="generic script", parameters={"ScriptFilepath": SCRIPT_FILE}),
    step("CreateResource", group="g", name="b", type="Generic Script", flags=1),
    step("CreateResource", group="g", name="disk", type="Physical Disk"),
    step("CreateResource", group="g", name="it", type="Nothing"),
    step("GetResourceId", resource="A"),
    step("GetResourceState", resource="a"),
    step("SetResourceName", resource="b", name="c"),
    step("SetResourceName", resource="c", name="a"),
    step("CanResourceBeDependent", resource="a", depends_on="c"),
    step("AddResourceDependency", resource="a", depends_on="c"),
    step("CanResourceBeDependent", resource="c", depends_on="a"),
    step("AddResourceDependency", resource="c", depends_on="a"),
    step("CreateResEnum", resource="a", mask=7),
    step("GetResourceDependencyExpression", resource="a"),
    step("RemoveResourceDependency", resource="a", depends_on="c"),
    step("RemoveResourceDependency", resource="a", depends_on="c"),
    step("SetResourceDependencyExpression", resource="a", expression="[c]"),
    step("SetResourceDependencyExpression", resource="a", expression="[c"),
    step("SetResourceDependencyExpression", resource="a", expression=""),
    step("GetResourceNetworkName", resource="a"),
    step("CreateResource", group="Cluster Group", name="net", type="Generic Script"),
    step("AddResourceDependency", resource="net", depends_on="Cluster Name"),
    step("GetResourceNetworkName", resource="net"),
    step("DeleteResource", resource="net"),
    step("RemoveResourceNode", resource="a", node="node2"),
    step("AddResourceNode", resource="a", node="node2"),
    step("AddResourceNode", resource="a", node="node2"),
    step("ResourceControl", resource="a", control_code=codes.CLUSCTL_RESOURCE_GET_RESOURCE_TYPE),
    step("ResourceControl", resource="a", control_code=codes.CLUSCTL_RESOURCE_GET_NAME, host_node="node2"),
    step("OnlineResource", "g", resource="a"),
    step("FailResource", "g", resource="a"),
    step("OfflineResource", "g", resource="a"),
    step("RestartResource", resource="c"),
    step("FailResource", resource="c"),
    step("OnlineResource", "Cluster Group", resource="Cluster Name"),
    step("RestartResource", "Cluster Group", resource="Cluster Name"),
    step("ResourceControl", resource="Cluster Name", control_code=codes.CLUSCTL_RESOURCE_GET_NETWORK_NAME),
    step("DeleteResource", resource="Cluster Name"),
    step("ListResources"),
    step("ChangeResourceGroup", resource="c", group="others"),
    step("ChangeResourceGroup", resource="c", group="others"),
    step("DeleteResource", resource="a"),
    step("DeleteResource", resource="a"),
)
TYPES: Final = (
    step("CreateResourceType", name="Strange", display_name="Strange Things", dll_name="x.dll", is_alive=70_000),
    step("CreateResourceType", name="Strange"),
    step("CreateResTypeEnum", type="Strange", mask=3),
    step("CreateResTypeEnum", type="Physical Disk", mask=3),
    step("ResourceTypeControl", type="Strange", control_code=codes.CLUSCTL_RESOURCE_TYPE_GET_RO_COMMON_PROPERTIES),
    step("ResourceTypeControl", type="Physical Disk", control_code=codes.CLUSCTL_RESOURCE_TYPE_GET_CLASS_INFO),
    step("DeleteResourceType", type="Physical Disk"),
    step("DeleteResourceType", type="Strange"),
    step("DeleteResourceType", type="Strange"),
)
GROUP_SETS: Final = (
    step("CreateGroupSet", name="front"),
    step("CreateGroupSet", name="back"),
    step("CreateGroupSet", name="Front"),
    step("GetGroupSetId", group_set="FRONT"),
    step("AddGroupToGroupSet", group_set="front", group="g"),
    step("AddGroupToGroupSet", group_set="back", group="g"),
    step("AddGroupToGroupSet", group_set="back", group="others", fault_domain=1, update_domain=2),
    step("MoveGroupToGroupSet", group_set="back", group="g"),
    step("AddGroupSetDependency", group_set="front", provider_set="back"),
    step("AddGroupSetDependency", group_set="back", provider_set="front"),
    step("RemoveGroupSetDependency", group_set="front", provider_set="back"),
    step("SetGroupSetDependencyExpression", group_set="front", expression="[back]"),
    step("GroupSetControl", group_set="front", control_code=codes.CLUSCTL_GROUPSET_GET_PROVIDER_GROUPSETS),
    step("GroupSetControl", group_set="back", control_code=codes.CLUSCTL_GROUPSET_GET_GROUPS, host_node="node2"),
    step("CreateGroupSetEnum"),
    step("ListGroupSets"),
    step("RemoveGroupFromGroupSet", group="g"),
    step("RemoveGroupFromGroupSet", group="g"),
    step("AddGroupDependency", group="g", depends_on="others"),
    step("RemoveGroupDependency", group="g", depends_on="others"),
    step("RemoveGroupDependency", group="g", depends_on="others"),
    step("SetGroupDependencyExpression", group="g", expression="[others]"),
    step("SetGroupDependencyExpression", group="g", expression=""),
    step("AddGroupToGroupSetDependency", group="g", provider_set="back"),
    step("AddGroupToGroupSetDependency", group="g", provider_set="back"),
    step("RemoveGroupToGroupSetDependency", group="g", provider_set="back"),
    step("DeleteGroupSet", group_set="back"),
    step("DeleteGroupSet", group_set="front"),
    step("DeleteGroupSet", group_set="back"),
    step("DeleteGroupSet", group_set="back"),
)
REGISTRY: Final = (
    step("CreateKey", key="Software\\Faces"),
    step("CreateKey", key="Software\\Faces"),
    step("OpenKey", key="software\\Faces"),
    step("OpenKey", key="Software\\None"),
    step("SetValue", key="Software\\Faces", name="Number", type=4, data=DWORD),
    step("SetValue", key="Software\\Faces", name="Text", type=1, data=pack_sz("text")),
    step("QueryValue", key="Software\\Faces", name="NUMBER"),
    step("QueryValue", key="Software\\Faces", name="None"),
    step("EnumValue", key="Software\\Faces"),
    step("EnumKey", key="Software"),
    step("QueryInfoKey", key="Software\\Faces"),
    step("ExecuteBatch", key="Software\\Faces", batch=BATCH),
    step("ExecuteReadBatch", key="Software\\Faces", batch=READ_BATCH),
    step("ExecuteBatch", key="Software\\Faces", batch=b"\2\0\0\0"),
    step("GetKeySecurity", key="Software\\Faces", security_information=4),
    step("SetKeySecurity", key="Software\\Faces", security_information=4, descriptor=b"none"),
    step("SetKeySecurity", key="Software\\Faces", security_information=4, descriptor=FOR_EVERYONE),
    step("DeleteValue", key="Software\\Faces", name="Number"),
    step("DeleteValue", key="Software\\Faces", name="Number"),
    step("DeleteKey", key="Software\\Faces"),
    step("DeleteKey", key="Software\\Faces\\Deep"),
    step("DeleteKey", key="Software\\Faces"),
    step("DeleteKey", key="Software"),
)
MACHINES: Final = (
    step("CreateVirtualMachine", name="vm1", definition={"guest": "builtin", "memory": "64M"}, node="node1"),
    step("OnlineGroup", "vm1", group="vm1"),
    step("GetVirtualMachine", vm="vm1"),
    step("ListVirtualMachines"),
    step("PauseVirtualMachine", vm="vm1"),
    step("ResumeVirtualMachine", vm="vm1"),
    step("ResourceControl", resource=VM, control_code=codes.CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTIES),
    step("ResourceControl", resource=VM, control_code=codes.CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION),
    step(
        "ResourceControl",
        resource=VM,
        control_code=codes.CLUSCTL_RESOURCE_VM_START_MIGRATION,
        in_buffer=pack_sz("nowhere"),
    ),
    *(
        step(
            "ResourceControl",
            resource=VM,
            control_code=codes.CLUSCTL_RESOURCE_VM_START_MIGRATION,
            in_buffer=pack_sz("nowhere") + pack_sz("") + pack_sz(limit),
        )
        for limit in ("200", "fast")
    ),
    step("EvictNode", node="node1"),
    step(
        "ResourceControl",
        "vm1@node2",
        resource=VM,
        control_code=codes.CLUSCTL_RESOURCE_VM_START_MIGRATION,
        in_buffer=pack_sz("node2"),
    ),
    step("GetMigrationProgress", vm="vm1"),
    step("AssessMove", vm="vm1", destination="nobody"),
    step("ForecastMove", vm="vm1", destination="nobody", bandwidth_limit=5),  # what it measures differs on each face
    step("ForecastMove", vm="vm1", destination="nobody", bandwidth_limit=1 << 21),
    step("AssessMove", vm="vm1", destination="node2"),
    step("ListMigrations", vm="nobody"),  # what is remembered has its own times on each face
    step("GetResourceState", resource=VM),
    step("OfflineGroup", "vm1", group="vm1", in_buffer=SAVE),
    step("GetGroupState", group="vm1"),
    step("DeleteVirtualMachine", vm="vm1"),
    step("GetVirtualMachine", vm="vm1"),
)
USERS: Final = (
    step("AddUserAccount", name="bob", role="read", password="a word that is long enough"),
    step("AddUserAccount", name="bob", role="read", password="a word that is long enough"),
    step("SetUserPassword", name="bob", password="another word, as long"),
    step("ListUsers"),
    step("IssueUserCertificate", name="carol", role="read", request=b"no request"),
    step("RemoveUser", name="bob"),
    step("RemoveUser", name="bob"),
)
END: Final = (
    step("DeleteGroup", group="others"),
    step("DeleteGroup", group="others", force=True),
    step("DeleteGroup", group="g"),
    step("DeleteGroup", group="Cluster Group", force=True),
)
SCRIPT: Final = (
    *CLUSTER,
    *NODES,
    *NETWORKS,
    *GROUPS,
    *RESOURCES,
    *TYPES,
    *GROUP_SETS,
    *REGISTRY,
    *MACHINES,
    *USERS,
    *END,
)

VOLATILE: Final = frozenset(
    {
        "last_write",
        "measured",
        "sentence",
        "remedy",
        "health",
        "seconds",
        "pid",
        "command",
        "monitors",
        "password_changed",
        "revision",
    }
)
"""Keys of answers whose values differ from one moment to the next."""
NO_WORD: Final = frozenset(
    {"coordinator", "database", "daemon_pid", "qemu", "epoch", "condition", "reason", "serial_log", "ready"}
    | {"queued", "session", "source", "destination", "phase", "transport"}
)
"""Keys of answers for which MS-CMRP has no word: empty over the wire."""
ALWAYS_REFUSED: Final = {"CancelGroupOperation", "ChangeCsvState", "EvictNode", "SetQuorumResource"}
"""What this script cannot have: no move is under way when it is cancelled, and no node leaves."""
NOTHING: Final[tuple[object, ...]] = (None, "", 0, [], {}, b"")
AT_REST: Final = (0, 4, 5)
"""MigrationState: none, done, failed."""


def test_every_operation_is_in_the_script() -> None:
    assert {one.operation for one in SCRIPT} == set(OPERATIONS)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[Answer]]]:
    """What each face answered to each step."""
    with in_process_cluster(tmp_path_factory.mktemp("faces")) as cluster:
        script = cluster.directory / "scripts" / SCRIPT_FILE
        script.write_text("#!/bin/sh\nexit 0\n", encoding="ascii")
        script.chmod(0o700)
        *faces, direct = cluster.faces()
        yield {face.name: carry_out(cluster, face, direct) for face in (*faces, direct)}


def carry_out(cluster: InProcessCluster, face: Face, direct: Face) -> list[Answer]:
    """The whole script on one face."""
    given: list[Answer] = []
    for one in SCRIPT:
        answer = face.call(one.operation, **one.inputs)
        given.append(answer)
        if face.name == "wire" and one.operation not in PERFORMERS:
            direct.call(one.operation, **one.inputs)  # what the protocol cannot say is done all the same
        if one.settles:
            wait_settled(cluster, direct, one.settles)
    return given


def wait_settled(cluster: InProcessCluster, direct: Face, settles: str) -> None:
    """Wait until what a step began is over: "group" is not pending, "group@node" is on that node besides."""
    name, _, node = settles.partition("@")

    def is_settled() -> bool:
        found = direct.call("GetGroupState", group=name).outputs
        progress = direct.call("GetMigrationProgress", vm=name).outputs.get("progress", {})
        at_rest = not isinstance(progress, Mapping) or progress.get("state", 0) in AT_REST
        return found["state"] != GroupState.PENDING and found["node"] == (node or found["node"]) and at_rest

    cluster.wait(is_settled, 60, f"{name} is settled")


def test_http_answers_as_the_operation_itself_does(answers: dict[str, list[Answer]]) -> None:
    differing = list(differences(answers["direct"], answers["http"], frozenset()))
    assert not differing, "\n".join(differing)


def test_the_wire_answers_as_the_operation_itself_does(answers: dict[str, list[Answer]]) -> None:
    differing = list(differences(answers["direct"], answers["wire"], NO_WORD))
    assert not differing, "\n".join(differing)


def test_what_the_wire_cannot_say_is_refused_with_120(answers: dict[str, list[Answer]]) -> None:
    for one, answer in zip(SCRIPT, answers["wire"], strict=True):
        if one.operation not in PERFORMERS:
            assert answer == Answer(CALL_NOT_IMPLEMENTED, {}), one


def test_every_operation_that_the_wire_can_say_succeeds_there(answers: dict[str, list[Answer]]) -> None:
    succeeded = {
        one.operation
        for one, answer in zip(SCRIPT, answers["wire"], strict=True)
        if not answer.status and answer.outputs.get("status", 0) in (0, UNDER_WAY, STORED)
    }
    assert PERFORMERS.keys() - succeeded == ALWAYS_REFUSED


def test_no_answer_shows_a_password_or_its_hash(answers: dict[str, list[Answer]]) -> None:
    hashed = nt_hash(PASSWORD)
    secrets = (PASSWORD, hashed.hex(), b64encode(hashed).decode(), repr(hashed)[2:-1])
    given = repr(answers).casefold()
    assert USER in given  # the user whose password it is was there all the time
    assert [secret for secret in secrets if secret.casefold() in given] == []


def differences(right: Sequence[Answer], other: Sequence[Answer], no_word: frozenset[str]) -> Iterator[str]:
    """Where a face answers otherwise than the operation itself does; ``no_word`` are keys that are empty there."""
    for number, (one, expected, got) in enumerate(zip(SCRIPT, right, other, strict=True)):
        if no_word and one.operation not in PERFORMERS:
            continue
        said = " | ".join(answer.sentence for answer in (expected, got) if answer.sentence)
        place = f"step {number}, {one.operation} {dict(one.inputs)} {said}"
        yield from unlike(shown(one, expected), shown(one, got), no_word, place)


def unlike(a: object, b: object, no_word: frozenset[str], place: str) -> Iterator[str]:
    """The places at which two answers differ."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in sorted({*a, *b} - VOLATILE):
            if key == "addresses" and no_word:  # the properties of an interface have them without prefix lengths
                yield from unlike([_bare(one) for one in a[key]], b.get(key), no_word, f"{place}: {key}")
            elif key not in no_word:
                yield from unlike(a.get(key), b.get(key), no_word, f"{place}: {key}")
            elif b.get(key) not in NOTHING:
                yield f"{place}: {key} is {b.get(key)!r}, which the protocol cannot know"
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for number, (item, twin) in enumerate(zip(a, b, strict=True)):
            yield from unlike(item, twin, no_word, f"{place} {number}")
    elif a != b:
        yield f"{place}: {a!r}, but there {b!r}"


def _bare(address: object) -> str:
    return str(address).partition("/")[0]


def shown(one: Step, answer: Answer) -> Mapping[str, object]:
    """What of an answer is compared. That an object refuses is told by a status or by an error, as the face has it."""
    status = answer.status or answer.outputs.get("status")
    if status == UNDER_WAY and one.settles:
        return {"refused": None}  # waiting for a state is the face's affair: it is reached in the end
    return {"refused": status} if status else {"refused": None, **answer.outputs, "status": None}
