"""Registry operations: one truth with properties, rights by security descriptors, events without data."""

import asyncio
import base64
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.unit.server.fake import FakeWorld, start_fake_cluster, stop_fake_cluster

from quorate.clusapi.control_codes import CLUSCTL_GROUP_GET_COMMON_PROPERTIES, CLUSCTL_GROUP_SET_COMMON_PROPERTIES
from quorate.clusapi.errors import CallerError, ClusterError
from quorate.clusapi.identity import NodeId
from quorate.clusapi.json_types import json_int, json_text
from quorate.clusapi.operation_values import Values, inputs_to_json, outputs_to_json
from quorate.clusapi.operations import OPERATIONS
from quorate.clusapi.property_lists import (
    PropertyFormat,
    PropertyList,
    pack_property_list,
    parse_property_list,
)
from quorate.clusapi.registry_batch import BatchCommand, RegistryCommand, parse_batch, write_batch
from quorate.clusapi.registry_operations import REGISTRY_OPERATIONS
from quorate.clusapi.security_descriptors import (
    ADMINISTRATORS,
    DEFAULT_DESCRIPTOR,
    EVERYONE,
    USERS,
    AccessEntry,
    KeyAccess,
    SecurityDescriptor,
)
from quorate.clusapi.status import Status
from quorate.server.services import CallContext

FULL = CallContext("anna", True, "op-1")
READ = CallContext("rita", False, "op-2")
DWORD, SZ = 4, 1
_C = RegistryCommand


