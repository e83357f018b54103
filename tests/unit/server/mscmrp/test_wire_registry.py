"""The registry over the wire: keys, values, batches, security, and what handles allow."""

import pytest
from tests.unit.server.mscmrp.face_world import FaceWorld, WireUser, with_face

from quorate.clusapi.registry_batch import BatchCommand, RegistryCommand, parse_batch, write_batch
from quorate.clusapi.security_descriptors import (
    ADMINISTRATORS,
    DEFAULT_DESCRIPTOR,
    EVERYONE,
    AccessEntry,
    KeyAccess,
)
from quorate.clusapi.security_descriptors import SecurityDescriptor as Descriptor
from quorate.clusapi.status import Status
from quorate.dcerpc.errors import FaultCode, RpcFault
from quorate.dcerpc.ndr import NULL_HANDLE, ContextHandle
from quorate.mscmrp import registry_methods as methods
from quorate.mscmrp.registry_methods import (
    CreateKeyIn,
    EnumKeyIn,
    EnumValueIn,
    ExecuteBatchIn,
    ExecuteReadBatchExIn,
    GetRootKeyIn,
    KeySecurityIn,
    OpenKeyIn,
    QueryValueIn,
    SetValueIn,
)
from quorate.mscmrp.shapes import HandleIn, HandleNameIn
from quorate.mscmrp.types import SecurityDescriptor

KEY_READ, KEY_ALL = 0x20019, 0xF003F
DWORD = 4
_C = RegistryCommand


async def root(user: WireUser, access: int = KEY_ALL) -> ContextHandle:
    answer = await user.ask(methods.GET_ROOT_KEY, GetRootKeyIn(access))
    assert answer.status == 0
    return answer.handle


async def key(user: WireUser, path: str, access: int = KEY_ALL) -> ContextHandle:
    answer = await user.ask(methods.CREATE_KEY, CreateKeyIn(await root(user), path, 0, access))
    assert answer.status == 0
    return answer.handle


def test_keys_are_made_listed_opened_and_deleted() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            top = await root(user)
            made = await user.ask(methods.CREATE_KEY, CreateKeyIn(top, "Software\\Mine", 0, KEY_ALL))
            assert (made.status, made.disposition) == (0, 1)
            again = await user.ask(methods.CREATE_KEY, CreateKeyIn(top, "SOFTWARE\\mine", 0, KEY_ALL))
            assert (again.status, again.disposition) == (0, 2)
            software = (await user.ask(methods.OPEN_KEY, OpenKeyIn(top, "software", KEY_READ))).handle
            first = await user.ask(methods.ENUM_KEY, EnumKeyIn(software, 0))
            assert (first.status, first.name) == (0, "Mine")
            assert first.last_write_time > 116444736000000000
            assert await user.status(methods.ENUM_KEY, EnumKeyIn(software, 1)) == Status.ERROR_NO_MORE_ITEMS
            info = await user.ask(methods.QUERY_INFO_KEY, HandleIn(software))
            assert (info.sub_keys, info.max_sub_key_length, info.values) == (1, 4, 0)
            assert info.security_descriptor_size == len(DEFAULT_DESCRIPTOR.encode())
            assert await user.status(methods.DELETE_KEY, HandleNameIn(top, "Software")) == Status.ERROR_DIR_NOT_EMPTY
            assert await user.status(methods.DELETE_KEY, HandleNameIn(top, "Software\\Mine")) == 0
            missing = await user.ask(methods.OPEN_KEY, OpenKeyIn(top, "Software\\Mine", KEY_READ))
            assert (missing.status, missing.handle) == (Status.ERROR_FILE_NOT_FOUND, NULL_HANDLE)
            same = (await user.ask(methods.OPEN_KEY, OpenKeyIn(software, "", KEY_READ))).handle
            assert (await user.ask(methods.QUERY_INFO_KEY, HandleIn(same))).sub_keys == 0
            assert (await user.ask(methods.CLOSE_KEY, HandleIn(same))).handle == NULL_HANDLE
            with pytest.raises(RpcFault) as caught:
                await user.ask(methods.QUERY_INFO_KEY, HandleIn(same))
            assert caught.value.code == FaultCode.CONTEXT_MISMATCH

    with_face(test)


