"""A tiny assembler: exactly the x86 instructions that the built-in guest is made of.

Each method appends one instruction, in its 32-bit form unless its name says otherwise; :meth:`Assembler.label` names a
place, and jumps to labels are settled by :meth:`Assembler.assemble`. What has no method is written as bytes with
:meth:`Assembler.raw`, with its text beside it.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2.
"""

from __future__ import annotations

from typing import Final

EAX: Final = 0
ECX: Final = 1
EDX: Final = 2
EBX: Final = 3
ESP: Final = 4
EBP: Final = 5
ESI: Final = 6
EDI: Final = 7

_CONDITIONS: Final = {"b": 2, "ae": 3, "e": 4, "ne": 5}


class Assembler:
    """Collects code that will lie at the linear address ``origin``."""

    def __init__(self, origin: int) -> None:
        self._origin = origin
        self._code = bytearray()
        self._labels: dict[str, int] = {}
        self._relative: list[tuple[int, str]] = []  # (where, label): 32-bit distance from behind the field
        self._absolute: list[tuple[int, str]] = []  # (where, label): 32-bit linear address

    def label(self, name: str) -> None:
        """Name this place."""
        if name in self._labels:
            raise ValueError(f"the label {name} is there already")
        self._labels[name] = len(self._code)

    def raw(self, code: str, text: str) -> None:
        """Append the bytes ``code`` (hex); ``text`` is the instruction, for the reader."""
        assert text
        self._code += bytes.fromhex(code)

    def data(self, content: bytes) -> None:
        """Append data."""
        self._code += content

    def align(self, boundary: int) -> None:
        """Fill with NOPs up to a multiple of ``boundary``."""
        self._code += b"\x90" * (-len(self._code) % boundary)

    # --- moves ---

    def mov(self, register: int, value: int) -> None:
        """Put ``value`` into ``register``."""
        self._code += bytes([0xB8 + register]) + _u32(value)

    def mov_address(self, register: int, label: str) -> None:
        """Put the linear address of ``label`` into ``register``."""
        self._code += bytes([0xB8 + register])
        self.address(label)

    def load(self, register: int, address: int) -> None:
        """Read the 32 bits at the linear ``address``."""
        self._code += bytes([0x8B, 0x05 | register << 3]) + _u32(address)

    def store(self, address: int, register: int) -> None:
        """Write ``register`` to the linear ``address``."""
        self._code += bytes([0x89, 0x05 | register << 3]) + _u32(address)

    def store_value(self, address: int, value: int) -> None:
        """Write a constant to the linear ``address``."""
        self._code += b"\xc7\x05" + _u32(address) + _u32(value)

    # --- arithmetic ---

    def add(self, register: int, value: int) -> None:
        """Add ``value`` to ``register``."""
        self._code += bytes([0x81, 0xC0 | register]) + _u32(value)

    def mask(self, register: int, value: int) -> None:
        """AND ``register`` with ``value``."""
        self._code += bytes([0x81, 0xE0 | register]) + _u32(value)

    def multiply(self, register: int, value: int) -> None:
        """Multiply ``register`` by ``value``."""
        self._code += bytes([0x69, 0xC0 | register << 3 | register]) + _u32(value)

    def compare(self, register: int, value: int) -> None:
        """Compare ``register`` with ``value``."""
        self._code += bytes([0x81, 0xF8 | register]) + _u32(value)

    # --- ways ---

    def jump(self, label: str) -> None:
        """Jump to ``label``."""
        self._code += b"\xe9"
        self._distance(label)

    def jump_if(self, condition: str, label: str) -> None:
        """Jump to ``label`` if the flags say ``condition`` (b, ae, e, ne)."""
        self._code += bytes([0x0F, 0x80 | _CONDITIONS[condition]])
        self._distance(label)

    def call(self, label: str) -> None:
        """Call ``label``."""
        self._code += b"\xe8"
        self._distance(label)

    def descriptor_pointer(self, limit: int, label: str) -> None:
        """Append what LGDT and LIDT read: a limit and a linear address."""
        self._code += limit.to_bytes(2, "little")
        self.address(label)

    def offset(self, label: str) -> int:
        """Tell where ``label`` lies behind the origin; it must have been set."""
        return self._labels[label]

    def assemble(self) -> bytes:
        """Settle all references and give the code; KeyError for a label that was never set."""
        code = bytearray(self._code)
        for where, label in self._relative:
            code[where : where + 4] = _u32(self._labels[label] - (where + 4))
        for where, label in self._absolute:
            code[where : where + 4] = _u32(self._origin + self._labels[label])
        return bytes(code)

    def _distance(self, label: str) -> None:
        self._relative.append((len(self._code), label))
        self._code += bytes(4)

    def address(self, label: str) -> None:
        """Append the linear address of ``label``, four bytes."""
        self._absolute.append((len(self._code), label))
        self._code += bytes(4)


def _u32(value: int) -> bytes:
    return (value & 0xFFFFFFFF).to_bytes(4, "little")
