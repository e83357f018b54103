import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.errors import CallerError, RefusalError
from quorate.clusapi.registry_batch import MAX_COMMANDS, BatchCommand, RegistryCommand, parse_batch, write_batch
from quorate.clusapi.status import Status
from quorate.database.contract import Put
from quorate.database.events import EventLog
from quorate.database.memory import MemoryStore
from quorate.database.registry import Registry
from quorate.database.registry_data import decode_data, encode_data
from quorate.database.registry_tree import MAX_ANSWER, CommandFailed
from quorate.database.values import KeyRecord, RegistryType, RegistryValue

_C = RegistryCommand
_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_COMMANDS = st.lists(
    st.builds(BatchCommand, st.integers(0, 0xFFFFFFFF), _NAMES, st.integers(0, 0xFFFFFFFF), st.binary())
)


def dword(name: str, number: int, command: RegistryCommand = _C.SET_VALUE) -> BatchCommand:
    return BatchCommand(command, name, RegistryType.DWORD, number.to_bytes(4, "little"))


def run(body: Callable[[Registry], Awaitable[None]]) -> None:
    async def main() -> None:
        store = MemoryStore()
        await store.transact(
            [], [Put("cluster/", KeyRecord("").encode()), Put("cluster/groups", KeyRecord("Groups").encode())]
        )
        registry = Registry(store, EventLog(store))
        await registry.create("a")
        await body(registry)

    asyncio.run(main())


async def names_below(registry: Registry, path: str) -> tuple[str, ...]:
    return tuple(key.name for key in await registry.children(path))


async def failure(registry: Registry, *commands: BatchCommand, base: str = "a") -> tuple[int, Status]:
    with pytest.raises(CommandFailed) as caught:
        await registry.execute(base, commands)
    return caught.value.number, caught.value.error.status


@given(_COMMANDS)
def test_batches_survive_the_way_over_the_wire(commands: Sequence[BatchCommand]) -> None:
    assert parse_batch(write_batch(commands)) == tuple(commands)


def test_a_batch_looks_as_the_specification_says() -> None:
    data = write_batch([BatchCommand(_C.SET_VALUE, "A", RegistryType.BINARY, b"xyz"), BatchCommand(_C.DELETE_KEY, "")])
    assert data.hex() == (
        "01000000"
        "01000000" "03000000" "04000000" "41000000" "03000000" "78797a" "00"
        "03000000" "00000000" "02000000" "0000" "00000000"
    )  # fmt: skip


def test_a_batch_has_only_so_many_commands() -> None:
    one = BatchCommand(_C.READ_VALUE, "")
    assert len(parse_batch(write_batch([one] * MAX_COMMANDS))) == MAX_COMMANDS
    with pytest.raises(CallerError, match="4096"):
        parse_batch(write_batch([one] * (MAX_COMMANDS + 1)))


@given(st.binary())
def test_what_is_no_batch_is_refused_and_nothing_worse(data: bytes) -> None:
    try:
        parse_batch(data)
    except CallerError as error:
        assert error.status == Status.ERROR_INVALID_PARAMETER


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_batch_that_is_cut_off_is_refused(cut: int) -> None:
    whole = write_batch([dword("Number", 7)])
    with pytest.raises(CallerError):
        parse_batch(whole[:-cut] if cut < len(whole) - 4 else whole[:3])


@given(
    st.one_of(
        st.builds(RegistryValue.sz, _NAMES),
        st.builds(RegistryValue.expand_sz, _NAMES),
        st.builds(RegistryValue.dword, st.integers(0, 0xFFFFFFFF)),
        st.builds(RegistryValue.qword, st.integers(0, 0xFFFFFFFFFFFFFFFF)),
        st.builds(RegistryValue.binary, st.binary()),
        st.lists(_NAMES.filter(bool)).map(lambda texts: RegistryValue.multi_sz(*texts)),
    )
)
def test_data_of_every_type_survives(value: RegistryValue) -> None:
    assert decode_data(value.type, encode_data(value)) == value


@pytest.mark.parametrize(
    ("type_", "data", "value"),
    [
        (1, b"a\0", RegistryValue.sz("a")),  # without its NUL
        (1, b"", RegistryValue.sz("")),
        (7, b"a\0\0\0b\0\0\0\0\0", RegistryValue.multi_sz("a", "b")),
        (7, b"\0\0", RegistryValue.multi_sz()),
        (4, b"\x01\x02\0\0", RegistryValue.dword(0x201)),
    ],
)
def test_data_is_read_as_windows_writes_it(type_: int, data: bytes, value: RegistryValue) -> None:
    assert decode_data(type_, data) == value


