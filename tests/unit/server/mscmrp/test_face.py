"""The face: handles, access, return rules, enumerations and control codes, over the wire."""

from pathlib import Path

import pytest
from tests.unit.server.mscmrp.face_world import FaceWorld, WireUser, with_face

from quorate.clusapi.control_codes import (
    CLUSCTL_GROUP_GET_COMMON_PROPERTIES,
    CLUSCTL_GROUP_GET_NAME,
    CLUSCTL_GROUP_GET_RO_COMMON_PROPERTIES,
    CLUSCTL_GROUP_SET_COMMON_PROPERTIES,
)
from quorate.clusapi.operation_values import Values
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    pack_multi_sz,
    pack_property_list,
    pack_sz,
    parse_property_list,
)
from quorate.clusapi.states import GroupState, ResourceState
from quorate.dcerpc.errors import FaultCode, RpcFault
from quorate.dcerpc.ndr import NULL_HANDLE, ContextHandle
from quorate.mscmrp import cluster_methods as cluster
from quorate.mscmrp import group_methods as groups
from quorate.mscmrp import network_methods as networks
from quorate.mscmrp import node_methods as nodes
from quorate.mscmrp import resource_methods as resources
from quorate.mscmrp.interface import METHODS
from quorate.mscmrp.shapes import (
    CloseOut,
    ControlIn,
    HandleContextIn,
    HandleIn,
    HandleMaskIn,
    HandleMaskOptionsIn,
    HandleNameIn,
    NameAccessIn,
    NameIn,
    NodeControlIn,
    NoIn,
    PropertiesEnumIn,
    TwoHandlesIn,
)
from quorate.mscmrp.types import CreateGroupInfo
from quorate.server.dispatcher import Dispatcher
from quorate.server.mscmrp.access import MAXIMUM_ALLOWED, GrantedAccess
from quorate.server.mscmrp.face import HANDLERS
from quorate.server.mscmrp.unanswered import REASONS


def one_property(name: str, value: int) -> bytes:
    return pack_property_list(PropertyList.of([(name, PropertyFormat.DWORD, value)]))


ARCHITECTURE = Path(__file__).parents[4] / "ARCHITECTURE.md"
VM = "Virtual Machine web1"
CONFIGURATION = "Virtual Machine Configuration web1"


def test_a_method_is_answered_under_its_own_number() -> None:
    assert set(HANDLERS) <= set(METHODS)
    assert all(number == handler.opnum for number, handler in HANDLERS.items())


# --- Handles -------------------------------------------------------------------------------------------------------


def test_an_object_is_opened_by_name_in_any_case_and_by_id() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            first = await user.resource(VM.upper())
            id_ = (await user.ask(resources.GET_RESOURCE_ID, HandleIn(first))).text
            second = await user.resource(id_ or "")
            assert first != second
            assert (await user.ask(resources.GET_RESOURCE_ID, HandleIn(second))).text == id_
            missing = await user.ask(resources.OPEN_RESOURCE, NameIn("nope"))
            assert (missing.status, missing.handle) == (5007, NULL_HANDLE)

    with_face(test)


def test_a_closed_handle_is_null_and_good_for_nothing() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            handle = await user.group("web1")
            assert world.server.handles == 1
            assert await user.ask(groups.CLOSE_GROUP, HandleIn(handle)) == CloseOut(NULL_HANDLE, 0)
            assert world.server.handles == 0
            await expect_mismatch(user, handle)

    with_face(test)


def test_a_handle_of_another_kind_and_of_somebody_else_is_none() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user, world.user() as other:
            resource = await user.resource(VM)
            await expect_mismatch(user, resource)
            await expect_mismatch(other, await user.group("web1"))
            await expect_mismatch(user, NULL_HANDLE)

    with_face(test)


async def expect_mismatch(user: WireUser, handle: ContextHandle) -> None:
    with pytest.raises(RpcFault) as fault:
        await user.ask(groups.GET_GROUP_STATE, HandleIn(handle))
    assert fault.value.code == FaultCode.CONTEXT_MISMATCH


def test_an_object_that_was_deleted_since_is_not_found() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            created = await user.ask(groups.CREATE_GROUP, NameIn("short-lived"))
            again = await user.group("short-lived")
            assert await user.status(groups.DELETE_GROUP, groups.DeleteGroupIn(created.handle, force=False)) == 0
            told = await user.ask(groups.GET_GROUP_STATE, HandleIn(again))
            assert told == groups.GetGroupStateOut(0, None, status=5013)
            assert await user.status(groups.CLOSE_GROUP, HandleIn(again)) == 0

    with_face(test)


