import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import pytest
from tests.unit.hosting.fakes import MemoryProperties, MemoryRunStates, MemoryVirtualMachines, PlainGroup, PlainResource
from tests.waiting import PATIENCE

from quorate.clusapi import control_codes as codes
from quorate.clusapi.errors import RefusalError
from quorate.clusapi.identity import GroupId, NetworkId, ResourceId
from quorate.clusapi.migration_input import pack_destination
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    PropertyValue,
    Value,
    pack_property_list,
    pack_sz,
    parse_multi_sz,
    parse_property_formats,
    parse_property_list,
    parse_value_list,
)
from quorate.clusapi.states import (
    MigrationState,
    OfflineAction,
    ResourceOfflineFlags,
    ResourceState,
    VmResdllContext,
    VmState,
)
from quorate.clusapi.status import E_FAIL, Status
from quorate.hosting.contract import ControlResult, PropertyScope, ResourceProperties
from quorate.hosting.host import Host
from quorate.hosting.property_table import PropertyDefinition, PropertyTable
from quorate.migration.policy import POLICIES, POLICY_PROPERTY
from quorate.resources import vm_properties
from quorate.resources.virtual_machine import VirtualMachine
from quorate.resources.virtual_machine_configuration import VirtualMachineConfiguration

GROUP = PlainGroup(GroupId("g"), "web1")
VM, CONFIG = ResourceId("vm"), ResourceId("config")
RESOURCES = (
    PlainResource(VM, "Virtual Machine web1", "Virtual Machine", GROUP.id, (CONFIG,)),
    PlainResource(CONFIG, "Virtual Machine Configuration web1", "Virtual Machine Configuration", GROUP.id),
)
START = codes.CLUSCTL_RESOURCE_VM_START_MIGRATION
SET = codes.CLUSCTL_RESOURCE_SET_PRIVATE_PROPERTIES
VALIDATE = codes.CLUSCTL_RESOURCE_VALIDATE_PRIVATE_PROPERTIES
GET = codes.CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTIES
GET_RO = codes.CLUSCTL_RESOURCE_GET_RO_PRIVATE_PROPERTIES
OK, BAD_DATA, BAD = Status.ERROR_SUCCESS, Status.ERROR_INVALID_DATA, Status.ERROR_INVALID_PARAMETER
GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
R = ResourceState


@dataclass
class World:
    vms: MemoryVirtualMachines
    store: MemoryProperties
    runs: MemoryRunStates
    host: Host

    async def control(self, code: int, data: bytes | None = None, resource: ResourceId = VM) -> ControlResult:
        return await self.host.resource_control(resource, code, data)

    async def put(
        self, name: str, format_: PropertyFormat, value: Value, code: int = SET, resource: ResourceId = VM
    ) -> Status:
        data = pack_property_list(PropertyList.of([(name, format_, value)]))
        return (await self.control(code, data, resource)).status

    async def properties(self, code: int = GET, resource: ResourceId = VM) -> PropertyList:
        return parse_property_list((await self.control(code, None, resource)).output)


def vm_test(body: Callable[[World], Awaitable[None]], *, running: bool = True) -> None:
    async def main() -> None:
        vms, store, runs = MemoryVirtualMachines(), MemoryProperties(), MemoryRunStates()
        host = Host([VirtualMachine(vms), VirtualMachineConfiguration(vms)], store, runs)
        state = R.ONLINE if running else R.OFFLINE
        if running:
            vms.put(GROUP.id, VmState.RUNNING, MigrationState.NO_MIGRATION)
        await host.attach_group(GROUP, RESOURCES, {VM: state, CONFIG: state})
        try:
            async with asyncio.timeout(PATIENCE):
                await body(World(vms, store, runs, host))
        finally:
            await host.close()

    asyncio.run(main())


# --- START and CANCEL ----------------------------------------------------------------------------------------------

