"""The asyncio side of the client: channels to the members, scripts run on them, and the pulse.

::

    script ──Call──▶ Attempts ──which member, how long──▶ Link ──▶ gRPC channel, one per endpoint
                        ▲                                   │
                        └────────── Rotation ◀──────────────┤ answers and failures
                                       ▲                    │
    pulse: while anything is watched, the current member is asked a linearizable read every half second; one that
    does not answer is left, and every watch on it goes on at the next

gRPC's own balancing and keep-alive play no part: a channel with several addresses stays glued to a frozen member, and
etcd cuts off who pings more often than every five seconds.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Final, TypeVar

import structlog

from quorate.database.contract import StoreUnavailable
from quorate.database.etcd.attempts import Attempt, Attempts, Call, Rotation
from quorate.database.etcd.failures import EtcdFailure
from quorate.database.etcd.grpc_runtime import HAS_LEADER, OPTIONS, Credentials, grpc
from quorate.database.etcd.messages import Method
from quorate.database.etcd.scripts import Script, Space
from quorate.database.etcd.settings import Endpoint, EtcdSettings, EtcdTimings
from quorate.database.etcd.wire import WireError

T = TypeVar("T")
_CLOSED: Final = "the store is closed"

_log = structlog.get_logger("etcd")


class _Channel:
    """A gRPC channel that is closed when it was retired and nobody uses it any more."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.users = 0
        self.is_retired = False
        self.is_closed = False