def test_values_tell_their_size_when_there_is_too_little_room() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            it = await key(user, "a")
            data = "text\0".encode("utf-16-le")
            assert await user.status(methods.SET_VALUE, SetValueIn(it, "Text", 1, data)) == 0
            assert await user.status(methods.SET_VALUE, SetValueIn(it, "Number", DWORD, b"1234")) == 0
            short = await user.ask(methods.QUERY_VALUE, QueryValueIn(it, "TEXT", 3))
            assert (short.status, short.required, short.data) == (Status.ERROR_MORE_DATA, len(data), bytes(3))
            fits = await user.ask(methods.QUERY_VALUE, QueryValueIn(it, "TEXT", 16))
            assert (fits.status, fits.type, fits.required, fits.data[: fits.required]) == (0, 1, len(data), data)
            found = [await user.ask(methods.ENUM_VALUE, EnumValueIn(it, index, 16)) for index in range(3)]
            assert [(one.name, one.data, one.status) for one in found] == [
                ("Number", b"1234", 0),
                ("Text", data, 0),
                (None, b"", Status.ERROR_NO_MORE_ITEMS),
            ]
            short_enum = await user.ask(methods.ENUM_VALUE, EnumValueIn(it, 1, 4))
            assert (short_enum.status, short_enum.total_size) == (Status.ERROR_MORE_DATA, len(data))
            info = await user.ask(methods.QUERY_INFO_KEY, HandleIn(it))
            assert (info.values, info.max_value_name_length, info.max_value_length) == (2, 6, len(data))
            assert await user.status(methods.DELETE_VALUE, HandleNameIn(it, "text")) == 0
            assert await user.status(methods.DELETE_VALUE, HandleNameIn(it, "text")) == Status.ERROR_FILE_NOT_FOUND
            odd = SetValueIn(it, "Number", DWORD, b"123")
            assert await user.status(methods.SET_VALUE, odd) == Status.ERROR_INVALID_PARAMETER

    with_face(test)


def test_batches_go_over_the_wire() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            it = await key(user, "a")
            value = BatchCommand(_C.SET_VALUE, "N", DWORD, b"1234")
            batch = write_batch([value, BatchCommand(_C.CREATE_KEY, "b"), value])
            done = await user.ask(methods.EXECUTE_BATCH, ExecuteBatchIn(it, data=batch))
            assert (done.status, done.failed_command) == (0, -1)
            bad = write_batch([BatchCommand(_C.DELETE_KEY, "b"), value])
            failed = await user.ask(methods.EXECUTE_BATCH, ExecuteBatchIn(it, data=bad))
            assert (failed.status, failed.failed_command) == (Status.ERROR_INVALID_PARAMETER, 1)
            none = await user.ask(methods.EXECUTE_BATCH, ExecuteBatchIn(it, data=b"\2\0\0\0"))
            assert (none.status, none.failed_command) == (Status.ERROR_INVALID_PARAMETER, -1)
            reads = [BatchCommand(_C.READ_VALUE, "n"), BatchCommand(_C.READ_KEY, "b"), BatchCommand(_C.READ_VALUE, "M")]
            told = await user.ask(methods.EXECUTE_READ_BATCH, ExecuteBatchIn(it, data=write_batch(reads)))
            assert told.status == 0
            assert [one.command for one in parse_batch(told.data or b"")] == [_C.READ_VALUE, _C.READ_KEY, _C.READ_ERROR]
            isolated = ExecuteReadBatchExIn(it, data=write_batch(reads), flags=2)
            assert (await user.ask(methods.EXECUTE_READ_BATCH_EX, isolated)).data == told.data
            unknown = ExecuteReadBatchExIn(it, data=write_batch(reads), flags=4)
            assert await user.status(methods.EXECUTE_READ_BATCH_EX, unknown) == Status.ERROR_INVALID_PARAMETER

    with_face(test)


