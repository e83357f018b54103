"""The standard resource types, and the one resource that every cluster has."""

import asyncio
import struct
from collections.abc import Awaitable, Callable

import pytest
from tests.unit.hosting.fakes import MemoryProperties, MemoryRunStates, PlainGroup, PlainResource
from tests.waiting import PATIENCE

from quorate.clusapi import control_codes as codes
from quorate.clusapi.errors import ClusterError
from quorate.clusapi.identity import GroupId, ResourceId
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    PropertyValue,
    pack_property_list,
    parse_property_list,
    parse_sz,
    parse_value_list,
)
from quorate.clusapi.resource_types import STANDARD_TYPES, standard_type
from quorate.clusapi.states import GroupState, ResourceState
from quorate.clusapi.status import Status
from quorate.hosting.contract import PropertyScope, ResourceProperties
from quorate.hosting.host import Host
from quorate.resources.network_name import NetworkName
from quorate.resources.registered_type import registered_types

GROUP = PlainGroup(GroupId("core"), "Cluster Group")
NAME, DISK = ResourceId("name"), ResourceId("disk")
RESOURCES = (
    PlainResource(NAME, "Cluster Name", "Network Name", GROUP.id),
    PlainResource(DISK, "a disk", "Physical Disk", GROUP.id),
)


def host_test(body: Callable[[Host], Awaitable[None]]) -> None:
    async def main() -> None:
        store = MemoryProperties()
        own = ResourceProperties(NAME, PropertyScope.PRIVATE)
        await store.write(own, {"Name": PropertyValue.of(PropertyFormat.SZ, "prod")})
        host = Host([NetworkName(), *registered_types()], store, MemoryRunStates())
        await host.attach_group(GROUP, RESOURCES, {})
        try:
            async with asyncio.timeout(PATIENCE):
                await body(host)
        finally:
            await host.close()

    asyncio.run(main())


async def type_answer(host: Host, type_: str, code: int) -> bytes:
    result = await host.resource_type_control(type_, code, None)
    assert result.status == 0, result.sentence
    return result.output


@pytest.mark.parametrize("type_", [one.name for one in STANDARD_TYPES.values() if one.is_only_registered])
def test_a_type_that_is_only_registered_tells_its_facts(type_: str) -> None:
    facts = STANDARD_TYPES[type_]

    async def body(host: Host) -> None:
        characteristics = await type_answer(host, type_, codes.CLUSCTL_RESOURCE_TYPE_GET_CHARACTERISTICS)
        assert struct.unpack("<I", characteristics) == (facts.characteristics,)
        class_info = await type_answer(host, type_, codes.CLUSCTL_RESOURCE_TYPE_GET_CLASS_INFO)
        assert struct.unpack("<II", class_info) == (facts.class_, facts.subclass)
        required = await type_answer(host, type_.upper(), codes.CLUSCTL_RESOURCE_TYPE_GET_REQUIRED_DEPENDENCIES)
        assert tuple(value.value for value in parse_value_list(required)) == facts.requires
        assert all(standard_type(name) for name in facts.requires)
        assert facts.refusal
        shown = parse_property_list(await type_answer(host, type_, codes.CLUSCTL_RESOURCE_TYPE_GET_COMMON_PROPERTIES))
        assert {item.name: item.value for item in shown}["IsAlivePollInterval"] == 60_000
        assert await type_answer(host, type_, codes.CLUSCTL_RESOURCE_TYPE_GET_PRIVATE_PROPERTIES)

    host_test(body)


def test_a_resource_of_such_a_type_does_not_go_online_and_says_why() -> None:
    async def body(host: Host) -> None:
        try:
            await host.online_resource(DISK)
        except ClusterError as error:
            assert error.status == Status.ERROR_CLUSTER_RESTYPE_NOT_SUPPORTED
        await host.wait_settled(GROUP.id)
        assert host.state(DISK) is ResourceState.FAILED
        assert "storages" in host.sentence(DISK)
        assert await host.offline_resource(DISK) == 0

    host_test(body)


def test_the_clusters_name_goes_online_and_offline_and_tells_the_name() -> None:
    async def body(host: Host) -> None:
        await host.online_resource(NAME)
        await host.wait_settled(GROUP.id)
        assert host.state(NAME) is ResourceState.ONLINE
        for code in (codes.CLUSCTL_RESOURCE_GET_NETWORK_NAME, codes.CLUSCTL_RESOURCE_GET_DNS_NAME):
            assert parse_sz((await host.resource_control(NAME, code, None)).output) == "prod"
        flags = await host.resource_control(NAME, codes.CLUSCTL_RESOURCE_GET_FLAGS, None)
        assert struct.unpack("<I", flags.output) == (1,)
        required = await host.resource_control(NAME, codes.CLUSCTL_RESOURCE_GET_REQUIRED_DEPENDENCIES, None)
        assert parse_value_list(required.output) == ()
        of_type = await type_answer(host, "Network Name", codes.CLUSCTL_RESOURCE_TYPE_GET_REQUIRED_DEPENDENCIES)
        assert [value.value for value in parse_value_list(of_type)] == ["IP Address"]
        await host.offline_resource(NAME)
        await host.wait_settled(GROUP.id)
        assert host.group_state(GROUP.id) is GroupState.OFFLINE

    host_test(body)


def test_the_name_is_not_set_as_a_property() -> None:
    async def body(host: Host) -> None:
        data = pack_property_list(PropertyList.of([("Name", PropertyFormat.SZ, "other")]))
        answer = await host.resource_control(NAME, codes.CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES, data)
        assert answer.status == Status.ERROR_INVALID_PARAMETER
        fixed = await host.resource_control(NAME, codes.CLUSCTL_RESOURCE_GET_RO_PRIVATE_PROPERTIES, None)
        assert [(item.name, item.value) for item in parse_property_list(fixed.output)] == [("Name", "prod")]

    host_test(body)
