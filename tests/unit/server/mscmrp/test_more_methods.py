"""Methods on group sets, resource types, networks and the quorum, over the wire: each reaches its operation."""

import asyncio

import pytest
from tests.unit.server.mscmrp.face_world import FaceWorld, WireUser, with_face
from tests.unit.server.networks import make_networks

from quorate.clusapi.control_codes import CLUSCTL_CLUSTER_GET_FQDN
from quorate.clusapi.property_lists import parse_sz
from quorate.clusapi.states import ResourceState
from quorate.dcerpc.errors import RpcFault
from quorate.dcerpc.ndr import ContextHandle
from quorate.mscmrp import cluster_methods as cluster
from quorate.mscmrp import group_methods as groups
from quorate.mscmrp import group_set_methods as sets
from quorate.mscmrp import net_interface_methods as interfaces
from quorate.mscmrp import network_methods as networks
from quorate.mscmrp import node_methods as nodes
from quorate.mscmrp import resource_methods as resources
from quorate.mscmrp import resource_type_methods as types
from quorate.mscmrp.shapes import (
    ControlIn,
    EnumOut,
    HandleContextIn,
    HandleFlagsIn,
    HandleIn,
    HandleMaskIn,
    HandleNameIn,
    NameIn,
    NoIn,
    TwoHandlesIn,
)

VM = "Virtual Machine web1"
GET_ID = 0x08000039


def names(answer: EnumOut) -> list[str | None]:
    assert answer.status == 0
    assert answer.entries is not None
    return [entry.name for entry in answer.entries.entries]


async def made(user: WireUser, name: str) -> ContextHandle:
    return await user.open(sets.CREATE_GROUP_SET, name)


def test_group_sets_are_made_filled_ordered_and_deleted() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            first, second = await made(user, "first"), await made(user, "second")
            handle = await user.cluster()
            assert names(await user.ask(sets.CREATE_GROUP_SET_ENUM, HandleIn(handle))) == ["first", "second"]
            again = await user.open(sets.OPEN_GROUP_SET, "FIRST")
            id_ = await user.ask(sets.GROUP_SET_CONTROL, ControlIn(again, GET_ID, None, out_size=200))
            assert id_.status == 0
            assert await user.open(sets.OPEN_GROUP_SET, parse_sz(id_.out_buffer))
            group = await user.group("web1")
            assert await user.status(sets.ADD_GROUP_TO_GROUP_SET, TwoHandlesIn(first, group)) == 0
            assert await user.status(sets.MOVE_GROUP_TO_GROUP_SET, TwoHandlesIn(second, group)) == 0
            assert await user.status(sets.REMOVE_GROUP_FROM_GROUP_SET, HandleIn(group)) == 0
            domains = sets.AddGroupToGroupSetExIn(first, group, 1, 2, use_domains=True)
            assert await user.status(sets.ADD_GROUP_TO_GROUP_SET_EX, domains) == 0
            depends = TwoHandlesIn(second, first)
            assert await user.status(sets.ADD_GROUP_SET_DEPENDENCY, depends) == 0
            assert await user.status(sets.REMOVE_GROUP_SET_DEPENDENCY, depends) == 0
            assert await user.status(sets.REMOVE_GROUP_FROM_GROUP_SET, HandleIn(group)) == 0
            with pytest.raises(RpcFault):
                await user.ask(sets.ADD_GROUP_TO_GROUP_SET, TwoHandlesIn(group, first))
            assert await user.status(sets.DELETE_GROUP_SET, HandleIn(second)) == 0
            assert await user.status(sets.CLOSE_GROUP_SET, HandleIn(second)) == 0
            assert await user.status(sets.OPEN_GROUP_SET, NameIn("second")) == 5992

    with_face(test)


def test_groups_depend_on_groups_and_on_sets() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            first = await made(user, "first")
            other = (await user.ask(groups.CREATE_GROUP, NameIn("other"))).handle
            group = await user.group("web1")
            assert await user.status(sets.ADD_GROUP_TO_GROUP_SET, TwoHandlesIn(first, other)) == 0
            to_set = TwoHandlesIn(group, first)
            assert await user.status(sets.ADD_GROUP_TO_GROUP_SET_DEPENDENCY, to_set) == 0
            assert await user.status(sets.REMOVE_CLUSTER_GROUP_TO_GROUP_SET_DEPENDENCY, to_set) == 0
            expression = HandleNameIn(group, "[other]")
            assert await user.status(sets.SET_GROUP_DEPENDENCY_EXPRESSION, expression) == 0
            assert await user.status(sets.REMOVE_CLUSTER_GROUP_DEPENDENCY, TwoHandlesIn(group, other)) == 0
            second = await made(user, "second")
            expression = HandleNameIn(second, "[first]")
            assert await user.status(sets.SET_GROUP_SET_DEPENDENCY_EXPRESSION, expression) == 0

    with_face(test)