class Link:
    """The way to one member. A channel on which a call failed is not used again: it may be stuck for minutes."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials) -> None:
        """Connect at first use."""
        self._endpoint = endpoint
        self._credentials = credentials
        self._channel: _Channel | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def call(self, method: Method, request: bytes, wait: float) -> bytes:
        """Call the member, with a deadline. Raises EtcdFailure."""
        held = self._hold()
        try:
            procedure: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = held.channel.unary_unary(method.value)
            return await procedure(request, timeout=wait, metadata=HAS_LEADER)
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error)
            if failure.moves_on:
                self._retire(held)
            raise failure from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if held.is_retired and task is not None and not task.cancelling():
                raise EtcdFailure("CANCELLED", _CLOSED) from None  # by close(), not by the caller
            raise
        finally:
            self._release(held)

    def stream(self, method: Method) -> tuple[grpc.aio.StreamStreamCall[bytes, bytes], Callable[[], None]]:
        """Begin a stream; call what comes with it when the stream is no longer used."""
        held = self._hold()
        procedure: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = held.channel.stream_stream(method.value)
        call = procedure(metadata=HAS_LEADER)

        def leave() -> None:
            call.cancel()
            self._release(held)

        return call, leave

    def renew(self) -> None:
        """Use another connection from the next call on."""
        if (held := self._channel) is not None:
            self._retire(held)
            self._close_unused(held)

    async def close(self) -> None:
        """Close the channel; calls under way fail."""
        if self._channel is not None:
            self._channel.is_retired = self._channel.is_closed = True
            await self._channel.channel.close(None)
            self._channel = None
        if self._closing:
            await asyncio.wait(self._closing)

    def _hold(self) -> _Channel:
        if self._channel is None:
            target, tls = self._endpoint.target, self._credentials.newest()
            self._channel = _Channel(
                grpc.aio.insecure_channel(target, options=OPTIONS)
                if tls is None
                else grpc.aio.secure_channel(target, tls, options=OPTIONS)
            )
        self._channel.users += 1
        return self._channel

    def _release(self, held: _Channel) -> None:
        held.users -= 1
        self._close_unused(held)

    def _retire(self, held: _Channel) -> None:
        held.is_retired = True
        if self._channel is held:
            self._channel = None

    def _close_unused(self, held: _Channel) -> None:
        if held.is_retired and not held.users and not held.is_closed:
            held.is_closed = True
            task = asyncio.create_task(held.channel.close(None))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class EtcdClient:
    """Runs scripts on the members. Belongs to the loop that first uses it."""

    def __init__(self, settings: EtcdSettings, timings: EtcdTimings) -> None:
        """Connect at first use. Raises CallerError for what is wrong with the settings or their files."""
        endpoints = settings.parsed()
        credentials = Credentials(settings)
        self.settings = settings
        self.timings = timings
        self.space = Space(settings)
        self.rotation = Rotation(endpoints, _log.info)
        self.links = tuple(Link(endpoint, credentials) for endpoint in endpoints)
        self.is_closed = False
        self._watching: dict[object, Callable[[], None]] = {}
        self._is_pulsing = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, script: Script[T], wait: float | None = None) -> T:
        """Run a script to its end; each of its calls may take ``wait`` seconds. Raises StoreUnavailable."""
        self.check_open()
        timings = self.timings if wait is None else replace(self.timings, answer_wait=wait)
        try:
            call = next(script)
            while True:
                call = script.send(await self._perform(call, timings))
        except StopIteration as end:
            result: T = end.value
            return result
        except WireError as error:
            raise unreadable(error) from error

    async def ask(self, call: Call) -> bytes:
        """Ask whichever member answers. Raises StoreUnavailable."""
        return await self.run(_single(call))

    def check_open(self) -> None:
        """Raise StoreUnavailable after close()."""
        if self.is_closed:
            raise StoreUnavailable(_CLOSED)

    async def close(self) -> None:
        """Let go of everything."""
        self.is_closed = True
        self._wake_watches()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(link.close() for link in self.links))

    # --- One call --------------------------------------------------------------------------------------------------

    async def _perform(self, call: Call, timings: EtcdTimings) -> bytes:
        attempts = Attempts(self.rotation, timings, self.space.probe, time.monotonic())
        while True:
            attempt = attempts.next(call, time.monotonic())
            if attempt.pause:
                await asyncio.sleep(attempt.pause)
            self.check_open()
            answer = await self._attempt(attempts, attempt)
            if answer is not None and attempt.call is call:
                return answer

    async def _attempt(self, attempts: Attempts, attempt: Attempt) -> bytes | None:
        call = attempt.call
        try:
            answer = await self.links[attempt.index].call(call.method, call.request, attempt.wait)
        except EtcdFailure as failure:
            if not (call.may_be_compacted and failure.is_compacted):
                self._wake_watches()
                attempts.failed(attempt, failure, time.monotonic())
                return None
            answer = b""
        if call is self.space.probe:
            self.space.check_probe(answer)
        attempts.answered(attempt, time.monotonic())
        return answer

    def leave(self, index: int, failure: EtcdFailure) -> None:
        """A member does not serve: go on at the next, with every watch too."""
        self.rotation.leave(index, failure)
        self.links[index].renew()
        self._wake_watches()

    # --- Watches ---------------------------------------------------------------------------------------------------

    def attend(self, watch: object, wake: Callable[[], None]) -> None:
        """Keep the pulse up for a watch; it is woken when a member was left or the store is closed."""
        self._watching[watch] = wake
        if not self._is_pulsing:
            self._is_pulsing = True
            self.spawn(self._keep_pulse())

    def dismiss(self, watch: object) -> None:
        """A watch has ended."""
        self._watching.pop(watch, None)

    def spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run something beside, until the store is closed at the latest."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _keep_pulse(self) -> None:
        """Ask the current member again and again: it, and the quorum behind it, must be alive."""
        try:
            while self._watching:
                await asyncio.sleep(self.timings.pulse)
                index = self.rotation.current
                try:
                    probe = self.space.probe
                    answer = await self.links[index].call(probe.method, probe.request, self.timings.pulse_wait)
                    self.space.check_probe(answer)
                    self.rotation.answered(index, time.monotonic())
                except EtcdFailure as failure:
                    self.leave(index, failure)
                except (StoreUnavailable, WireError) as error:
                    self.leave(index, EtcdFailure("FAILED_PRECONDITION", str(error)))
        finally:
            self._is_pulsing = False

    def _wake_watches(self) -> None:
        for wake in tuple(self._watching.values()):
            wake()


def _single(call: Call) -> Script[bytes]:
    return (yield call)


def unreadable(error: WireError) -> StoreUnavailable:
    """What answers is no etcd, or a very strange one."""
    return StoreUnavailable(f"etcd's answer cannot be read: {error}")


def failure_of(error: grpc.RpcError) -> EtcdFailure:
    """The failure that a gRPC error tells of."""
    return EtcdFailure(error.code().name, error.details() or "")
