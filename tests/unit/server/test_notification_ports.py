"""Ports: who is told what, what becomes of more than a port can keep, and calls that wait."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from tests.waiting import PATIENCE

from quorate.clusapi.errors import ClusterError
from quorate.clusapi.events import Change
from quorate.clusapi.notifications import (
    ClusterFlag,
    GroupFlag,
    NodeFlag,
    Notice,
    ObjectType,
    RegistryFlag,
    ResourceFlag,
)
from quorate.clusapi.registry_batch import parse_batch
from quorate.clusapi.security_descriptors import sids_of
from quorate.clusapi.states import ResourceState
from quorate.clusapi.status import Status
from quorate.database.cluster_database import ClusterDatabase
from quorate.database.contract import Put
from quorate.database.memory import MemoryStore
from quorate.database.values import KeyRecord, RegistryValue, RegistryValues
from quorate.server import notification_shares
from quorate.server.notices import News
from quorate.server.notification_hub import NotificationHub
from quorate.server.notification_ports import MAX_WISHES, BatchPort, FirstWish, NotifyPort, SecondWish
from quorate.server.notification_shares import Shares
from quorate.server.registry_notices import KeyChange

_T = ObjectType
STATE = Notice(_T.GROUP, GroupFlag.STATE, "g", "g", "web")
OWNER = Notice(_T.GROUP, GroupFlag.OWNER_NODE, "g", "g", "web")
GAINED = Notice(_T.NODE, NodeFlag.GROUP_GAINED, "1", "1", "node1")
ADDED = Notice(_T.CLUSTER, ClusterFlag.GROUP_ADDED, "", "g", "web")
RESOURCE = Notice(_T.GROUP, GroupFlag.RESOURCE_ADDED, "g", "r", "disk", "g", "Physical Disk")
VALUE = Notice(_T.REGISTRY, RegistryFlag.VALUE, "Groups\\g", "Groups\\g", "Groups\\g")
ALL = int(Change.ALL)
ANYBODY = sids_of(full_access=False)


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        (FirstWish(1, ALL, _T.CLUSTER), {STATE, OWNER, ADDED, RESOURCE}),
        (FirstWish(1, ALL, _T.CLUSTER, subtree=True), {STATE, OWNER, ADDED, RESOURCE, VALUE}),
        (FirstWish(1, Change.GROUP_STATE, _T.CLUSTER), {STATE, OWNER}),
        (FirstWish(1, ALL, _T.GROUP, "g"), {STATE, OWNER}),
        (FirstWish(1, ALL, _T.GROUP, "other"), set()),
        (FirstWish(1, ALL, _T.NODE, "1"), set()),
        (FirstWish(1, ALL, _T.REGISTRY, "GROUPS\\G"), {VALUE}),
        (FirstWish(1, ALL, _T.REGISTRY, "Groups"), set()),
        (FirstWish(1, ALL, _T.REGISTRY, "Groups", True), {VALUE}),
        (FirstWish(1, Change.REGISTRY_NAME, _T.REGISTRY, "Groups", True), set()),
        (SecondWish(1, _T.GROUP, 0x3FF), {STATE, OWNER, RESOURCE}),
        (SecondWish(1, _T.GROUP, 0x3FF, "g"), {STATE, OWNER, RESOURCE}),
        (SecondWish(1, _T.GROUP, 0x3FF, "other"), set()),
        (SecondWish(1, _T.GROUP, GroupFlag.OWNER_NODE), {OWNER}),
        (SecondWish(1, _T.CLUSTER, 0x1FFF), {ADDED}),
        (SecondWish(1, _T.NODE, 0xFF), {GAINED}),
        (SecondWish(1, _T.RESOURCE, 0x7FF), set()),
        (SecondWish(1, _T.REGISTRY, 0x1F), {VALUE}),
        (SecondWish(1, _T.REGISTRY, RegistryFlag.VALUE), set()),
        (SecondWish(1, _T.REGISTRY, RegistryFlag.VALUE, "groups\\g"), {VALUE}),
    ],
)
def test_a_wish_is_told_what_fits_it(wish: FirstWish | SecondWish, told: set[Notice]) -> None:
    every = (STATE, OWNER, GAINED, ADDED, RESOURCE, VALUE)
    assert {notice for notice in every if wish.fitting(notice)} == told


def with_port(test: Callable[[NotifyPort], Awaitable[None]], generation: int = 1, limit: int = 8) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            await test(NotifyPort(generation, ANYBODY, limit))

    asyncio.run(main())


def test_every_wish_is_told_by_itself_with_its_own_number() -> None:
    async def test(port: NotifyPort) -> None:
        port.add(FirstWish(7, Change.GROUP_STATE, _T.GROUP, "g"))
        port.add(FirstWish(8, ALL, _T.CLUSTER))
        port.on_news(News((STATE,), ()), 5)
        port.on_news(News((GAINED, ADDED), ()), 6)
        told = await port.take(10)
        assert [(one.key, one.flag, one.sequence) for one in told] == [
            (7, Change.GROUP_STATE, 5),
            (8, Change.GROUP_STATE, 5),
            (8, Change.GROUP_ADDED, 6),
        ]

    with_port(test)


def test_two_flags_that_are_one_in_the_first_generation_are_told_once() -> None:
    async def test(port: NotifyPort) -> None:
        port.add(FirstWish(7, ALL, _T.CLUSTER))
        port.on_news(News((OWNER, GAINED, STATE), ()), 5)
        assert len(await port.take(10)) == 1
        port.on_news(News((STATE,), ()), 6)
        port.on_news(News((STATE,), ()), 7)
        assert len(await port.take(10)) == 2

    with_port(test)


@pytest.mark.parametrize(
    ("generation", "wish", "flag"),
    [
        (1, FirstWish(7, ALL, _T.CLUSTER), int(Change.CLUSTER_RECONNECT)),
        (2, SecondWish(7, _T.GROUP, 0x3FF), int(ClusterFlag.LOST_NOTIFICATIONS)),
    ],
)
def test_what_a_port_cannot_keep_is_told_as_lost(generation: int, wish: FirstWish | SecondWish, flag: int) -> None:
    async def test(port: NotifyPort) -> None:
        port.add(wish)
        for sequence in range(9):
            port.on_news(News((STATE,), ()), sequence)
        (lost,) = await port.take(100)
        assert (lost.key, lost.flag, lost.notice.object_type) == (7, flag, _T.CLUSTER)
        port.on_news(News((STATE,), ()), 10)
        (one,) = await port.take(100)
        assert one.notice == STATE

    with_port(test, generation)


def test_a_port_without_wishes_is_told_nothing() -> None:
    async def test(port: NotifyPort) -> None:
        port.on_news(News((STATE,), ()), 1)
        port.on_gap(2)
        waiting = asyncio.create_task(port.take(1))
        await asyncio.sleep(0)
        assert not waiting.done()
        port.close()
        with pytest.raises(ClusterError) as caught:
            await waiting
        assert caught.value.status == Status.ERROR_NO_MORE_ITEMS

    with_port(test)


def test_unblocking_ends_the_calls_that_wait_and_else_the_next_one() -> None:
    async def test(port: NotifyPort) -> None:
        port.add(FirstWish(7, ALL, _T.CLUSTER))
        waiting = [asyncio.create_task(port.take(1)) for _ in range(2)]
        await asyncio.sleep(0)
        port.unblock()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(one, ClusterError) for one in ended)
        port.on_news(News((STATE,), ()), 1)
        assert len(await port.take(1)) == 1
        port.unblock()
        with pytest.raises(ClusterError):
            await port.take(1)
        port.on_news(News((STATE,), ()), 2)
        assert len(await port.take(1)) == 1

    with_port(test)


def test_a_batch_port_tells_batches_and_that_some_were_lost() -> None:
    async def main() -> None:
        port = BatchPort("a", sids_of(full_access=False), 2)
        after = KeyRecord("a", RegistryValues({"x": RegistryValue.dword(1)}))
        news = News((), (KeyChange("a", KeyRecord("a"), after),))
        port.on_news(News((), (KeyChange("b", KeyRecord("b"), after),)), 1)
        port.on_news(news, 2)
        assert [one.name for one in parse_batch(await port.take())] == ["x"]
        for sequence in range(3):
            port.on_news(news, sequence)
        with pytest.raises(ClusterError) as caught:
            await port.take()
        assert caught.value.status == Status.ERROR_CLUSTER_DATABASE_SEQMISMATCH
        port.on_news(news, 9)
        assert await port.take()

    asyncio.run(main())


def test_a_batch_port_keeps_no_more_than_some_megabytes() -> None:
    async def main() -> None:
        port = BatchPort("a", sids_of(full_access=True))
        values = [RegistryValues({"x": RegistryValue.binary(bytes([number]) * 500_000)}) for number in range(2)]
        for number in range(20):
            before, after = (KeyRecord("a", values[(number + one) % 2]) for one in range(2))
            port.on_news(News((), (KeyChange("a", before, after),)), number)
        taken = 0
        with pytest.raises(ClusterError):
            while taken < 20:
                taken += bool(await port.take())
        assert taken < 5

    asyncio.run(main())


def test_a_port_takes_only_so_many_wishes() -> None:
    port = NotifyPort(1, ANYBODY)
    for number in range(MAX_WISHES):
        port.add(FirstWish(number, ALL, _T.CLUSTER))
    with pytest.raises(ClusterError) as caught:
        port.add(FirstWish(0, ALL, _T.CLUSTER))
    assert caught.value.status == Status.ERROR_NO_SYSTEM_RESOURCES


def test_a_user_has_only_so_many_ports_and_filters_and_another_one_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in {"PORTS": 6, "PORTS_OF_USER": 3, "BATCH_PORTS_OF_USER": 1, "WISHES_OF_USER": 4}.items():
        monkeypatch.setattr(notification_shares, name, most)
    shares, ports = Shares(), [NotifyPort(1 + number % 2, ANYBODY) for number in range(9)]

    def is_refused(what: Callable[..., None], *arguments: object) -> bool:
        try:
            what(*arguments)
        except ClusterError as error:
            assert error.status == Status.ERROR_NO_SYSTEM_RESOURCES
            return True
        return False

    assert [is_refused(shares.enter, port, "alice") for port in ports[:4]] == [False, False, False, True]
    assert [is_refused(shares.enter, BatchPort("a", ANYBODY), "alice") for _ in range(2)] == [False, True]
    assert [is_refused(shares.enter, port, "bob") for port in ports[4:7]] == [False, False, True], "six in all"
    for number in range(4):
        shares.check_wish(ports[number % 2])
        ports[number % 2].add(FirstWish(number, ALL, _T.CLUSTER))
    assert [is_refused(shares.check_wish, ports[number]) for number in (0, 2, 4)] == [True, True, False]
    shares.leave(ports[0])
    shares.leave(ports[0])
    assert not is_refused(shares.check_wish, ports[1])
    assert not is_refused(shares.enter, ports[7], "alice")
    assert len(shares) == 6


# --- The hub -------------------------------------------------------------------------------------------------------


def with_hub(test: Callable[[ClusterDatabase, NotificationHub], Awaitable[None]]) -> None:
    async def main() -> None:
        database = ClusterDatabase(MemoryStore())
        await database.create_cluster("demo")
        await database.add_node("node1")
        async with asyncio.timeout(PATIENCE):
            await test(database, NotificationHub(database))
            assert not [task for task in asyncio.all_tasks() if task.get_name() == "notifications"]

    asyncio.run(main())


def test_the_hub_follows_as_long_as_there_is_a_port() -> None:
    async def test(database: ClusterDatabase, hub: NotificationHub) -> None:
        first, second = NotifyPort(1, ANYBODY), NotifyPort(2, ANYBODY)
        await hub.open(first, "alice")
        await hub.open(second, "alice")
        first.add(FirstWish(1, ALL, _T.CLUSTER))
        second.add(SecondWish(2, _T.CLUSTER, ClusterFlag.RENAME))
        await database.rename_cluster("other")
        assert (await first.take(9))[0].flag == Change.CLUSTER_PROPERTY
        assert (await second.take(9))[0].notice.name == "other"
        await hub.close(first)
        await database.rename_cluster("third")
        assert (await second.take(9))[0].notice.name == "third"
        await hub.close(second)
        assert hub.ports == 0
        third = NotifyPort(2, ANYBODY)
        await hub.open(third, "alice")
        third.add(SecondWish(2, _T.CLUSTER, ClusterFlag.RENAME))
        await database.rename_cluster("fourth")
        assert [one.notice.name for one in await third.take(9)] == ["fourth"]
        await hub.close(third)

    with_hub(test)


def test_who_comes_back_hears_of_states_that_have_changed_meanwhile() -> None:
    async def test(database: ClusterDatabase, hub: NotificationHub) -> None:
        port = NotifyPort(1, ANYBODY)
        await hub.open(port, "alice")
        port.add(FirstWish(1, ALL, _T.CLUSTER))
        since = hub.sequence
        group = (await database.snapshot()).group("Cluster Group")
        assert not hub.has_changed(_T.GROUP, group.id, since)
        assert hub.has_changed(_T.GROUP, group.id, 0), "before the hub began: nobody knows"
        ownership, run = await database.get_ownership(group.id), (await database.get_run_state(group.id)).value
        name = (await database.snapshot()).resources_of(group.id)[0]
        changed = replace(run, resource_states={name.id: ResourceState.FAILED})
        await database.write_run_state(group.id, ownership, changed)
        while not {one.flag for one in await port.take(9)} & {Change.GROUP_STATE}:
            pass
        assert hub.has_changed(_T.GROUP, group.id, since)
        assert hub.has_changed(_T.RESOURCE, name.id, since)
        assert not hub.has_changed(_T.GROUP, group.id, hub.sequence)
        await hub.close(port)

    with_hub(test)


def test_a_gap_in_what_the_hub_hears_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(database: ClusterDatabase, hub: NotificationHub) -> None:
        monkeypatch.setattr("quorate.server.notification_hub._RETRY", 0.0)
        port = NotifyPort(2, ANYBODY)
        await hub.open(port, "alice")
        port.add(SecondWish(1, _T.RESOURCE, ResourceFlag.STATE))
        store = database.store
        assert isinstance(store, MemoryStore)
        for _ in range(3):  # all at once, before the hub looks again
            revision = store.data.transact([], [Put("private/x", b"x")]).revision
        store.data.compact(revision)
        (lost,) = await port.take(9)
        assert lost.flag == ClusterFlag.LOST_NOTIFICATIONS
        await hub.close(port)

    with_hub(test)