BAD_DESTINATIONS = {
    "odd length": pack_sz("node2")[:-1],
    "empty": b"",
    "no characters": b"\0\0",
    "not NUL-terminated": "node2".encode("utf-16-le"),
    "embedded NUL": "no\0de\0".encode("utf-16-le"),
    "half a surrogate pair": b"\x00\xd8\0\0",
    "too long": pack_sz("n" * 256),
    "no such policy": pack_destination("node2", "Default"),
    "a policy of no characters": pack_sz("node2") + pack_sz(""),
    "a limit that is no number": pack_sz("node2") + pack_sz("gentle") + pack_sz("x"),
    "a limit of no characters": pack_sz("node2") + pack_sz("gentle") + pack_sz(""),
    "a limit of nothing": pack_sz("node2") + pack_sz("gentle") + pack_sz("0"),
    "a limit that is too high": pack_sz("node2") + pack_sz("") + pack_sz("1048577"),
    "a limit of many digits": pack_sz("node2") + pack_sz("") + pack_sz("1" * 5000),
    "no such policy before a limit": pack_destination("node2", "Default", 100),
    "a fourth text": pack_sz("node2") + pack_sz("gentle") + pack_sz("5") + pack_sz("x"),
}


@pytest.mark.parametrize("data", BAD_DESTINATIONS.values(), ids=BAD_DESTINATIONS.keys())
@pytest.mark.parametrize("running", [True, False])
def test_a_malformed_destination_is_87_whatever_the_vm_does(data: bytes, running: bool) -> None:
    async def body(world: World) -> None:
        answer = await world.control(START, data)
        assert answer.status == BAD
        assert answer.sentence
        assert world.vms.calls == []

    vm_test(body, running=running)


@pytest.mark.parametrize(
    ("data", "destination"),
    [(None, None), (pack_sz("node2"), "node2"), (pack_sz("n" * 255), "n" * 255), (pack_sz("Knoten-ü"), "Knoten-ü")],
)
def test_start_hands_the_destination_on_and_no_input_is_no_destination(
    data: bytes | None, destination: str | None
) -> None:
    async def body(world: World) -> None:
        answer = await world.control(START, data)
        assert (answer.status, answer.output, answer.required) == (OK, b"", 0)
        assert world.vms.calls == [("start_migration", GROUP.id, destination)]

    vm_test(body)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("node", ["node2", None])
def test_start_hands_the_policy_of_the_call_on(node: str | None, policy: str) -> None:
    async def body(world: World) -> None:
        assert (await world.control(START, pack_destination(node, policy))).status == OK
        assert world.vms.calls == [("start_migration", GROUP.id, node, policy)]

    vm_test(body)


@pytest.mark.parametrize(("node", "policy"), [("node2", "gentle"), ("node2", ""), (None, "gentle"), (None, "")])
def test_start_hands_the_bandwidth_limit_of_the_call_on(node: str | None, policy: str) -> None:
    async def body(world: World) -> None:
        assert (await world.control(START, pack_destination(node, policy, 200))).status == OK
        assert world.vms.calls == [("start_migration", GROUP.id, node, *([policy] if policy else []), 200)]

    vm_test(body)


def test_a_policy_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    async def body(world: World) -> None:
        answer = await world.control(START, pack_destination("node2", "brutal"))
        assert answer.sentence == (
            "there is no migration policy 'brutal'; they are gentle, default, must-move, never-postcopy"
        )
        changes = PropertyList.of([(POLICY_PROPERTY, PropertyFormat.SZ, "brutal")])
        answer = await world.control(SET, pack_property_list(changes))
        assert answer.status == BAD
        assert "gentle, default, must-move, never-postcopy" in (answer.sentence or "")

    vm_test(body)


def test_refusals_of_the_engine_are_the_status() -> None:
    async def body(world: World) -> None:
        world.vms.refusal = RefusalError(Status.ERROR_CLUSTER_NODE_DOWN, "node2 is down")
        answer = await world.control(START, pack_sz("node2"))
        assert (answer.status, answer.sentence) == (Status.ERROR_CLUSTER_NODE_DOWN, "node2 is down")
        assert (await world.control(START, pack_sz("node2"))).status == OK
        assert (await world.control(START, pack_sz("node3"))).status == Status.ERROR_INVALID_STATE
        assert (await world.control(codes.CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION)).status == OK
        second = await world.control(codes.CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION)
        assert second.status == Status.ERROR_INVALID_STATE

    vm_test(body)