# --- Access --------------------------------------------------------------------------------------------------------


def test_who_may_read_opens_for_reading_and_changes_nothing() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user("rita") as rita:
            assert await rita.status(groups.OPEN_GROUP, NameIn("web1")) == 5
            assert await rita.status(cluster.OPEN_CLUSTER, NoIn()) == 5
            assert await rita.status(groups.CREATE_GROUP, NameIn("new")) == 5
            assert await rita.status(cluster.SET_CLUSTER_NAME, NameIn("new")) == 5
            denied = await rita.ask(groups.OPEN_GROUP_EX, NameAccessIn("web1", GrantedAccess.ALL))
            assert (denied.status, denied.granted_access, denied.handle) == (5, 0, NULL_HANDLE)
            opened = await rita.ask(groups.OPEN_GROUP_EX, NameAccessIn("web1", MAXIMUM_ALLOWED))
            assert (opened.status, opened.granted_access) == (0, GrantedAccess.READ)
            assert await rita.status(groups.GET_GROUP_STATE, HandleIn(opened.handle)) == 0
            assert await rita.status(groups.OFFLINE_GROUP, HandleIn(opened.handle)) == 5
            assert (await control(rita, opened.handle, CLUSCTL_GROUP_GET_NAME))[0] == 0
            assert (await control(rita, opened.handle, CLUSCTL_GROUP_SET_COMMON_PROPERTIES))[0] == 5
            assert (await rita.ask(cluster.GET_CLUSTER_NAME, NoIn())).node_name == "node1"

    with_face(test)


def test_a_handle_opened_for_reading_changes_nothing_whoever_has_it() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            opened = await user.ask(groups.OPEN_GROUP_EX, NameAccessIn("web1", GrantedAccess.READ))
            assert opened.granted_access == GrantedAccess.READ
            assert await user.status(groups.SET_GROUP_NAME, HandleNameIn(opened.handle, "web2")) == 5
            for wrong, status in ((0, 5), (0x40, 87)):
                assert await user.status(groups.OPEN_GROUP_EX, NameAccessIn("web1", wrong)) == status

    with_face(test)


def test_who_was_removed_or_may_less_since_is_refused_at_the_next_call() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            handle = await user.group("web1")
            world.gate.full["alice"] = False
            assert await user.status(groups.OFFLINE_GROUP, HandleIn(handle)) == 5
            assert await user.status(groups.GET_GROUP_STATE, HandleIn(handle)) == 0
            del world.gate.full["alice"]
            with pytest.raises(RpcFault) as fault:
                await user.ask(groups.GET_GROUP_STATE, HandleIn(handle))
            assert fault.value.code == FaultCode.ACCESS_DENIED

    with_face(test)


def test_every_call_is_told_with_its_object_and_its_status() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            handle = await user.group("web1")
            await user.ask(groups.GET_GROUP_STATE, HandleIn(handle))
            await user.ask(groups.SET_GROUP_NAME, HandleNameIn(handle, ""))
            with pytest.raises(RpcFault):
                await user.ask(groups.GET_GROUP_STATE, HandleIn(NULL_HANDLE))
            await control(user, handle, CLUSCTL_GROUP_SET_COMMON_PROPERTIES, one_property("Priority", 3000))
        told = [(item.method, item.about, item.status, item.changes) for item in world.answered]
        assert told == [
            ("OpenGroup", "web1", 0, True),
            ("GetGroupState", "web1", 0, False),
            ("SetGroupName", "web1", 123, True),
            ("GetGroupState", "", 1775, False),
            ("GroupControl", "web1", 0, True),
        ]
        assert {(item.caller.actor, item.source) for item in world.answered} == {("alice", "127.0.0.1")}

    with_face(test)


def test_a_call_that_breaks_is_a_fault_is_told_too_and_breaks_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*arguments: object) -> Values:
        raise ZeroDivisionError

    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            handle = await user.group("web1")
            with monkeypatch.context() as patch:
                patch.setattr(Dispatcher, "call", broken)
                with pytest.raises(RpcFault) as fault:
                    await user.ask(groups.SET_GROUP_NAME, HandleNameIn(handle, "web2"))
            assert fault.value.code == FaultCode.UNSPECIFIED
            assert await user.status(groups.GET_GROUP_STATE, HandleIn(handle)) == 0
        told = [(item.method, item.about, item.status, item.changes) for item in world.answered[1:]]
        assert told == [("SetGroupName", "web1", 1726, True), ("GetGroupState", "web1", 0, False)]

    with_face(test)


