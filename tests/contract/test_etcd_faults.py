"""What the store in etcd does while members die, freeze and come back, and when it cannot work at all."""

import asyncio
import functools
import itertools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.contract.etcd_certificates import Authority
from tests.contract.etcd_cluster import EtcdCluster, EtcdMember
from tests.waiting import slowness

from quorate.clusapi.errors import CallerError, ClusterError, FaultError
from quorate.clusapi.status import Status
from quorate.database.contract import Change, Compare, Put, StoreUnavailable
from quorate.database.etcd import messages
from quorate.database.etcd.attempts import Call
from quorate.database.etcd.blocking import EtcdBlockingStore
from quorate.database.etcd.messages import Method
from quorate.database.etcd.settings import EtcdSettings
from quorate.database.etcd.store import OPEN_WAIT, EtcdStore

LONGEST_GAP = 3.0
"""Seconds between two answers to a writer that tries again by itself."""
AFTER_ELECTION = 1.0
"""Should etcd's own election take longer than that allows (a split vote, a busy machine): seconds after its end."""
QUIET = 150
"""Writes before the fault, between fault and repair, and after the repair."""


@pytest.fixture
def whole(etcd: EtcdCluster) -> Iterator[EtcdCluster]:
    """The session's cluster; every member is made whole again afterwards."""
    try:
        yield etcd
    finally:
        for member in etcd.members:
            if not member.is_running:
                member.start()
            member.thaw()
        etcd.wait_healthy()


@dataclass
class Gaps:
    """The longest time between two answers."""

    last: float = field(default_factory=time.monotonic)
    longest: float = 0.0

    def answered(self) -> None:
        now = time.monotonic()
        self.longest = max(self.longest, now - self.last)
        self.last = now


class Writer:
    """Writes w/1, w/2, … each once: what gave no answer is looked up, and written again only if it is not there."""

    def __init__(self, store: EtcdStore) -> None:
        self._store = store
        self.gaps = Gaps()
        self.written = 0
        self.unanswered = 0
        self._news = asyncio.Event()

    async def write_for_ever(self) -> None:
        for number in itertools.count(1):
            await self._write(number)
            self.written = number
            self.gaps.answered()
            self._news.set()

    async def _write(self, number: int) -> None:
        key = f"w/{number:07}"
        while True:
            try:
                await self._store.transact([Compare(key, 0)], [Put(key, b"x"), Put("last", str(number).encode())])
                return  # a refusal says that it is there: nobody else writes this key
            except StoreUnavailable:
                self.unanswered += 1

    async def wait_for(self, more: int) -> None:
        goal = self.written + more
        while self.written < goal:
            self._news.clear()
            await self._news.wait()


class Watcher:
    """Takes down everything under a prefix, going on after the last revision that it saw when it is told to."""

    def __init__(self, store: EtcdStore, prefix: str = "w/") -> None:
        self._store = store
        self._prefix = prefix
        self.seen: list[Change] = []
        self.begun_anew = 0
        self._news = asyncio.Event()

    async def watch_for_ever(self) -> None:
        while True:
            after = self.seen[-1].revision if self.seen else 0
            try:
                async with aclosing(self._store.watch(self._prefix, after)) as batches:
                    async for batch in batches:
                        self.seen.extend(batch)
                        self._news.set()
            except StoreUnavailable:
                self.begun_anew += 1

    async def wait_for(self, count: int) -> None:
        while len(self.seen) < count:
            self._news.clear()
            await self._news.wait()


class Renewer:
    """What the lease's thread does: reads a record and writes it with its next number, ten times a second."""

    def __init__(self, settings: EtcdSettings) -> None:
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.gaps = Gaps()
        self.failure: BaseException | None = None

    def __enter__(self) -> "Renewer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        store = EtcdBlockingStore(self._settings)
        try:
            while not self._stop.is_set():
                try:
                    found = store.get("lease")
                    number = int(found.value) + 1 if found else 1
                    compare = Compare("lease", found.revision if found else 0)
                    if store.transact([compare], [Put("lease", str(number).encode())]).succeeded:
                        self.gaps.answered()
                except StoreUnavailable:
                    continue
                self._stop.wait(0.1)
        except BaseException as error:
            self.failure = error
            raise
        finally:
            store.close()


