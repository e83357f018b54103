"""The store in etcd without asyncio: for the thread that renews the lease, which no loop may hold up."""

import threading
import time
from collections.abc import Sequence
from typing import Final, TypeVar

import structlog

from quorate.database.contract import Compare, Outcome, Record, Snapshot, StoreUnavailable, Write
from quorate.database.etcd.attempts import Attempt, Attempts, Call, Rotation
from quorate.database.etcd.client import failure_of, unreadable
from quorate.database.etcd.failures import EtcdFailure
from quorate.database.etcd.grpc_runtime import HAS_LEADER, OPTIONS, Credentials, grpc
from quorate.database.etcd.scripts import Script, Space
from quorate.database.etcd.settings import EtcdSettings, EtcdTimings
from quorate.database.etcd.wire import WireError

T = TypeVar("T")

_log = structlog.get_logger("etcd lease")

BLOCKING_TIMINGS: Final = EtcdTimings(write_wait=1.0, answer_wait=2.0)
"""The lease's thread comes back by itself, and has to know soon that the database is silent."""


class EtcdBlockingStore:
    """The same store on connections of its own; for one thread."""

    def __init__(self, settings: EtcdSettings, timings: EtcdTimings = BLOCKING_TIMINGS) -> None:
        """Connect at first use. Raises CallerError for what is wrong with the settings or their files."""
        endpoints = settings.parsed()
        self._timings = timings
        self._space = Space(settings)
        self._rotation = Rotation(endpoints, _log.info)
        self._credentials = Credentials(settings)
        self._channels: dict[int, grpc.Channel] = {}
        self._closing = threading.Event()

    def get(self, key: str) -> Record | None:
        """Read one record."""
        return self._run(self._space.get(key))

    def range(self, *prefixes: str, after: int = 0) -> Snapshot:
        """Read all records under the prefixes at one revision."""
        return self._run(self._space.range(prefixes, after))

    def transact(self, compares: Sequence[Compare], writes: Sequence[Write]) -> Outcome:
        """Write everything if every compare holds."""
        return self._run(self._space.transact(compares, writes))

    def close(self) -> None:
        """Close the connections."""
        self._closing.set()
        for index in tuple(self._channels):
            self._channels.pop(index).close()

    # --- Parts -----------------------------------------------------------------------------------------------------

    def _run(self, script: Script[T]) -> T:
        self._check_open()
        try:
            call = next(script)
            while True:
                call = script.send(self._perform(call))
        except StopIteration as end:
            result: T = end.value
            return result
        except WireError as error:
            raise unreadable(error) from error

    def _perform(self, call: Call) -> bytes:
        attempts = Attempts(self._rotation, self._timings, self._space.probe, time.monotonic())
        while True:
            attempt = attempts.next(call, time.monotonic())
            self._closing.wait(attempt.pause)
            self._check_open()
            answer = self._attempt(attempts, attempt)
            if answer is not None and attempt.call is call:
                return answer

    def _attempt(self, attempts: Attempts, attempt: Attempt) -> bytes | None:
        call = attempt.call
        try:
            answer = self._call(attempt)
        except EtcdFailure as failure:
            if not (call.may_be_compacted and failure.is_compacted):
                attempts.failed(attempt, failure, time.monotonic())
                return None
            answer = b""
        if call is self._space.probe:
            self._space.check_probe(answer)
        attempts.answered(attempt, time.monotonic())
        return answer

    def _call(self, attempt: Attempt) -> bytes:
        channel = self._channels.get(attempt.index)
        if channel is None:
            channel = self._channels[attempt.index] = self._open(attempt.index)
        procedure: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(attempt.call.method.value)
        try:
            return procedure(attempt.call.request, timeout=attempt.wait, metadata=HAS_LEADER)
        except grpc.RpcError as error:
            failure = failure_of(error)
            if failure.moves_on:  # it may be stuck for minutes
                self._channels.pop(attempt.index, channel).close()
            raise failure from None
        except ValueError:  # gRPC's way to say that close() was called meanwhile
            raise EtcdFailure("CANCELLED", "the store is closed") from None

    def _open(self, index: int) -> grpc.Channel:
        target, tls = self._rotation.endpoints[index].target, self._credentials.newest()
        if tls is None:
            return grpc.insecure_channel(target, options=OPTIONS)
        return grpc.secure_channel(target, tls, options=OPTIONS)

    def _check_open(self) -> None:
        if self._closing.is_set():
            raise StoreUnavailable("the store is closed")
