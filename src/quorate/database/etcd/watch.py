"""Watching: every change after a revision, in order, none twice, whatever becomes of the member that tells them.

::

    client.py's pulse ──member was left──▶ ┌─ WatchStream ─┐
    etcd ──responses──▶ reader task ──▶ a few at hand ──▶ Assembler ──▶ one batch per revision
                        asker task ──progress request──▶ etcd

A stream that is lost, for whatever reason, is begun anew after the last revision that was handed out; what came again
is dropped. A stream can only be lost, never be silently deaf: the pulse finds members that are frozen or cut off from
their quorum, and a stream that does not even answer progress requests is given up.
(The revision in the answer to a progress request is not used: before 3.4.25 etcd may name one whose changes are still
to come.)
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing
from itertools import groupby
from typing import Final

from quorate.database.contract import Change, Compacted, StoreUnavailable
from quorate.database.etcd import messages as etcd
from quorate.database.etcd.client import EtcdClient, failure_of
from quorate.database.etcd.failures import EtcdFailure
from quorate.database.etcd.grpc_runtime import grpc
from quorate.database.etcd.messages import Method
from quorate.database.etcd.scripts import Space

Batch = tuple[Change, ...]

_AT_HAND: Final = 32  # responses; more wait in the connection, whose flow control slows etcd down
_ASK_EVERY: Final = 1.0
_PAUSE: Final = 0.1
_PROGRESS: Final = etcd.WatchRequest(progress_request=etcd.WatchProgressRequest()).encode()


async def watch(client: EtcdClient, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
    """The changes under a prefix after a revision; see ``Store.watch``."""
    try:
        await client.run(client.space.origin())
    except StoreUnavailable:
        if client.is_closed:
            return
        raise
    failing_since: float | None = None
    while not client.is_closed:
        assembler = Assembler(client.space, after)
        with closing(WatchStream(client, prefix, after)) as stream:
            try:
                while True:
                    for batch in assembler.take(await stream.next()):
                        after = batch[0].revision
                        yield batch
                        if client.is_closed:
                            return
            except EtcdFailure as failure:
                stream.abandon(failure)
            now = time.monotonic()
            failing_since = None if stream.was_heard else failing_since or stream.began
            if failing_since is not None and now - failing_since > client.timings.answer_wait:
                raise StoreUnavailable(client.rotation.sentence())
        if now - stream.began < _PAUSE and not client.is_closed:
            await asyncio.sleep(_PAUSE)


class Assembler:
    """Makes batches, one per revision, out of the responses of one stream."""

    def __init__(self, space: Space, after: int) -> None:
        """What is not after this revision is dropped."""
        self._space = space
        self._after = after
        self._pending: list[Change] = []  # of a response that is not complete yet

    def take(self, response: etcd.WatchResponse) -> Iterator[Batch]:
        """Take a response, give what it completes. Raises Compacted and StoreUnavailable."""
        if response.canceled:
            raise self._reason(response)
        self._pending.extend(self._changes(response))
        batches = [list(changes) for _, changes in groupby(self._pending, key=lambda change: change.revision)]
        # A fragment ends anywhere, even within a revision.
        self._pending = batches.pop() if response.fragment and batches else []
        for batch in batches:
            self._after = batch[0].revision
            yield tuple(sorted(batch, key=lambda change: change.key))

    def _changes(self, response: etcd.WatchResponse) -> Iterator[Change]:
        base = self._space.base
        for event in response.events:
            if event.kv is not None and event.kv.mod_revision - base > self._after:
                value = None if event.type == etcd.EventType.DELETE else event.kv.value
                yield Change(self._space.key(event.kv.key), value, event.kv.mod_revision - base)

    def _reason(self, response: etcd.WatchResponse) -> Compacted | StoreUnavailable:
        if response.compact_revision:
            gone = response.compact_revision - self._space.base
            return Compacted(f"changes up to revision {gone} are gone, those after {self._after} were asked for")
        return StoreUnavailable(f"etcd has ended a watch: {response.cancel_reason or 'it did not say why'}")


class WatchStream:
    """One stream to one member."""

    def __init__(self, client: EtcdClient, prefix: str, after: int) -> None:
        """Begin it at the current member; the origin is known."""
        self._client = client
        self._index = client.rotation.current
        self._departures = client.rotation.departures[self._index]
        self.began = self._heard = time.monotonic()
        self.was_heard = False
        self._responses: deque[etcd.WatchResponse] = deque()
        self._failure: EtcdFailure | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._call, self._leave = client.links[self._index].stream(Method.WATCH)
        request = client.space.watch_request(prefix, after)
        self._tasks = (client.spawn(self._read(request)), client.spawn(self._ask()))
        client.attend(self, self._news.set)

    async def next(self) -> etcd.WatchResponse:
        """The next response. Raises EtcdFailure when the stream is lost."""
        while not self._responses:
            if self._failure is not None:
                raise self._failure
            if self._client.is_closed or self._client.rotation.departures[self._index] != self._departures:
                raise EtcdFailure("CANCELLED", "the member was left")
            self._news.clear()
            await self._news.wait()
        self._room.set()
        return self._responses.popleft()

    def abandon(self, failure: EtcdFailure) -> None:
        """The stream is lost; if nobody has left its member yet, do it."""
        if self._client.rotation.departures[self._index] == self._departures and not self._client.is_closed:
            self._client.leave(self._index, failure)

    def close(self) -> None:
        """End the stream."""
        self._client.dismiss(self)
        for task in self._tasks:
            task.cancel()
        self._leave()

    async def _read(self, request: bytes) -> None:
        try:
            await self._call.write(request)
            while True:
                message = await self._call.read()
                if not isinstance(message, bytes):
                    raise EtcdFailure("UNAVAILABLE", "the member has ended the watch")
                self._heard, self.was_heard = time.monotonic(), True
                self._responses.append(etcd.WatchResponse.decode(message))
                self._news.set()
                while len(self._responses) >= _AT_HAND:
                    self._room.clear()
                    await self._room.wait()
                    self._heard = time.monotonic()
        except grpc.RpcError as error:
            self._lose(failure_of(error))
        except (EtcdFailure, ValueError, asyncio.InvalidStateError) as error:
            self._lose(error if isinstance(error, EtcdFailure) else EtcdFailure("UNKNOWN", str(error)))

    async def _ask(self) -> None:
        """Ask for a sign of life; a stream that gives none for long is lost, whatever else its member answers."""
        while True:
            await asyncio.sleep(_ASK_EVERY)
            is_reading = len(self._responses) < _AT_HAND
            if is_reading and time.monotonic() - self._heard > self._client.timings.stream_wait:
                self._lose(EtcdFailure("UNAVAILABLE", "the watch gives no sign of life"))
                return
            try:
                await self._call.write(_PROGRESS)
            except (grpc.RpcError, asyncio.InvalidStateError):
                return  # the reader finds out why

    def _lose(self, failure: EtcdFailure) -> None:
        self._failure = failure
        self._news.set()