def test_resource_types_are_made_listed_asked_and_deleted() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            wanted = types.CreateResourceTypeIn("Mine", "Mine, shown", "mine.dll", 5000, 60000)
            assert await user.status(types.CREATE_RESOURCE_TYPE, wanted) == 0
            assert "Mine" in names(await user.ask(cluster.CREATE_ENUM, cluster.CreateEnumIn(2)))
            found = await user.ask(types.CREATE_RES_TYPE_ENUM, types.CreateResTypeEnumIn("virtual machine", 2))
            assert names(found) == [VM]
            unknown = types.CreateResTypeEnumIn("nope", 2)
            assert await user.status(types.CREATE_RES_TYPE_ENUM, unknown) == 5078
            assert await user.status(types.DELETE_RESOURCE_TYPE, NameIn("Mine")) == 0
            assert await user.status(types.DELETE_RESOURCE_TYPE, NameIn("Mine")) == 5078
            handle = await user.cluster()
            asked = types.ResourceTypeControlIn(handle, "nope", 0x02000005, None, out_size=4)
            assert await user.status(types.RESOURCE_TYPE_CONTROL, asked) == 5078

    with_face(test)


def test_a_type_that_has_no_meaning_here_makes_no_resources() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            group = (await user.ask(groups.CREATE_GROUP, NameIn("disks"))).handle
            asked = resources.CreateResourceIn(group, "Disk 1", "Physical Disk")
            assert await user.status(resources.CREATE_RESOURCE, asked) == 5079
            script = resources.CreateResourceIn(group, "Script 1", "generic script", 1)
            created = await user.ask(resources.CREATE_RESOURCE, script)
            assert created.status == 0
            kind = await user.ask(resources.GET_RESOURCE_TYPE, HandleIn(created.handle))
            assert (kind.text, kind.status) == ("Generic Script", 0)
            renamed = HandleNameIn(created.handle, "Script 2")
            assert await user.status(resources.SET_RESOURCE_NAME, renamed) == 0
            assert await user.resource("script 2")
            assert await user.status(groups.DELETE_GROUP, groups.DeleteGroupIn(group, force=False)) == 145
            assert await user.status(resources.DELETE_RESOURCE, HandleIn(created.handle)) == 0

    with_face(test)


def test_what_there_is_nothing_of_here_is_refused_and_not_unknown() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            vm = await user.resource(VM)
            quorum = await user.ask(cluster.GET_QUORUM_RESOURCE, NoIn())
            assert quorum == cluster.GetQuorumResourceOut("", "", 0)
            asked = cluster.SetQuorumResourceIn(vm, "", 0)
            assert await user.status(cluster.SET_QUORUM_RESOURCE, asked) == 5021
            assert await user.status(resources.CHANGE_CSV_STATE, HandleFlagsIn(vm, 1)) == 5964
            volume = resources.ChangeCsvStateExIn(vm, 1, "C:")
            assert await user.status(resources.CHANGE_CSV_STATE_EX, volume) == 5964
            name = await user.resource("Cluster Name")
            assert (await user.ask(resources.GET_RESOURCE_NETWORK_NAME, HandleIn(name))).text == "pocket"
            nameless = await user.ask(resources.GET_RESOURCE_NETWORK_NAME, HandleIn(vm))
            assert (nameless.text, nameless.status) == (None, 5002)

    with_face(test)


def test_enumerations_refuse_kinds_that_there_are_not() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            for mask in (0x40, 0x100 | 1, 0x10000000):
                assert await user.status(cluster.CREATE_ENUM, cluster.CreateEnumIn(mask)) == 87
            node = await user.node("node1")
            assert names(await user.ask(nodes.CREATE_NODE_ENUM, HandleMaskIn(node, 0x1000))) == []

    with_face(test)


def test_a_node_is_drained_when_it_is_paused_so() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            node, target = await user.node("node1"), await user.node("node2")
            paused = await user.status(nodes.PAUSE_NODE_EX, nodes.PauseNodeExIn(node, drain_node=True))
            assert paused in (0, 997, 5962)
            to_target = nodes.PauseNodeWithDrainTargetIn(node, 0, target)
            assert await user.status(nodes.PAUSE_NODE_WITH_DRAIN_TARGET, to_target) in (0, 997, 5962)
            assert await user.status(nodes.RESUME_NODE_EX, nodes.ResumeNodeExIn(node, 0, 1)) == 87
            assert await user.status(nodes.RESUME_NODE_EX, nodes.ResumeNodeExIn(node, 0)) == 0

    with_face(test)