@asynccontextmanager
async def open_stores(settings: EtcdSettings, count: int) -> AsyncIterator[list[EtcdStore]]:
    stores = [EtcdStore(settings) for _ in range(count)]
    try:
        yield stores
    finally:
        for store in stores:
            await store.close()


def connected_to(cluster: EtcdCluster, member: EtcdMember) -> EtcdSettings:
    """Settings whose first endpoint is this member: a store begins there."""
    others = tuple(endpoint for endpoint in cluster.endpoints if endpoint != member.client_url)
    return replace(cluster.settings(cluster.new_prefix()), endpoints=(member.client_url, *others))


async def go_on(settings: EtcdSettings, harm: Callable[[], float], repair: Callable[[], None]) -> None:
    """Write, watch and renew while a fault comes and goes; then everything must be there, once, in order.

    ``harm`` gives the seconds that etcd was without a leader for it.
    """
    async with open_stores(settings, 3) as (one, other, third):
        writer, watcher, late = Writer(one), Watcher(other), Watcher(third)
        tasks = [asyncio.create_task(work) for work in (writer.write_for_ever(), watcher.watch_for_ever())]
        try:
            with Renewer(settings) as renewer:
                await writer.wait_for(QUIET)
                leaderless = await asyncio.to_thread(harm)
                await writer.wait_for(QUIET)
                await asyncio.to_thread(repair)
                await writer.wait_for(QUIET)
            tasks[0].cancel()
            await asyncio.gather(tasks[0], return_exceptions=True)
            written = (await one.range("w/")).records
            await watcher.wait_for(len(written))
            tasks.append(asyncio.create_task(late.watch_for_ever()))
            await late.wait_for(len(written))
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
    print(
        f"etcd without a leader for {leaderless:.2f} s; longest gap: writer {writer.gaps.longest:.2f} s, lease thread"
        f" {renewer.gaps.longest:.2f} s; {len(written)} written, {writer.unanswered} unanswered, watch begun anew by"
        f" hand {watcher.begun_anew} times"
    )
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 3, ends
    assert renewer.failure is None
    numbers = [int(record.key.removeprefix("w/")) for record in written]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= writer.written
    assert [(change.key, change.revision) for change in watcher.seen] == [(r.key, r.revision) for r in written]
    assert watcher.seen == late.seen
    bound = max(LONGEST_GAP, leaderless + AFTER_ELECTION) * slowness()
    assert writer.gaps.longest < bound
    assert renewer.gaps.longest < bound


def run(scenario: Awaitable[None], limit: float = 240.0) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(limit):
            await scenario

    asyncio.run(bounded())


def elected(cluster: EtcdCluster, lost: EtcdMember) -> float:
    """Wait until another member leads; gives how long that took."""
    began = time.monotonic()
    others = [member for member in cluster.members if member is not lost]
    while not any(member.is_leader() for member in others):
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize("connected", ["leader", "follower"])
def test_nothing_is_lost_or_doubled_when_the_leader_is_killed_and_rejoins(whole: EtcdCluster, connected: str) -> None:
    leader = whole.leader()
    follower = next(member for member in whole.members if member is not leader)

    def kill() -> float:
        leader.kill()
        return elected(whole, leader)

    def rejoin() -> None:
        leader.start()
        whole.wait_healthy()

    run(go_on(connected_to(whole, leader if connected == "leader" else follower), kill, rejoin))


@pytest.mark.parametrize("connected", ["leader", "follower"])
def test_nothing_is_lost_or_doubled_when_the_connected_member_freezes(whole: EtcdCluster, connected: str) -> None:
    leader = whole.leader()
    follower = next(member for member in whole.members if member is not leader)
    frozen = leader if connected == "leader" else follower

    def freeze() -> float:
        frozen.freeze()
        return elected(whole, frozen) if frozen is leader else 0.0

    run(go_on(connected_to(whole, frozen), freeze, frozen.thaw))


def test_the_lease_is_renewed_however_long_the_loop_is_held_up(etcd: EtcdCluster) -> None:
    settings = etcd.settings(etcd.new_prefix())

    async def scenario() -> None:
        async with open_stores(settings, 1) as (store,):
            watcher = Watcher(store)
            watching = asyncio.create_task(watcher.watch_for_ever())
            await until_told(watcher, lambda: store.transact([], [Put("w/1", b"")]))
            with Renewer(settings) as renewer:
                time.sleep(2.5)  # noqa: ASYNC251 - this is the fault
            assert renewer.gaps.longest < 1.0 * slowness()
            await until_told(watcher, lambda: store.transact([], [Put("w/2", b"")]))
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    run(scenario())


