import asyncio

import pytest
from tests.unit.hosting.fakes import MemoryProperties, MemoryRunStates, ToyType
from tests.unit.hosting.hosted_world import APP, GROUP, OFFLINE, ONLINE, RESOURCES, World, host_test, until
from tests.waiting import PATIENCE

from quorate.clusapi import control_codes as codes
from quorate.clusapi.errors import FaultError
from quorate.clusapi.identity import ResourceId
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    PropertyValue,
    pack_property_list,
    parse_multi_sz,
    parse_property_formats,
    parse_property_list,
    parse_sz,
)
from quorate.clusapi.states import ResourceState
from quorate.clusapi.status import Status
from quorate.hosting.cluster_handling import PlainClusterHandling
from quorate.hosting.common_properties import RESOURCE_COMMON, TYPE_COMMON
from quorate.hosting.contract import (
    NOT_MINE,
    ControlAnswer,
    ControlResult,
    Parameters,
    PropertyOwner,
    PropertyScope,
    ResourceFacts,
    ResourceProperties,
)
from quorate.hosting.host import Host
from quorate.hosting.resource_type import TypeTraits

# --- Control codes -------------------------------------------------------------------------------------------------


class SlowProperties(MemoryProperties):
    """Answers a read when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = asyncio.Event()

    async def read(self, owner: PropertyOwner) -> Parameters:
        await self.may_answer.wait()
        return await super().read(owner)


def test_a_resource_that_is_just_being_opened_is_waited_for() -> None:
    async def main() -> None:
        toy, store = ToyType(), SlowProperties()
        host = Host([toy], store, MemoryRunStates())
        attaching = asyncio.create_task(host.attach_group(GROUP, RESOURCES, OFFLINE))
        await until(lambda: host.state(APP) is ResourceState.OFFLINE)
        asking = asyncio.create_task(host.resource_control(APP, codes.CLUSCTL_RESOURCE_GET_CHARACTERISTICS, None))
        starting = asyncio.create_task(host.online_resource(APP))
        await until(lambda: bool(host._resources[APP]._opening._waiters))
        store.may_answer.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(attaching, starting)
            assert (await asking).status == 0
            await host.wait_settled(GROUP.id)
        assert toy.log.index("open app") < toy.log.index("control app")
        assert host.state(APP) is ResourceState.ONLINE
        await host.close()

    asyncio.run(main())


class RecordingCluster(PlainClusterHandling):
    def __init__(self) -> None:
        self.asked: list[int] = []

    async def resource_control(self, resource: ResourceFacts, code: int, data: bytes | None) -> ControlAnswer:
        self.asked.append(code)
        return await super().resource_control(resource, code, data)


def test_a_code_goes_to_the_type_then_to_the_hosting_default_then_to_the_cluster() -> None:
    cluster = RecordingCluster()

    async def body(world: World) -> None:
        world.toy.control = ControlAnswer(Status.ERROR_SUCCESS, b"mine")
        code = codes.CLUSCTL_RESOURCE_GET_COMMON_PROPERTIES
        assert (await world.control(code)).output == b"mine"
        world.toy.control = NOT_MINE
        assert parse_property_list((await world.control(code)).output)["Name"] == "App"
        assert cluster.asked == []
        assert (await world.control(codes.CLUSCTL_RESOURCE_GET_FLAGS)).output == bytes(4)
        assert cluster.asked == [codes.CLUSCTL_RESOURCE_GET_FLAGS]
        assert world.toy.log == ["control app"] * 3
        unknown = await world.control(codes.CLUSCTL_RESOURCE_GET_DNS_NAME)
        assert unknown.status == Status.ERROR_INVALID_FUNCTION

    host_test(body, cluster=cluster)


def test_some_codes_never_reach_the_type() -> None:
    async def body(world: World) -> None:
        world.toy.control = ControlAnswer(Status.ERROR_SUCCESS, b"mine")
        texts = [
            parse_sz((await world.control(code)).output)
            for code in (
                codes.CLUSCTL_RESOURCE_GET_NAME,
                codes.CLUSCTL_RESOURCE_GET_ID,
                codes.CLUSCTL_RESOURCE_GET_RESOURCE_TYPE,
            )
        ]
        assert texts == ["App", "app", "Toy"]
        assert world.toy.log == []

    host_test(body)


def test_output_that_does_not_fit_is_234_with_the_size_that_would() -> None:
    async def body(world: World) -> None:
        whole = await world.control(codes.CLUSCTL_RESOURCE_GET_NAME, out_size=8)
        assert (whole.status, len(whole.output), whole.required) == (Status.ERROR_SUCCESS, 8, 8)
        for room in (0, 7):
            part = await world.control(codes.CLUSCTL_RESOURCE_GET_NAME, out_size=room)
            assert (part.status, part.output, part.required) == (Status.ERROR_MORE_DATA, b"", 8)

    host_test(body)


@pytest.mark.parametrize(
    ("resource", "code", "status"),
    [
        (APP, 0, Status.ERROR_INVALID_FUNCTION),
        (APP, codes.CLUSCTL_RESOURCE_TYPE_GET_FLAGS, Status.ERROR_INVALID_PARAMETER),
        (APP, codes.CLUSCTL_GROUP_GET_NAME, Status.ERROR_INVALID_PARAMETER),
        (APP, codes.CLUSCTL_RESOURCE_DELETE, Status.ERROR_INVALID_FUNCTION),
        (ResourceId("x"), codes.CLUSCTL_RESOURCE_GET_NAME, Status.ERROR_HOST_NODE_NOT_RESOURCE_OWNER),
        (ResourceId("x"), codes.CLUSCTL_RESOURCE_VM_START_MIGRATION, Status.ERROR_INVALID_STATE),
        (ResourceId("x"), codes.CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION, Status.ERROR_INVALID_STATE),
        (APP, codes.CLUSCTL_RESOURCE_VM_START_MIGRATION, Status.ERROR_INVALID_FUNCTION),
    ],
)
def test_codes_that_are_refused(resource: ResourceId, code: int, status: Status) -> None:
    async def body(world: World) -> None:
        answer = await world.host.resource_control(resource, code, None)
        assert answer.status == status
        assert answer.sentence

    host_test(body)


def test_private_properties_are_the_types_and_kept_by_the_host() -> None:
    async def body(world: World) -> None:
        owner = ResourceProperties(APP, PropertyScope.PRIVATE)
        value = PropertyValue.of(PropertyFormat.SZ, "x")
        world.toy.control = ControlAnswer(Status.ERROR_RESOURCE_PROPERTIES_STORED, changes={"P": value, "Gone": None})
        answer = await world.set(codes.CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES, ("P", PropertyFormat.SZ, "x"))
        assert answer.status == Status.ERROR_RESOURCE_PROPERTIES_STORED
        assert world.store.values[owner] == {"P": value}
        world.store.failure = FaultError(Status.ERROR_TIMEOUT, "no answer")
        answer = await world.set(codes.CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES, ("P", PropertyFormat.SZ, "y"))
        assert (answer.status, answer.sentence) == (Status.ERROR_TIMEOUT, "no answer")
        world.store.failure = None

    host_test(body)


def test_a_type_that_leaves_private_properties_to_the_host_has_them_unchecked() -> None:
    async def body(world: World) -> None:
        assert (
            await world.set(codes.CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES, ("Any", PropertyFormat.DWORD, 7))
        ).status == Status.ERROR_SUCCESS
        got = await world.control(codes.CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTIES)
        assert parse_property_list(got.output).integer("any") == 7
        names = await world.control(codes.CLUSCTL_RESOURCE_ENUM_PRIVATE_PROPERTIES)
        assert parse_multi_sz(names.output) == ("Any",)
        formats = await world.control(codes.CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTY_FMTS)
        assert parse_property_formats(formats.output) == {"Any": PropertyFormat.DWORD}
        nothing = await world.control(codes.CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES)
        assert nothing.status == Status.RPC_X_BAD_STUB_DATA

    host_test(body)


def test_common_properties_are_the_hosts() -> None:
    async def body(world: World) -> None:
        set_code, check = (
            codes.CLUSCTL_RESOURCE_SET_COMMON_PROPERTIES,
            codes.CLUSCTL_RESOURCE_VALIDATE_COMMON_PROPERTIES,
        )
        names = parse_multi_sz((await world.control(codes.CLUSCTL_RESOURCE_ENUM_COMMON_PROPERTIES)).output)
        assert names == tuple(item.name for item in RESOURCE_COMMON.definitions)
        read_only = parse_property_list((await world.control(codes.CLUSCTL_RESOURCE_GET_RO_COMMON_PROPERTIES)).output)
        assert read_only["Type"] == "Toy"
        for item in RESOURCE_COMMON.definitions:
            good = (item.name, item.format, "App" if item.name == "Name" else item.default)
            wrong = (item.name, PropertyFormat.BINARY, b"x")
            status = Status.ERROR_INVALID_PARAMETER if item.read_only else Status.ERROR_SUCCESS
            assert (await world.set(check, good)).status == status, item.name
            assert (await world.set(set_code, good)).status == status, item.name
            if not item.read_only:
                assert (await world.set(set_code, wrong)).status == Status.ERROR_INVALID_DATA
        unknown = await world.set(set_code, ("Nonsense", PropertyFormat.DWORD, 1))
        assert unknown.status == Status.ERROR_INVALID_PARAMETER
        low = await world.set(set_code, ("DeadlockTimeout", PropertyFormat.DWORD, 999))
        assert low.status == Status.ERROR_INVALID_DATA
        assert (await world.control(set_code, b"\1\0\0\0")).status == Status.ERROR_INVALID_PARAMETER
        await world.set(set_code, ("Description", PropertyFormat.SZ, "about"))
        got = await world.control(codes.CLUSCTL_RESOURCE_GET_COMMON_PROPERTIES)
        assert parse_property_list(got.output)["description"] == "about"

    host_test(body)


def test_a_retry_period_is_at_least_the_restart_period() -> None:
    async def body(world: World) -> None:
        async def put(*items: tuple[str, int]) -> Status:
            listed = ((name, PropertyFormat.DWORD, number) for name, number in items)
            return (await world.set(codes.CLUSCTL_RESOURCE_SET_COMMON_PROPERTIES, *listed)).status

        assert await put(("RetryPeriodOnFailure", 899_999)) == Status.ERROR_INVALID_DATA
        assert await put(("RetryPeriodOnFailure", 900_000)) == Status.ERROR_SUCCESS
        assert await put(("RestartPeriod", 10), ("RetryPeriodOnFailure", 10)) == Status.ERROR_SUCCESS
        assert await put(("RetryPeriodOnFailure", 0xFFFFFFFF)) == Status.ERROR_SUCCESS

    host_test(body)


def test_a_change_that_waits_for_the_next_online_is_5024_only_while_it_is_online() -> None:
    async def body(world: World) -> None:
        change = ("SeparateMonitor", PropertyFormat.DWORD, 1)
        code = codes.CLUSCTL_RESOURCE_SET_COMMON_PROPERTIES
        assert (await world.set(code, change)).status == Status.ERROR_RESOURCE_PROPERTIES_STORED
        await world.host.offline_resource(APP)
        assert (await world.set(code, change)).status == Status.ERROR_SUCCESS
        world.toy.log.clear()
        await world.host.online_resource(APP)
        assert world.toy.log == ["close app", "open app", "online app"]

    host_test(body, ONLINE, ToyType(times=TypeTraits(notifies_failure=True)))


def test_type_codes_have_the_same_order() -> None:
    async def body(world: World) -> None:
        async def ask(code: int, data: bytes | None = None) -> ControlResult:
            return await world.host.resource_type_control("toy", code, data)

        names = await ask(codes.CLUSCTL_RESOURCE_TYPE_ENUM_COMMON_PROPERTIES)
        assert parse_multi_sz(names.output) == tuple(item.name for item in TYPE_COMMON.definitions)
        assert (await ask(codes.CLUSCTL_RESOURCE_TYPE_GET_FLAGS)).output == bytes(4)
        formats = await ask(codes.CLUSCTL_RESOURCE_TYPE_GET_COMMON_RESOURCE_PROPERTY_FMTS)
        assert set(parse_property_formats(formats.output)) == {item.name for item in RESOURCE_COMMON.definitions}
        assert (await ask(codes.CLUSCTL_RESOURCE_GET_FLAGS)).status == Status.ERROR_INVALID_PARAMETER
        assert (await ask(codes.CLUSCTL_RESOURCE_TYPE_INSTALL_NODE)).status == Status.ERROR_INVALID_FUNCTION
        data = pack_property_list(PropertyList.of([("PendingTimeout", PropertyFormat.DWORD, 5000)]))
        assert (await ask(codes.CLUSCTL_RESOURCE_TYPE_SET_COMMON_PROPERTIES, data)).status == Status.ERROR_SUCCESS
        got = parse_property_list((await ask(codes.CLUSCTL_RESOURCE_TYPE_GET_COMMON_PROPERTIES)).output)
        assert got["PendingTimeout"] == 5000

    host_test(body)