def test_networks_and_interfaces_are_opened_listed_and_named() -> None:
    async def test(world: FaceWorld) -> None:
        await asyncio.to_thread(make_networks, world.nodes)
        async with world.user() as user:
            handle = await user.cluster()
            first = await user.open(networks.OPEN_NETWORK, "cluster network 1")
            told = await user.ask(networks.GET_NETWORK_STATE, HandleIn(first))
            assert told.status == 0
            on_first = names(await user.ask(networks.CREATE_NETWORK_ENUM, HandleMaskIn(first, 1)))
            assert on_first == ["node1 - eth0", "node2 - eth0"]
            id_ = (await user.ask(networks.GET_NETWORK_ID, HandleIn(first))).text
            second = (await user.ask(networks.OPEN_NETWORK, NameIn("Cluster Network 2"))).handle
            other = (await user.ask(networks.GET_NETWORK_ID, HandleIn(second))).text
            order = networks.SetNetworkPriorityOrderIn(networks=(other, id_))
            assert await user.status(networks.SET_NETWORK_PRIORITY_ORDER, order) == 0
            assert await user.status(networks.SET_NETWORK_NAME, HandleNameIn(first, "LAN")) == 0
            found = await user.ask(interfaces.GET_NET_INTERFACE, interfaces.GetNetInterfaceIn("NODE2", "lan"))
            assert (found.status, found.text) == (0, "node2 - eth0")
            of_node = interfaces.CreateNetInterfaceEnumIn(handle, "node2", "")
            assert names(await user.ask(interfaces.CREATE_NET_INTERFACE_ENUM, of_node)) == [
                "node2 - eth0",
                "node2 - eth1",
            ]
            interface = await user.open(interfaces.OPEN_NET_INTERFACE, "node2 - eth0")
            assert await user.status(interfaces.GET_NET_INTERFACE_STATE, HandleIn(interface)) == 0
            control = ControlIn(interface, 0x06000029, None, out_size=100)
            named = await user.ask(interfaces.NET_INTERFACE_CONTROL, control)
            assert (named.status, parse_sz(named.out_buffer)) == (0, "node2 - eth0")
            for method, opened in (
                (interfaces.CLOSE_NET_INTERFACE, interface),
                (networks.CLOSE_NETWORK, first),
                (networks.CLOSE_NETWORK, second),
                (cluster.CLOSE_CLUSTER, handle),
            ):
                assert await user.status(method, HandleIn(opened)) == 0
            assert world.server.handles == 0

    with_face(test)


def test_the_cluster_is_renamed_and_says_that_this_is_stored() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            assert await user.status(cluster.SET_CLUSTER_NAME, NameIn("blue")) == 5024
            assert (await user.ask(cluster.GET_CLUSTER_NAME, NoIn())).cluster_name == "blue"
            assert await user.status(cluster.SET_CLUSTER_NAME, NameIn("")) == 123

    with_face(test)


def test_a_resource_fails_and_restarts_at_a_word() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            group, vm = await user.group("web1"), await user.resource(VM)
            assert await user.status(groups.ONLINE_GROUP, HandleIn(group)) == 0
            assert await user.status(resources.RESTART_RESOURCE, HandleFlagsIn(vm, 0)) in (0, 997)
            assert await user.status(resources.RESTART_RESOURCE, HandleFlagsIn(vm, 0x80000000)) == 87
            assert await user.status(resources.FAIL_RESOURCE, HandleIn(vm)) == 0
            state = await user.ask(resources.GET_RESOURCE_STATE, HandleIn(vm))
            assert state.state == ResourceState.FAILED

    with_face(test)


def test_a_buffer_that_nobody_needs_goes_along_with_online() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            group, vm = await user.group("web1"), await user.resource(VM)
            assert await user.status(resources.ONLINE_RESOURCE_EX, HandleContextIn(vm, 0, bytes(4))) in (0, 997)
            assert await user.status(groups.ONLINE_GROUP_EX, HandleContextIn(group, 0, bytes(4))) in (0, 997)
            assert await user.status(resources.OFFLINE_RESOURCE_EX, HandleContextIn(vm, 0x80)) == 87

    with_face(test)


def test_the_cluster_tells_its_whole_name() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user("rita") as user:
            handle = await user.cluster()
            told = await user.ask(
                cluster.CLUSTER_CONTROL, ControlIn(handle, CLUSCTL_CLUSTER_GET_FQDN, None, out_size=99)
            )
            assert (told.status, parse_sz(told.out_buffer)) == (0, "pocket")
            assert await user.status(cluster.CLUSTER_CONTROL, ControlIn(handle, 0, None, out_size=99)) == 1

    with_face(test)
