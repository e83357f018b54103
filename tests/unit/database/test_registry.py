import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.errors import CallerError, ClusterError
from quorate.clusapi.status import Status
from quorate.database import keys
from quorate.database.contract import MAX_VALUE_LENGTH, Put, check_key
from quorate.database.events import EventLog
from quorate.database.memory import MemoryData, MemoryStore
from quorate.database.registry import Registry
from quorate.database.values import RegistryValue

ONE = RegistryValue.dword(1)


def run(body: Callable[[Registry], Awaitable[None]]) -> MemoryData:
    store = MemoryStore()

    async def main() -> None:
        await store.transact([], [Put("private/secret", b"x")])
        await body(Registry(store, EventLog(store)))

    asyncio.run(main())
    return store.data


async def names_below(registry: Registry, path: str) -> tuple[str, ...]:
    return tuple(key.name for key in await registry.children(path))


async def status_of(call: Awaitable[object]) -> Status:
    with pytest.raises(ClusterError) as caught:
        await call
    return caught.value.status


@given(st.text())
def test_no_path_leads_out_of_the_registry(path: str) -> None:
    try:
        key = keys.registry_key(path)
    except CallerError as error:
        assert error.status in (Status.ERROR_INVALID_NAME, Status.ERROR_FILENAME_EXCED_RANGE)
    else:
        check_key(key)
        assert key.startswith("cluster/")
        assert key.count("/") == max(1, len(keys.split_path(path)))


@pytest.mark.parametrize("path", ["..\\private", "../private", "private", "\\private", "..\\..\\private\\secret"])
def test_the_private_namespace_is_out_of_reach(path: str) -> None:
    async def body(registry: Registry) -> None:
        await registry.create("Software")
        for call in (registry.open(path), registry.delete(path), registry.set_value(path, "x", ONE)):
            assert await status_of(call) in (Status.ERROR_FILE_NOT_FOUND, Status.ERROR_INVALID_NAME)
        assert "secret" not in await names_below(registry, "")

    data = run(body)
    secret = data.get("private/secret")
    assert secret is not None
    assert secret.revision == 1


def test_keys_are_found_without_regard_to_case_and_keep_their_spelling() -> None:
    async def body(registry: Registry) -> None:
        key, created = await registry.create("Software\\Größe/%2F")
        assert created
        assert key.name == "Größe/%2F"
        again, created = await registry.create("SOFTWARE\\GRÖSSE/%2f")
        assert not created
        assert again.revision == key.revision
        assert await names_below(registry, "software") == ("Größe/%2F",)
        assert await names_below(registry, "") == ("Software",)
        assert await registry.exists("SOFTWARE")

    run(body)


def test_a_key_with_subkeys_is_not_deleted() -> None:
    async def body(registry: Registry) -> None:
        await registry.create("a\\b\\c")
        assert await status_of(registry.delete("a\\b")) == Status.ERROR_DIR_NOT_EMPTY
        await registry.delete("A\\B\\C")
        await registry.delete("a\\b")
        assert await names_below(registry, "a") == ()
        assert await status_of(registry.delete("a\\b")) == Status.ERROR_FILE_NOT_FOUND
        assert await status_of(registry.delete("")) == Status.ERROR_ACCESS_DENIED
        assert await status_of(names_below(registry, "a\\b")) == Status.ERROR_FILE_NOT_FOUND

    run(body)


def test_a_key_gets_no_child_while_it_is_being_deleted() -> None:
    async def body(registry: Registry) -> None:
        for _ in range(20):
            await registry.create("a\\b")
            await asyncio.gather(registry.delete("a\\b"), registry.create("a\\b\\c"), return_exceptions=True)
            if await registry.exists("a\\b\\c"):
                assert await registry.exists("a\\b")
                await registry.delete("a\\b\\c")

    run(body)


def test_a_value_that_does_not_fit_changes_nothing() -> None:
    async def body(registry: Registry) -> None:
        await registry.create("a")
        await registry.set_value("a", "Two", RegistryValue.multi_sz("x", "y"))
        await registry.set_value("a", "One", ONE)
        revision = (await registry.open("a")).revision
        assert (await registry.open("A")).value("two") == RegistryValue.multi_sz("x", "y")
        too_big = RegistryValue.binary(b"x" * MAX_VALUE_LENGTH)
        assert await status_of(registry.set_value("a", "Big", too_big)) == Status.ERROR_INVALID_PARAMETER
        assert await status_of(registry.set_value("a", "a\0b", ONE)) == Status.ERROR_INVALID_NAME
        assert (await registry.open("a")).revision == revision
        await registry.delete_value("a", "ONE")
        assert await status_of(registry.delete_value("a", "One")) == Status.ERROR_FILE_NOT_FOUND
        assert list((await registry.open("a")).values) == ["Two"]

    run(body)


def test_changes_of_different_values_at_once_are_all_kept() -> None:
    async def body(registry: Registry) -> None:
        await registry.create("a")
        await asyncio.gather(*(registry.set_value("a", f"v{n}", RegistryValue.dword(n)) for n in range(20)))
        assert len((await registry.open("a")).values) == 20

    run(body)