@pytest.mark.parametrize("data", [None, b"", b"x", pack_sz("node2")])
def test_on_a_configuration_the_same_code_refreshes_and_ignores_its_input(data: bytes | None) -> None:
    async def body(world: World) -> None:
        assert (await world.control(START, data, CONFIG)).status == OK
        assert world.vms.calls == [("refresh_configuration", GROUP.id)]
        cancel = await world.control(codes.CLUSCTL_RESOURCE_VM_CANCEL_MIGRATION, None, CONFIG)
        assert cancel.status == Status.ERROR_INVALID_FUNCTION

    vm_test(body)


@pytest.mark.parametrize(
    "code", [codes.CLUSCTL_RESOURCE_VM_ACCEPT_MIGRATION, codes.CLUSCTL_RESOURCE_VM_HALT_MIGRATION, 0x01600018]
)
def test_codes_that_nobody_knows_are_1(code: int) -> None:
    async def body(world: World) -> None:
        assert (await world.control(code)).status == Status.ERROR_INVALID_FUNCTION

    vm_test(body)


# --- Properties ----------------------------------------------------------------------------------------------------

ROWS = [
    pytest.param(resource, row, id=f"{resource}-{row.name}")
    for resource, table in ((VM, vm_properties.VIRTUAL_MACHINE), (CONFIG, vm_properties.VIRTUAL_MACHINE_CONFIGURATION))
    for row in table.definitions
]


def samples(row: PropertyDefinition) -> list[Value]:
    if row.name == vm_properties.VM_ID:
        return [GUID]
    if row.name == vm_properties.MIGRATION_STATE:
        return [0]
    if row.format is PropertyFormat.DWORD:
        highest = 0xFFFFFFFF if row.maximum is None else row.maximum
        return [row.minimum, highest, *row.also]
    if row.choices:
        return list(row.choices)
    return [(), ("a", "b")] if row.format is PropertyFormat.MULTI_SZ else ["", "text"]


def outside(row: PropertyDefinition) -> list[int]:
    """Numbers next to the limits that a DWORD can hold and the property cannot."""
    if row.format is not PropertyFormat.DWORD or row.read_only:
        return []
    numbers = [row.minimum - 1, *([] if row.maximum is None else [row.maximum + 1])]
    return [number for number in numbers if 0 <= number <= 0xFFFFFFFF]


@pytest.mark.parametrize(("resource", "row"), ROWS)
def test_every_property_is_got_set_and_checked(resource: ResourceId, row: PropertyDefinition) -> None:
    async def body(world: World) -> None:
        got = await world.properties(GET_RO if row.read_only else GET, resource)
        if row.name != vm_properties.VM_STATE:
            assert got[row.name] == row.default
        assert row.name not in await world.properties(GET if row.read_only else GET_RO, resource)
        wrong = PropertyFormat.SZ if row.format is PropertyFormat.DWORD else PropertyFormat.DWORD
        wrong_value: Value = "1" if row.format is PropertyFormat.DWORD else 1
        for code in (SET, VALIDATE):
            refused = await world.put(row.name, wrong, wrong_value, code, resource)
            assert refused == (BAD if row.read_only else BAD_DATA)
            for value in samples(row):
                status = await world.put(row.name, row.format, value, code, resource)
                assert status == (BAD if row.read_only else OK), value
            for number in outside(row):
                assert await world.put(row.name, row.format, number, code, resource) == BAD_DATA
        if not row.read_only:
            assert (await world.properties(GET, resource))[row.name] == samples(row)[-1]

    vm_test(body, running=False)


@pytest.mark.parametrize(
    ("resource", "table"),
    [(VM, vm_properties.VIRTUAL_MACHINE), (CONFIG, vm_properties.VIRTUAL_MACHINE_CONFIGURATION)],
)
def test_unknown_properties_are_kept_and_shown_with_the_known_ones(resource: ResourceId, table: PropertyTable) -> None:
    async def body(world: World) -> None:
        assert await world.put("Colour", PropertyFormat.SZ, "blue", SET, resource) == OK
        assert (await world.properties(GET, resource))["colour"] == "blue"
        names = parse_multi_sz(
            (await world.control(codes.CLUSCTL_RESOURCE_ENUM_PRIVATE_PROPERTIES, None, resource)).output
        )
        assert names == (*(row.name for row in table.definitions), "Colour")
        formats = (await world.control(codes.CLUSCTL_RESOURCE_GET_PRIVATE_PROPERTY_FMTS, None, resource)).output
        known = {row.name: row.format for row in table.definitions}
        assert parse_property_formats(formats) == {**known, "Colour": PropertyFormat.SZ}

    vm_test(body)