# --- Nobody answers ------------------------------------------------------------------------------------------------


def test_when_all_members_stop_a_call_ends_in_time_and_all_goes_on_when_they_return(whole: EtcdCluster) -> None:
    settings = whole.settings(whole.new_prefix())

    async def scenario() -> None:
        async with open_stores(settings, 2) as (store, other):
            blocking = EtcdBlockingStore(settings)
            await store.transact([], [Put("a", b"1")])
            assert await asyncio.to_thread(blocking.get, "a") is not None
            watcher = Watcher(other, "b")
            watching = asyncio.create_task(watcher.watch_for_ever())
            await until_told(watcher, lambda: store.transact([], [Put("b", b"2")]))
            for member in whole.members:
                member.freeze()
            began = time.monotonic()
            calls = [store.get("a"), store.range(""), store.transact([], [Put("a", b"2")])]
            ends = await asyncio.gather(*calls, return_exceptions=True)
            assert [type(end) for end in ends] == [StoreUnavailable] * 3
            assert time.monotonic() - began < 7 * slowness()
            for call in (functools.partial(blocking.get, "a"), functools.partial(blocking.transact, [], [])):
                began = time.monotonic()
                with pytest.raises(StoreUnavailable, match="no answer in time"):
                    await asyncio.to_thread(call)
                assert time.monotonic() - began < 3.5 * slowness()
            assert watcher.begun_anew  # it was told that nobody answers
            for member in whole.members:
                member.thaw()
            began = time.monotonic()
            await eventually(lambda: store.transact([], [Put("b", b"3")]))
            assert await asyncio.to_thread(eventually_blocking, functools.partial(blocking.get, "b")) is not None
            await watcher.wait_for(2)
            assert [change.value for change in watcher.seen] == [b"2", b"3"]
            print(f"answers again {time.monotonic() - began:.2f} s after etcd")
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            blocking.close()

    run(scenario())


async def until_told(watcher: Watcher, write: Callable[[], Awaitable[object]]) -> None:
    """Write, and wait until the watch has told it."""
    goal = len(watcher.seen) + 1
    await write()
    await watcher.wait_for(goal)


async def eventually(call: Callable[[], Awaitable[object]]) -> object:
    while True:
        try:
            return await call()
        except StoreUnavailable:
            continue


def eventually_blocking(call: Callable[[], object]) -> object:
    while True:
        try:
            return call()
        except StoreUnavailable:
            continue


def opened(settings: EtcdSettings, wait: float = OPEN_WAIT) -> ClusterError:
    """What opening a store with these settings ends in, within 5 s, or longer where much else is going on."""
    began = time.monotonic()

    async def scenario() -> None:
        async with open_stores(settings, 1) as (store,):
            await store.open(wait)

    with pytest.raises(ClusterError) as caught:
        asyncio.run(scenario())
    assert time.monotonic() - began < 5 * slowness()
    print(caught.value.sentence)
    return caught.value


def test_wrong_certificates_are_told_apart(etcd: EtcdCluster, tmp_path: Path) -> None:
    good = etcd.settings(etcd.new_prefix())
    stranger = Authority(tmp_path, "stranger")
    pair = stranger.issue("client")

    refused = opened(replace(good, ca=stranger.certificate))
    assert (type(refused), refused.status) == (FaultError, Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT)
    assert "its certificate is not good" in refused.sentence
    for cert, key in ((pair.certificate, pair.key), (None, None)):
        refused = opened(replace(good, cert=cert, key=key))
        assert refused.status == Status.ERROR_CLUSTER_NO_SECURITY_CONTEXT
        assert "it refuses our certificate" in refused.sentence
    mixed = opened(replace(good, key=pair.key))
    assert (type(mixed), mixed.status) == (CallerError, Status.ERROR_INVALID_PARAMETER)
    assert "the key belongs to another certificate" in mixed.sentence
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    assert "is no certificate" in opened(replace(good, ca=broken)).sentence


