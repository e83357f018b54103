"""The bytes below NDR: a writer that grows and a reader that trusts nothing.

Alignment is counted from the beginning of the stub. The reader checks every count against the bytes that are left
before anything is made of it, so that four bytes cannot ask for gigabytes; and how deep it follows pointers is limited,
so that a list in a list in a list ends before the stack does.
"""

from typing import Final, Literal

from quorate.dcerpc.errors import NdrError

ByteOrder = Literal["<", ">"]
"""As the module struct writes it: little-endian or big-endian."""

DEEPEST: Final = 64
"""Pointers in pointers that a reader or a writer follows."""
_FIRST_REFERENT: Final = 0x00020000  # what other implementations begin with; any number but 0 would do
_PADS: Final = (b"", b"\0", b"\0\0", b"\0\0\0", b"\0\0\0\0", b"\0" * 5, b"\0" * 6, b"\0" * 7)


class NdrWriter:
    """Collects the bytes of one stub, little-endian."""

    __slots__ = ("_data", "_depth", "_referents")

    def __init__(self) -> None:
        self._data = bytearray()
        self._depth = 0
        self._referents = 0

    def align(self, alignment: int) -> None:
        """Pad with zeros up to a multiple of 2, 4 or 8."""
        if rest := -len(self._data) & (alignment - 1):
            self._data += _PADS[rest]

    def write(self, data: bytes) -> None:
        """Append bytes as they are."""
        self._data += data

    def write_count(self, count: int) -> None:
        """Append an aligned u32: a count, a tag, a referent."""
        if not 0 <= count <= 0xFFFFFFFF:
            raise NdrError(f"{count} is no count")
        self.align(4)
        self._data += count.to_bytes(4, "little")

    def new_referent(self) -> int:
        """Number a pointer that is not null."""
        self._referents += 1
        return _FIRST_REFERENT + 4 * (self._referents - 1)

    def enter(self) -> None:
        """Go one level deeper. Raises NdrError when that is too deep."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise NdrError(f"more than {DEEPEST} levels of pointers")

    def leave(self) -> None:
        """Come back from a level."""
        self._depth -= 1

    def getvalue(self) -> bytes:
        """All bytes so far."""
        return bytes(self._data)


class NdrReader:
    """Walks through one stub. Whatever does not fit raises NdrError with the byte where it was seen."""

    __slots__ = ("_depth", "at", "data", "order", "referents", "size", "word_order")

    def __init__(self, data: bytes, order: ByteOrder = "<") -> None:
        self.data = data
        self.size = len(data)
        self.at = 0
        self.order: ByteOrder = order
        self.word_order: Literal["little", "big"] = "little" if order == "<" else "big"
        self.referents: dict[int, object] = {}
        """What full pointers have pointed to so far, by their referent."""
        self._depth = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return self.size - self.at

    def align(self, alignment: int) -> None:
        """Skip the pad; its bytes may be anything."""
        self.at += -self.at & (alignment - 1)

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        start = self.at
        end = start + size
        if end > self.size:
            raise NdrError(f"{size} bytes are wanted, {max(self.size - start, 0)} are left", start)
        self.at = end
        return self.data[start:end]

    def read_count(self) -> int:
        """Read an aligned u32."""
        self.at += -self.at & 3
        return int.from_bytes(self.take(4), self.word_order)

    def expect_room(self, count: int, element_size: int, what: str) -> None:
        """Refuse a count of elements that cannot be in the bytes that are left."""
        if count * max(element_size, 1) > self.size - self.at:
            raise NdrError(f"{count} {what} do not fit into {max(self.size - self.at, 0)} bytes", self.at)

    def enter(self) -> None:
        """Go one level deeper. Raises NdrError when that is too deep."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise NdrError(f"more than {DEEPEST} levels of pointers", self.at)

    def leave(self) -> None:
        """Come back from a level."""
        self._depth -= 1