def test_states_of_the_vm_and_its_migration_are_live() -> None:
    async def body(world: World) -> None:
        world.vms.put(GROUP.id, VmState.RUNNING, MigrationState.DATA_TRANSFER, 40)
        world.vms.known[GROUP.id] = replace(world.vms.known[GROUP.id], migration_failure_reason=E_FAIL)
        read_only = await world.properties(GET_RO)
        assert read_only["VmState"] == 2
        assert read_only["MigrationProgress"] == 40
        assert read_only["MigrationFailureReason"] == E_FAIL
        assert (await world.properties())["MigrationState"] == 2

    vm_test(body)


@pytest.mark.parametrize("ended", [MigrationState.CANCELED, MigrationState.FAILURE])
def test_a_client_resets_the_migration_state_and_does_nothing_else_to_it(ended: MigrationState) -> None:
    async def body(world: World) -> None:
        world.vms.put(GROUP.id, VmState.RUNNING, ended)
        for number in range(1, 6):
            assert await world.put("MigrationState", PropertyFormat.DWORD, number) == BAD
        assert await world.put("MigrationState", PropertyFormat.DWORD, 0, VALIDATE) == OK
        assert world.vms.calls == []
        assert await world.put("MigrationState", PropertyFormat.DWORD, 0) == OK
        assert world.vms.calls == [("set_migration_state_idle", GROUP.id)]
        assert (await world.properties())["MigrationState"] == 0
        world.vms.put(GROUP.id, VmState.RUNNING, MigrationState.SETUP)
        assert await world.put("MigrationState", PropertyFormat.DWORD, 0) == Status.ERROR_INVALID_STATE
        assert world.store.values.get(ResourceProperties(VM, PropertyScope.PRIVATE), {}) == {}

    vm_test(body)


def test_a_bad_property_in_a_list_changes_nothing() -> None:
    async def body(world: World) -> None:
        world.vms.put(GROUP.id, VmState.RUNNING, MigrationState.FAILURE)
        dword = PropertyFormat.DWORD
        data = pack_property_list(
            PropertyList.of([("OfflineAction", dword, 2), ("MigrationState", dword, 0), ("ShutdownAction", dword, 9)])
        )
        assert (await world.control(SET, data)).status == BAD_DATA
        assert (world.store.values, world.vms.calls) == ({}, [])
        assert (await world.control(SET)).status == Status.RPC_X_BAD_STUB_DATA
        assert (await world.control(SET, data[:-1])).status == BAD

    vm_test(body)


def test_what_takes_effect_at_the_next_online_is_5024_while_it_runs() -> None:
    async def body(world: World) -> None:
        assert await world.put("StartMemory", PropertyFormat.DWORD, 512) == Status.ERROR_RESOURCE_PROPERTIES_STORED
        assert await world.put("OfflineAction", PropertyFormat.DWORD, 0) == OK
        assert await world.put("DefaultMoveType", PropertyFormat.DWORD, 5) == BAD_DATA
        assert (await world.properties())["StartMemory"] == 512

    vm_test(body)


def test_a_vm_keeps_its_identity() -> None:
    async def body(world: World) -> None:
        for resource in (VM, CONFIG):
            assert await world.put("VmId", PropertyFormat.SZ, "no guid", SET, resource) == BAD_DATA
            assert await world.put("VmId", PropertyFormat.SZ, GUID, SET, resource) == OK
            assert await world.put("vmid", PropertyFormat.SZ, GUID.upper(), SET, resource) == OK
            other = await world.put("VmId", PropertyFormat.SZ, GUID.replace("0", "1"), SET, resource)
            assert other == Status.ERROR_INVALID_STATE

    vm_test(body)