def test_a_handle_allows_what_it_was_opened_for() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user, world.user("rita") as reader:
            await key(user, "a")
            own = await user.ask(methods.OPEN_KEY, OpenKeyIn(await root(user), "a", KEY_READ))
            refused = await user.status(methods.SET_VALUE, SetValueIn(own.handle, "x", DWORD, b"1234"))
            assert refused == Status.ERROR_ACCESS_DENIED
            assert await reader.status(methods.GET_ROOT_KEY, GetRootKeyIn(KEY_ALL)) == Status.ERROR_ACCESS_DENIED
            top = await root(reader, KEY_READ)
            assert (await reader.ask(methods.ENUM_KEY, EnumKeyIn(top, 0))).name == "a"
            create = CreateKeyIn(top, "b", 0, KEY_READ)
            assert await reader.status(methods.CREATE_KEY, create) == Status.ERROR_ACCESS_DENIED
            batch = ExecuteBatchIn(top, data=write_batch([BatchCommand(_C.CREATE_KEY, "b")]))
            assert await reader.status(methods.EXECUTE_BATCH, batch) == Status.ERROR_ACCESS_DENIED
            assert await user.status(methods.QUERY_ALL_VALUES, HandleIn(own.handle)) == 120
            volatile = CreateKeyIn(await root(user), "b", 1, KEY_ALL)
            assert await user.status(methods.CREATE_KEY, volatile) == Status.ERROR_INVALID_PARAMETER

    with_face(test)


def test_security_goes_over_the_wire_and_says_how_much_room_it_needs() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user, world.user("rita") as reader:
            it = await key(user, "secret")
            ask = KeySecurityIn(it, 7, SecurityDescriptor.room_for(4))
            short = await user.ask(methods.GET_KEY_SECURITY, ask)
            needed = short.security_descriptor.room
            assert (short.status, needed) == (Status.ERROR_INSUFFICIENT_BUFFER, len(DEFAULT_DESCRIPTOR.encode()))
            ask = KeySecurityIn(it, 7, SecurityDescriptor.room_for(needed))
            found = await user.ask(methods.GET_KEY_SECURITY, ask)
            assert found.security_descriptor.descriptor == DEFAULT_DESCRIPTOR.encode()
            entries = (AccessEntry(0, 2, KeyAccess.KEY_ALL_ACCESS, ADMINISTRATORS), AccessEntry(1, 2, 1, EVERYONE))
            given = SecurityDescriptor.of(Descriptor(dacl=entries).encode())
            assert await user.status(methods.SET_KEY_SECURITY, KeySecurityIn(it, 4, given)) == 0
            open_ = OpenKeyIn(await root(reader, KEY_READ), "secret", KEY_READ)
            assert await reader.status(methods.OPEN_KEY, open_) == Status.ERROR_ACCESS_DENIED

    with_face(test)


def test_no_key_leads_into_the_private_namespace() -> None:
    async def test(world: FaceWorld) -> None:
        async with world.user() as user:
            top = await root(user)
            for path in ("..\\private", "../private", "private\\schema", "\\private", "\\\\.\\private"):
                status = await user.status(methods.OPEN_KEY, OpenKeyIn(top, path, KEY_READ))
                assert status in (Status.ERROR_FILE_NOT_FOUND, Status.ERROR_INVALID_NAME)
            reads = write_batch([BatchCommand(_C.READ_KEY, "..\\private"), BatchCommand(_C.READ_VALUE, "x")])
            told = await user.ask(methods.EXECUTE_READ_BATCH, ExecuteBatchIn(top, data=reads))
            assert [one.command for one in parse_batch(told.data or b"")] == [_C.READ_ERROR, _C.READ_ERROR]

    with_face(test)
