"""Fragments put together again, for both ends."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from quorate.dcerpc.errors import FaultCode, ProtocolError, RpcFault
from quorate.dcerpc.pdu import PduFlags

H = TypeVar("H")


@dataclass(slots=True)
class _Partial(Generic[H]):
    head: H
    data: bytearray = field(default_factory=bytearray)
    fragments: int = 0


class Room:
    """Bytes that all connections together may keep of what has begun to arrive."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self, size: int) -> None:
        """Take some of it. Raises RpcFault when there is not so much left."""
        if self.taken + size > self._limit:
            raise RpcFault(FaultCode.OUT_OF_MEMORY, f"more than {self._limit} bytes of calls are arriving on all sides")
        self.taken += size

    def give_back(self, size: int) -> None:
        """Give some of it back."""
        self.taken -= size


class Reassembly(Generic[H]):
    """What has begun to arrive on one connection, by call; the head of a call is the one of its first fragment."""

    def __init__(self, size_limit: int, fragment_limit: int, room: Room | None = None) -> None:
        self._size_limit = size_limit
        self._fragment_limit = fragment_limit
        self._room = room
        self._partials: dict[int, _Partial[H]] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._partials)

    def __contains__(self, call_id: int) -> bool:
        return call_id in self._partials

    def add(self, flags: PduFlags, call_id: int, head: H, data: bytes) -> tuple[H, bytes] | None:
        """Take a fragment; the head and all data once it was the last one.

        Raises:
            ProtocolError: the fragment may not come now.
            RpcFault: there is more than the limits allow.
        """
        if PduFlags.FIRST in flags:
            if call_id in self._partials:
                raise ProtocolError(f"call {call_id} begins twice")
            if PduFlags.LAST in flags:
                self._expect_room(len(data))
                return head, data
            self._partials[call_id] = _Partial(head)
        partial = self._partials.get(call_id)
        if partial is None:
            raise ProtocolError(f"a fragment of call {call_id} came that has no beginning")
        self._expect_room(len(data))
        partial.fragments += 1
        if partial.fragments > self._fragment_limit:
            raise RpcFault(FaultCode.OUT_OF_MEMORY, f"a call of more than {self._fragment_limit} fragments")
        if self._room is not None:
            self._room.take(len(data))
        partial.data += data
        self._size += len(data)
        if PduFlags.LAST not in flags:
            return None
        self.drop(call_id)
        return partial.head, bytes(partial.data)

    def drop(self, call_id: int) -> None:
        """Forget what has arrived of a call."""
        if partial := self._partials.pop(call_id, None):
            self._size -= len(partial.data)
            if self._room is not None:
                self._room.give_back(len(partial.data))

    def clear(self) -> None:
        """Forget all that has arrived."""
        for call_id in tuple(self._partials):
            self.drop(call_id)

    def _expect_room(self, size: int) -> None:
        if self._size + size > self._size_limit:
            raise RpcFault(FaultCode.OUT_OF_MEMORY, f"more than {self._size_limit} bytes of calls are arriving")