def test_the_types_have_properties_of_their_own() -> None:
    async def body(world: World) -> None:
        async def ask(code: int, data: bytes | None = None, name: str = "Virtual Machine") -> ControlResult:
            return await world.host.resource_type_control(name, code, data)

        got = parse_property_list((await ask(codes.CLUSCTL_RESOURCE_TYPE_GET_PRIVATE_PROPERTIES)).output)
        assert got["MoveTypeThreshold"] == 2000
        data = pack_property_list(PropertyList.of([("MigrationNetworkOrder", PropertyFormat.SZ, "a;ID-B")]))
        world.vms.network_names = {NetworkId("id-a"): "A", NetworkId("id-b"): "b"}
        assert (await ask(codes.CLUSCTL_RESOURCE_TYPE_SET_PRIVATE_PROPERTIES, data)).status == OK
        got = parse_property_list((await ask(codes.CLUSCTL_RESOURCE_TYPE_GET_PRIVATE_PROPERTIES)).output)
        assert got["MigrationNetworkOrder"] == "a;ID-B"
        formats = await ask(codes.CLUSCTL_RESOURCE_TYPE_GET_PRIVATE_RESOURCE_PROPERTY_FMTS)
        assert parse_property_formats(formats.output)["OfflineAction"] is PropertyFormat.DWORD
        assert (await ask(codes.CLUSCTL_RESOURCE_TYPE_GET_CHARACTERISTICS)).output == struct.pack("<I", 0x80)
        names = await ask(codes.CLUSCTL_RESOURCE_TYPE_ENUM_PRIVATE_PROPERTIES, name="Virtual Machine Configuration")
        assert parse_multi_sz(names.output) == ()

    vm_test(body)


@pytest.mark.parametrize("name", ["MigrationExcludeNetworks", "migrationnetworkorder"])
def test_a_network_that_there_is_not_is_refused_with_those_that_there_are(name: str) -> None:
    async def body(world: World) -> None:
        async def put(value: str, code: int) -> ControlResult:
            data = pack_property_list(PropertyList.of([(name, PropertyFormat.SZ, value)]))
            return await world.host.resource_type_control("Virtual Machine", code, data)

        put_code = codes.CLUSCTL_RESOURCE_TYPE_SET_PRIVATE_PROPERTIES
        assert "none is known" in (await put("fast", put_code)).sentence
        world.vms.network_names = {NetworkId("id-fast"): "fast", NetworkId("id-lan"): "Office LAN"}
        for code in (put_code, codes.CLUSCTL_RESOURCE_TYPE_VALIDATE_PRIVATE_PROPERTIES):
            answer = await put("fast;ofice lan", code)
            assert answer.status == BAD
            assert "names 'ofice lan', and there is no such network; they are Office LAN, fast" in answer.sentence
            for right in ("", "FAST ; office lan;", "ID-LAN"):
                assert (await put(right, code)).status == OK
        got = await world.host.resource_type_control(
            "Virtual Machine", codes.CLUSCTL_RESOURCE_TYPE_GET_PRIVATE_PROPERTIES, None
        )
        assert parse_property_list(got.output)[name] == "ID-LAN", "what was set last"

    vm_test(body)


@pytest.mark.parametrize("resource", [VM, CONFIG])
def test_the_facts_of_a_vm_resource(resource: ResourceId) -> None:
    async def body(world: World) -> None:
        async def output(code: int) -> bytes:
            answer = await world.control(code, None, resource)
            assert answer.status == OK
            return answer.output

        assert await output(codes.CLUSCTL_RESOURCE_UNKNOWN) == b""
        assert await output(codes.CLUSCTL_RESOURCE_GET_CHARACTERISTICS) == struct.pack("<I", 0x80)
        assert await output(codes.CLUSCTL_RESOURCE_GET_FLAGS) == bytes(4)
        assert await output(codes.CLUSCTL_RESOURCE_GET_CLASS_INFO) == bytes(8)
        assert parse_value_list(await output(codes.CLUSCTL_RESOURCE_GET_REQUIRED_DEPENDENCIES)) == ()

    vm_test(body)


# --- States --------------------------------------------------------------------------------------------------------


def test_a_vm_goes_online_after_its_configuration() -> None:
    async def body(world: World) -> None:
        assert await world.host.online_group(GROUP.id) in (OK, Status.ERROR_IO_PENDING)
        await world.host.wait_settled(GROUP.id)
        assert world.vms.calls == [("refresh_configuration", GROUP.id), ("online", GROUP.id)]
        assert world.runs.states[GROUP.id] == {VM: R.ONLINE, CONFIG: R.ONLINE}

    vm_test(body, running=False)