def with_world(test: Callable[[FakeWorld], Awaitable[None]]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            world = await start_fake_cluster(Path(directory), 2)
            try:
                await test(world)
            finally:
                await stop_fake_cluster(world)

    asyncio.run(run())


Input = str | int | bytes | dict[str, int]


async def call(
    world: FakeWorld, operation: str, caller: CallContext = FULL, asked: str = "1", /, **inputs: Input
) -> Values:
    values = Values(inputs)
    inputs_to_json(OPERATIONS[operation], values)  # what HTTP would carry
    outputs = await world.nodes[NodeId(asked)].dispatcher.call(operation, values, caller)
    outputs_to_json(OPERATIONS[operation], outputs)
    return outputs


async def refused(world: FakeWorld, operation: str, caller: CallContext = FULL, /, **inputs: Input) -> Status:
    with pytest.raises(ClusterError) as caught:
        await call(world, operation, caller, **inputs)
    return caught.value.status


def test_every_registry_operation_does_what_it_says() -> None:
    async def test(world: FakeWorld) -> None:
        made = await call(world, "CreateKey", key="Software\\Mine")
        assert made.as_mapping() == {"key": "Software\\Mine", "disposition": 1}
        again = await call(world, "CreateKey", FULL, "2", key="SOFTWARE\\mine")
        assert again.as_mapping() == {"key": "SOFTWARE\\Mine", "disposition": 2}
        assert (await call(world, "OpenKey", key="software\\MINE")).text("key") == "software\\Mine"
        for name, type_, data in (("Number", DWORD, b"\x05\0\0\0"), ("", SZ, "é".encode("utf-16-le"))):
            await call(world, "SetValue", key="Software\\Mine", name=name, type=type_, data=data)
        found = await call(world, "QueryValue", FULL, "2", key="Software\\Mine", name="")
        assert found.as_mapping() == {"type": SZ, "data": "é\0".encode("utf-16-le")}
        values = (await call(world, "EnumValue", key="Software\\Mine")).objects("values")
        assert [(value["name"], value["type"]) for value in values] == [("", SZ), ("Number", DWORD)]
        assert base64.b64decode(json_text(values[1], "data")) == b"\x05\0\0\0"
        info = await call(world, "QueryInfoKey", key="Software")
        assert (info.number("subkeys"), info.number("max_subkey_length"), info.number("values")) == (1, 4, 0)
        info = await call(world, "QueryInfoKey", key="Software\\Mine")
        assert (info.number("values"), info.number("max_value_name_length"), info.number("max_value_length")) == (
            2,
            6,
            4,
        )
        listed = (await call(world, "EnumKey", key="Software")).objects("keys")
        assert listed == ({"name": "Mine", "last_write": str(info.number("last_write"))},)
        assert info.number("last_write") > 116444736000000000  # 1970 as a FILETIME
        await call(world, "DeleteValue", key="Software\\Mine", name="NUMBER")
        assert await refused(world, "QueryValue", key="Software\\Mine", name="Number") == Status.ERROR_FILE_NOT_FOUND
        assert await refused(world, "DeleteKey", key="Software") == Status.ERROR_DIR_NOT_EMPTY
        await call(world, "DeleteKey", key="Software\\Mine")
        assert await refused(world, "OpenKey", key="Software\\Mine") == Status.ERROR_FILE_NOT_FOUND

    with_world(test)


def test_what_the_registry_writes_is_what_properties_read() -> None:
    async def test(world: FakeWorld) -> None:
        group = (await call(world, "CreateGroup", name="spare")).text("id")
        path = f"Groups\\{group}"
        await call(world, "SetValue", key=path, name="Priority", type=DWORD, data=(3000).to_bytes(4, "little"))
        code = CLUSCTL_GROUP_GET_COMMON_PROPERTIES
        output = (await call(world, "GroupControl", group="spare", control_code=code)).data("output")
        assert {one.name: one.value for one in parse_property_list(output)}["Priority"] == 3000
        written = pack_property_list(PropertyList.of([("Priority", PropertyFormat.DWORD, 1000)]))
        await call(
            world, "GroupControl", group="spare", control_code=CLUSCTL_GROUP_SET_COMMON_PROPERTIES, in_buffer=written
        )
        found = await call(world, "QueryValue", key=path, name="priority")
        assert found.data("data") == (1000).to_bytes(4, "little")

    with_world(test)


def test_what_objects_are_is_not_changed_past_their_operations() -> None:
    async def test(world: FakeWorld) -> None:
        group = (await call(world, "CreateGroup", name="spare")).text("id")
        path = f"Groups\\{group}"
        name = "other\0".encode("utf-16-le")
        denied = Status.ERROR_ACCESS_DENIED
        assert await refused(world, "SetValue", key=path, name="NAME", type=SZ, data=name) == denied
        assert await refused(world, "DeleteValue", key=path, name="GroupType") == denied
        assert await refused(world, "SetValue", key="", name="ClusterName", type=SZ, data=name) == denied
        assert await refused(world, "DeleteKey", key=path) == denied
        assert await refused(world, "CreateKey", key="Groups\\mine") == denied
        assert await refused(world, "DeleteKey", key="") == denied
        assert (await call(world, "GetGroupId", group="spare")).text("id") == group
        assert (await call(world, "QueryValue", key="", name="ClusterName")).number("type") == SZ
        assert len((await call(world, "QueryValue", key="", name="ClusterInstanceID")).data("data")) == 2 * 37

    with_world(test)


@pytest.mark.parametrize(
    ("path", "name", "number", "status"),
    [
        ("", "SameSubnetDelay", 1, Status.ERROR_INVALID_DATA),
        ("", "SameSubnetThreshold", 3, None),
        ("", "ClusSvcHangTimeout", 60, Status.ERROR_INVALID_PARAMETER),
        ("", "MyOwnValue", 1, None),
        ("Nodes\\1", "NodeWeight", 7, Status.ERROR_INVALID_DATA),
        ("ResourceTypes\\Generic Script", "IsAlivePollInterval", 0, Status.ERROR_INVALID_DATA),
        ("Groups\\{group}", "Priority", 9999, Status.ERROR_INVALID_DATA),
        ("Groups\\{group}", "PersistentState", 1, Status.ERROR_ACCESS_DENIED),
        ("Groups\\{group}", "Description", 1, Status.ERROR_INVALID_DATA),
        ("Groups\\{group}\\Parameters", "Anything", 1, Status.ERROR_FILE_NOT_FOUND),
        ("Resources\\{vm}\\Parameters", "OfflineAction", 77, Status.ERROR_INVALID_DATA),
        ("Resources\\{vm}\\Parameters", "OfflineAction", 1, None),
        ("Resources\\{vm}\\Parameters", "VmState", 1, Status.ERROR_INVALID_PARAMETER),
        ("Resources\\{vm}\\Parameters", "VmId", 1, Status.ERROR_ACCESS_DENIED),
        ("Resources\\{vm}\\Parameters", "MyOwnValue", 1, None),
    ],
)
def test_a_value_that_a_property_may_not_have_is_refused(
    path: str, name: str, number: int, status: Status | None
) -> None:
    async def test(world: FakeWorld) -> None:
        made = await call(world, "CreateVirtualMachine", name="web1", definition={"memory": 1}, node="1")
        group = (await call(world, "CreateGroup", name="spare")).text("id")
        key = path.format(group=group, vm=made.text("vm_resource"))
        data = number.to_bytes(4, "little")
        command = BatchCommand(_C.SET_VALUE, name, DWORD, data)
        if status is None:
            await call(world, "SetValue", key=key, name=name, type=DWORD, data=data)
            assert (await call(world, "QueryValue", key=key, name=name)).data("data") == data
            await call(world, "DeleteValue", key=key, name=name)
            done = await call(world, "ExecuteBatch", key=key, batch=write_batch([command]))
            assert done.number("status") == 0
            return
        assert await refused(world, "SetValue", key=key, name=name, type=DWORD, data=data) == status
        if status is not Status.ERROR_FILE_NOT_FOUND:
            done = await call(world, "ExecuteBatch", key=key, batch=write_batch([command]))
            assert (done.number("status"), done.number("failed_command")) == (status, 0)

    with_world(test)


def test_a_list_of_networks_names_none_that_there_is_not() -> None:
    async def test(world: FakeWorld) -> None:
        key, text = "ResourceTypes\\Virtual Machine\\Parameters", "ofice\0".encode("utf-16-le")
        for name in ("MigrationExcludeNetworks", "MigrationNetworkOrder"):
            bad = Status.ERROR_INVALID_PARAMETER
            assert await refused(world, "SetValue", key=key, name=name, type=SZ, data=text) == bad
            await call(world, "SetValue", key=key, name=name, type=SZ, data=b"\0\0")
            await call(world, "DeleteValue", key=key, name=name)

    with_world(test)


def test_the_private_namespace_is_out_of_reach() -> None:
    async def test(world: FakeWorld) -> None:
        names = {str(key["name"]) for key in (await call(world, "EnumKey", key="")).objects("keys")}
        assert {"Groups", "Nodes", "Resources"} <= names
        assert not names & {"private", "ownership", "accounts", "users"}
        for path in ("private", "..\\private\\schema", "../private/schema", "private\\schema"):
            assert await refused(world, "OpenKey", key=path) == Status.ERROR_FILE_NOT_FOUND

    with_world(test)


def test_a_reader_changes_nothing() -> None:
    async def test(world: FakeWorld) -> None:
        await call(world, "CreateKey", key="a")
        rest: dict[str, Input] = {
            "name": "x",
            "type": DWORD,
            "data": b"1234",
            "security_information": 4,
            "descriptor": b"",
            "batch": b"",
        }
        for operation in REGISTRY_OPERATIONS:
            inputs: dict[str, Input] = {
                field.name: rest.get(field.name, "a") for field in operation.inputs if not field.optional
            }
            if operation.name in ("OpenKey", "EnumKey", "EnumValue", "QueryInfoKey", "GetKeySecurity"):
                await call(world, operation.name, READ, **inputs)
            elif operation.name not in ("QueryValue", "ExecuteReadBatch"):
                assert await refused(world, operation.name, READ, **inputs) == Status.ERROR_ACCESS_DENIED

    with_world(test)


def test_a_batch_tells_which_command_did_not_succeed() -> None:
    async def test(world: FakeWorld) -> None:
        await call(world, "CreateKey", key="a")
        value = BatchCommand(_C.SET_VALUE, "N", DWORD, b"\x07\0\0\0")
        good = write_batch([value, BatchCommand(_C.CREATE_KEY, "b"), value])
        answer = await call(world, "ExecuteBatch", key="a", batch=good)
        assert answer.as_mapping() == {"status": 0, "failed_command": 0xFFFFFFFF}
        bad = write_batch([BatchCommand(_C.DELETE_KEY, "b"), BatchCommand(_C.CONDITION_KEY_EXISTS, "c")])
        answer = await call(world, "ExecuteBatch", key="a", batch=bad)
        assert answer.number("status") == Status.ERROR_CLUSTER_DATABASE_UPDATE_CONDITION_FAILED
        assert answer.number("failed_command") == 1
        reads = [BatchCommand(_C.READ_KEY, "b"), BatchCommand(_C.READ_VALUE, "N"), BatchCommand(_C.READ_VALUE, "M")]
        output = (await call(world, "ExecuteReadBatch", key="a", batch=write_batch(reads))).data("output")
        assert [one.command for one in parse_batch(output)] == [_C.READ_KEY, _C.READ_VALUE, _C.READ_ERROR]
        assert await refused(world, "ExecuteBatch", key="a", batch=b"\2\0\0\0") == Status.ERROR_INVALID_PARAMETER
        assert await refused(world, "ExecuteBatch", key="nope", batch=good) == Status.ERROR_FILE_NOT_FOUND

    with_world(test)


def test_a_security_descriptor_is_kept_handed_down_and_obeyed() -> None:
    async def test(world: FakeWorld) -> None:
        await call(world, "CreateKey", key="secret\\below")
        await call(world, "SetValue", key="secret\\below", name="x", type=DWORD, data=b"1234")
        plain = (await call(world, "GetKeySecurity", key="secret", security_information=7)).data("descriptor")
        assert SecurityDescriptor.decode(plain) == DEFAULT_DESCRIPTOR
        only_admins = AccessEntry(0, 2, KeyAccess.KEY_ALL_ACCESS, ADMINISTRATORS)
        no_changes = AccessEntry(1, 2, KeyAccess.SET_VALUE | KeyAccess.CREATE_SUB_KEY, EVERYONE)
        descriptor = SecurityDescriptor(owner=USERS, dacl=(no_changes, only_admins)).encode()
        await call(world, "SetKeySecurity", key="secret", security_information=4, descriptor=descriptor)
        for path in ("secret", "secret\\below"):
            found = await call(world, "GetKeySecurity", FULL, "2", key=path, security_information=7)
            held = SecurityDescriptor.decode(found.data("descriptor"))
            assert (held.owner, held.dacl) == (ADMINISTRATORS, (no_changes, only_admins))
        denied = Status.ERROR_ACCESS_DENIED
        assert (await call(world, "QueryValue", key="secret\\below", name="x")).data("data") == b"1234"
        assert await refused(world, "QueryValue", READ, key="secret\\below", name="x") == denied
        assert await refused(world, "EnumKey", READ, key="secret") == denied
        assert await refused(world, "OpenKey", READ, key="secret", access=0x80000000) == denied
        await call(world, "OpenKey", READ, key="secret")
        assert await refused(world, "SetValue", key="secret\\below", name="x", type=DWORD, data=b"1234") == denied
        assert await refused(world, "CreateKey", key="secret\\more") == denied
        batch = write_batch([BatchCommand(_C.CREATE_KEY, "secret"), BatchCommand(_C.SET_VALUE, "y", DWORD, b"1234")])
        answer = await call(world, "ExecuteBatch", key="", batch=batch)
        assert (answer.number("status"), answer.number("failed_command")) == (denied, 1)
        reads = write_batch([BatchCommand(_C.READ_KEY, "secret\\below"), BatchCommand(_C.READ_VALUE, "x")])
        output = (await call(world, "ExecuteReadBatch", READ, key="", batch=reads)).data("output")
        assert [(one.command, one.type) for one in parse_batch(output)] == [(_C.READ_KEY, 0), (_C.READ_ERROR, denied)]
        await call(world, "SetKeySecurity", key="secret", security_information=4, descriptor=plain)
        await call(world, "SetValue", key="secret\\below", name="x", type=DWORD, data=b"5678")

    with_world(test)


@pytest.mark.parametrize(
    ("parts", "descriptor", "status"),
    [
        (8, DEFAULT_DESCRIPTOR.encode(), Status.ERROR_PRIVILEGE_NOT_HELD),
        (0, DEFAULT_DESCRIPTOR.encode(), Status.ERROR_INVALID_PARAMETER),
        (4, b"rubbish", Status.ERROR_CLUSTER_INVALID_SECURITY_DESCRIPTOR),
    ],
)
def test_a_descriptor_that_cannot_be_kept_is_refused(parts: int, descriptor: bytes, status: Status) -> None:
    async def test(world: FakeWorld) -> None:
        refusal = refused(world, "SetKeySecurity", key="", security_information=parts, descriptor=descriptor)
        assert await refusal == status

    with_world(test)


def test_changes_are_events_without_data() -> None:
    async def test(world: FakeWorld) -> None:
        database = world.nodes[NodeId("1")].database
        await call(world, "CreateKey", key="a\\b")
        await call(world, "CreateKey", key="a\\b")
        await call(world, "SetValue", key="a\\b", name="Password", type=SZ, data="hush\0".encode("utf-16-le"))
        await call(world, "DeleteKey", key="a\\b")
        descriptor = DEFAULT_DESCRIPTOR.encode()
        await call(world, "SetKeySecurity", key="a", security_information=4, descriptor=descriptor)
        events = [event for event in await database.latest_events(50) if event.kind.startswith("registry.")]
        assert [(event.kind, event.sentence, event.actor) for event in events] == [
            ("registry.key", 'the registry: made "a", "a\\b"', "anna"),
            ("registry.value", 'the registry: set "a\\b\\Password"', "anna"),
            ("registry.key", 'the registry: deleted "a\\b"', "anna"),
            ("registry.security", 'the registry: new security descriptor of "a"', "anna"),
        ]
        assert "hush" not in str([event.to_json() for event in events])
        assert json_int(events[1].to_json(), "change") == 0x40

    with_world(test)


def test_a_value_of_an_unknown_type_is_refused() -> None:
    async def test(world: FakeWorld) -> None:
        with pytest.raises(CallerError, match="REG_SZ"):
            await call(world, "SetValue", key="", name="x", type=9, data=b"")

    with_world(test)