@pytest.mark.parametrize(
    ("type_", "data"),
    [(0, b""), (5, b"1234"), (4, b"123"), (11, b"1234"), (1, b"a"), (1, b"\0\xd8"), (1, b"a\0\0\0b\0")],
)
def test_data_that_does_not_fit_its_type_is_refused(type_: int, data: bytes) -> None:
    with pytest.raises(CallerError) as caught:
        decode_data(type_, data)
    assert caught.value.status == Status.ERROR_INVALID_PARAMETER


def test_a_batch_changes_keys_and_values_in_one_transaction() -> None:
    async def body(registry: Registry) -> None:
        await registry.create("a\\old\\deep")
        await registry.set_value("a\\old", "x", RegistryValue.dword(1))
        await registry.execute(
            "A",
            [
                dword("One", 1),
                BatchCommand(_C.CREATE_KEY, "b\\c"),
                dword("Two", 2),
                BatchCommand(_C.DELETE_KEY, "OLD"),
                BatchCommand(_C.DELETE_KEY, "never\\there"),
                BatchCommand(_C.CREATE_KEY, ""),
                BatchCommand(_C.DELETE_VALUE, "never there"),
            ],
        )
        keys = [await registry.open(path) for path in ("a", "a\\b", "a\\b\\c")]
        assert len({key.revision for key in keys}) == 1
        assert [dict(key.values) for key in keys] == [
            {"One": RegistryValue.dword(1)},
            {},
            {"Two": RegistryValue.dword(2)},
        ]
        assert await names_below(registry, "a") == ("b",)
        assert not await registry.exists("a\\old\\deep")

    run(body)


def test_a_batch_that_fails_changes_nothing_and_tells_which_command_it_was() -> None:
    async def body(registry: Registry) -> None:
        before = await registry.open("a")
        one = dword("One", 1)
        assert await failure(registry, one, BatchCommand(_C.SET_VALUE, "x", 4, b"1")) == (
            1,
            Status.ERROR_INVALID_PARAMETER,
        )
        after_delete = (BatchCommand(_C.DELETE_KEY, "b"), one)
        assert await failure(registry, *after_delete) == (1, Status.ERROR_INVALID_PARAMETER)
        assert await failure(registry, one, BatchCommand(_C.CREATE_KEY, "\\b")) == (1, Status.ERROR_INVALID_NAME)
        assert await failure(registry, BatchCommand(99, "x")) == (0, Status.ERROR_INVALID_PARAMETER)
        assert await failure(registry, BatchCommand(_C.VALUE_DELETED, "x")) == (0, Status.ERROR_INVALID_PARAMETER)
        assert await registry.open("a") == before

    run(body)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (BatchCommand(_C.CONDITION_EXISTS, "N"), True),
        (BatchCommand(_C.CONDITION_EXISTS, "M"), False),
        (BatchCommand(_C.CONDITION_NOT_EXISTS, "M"), True),
        (BatchCommand(_C.CONDITION_NOT_EXISTS, "n"), False),
        (dword("N", 5, _C.CONDITION_IS_EQUAL), True),
        (dword("N", 6, _C.CONDITION_IS_EQUAL), False),
        (dword("M", 5, _C.CONDITION_IS_EQUAL), False),
        (dword("N", 6, _C.CONDITION_IS_NOT_EQUAL), True),
        (dword("N", 5, _C.CONDITION_IS_NOT_EQUAL), False),
        (dword("N", 4, _C.CONDITION_IS_GREATER_THAN), True),
        (dword("N", 5, _C.CONDITION_IS_GREATER_THAN), False),
        (dword("N", 6, _C.CONDITION_IS_LESS_THAN), True),
        (dword("N", 5, _C.CONDITION_IS_LESS_THAN), False),
        (BatchCommand(_C.CONDITION_KEY_EXISTS, "b"), True),
        (BatchCommand(_C.CONDITION_KEY_EXISTS, "c"), False),
        (BatchCommand(_C.CONDITION_KEY_NOT_EXISTS, "c"), True),
        (BatchCommand(_C.CONDITION_KEY_NOT_EXISTS, "B"), False),
    ],
)
def test_a_batch_is_carried_out_only_under_its_conditions(condition: BatchCommand, holds: bool) -> None:
    async def body(registry: Registry) -> None:
        await registry.create("a\\b")
        await registry.set_value("a", "N", RegistryValue.dword(5))
        commands = [dword("Done", 1), condition]
        if holds:
            await registry.execute("a", commands)
        else:
            assert await failure(registry, *commands) == (1, Status.ERROR_CLUSTER_DATABASE_UPDATE_CONDITION_FAILED)
        assert ("Done" in (await registry.open("a")).values) is holds

    run(body)