@pytest.mark.parametrize(
    ("stored", "once", "context", "action"),
    [
        (None, None, None, OfflineAction.SAVE),
        (2, None, None, OfflineAction.SHUTDOWN),
        (2, 0, None, OfflineAction.TURN_OFF),
        (2, 0, VmResdllContext.SHUTDOWN_FORCE, OfflineAction.SHUTDOWN_FORCE),
    ],
)
def test_how_a_vm_goes_offline(
    stored: int | None, once: int | None, context: VmResdllContext | None, action: OfflineAction
) -> None:
    async def body(world: World) -> None:
        if stored is not None:
            await world.put("OfflineAction", PropertyFormat.DWORD, stored)
        if once is not None:
            data = struct.pack("<I", once)
            assert (await world.control(codes.CLUSCTL_RESOURCE_VM_SET_NEXT_OFFLINE_ACTION, data)).status == OK
        await world.host.offline_resource(VM, vm_context=context)
        await world.host.wait_settled(GROUP.id)
        assert world.vms.calls == [("offline", GROUP.id, action)]
        await world.host.online_resource(VM)
        await world.host.wait_settled(GROUP.id)
        await world.host.offline_resource(VM)
        await world.host.wait_settled(GROUP.id)
        later = OfflineAction.SAVE if stored is None else OfflineAction(stored)
        assert world.vms.calls[-1] == ("offline", GROUP.id, later)

    vm_test(body)


@pytest.mark.parametrize("data", [None, b"", b"\1", bytes(8), struct.pack("<I", 4)])
def test_a_bad_next_offline_action_is_87(data: bytes | None) -> None:
    async def body(world: World) -> None:
        assert (await world.control(codes.CLUSCTL_RESOURCE_VM_SET_NEXT_OFFLINE_ACTION, data)).status == BAD

    vm_test(body)


def test_a_vm_that_cannot_be_saved_stays_online_and_wanted() -> None:
    async def body(world: World) -> None:
        world.vms.refusal = RefusalError(Status.ERROR_NOT_ENOUGH_MEMORY, "the disk is full")
        with pytest.raises(RefusalError, match="the disk is full"):
            await world.host.offline_group(GROUP.id)
            await world.host.wait_settled(GROUP.id)
            raise RefusalError(Status.ERROR_NOT_ENOUGH_MEMORY, world.host.sentence(VM))
        await world.host.wait_settled(GROUP.id)
        assert world.host.states(GROUP.id) == {VM: R.ONLINE, CONFIG: R.ONLINE}
        assert world.runs.persistent[GROUP.id] is True
        with pytest.raises(RefusalError, match="live migration"):
            await world.host.offline_resource(VM, vm_context=VmResdllContext.LIVE_MIGRATION)
        assert world.host.state(VM) == R.ONLINE
        await world.host.offline_resource(VM, ResourceOfflineFlags.FORCE_WITH_TERMINATION)
        await world.host.wait_settled(GROUP.id)
        assert world.host.state(VM) == R.OFFLINE
        assert world.vms.calls[-1] == ("terminate", GROUP.id)

    vm_test(body)


@pytest.mark.parametrize(("action", "state"), [(0, R.OFFLINE), (1, R.FAILED)])
def test_a_guest_that_shuts_itself_down_is_offline_or_failed_as_shutdown_action_says(action: int, state: R) -> None:
    async def body(world: World) -> None:
        await world.put("ShutdownAction", PropertyFormat.DWORD, action)
        world.host.on_resource_stopped(VM, "the guest shut down")
        while world.host.state(VM) == R.ONLINE:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert (world.host.state(VM), world.host.sentence(VM)) == (state, "the guest shut down")

    vm_test(body)


def test_stored_nonsense_is_answered_with_the_default() -> None:
    async def body(world: World) -> None:
        owner = ResourceProperties(VM, PropertyScope.PRIVATE)
        world.store.values[owner] = {"OfflineAction": PropertyValue.of(PropertyFormat.SZ, "x")}
        assert (await world.properties())["OfflineAction"] == 1

    vm_test(body)