# --- What the methods tell -----------------------------------------------------------------------------------------


def test_the_cluster_tells_its_name_and_versions() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            name = await user.ask(cluster.GET_CLUSTER_NAME, NoIn())
            assert (name.node_name, name.status) == ("node1", 0)
            version = await user.ask(cluster.GET_CLUSTER_VERSION2, NoIn())
            assert (version.major_version, version.minor_version, version.status) == (10, 0, 0)
            known = version.operational_version
            assert known is not None
            assert (known.size, known.highest_version >> 16, known.flags) == (20, 10, 0)

    with_face(test)


def test_what_is_never_answered_is_120_with_all_its_outputs() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            old = await user.ask(cluster.GET_CLUSTER_VERSION, NoIn())
            assert old == cluster.GetClusterVersionOut(status=120)
            assert await user.status(cluster.BACKUP_CLUSTER_DATABASE, NameIn("C:\\")) == 120
            password = cluster.SetServiceAccountPasswordIn("secret", 0, 4)
            assert await user.status(cluster.SET_SERVICE_ACCOUNT_PASSWORD, password) == 120
            handle = await user.cluster()
            assert await user.status(cluster.STM_FIND_DISK, cluster.StmFindDiskIn(handle, 0, None, None)) == 120
            mrr = cluster.ClusterMrrIn(handle, False, 0, 0, 0, 0, in_data=None)
            assert await user.status(cluster.CLUSTER_MRR, mrr) == 120

    with_face(test)


def test_the_architecture_lists_what_is_never_answered_with_its_reason() -> None:
    page = ARCHITECTURE.read_text(encoding="utf-8")
    rows = [f"| {number} | {METHODS[number].name} | {why} |" for number, why in sorted(REASONS.items())]
    assert "\n".join(rows) in page, rows
    assert len(rows) < 8, "the list is meant to stay short"


def test_enumerations_tell_names_and_ids_side_by_side() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            both = await user.ask(cluster.CREATE_ENUM, cluster.CreateEnumIn(1 | 8))
            assert both.entries is not None
            assert [(e.type, e.name) for e in both.entries.entries if e.type == 1] == [(1, "node1"), (1, "node2")]
            assert (8, "web1") in [(entry.type, entry.name) for entry in both.entries.entries]
            handle = await user.cluster()
            ex = await user.ask(cluster.CREATE_ENUM_EX, HandleMaskOptionsIn(handle, 1))
            assert ex.ids is not None
            assert ex.names is not None
            assert [entry.name for entry in ex.ids.entries] == ["1", "2"]
            assert [entry.name for entry in ex.names.entries] == ["node1", "node2"]
            assert await user.status(cluster.CREATE_ENUM_EX, HandleMaskOptionsIn(handle, 1, 1)) == 87
            group = await user.group("web1")
            held = await user.ask(groups.CREATE_GROUP_RESOURCE_ENUM, HandleMaskIn(group, 1))
            assert held.entries is not None
            assert {entry.name for entry in held.entries.entries} == {VM, CONFIGURATION}
            node = await user.node("node1")
            assert await user.status(nodes.CREATE_NODE_ENUM, HandleMaskIn(node, 3)) == 0

    with_face(test)


def test_groups_and_resources_are_listed_with_the_properties_that_are_asked_for() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user("rita") as user:
            handle = await user.cluster()
            asked = PropertiesEnumIn(
                handle, pack_multi_sz(["Priority"]), ro_properties=pack_multi_sz(["grouptype", "Id"])
            )
            answer = await user.ask(groups.CREATE_GROUP_ENUM, asked)
            assert answer.entries is not None
            (web1,) = [entry for entry in answer.entries.entries if entry.name == "web1"]
            assert (web1.state, web1.owner) == (GroupState.OFFLINE, "node1")
            assert [item.name for item in parse_property_list(web1.properties or b"")] == ["Priority"]
            assert [item.name for item in parse_property_list(web1.ro_properties or b"")] == ["GroupType"]
            bare = await user.ask(groups.CREATE_GROUP_ENUM, PropertiesEnumIn(handle, None, ro_properties=None))
            assert bare.entries is not None
            assert {entry.properties for entry in bare.entries.entries} == {b""}
            odd = PropertiesEnumIn(handle, b"abc", ro_properties=None)
            assert await user.status(groups.CREATE_GROUP_ENUM, odd) == 87
            asked = PropertiesEnumIn(handle, pack_multi_sz(["RestartAction"]), ro_properties=pack_multi_sz(["Type"]))
            found = (await user.ask(resources.CREATE_RESOURCE_ENUM, asked)).entries
            assert found is not None
            (vm,) = [entry for entry in found.entries if entry.name == VM]
            assert vm.owner_name == "web1"
            assert [item.name for item in parse_property_list(vm.ro_properties or b"")] == ["Type"]
            assert [item.name for item in parse_property_list(vm.properties or b"")] == ["RestartAction"]

    with_face(test)