def test_batches_at_once_are_all_kept() -> None:
    async def body(registry: Registry) -> None:
        batches = [[BatchCommand(_C.CREATE_KEY, f"k{n % 3}"), dword(f"v{n}", n)] for n in range(15)]
        await asyncio.gather(*(registry.execute("a", batch) for batch in batches))
        values = [value for key in await registry.children("a") for value in key.values]
        assert sorted(values) == sorted(f"v{n}" for n in range(15))

    run(body)


def test_of_two_batches_with_one_condition_one_is_carried_out() -> None:
    async def body(registry: Registry) -> None:
        batch = [BatchCommand(_C.CONDITION_NOT_EXISTS, "Owner"), dword("Owner", 1)]
        outcomes = await asyncio.gather(*(registry.execute("a", batch) for _ in range(5)), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CommandFailed"] * 4 + ["NoneType"]

    run(body)


def test_a_read_batch_answers_every_command() -> None:
    async def body(registry: Registry) -> None:
        await registry.create("a\\b\\c")
        await registry.set_value("a", "N", RegistryValue.sz("x"))
        await registry.set_value("a\\b\\c", "M", RegistryValue.dword(7))
        answers = await registry.read(
            "a",
            [
                BatchCommand(_C.READ_VALUE, "n"),
                BatchCommand(_C.READ_KEY, "B"),
                BatchCommand(_C.READ_VALUE, "N"),
                BatchCommand(_C.READ_KEY, "b\\c"),
                BatchCommand(_C.READ_VALUE, "M"),
                BatchCommand(_C.SET_VALUE, "M"),
                BatchCommand(_C.READ_KEY, "\\"),
            ],
        )
        assert [(one.command, one.type, one.data) for one in answers] == [
            (_C.READ_VALUE, RegistryType.SZ, b"x\0\0\0"),
            (_C.READ_KEY, 0, b""),
            (_C.READ_ERROR, Status.ERROR_FILE_NOT_FOUND, b""),
            (_C.READ_KEY, 0, b""),
            (_C.READ_VALUE, RegistryType.DWORD, b"\x07\0\0\0"),
            (_C.READ_ERROR, Status.ERROR_INVALID_PARAMETER, b""),
            (_C.READ_ERROR, Status.ERROR_FILE_NOT_FOUND, b""),
        ]

    run(body)


def test_a_short_batch_that_asks_for_a_large_value_again_and_again_is_refused() -> None:
    async def body(registry: Registry) -> None:
        await registry.create("a")
        await registry.set_value("a", "N", RegistryValue.binary(bytes(1 << 19)))
        answers = await registry.read("a", [BatchCommand(_C.READ_VALUE, "N")] * 8)
        assert sum(len(one.data) for one in answers) == MAX_ANSWER
        with pytest.raises(RefusalError) as caught:
            await registry.read("a", [BatchCommand(_C.READ_VALUE, "N")] * 9)
        assert caught.value.status is Status.ERROR_NO_SYSTEM_RESOURCES

    run(body)


@pytest.mark.parametrize(
    ("base", "command"),
    [
        ("", BatchCommand(_C.CREATE_KEY, "Groups\\Mine")),
        ("groups", BatchCommand(_C.CREATE_KEY, "MINE\\parameters")),
        ("", BatchCommand(_C.DELETE_KEY, "GROUPS")),
        ("", BatchCommand(_C.DELETE_KEY, "")),
        ("", BatchCommand(_C.SET_VALUE, "clustername", RegistryType.SZ, b"x\0\0\0")),
        ("", BatchCommand(_C.DELETE_VALUE, "ClusterInstanceID")),
    ],
)
def test_what_objects_are_made_of_is_not_for_registry_calls(base: str, command: BatchCommand) -> None:
    async def body(registry: Registry) -> None:
        assert await failure(registry, command, base=base) == (0, Status.ERROR_ACCESS_DENIED)

    run(body)


def test_a_key_knows_when_it_was_written() -> None:
    async def body(registry: Registry) -> None:
        first = (await registry.open("a")).written
        await asyncio.sleep(0.002)
        await registry.create("a\\b")
        second = (await registry.open("a")).written
        assert first is not None
        assert second is not None
        assert first < second  # a new subkey is news of its parent
        third = (await registry.open("a\\b")).written
        assert third is not None
        assert third >= second

    run(body)