def test_http_and_https_are_told_apart(etcd: EtcdCluster, tmp_path: Path) -> None:
    plain = tuple(endpoint.replace("https:", "http:") for endpoint in etcd.endpoints)
    error = opened(EtcdSettings(plain, prefix="quorate/x/"))
    assert isinstance(error, FaultError)
    assert "is it meant to be https?" in error.sentence

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 no\r\n\r\n")
        await writer.drain()
        writer.close()

    async def serve_plainly() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = replace(etcd.settings(), endpoints=(f"https://127.0.0.1:{port}",))
        async with server, open_stores(settings, 1) as (store,):
            with pytest.raises(FaultError, match=r"is it meant to be http\?"):
                await store.open()

    asyncio.run(serve_plainly())


def test_an_etcd_without_quorum_and_one_that_is_not_there_are_told_apart(whole: EtcdCluster) -> None:
    survivor, *others = whole.members
    for member in others:
        member.kill()
    wait_until_leaderless(survivor)
    error = opened(whole.settings(whole.new_prefix()))
    assert error.status == Status.ERROR_CLUSTER_NO_QUORUM
    assert "has no quorum" in error.sentence
    survivor.kill()
    error = opened(whole.settings(whole.new_prefix()), wait=1.0)
    assert isinstance(error, StoreUnavailable)
    assert "Connection refused" in error.sentence
    for member in whole.members:
        member.start()
    whole.wait_healthy()


def wait_until_leaderless(member: EtcdMember) -> None:
    while member.ask("/v3/maintenance/status").get("leader", "0") != "0":
        time.sleep(0.05)


def test_a_database_that_is_deleted_under_a_running_store_is_noticed(etcd: EtcdCluster) -> None:
    settings = etcd.settings(etcd.new_prefix())

    async def scenario() -> None:
        async with open_stores(settings, 2) as (store, other):
            await store.transact([], [Put("a", b"1")])
            assert await other.get("a") is not None
            raw = RawKeys(store)
            await raw.delete(settings.prefix)
            await other.transact([], [])  # its origin is known; a write without a probe may still pass
            with pytest.raises(StoreUnavailable, match="deleted or replaced"):
                while True:
                    await other.transact([], [Put("b", b"1")])
                    await asyncio.sleep(0.6)  # until no answer is fresh, and a probe comes first

    run(scenario())


class RawKeys:
    """Keys of etcd as strangers write them."""

    def __init__(self, store: EtcdStore) -> None:
        self._client = store.client

    async def delete(self, key: str) -> None:
        await self._send(messages.RequestOp(request_delete_range=messages.DeleteRangeRequest(key.encode())))

    async def put(self, key: str, value: bytes) -> None:
        await self._send(messages.RequestOp(request_put=messages.PutRequest(key.encode(), value)))

    async def _send(self, operation: messages.RequestOp) -> None:
        await self._client.ask(Call(Method.TXN, messages.TxnRequest(success=(operation,)).encode()))


@pytest.mark.parametrize(
    ("value", "status"),
    [(b"something", Status.ERROR_NOT_REGISTRY_FILE), (b'{"quorate_store": 99}', Status.ERROR_CLUSTER_OLD_VERSION)],
)
def test_what_is_not_ours_or_too_new_is_refused(etcd: EtcdCluster, value: bytes, status: Status) -> None:
    settings = etcd.settings(etcd.new_prefix())

    async def occupy() -> None:
        async with open_stores(settings, 1) as (store,):
            await RawKeys(store).put(settings.prefix, value)

    asyncio.run(occupy())
    assert opened(settings).status == status


def test_strangers_in_the_same_etcd_neither_show_nor_disturb(etcd: EtcdCluster) -> None:
    settings = etcd.settings(etcd.new_prefix())
    beside = replace(settings, prefix=f"{settings.prefix}inner/")

    async def scenario() -> None:
        async with open_stores(settings, 1) as (store,), open_stores(beside, 1) as (stranger,):
            first = await store.transact([], [Put("a", b"1")])
            await stranger.transact([], [Put("a", b"x")])
            second = await store.transact([Compare("a", first.revision)], [Put("a", b"2")])
            assert second.succeeded and second.revision > first.revision + 1
            async with aclosing(store.watch("a", 0)) as batches:
                assert [[change.value for change in await anext(batches)] for _ in range(2)] == [[b"1"], [b"2"]]
            assert (await stranger.get("a")) is not None

    run(scenario())