# --- What the methods do -------------------------------------------------------------------------------------------


def test_online_waits_for_the_state_and_online_ex_does_not() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            group = await user.group("web1")
            assert await user.status(groups.ONLINE_GROUP_EX, HandleContextIn(group, 0)) == 997
            assert await user.status(groups.ONLINE_GROUP, HandleIn(group)) in (0, 5038)
            assert await user.status(groups.OFFLINE_GROUP, HandleIn(group)) == 0
            assert await user.status(groups.ONLINE_GROUP, HandleIn(group)) == 0
            told = await user.ask(groups.GET_GROUP_STATE, HandleIn(group))
            assert (told.state, told.node_name) == (GroupState.ONLINE, "node1")
            vm = await user.resource(VM)
            assert await user.status(resources.OFFLINE_RESOURCE, HandleIn(vm)) == 0
            state = await user.ask(resources.GET_RESOURCE_STATE, HandleIn(vm))
            assert (state.state, state.node_name, state.group_name) == (ResourceState.OFFLINE, "node1", "web1")

    with_face(test)


def test_dependencies_and_owners_take_two_handles() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            vm, configuration = await user.resource(VM), await user.resource(CONFIGURATION)
            depends = TwoHandlesIn(configuration, vm)
            assert await user.status(resources.CAN_RESOURCE_BE_DEPENDENT, depends) != 0
            assert await user.status(resources.ADD_RESOURCE_DEPENDENCY, TwoHandlesIn(vm, vm)) == 87
            node = await user.node("node2")
            assert await user.status(resources.REMOVE_RESOURCE_NODE, TwoHandlesIn(vm, node)) == 0
            owners = await user.ask(resources.CREATE_RES_ENUM, HandleMaskIn(vm, 4))
            assert owners.entries is not None
            assert [entry.name for entry in owners.entries.entries] == ["node1"]
            with pytest.raises(RpcFault):
                await user.ask(resources.REMOVE_RESOURCE_NODE, TwoHandlesIn(vm, configuration))
            expression = resources.SetResourceDependencyExpressionIn(configuration, None)
            assert await user.status(resources.SET_RESOURCE_DEPENDENCY_EXPRESSION, expression) == 0

    with_face(test)


def test_a_group_prefers_the_nodes_of_a_list() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            group = await user.group("web1")

            def listed(names: tuple[str, ...]) -> tuple[int, ...]:
                return tuple(memoryview(pack_multi_sz(names)).cast("H").tolist())

            async def preferred(names: tuple[str, ...] | None) -> list[str | None]:
                wanted = groups.SetGroupNodeListIn(group, None if names is None else listed(names))
                assert await user.status(groups.SET_GROUP_NODE_LIST, wanted) == 0
                found = (await user.ask(groups.CREATE_GROUP_RESOURCE_ENUM, HandleMaskIn(group, 2))).entries
                assert found is not None
                return [entry.name for entry in found.entries]

            assert await preferred(("2", "node1")) == ["node2", "node1"]
            assert await preferred(()) == []
            assert await preferred(("node1",)) == ["node1"]
            assert await preferred(None) == []
            unknown = groups.SetGroupNodeListIn(group, listed(("node9",)))
            assert await user.status(groups.SET_GROUP_NODE_LIST, unknown) == 5042
            assert await user.status(groups.SET_GROUP_NODE_LIST, groups.SetGroupNodeListIn(group, (65, 66))) == 87

    with_face(test)


def test_a_group_of_a_type_is_made_with_its_information() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            info = CreateGroupInfo(1, 100)
            made = await user.ask(groups.CREATE_GROUP_EX, groups.CreateGroupExIn("files", info))
            assert made.status == 0
            code, output, _ = await control(user, made.handle, CLUSCTL_GROUP_GET_RO_COMMON_PROPERTIES)
            assert (code, parse_property_list(output)["GroupType"]) == (0, 100)
            wrong = groups.CreateGroupExIn("more", CreateGroupInfo(7, 100))
            assert await user.status(groups.CREATE_GROUP_EX, wrong) == 87
            twice = await user.ask(groups.CREATE_GROUP, NameIn("FILES"))
            assert (twice.status, twice.handle) == (5010, NULL_HANDLE)

    with_face(test)


def test_a_node_is_paused_and_resumed() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            node = await user.node("node2")
            assert await user.status(nodes.PAUSE_NODE, HandleIn(node)) == 0
            assert world.nodes.paused == {"2"}
            assert await user.status(nodes.RESUME_NODE, HandleIn(node)) == 0
            assert world.nodes.paused == set()
            assert await user.status(nodes.PAUSE_NODE_EX, nodes.PauseNodeExIn(node, drain_node=False)) == 0
            assert world.nodes.paused == {"2"}

    with_face(test)


def test_networks_are_opened_and_listed() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            assert await user.status(networks.OPEN_NETWORK, NameIn("nowhere")) == 5045
            order = networks.SetNetworkPriorityOrderIn(networks=(None,))
            assert await user.status(networks.SET_NETWORK_PRIORITY_ORDER, order) == 87

    with_face(test)


# --- Control codes -------------------------------------------------------------------------------------------------


async def control(
    user: WireUser, group: ContextHandle, code: int, data: bytes | None = None, room: int = 1000
) -> tuple[int, bytes, int]:
    answer = await user.ask(groups.GROUP_CONTROL, ControlIn(group, code, data, out_size=room))
    return answer.status, answer.out_buffer, answer.required


def test_a_control_code_says_how_much_room_it_needs() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            group = await user.group("web1")
            name = pack_sz("web1")
            assert await control(user, group, CLUSCTL_GROUP_GET_NAME) == (0, name, len(name))
            assert await control(user, group, CLUSCTL_GROUP_GET_NAME, room=len(name)) == (0, name, len(name))
            for room in (0, len(name) - 1):
                assert await control(user, group, CLUSCTL_GROUP_GET_NAME, room=room) == (234, b"", len(name))
            assert await control(user, group, 0) == (1, b"", 0)
            assert (await control(user, group, CLUSCTL_GROUP_GET_NAME | 0x04000000))[0] == 1

    with_face(test)


def test_properties_are_set_and_read_by_control_codes() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            group = await user.group("web1")
            data = one_property("Priority", 3000)
            assert (await control(user, group, CLUSCTL_GROUP_SET_COMMON_PROPERTIES, data))[0] == 0
            _, output, _ = await control(user, group, CLUSCTL_GROUP_GET_COMMON_PROPERTIES, room=5000)
            assert parse_property_list(output)["Priority"] == 3000
            node = await user.node("node1")
            asked = NodeControlIn(group, node, CLUSCTL_GROUP_GET_NAME, None, out_size=100)
            assert await user.status(groups.NODE_GROUP_CONTROL, asked) == 0
            elsewhere = NodeControlIn(group, await user.node("node2"), CLUSCTL_GROUP_GET_NAME, None, out_size=100)
            assert await user.status(groups.NODE_GROUP_CONTROL, elsewhere) == 5016

    with_face(test)


def test_a_migration_starts_by_the_code_and_by_the_move_with_a_context() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            group, vm = await user.group("web1"), await user.resource(VM)
            assert await user.status(groups.ONLINE_GROUP, HandleIn(group)) == 0
            started = await user.ask(
                resources.RESOURCE_CONTROL, ControlIn(vm, 0x01600004, pack_sz("node2"), out_size=0)
            )
            assert (started.status, started.required) == (0, 0)
            await user.owner_is(group, "node2")
            context = one_property("Virtual Machine", 4)
            move = groups.MoveGroupToNodeExIn(group, await user.node("node1"), 0xE, context)
            assert await user.status(groups.MOVE_GROUP_TO_NODE_EX, move) == 997
            await user.owner_is(group, "node1")
            assert await user.status(groups.MOVE_GROUP_TO_NODE_EX, move) == 0

    with_face(test)
