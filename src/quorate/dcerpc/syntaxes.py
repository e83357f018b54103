"""Interfaces and transfer syntaxes: what a bind agrees on.

Source: C706 appendix I; [MS-RPCE] 2.2.2.14 (bind-time feature negotiation), 2.2.5 (NDR64).
"""

import struct
from dataclasses import dataclass
from enum import IntFlag
from typing import Final
from uuid import UUID


@dataclass(frozen=True, slots=True)
class SyntaxId:
    """An interface or a transfer syntax, with its version."""

    uuid: UUID
    major: int
    minor: int = 0

    def pack(self) -> bytes:
        """Make its 20 bytes."""
        return self.uuid.bytes_le + struct.pack("<HH", self.major, self.minor)

    def __str__(self) -> str:
        return f"{self.uuid} v{self.major}.{self.minor}"


NDR32: Final = SyntaxId(UUID("8a885d04-1ceb-11c9-9fe8-08002b104860"), 2)
NDR64: Final = SyntaxId(UUID("71710533-beba-4937-8319-b5dbef9ccc36"), 1)
NO_SYNTAX: Final = SyntaxId(UUID(int=0), 0)
_FEATURES: Final = UUID("6cb71c2c-9812-4540-0000-000000000000").bytes_le[:8]


class Feature(IntFlag):
    """What can be agreed on at bind time."""

    SECURITY_CONTEXTS = 1
    KEEP_AFTER_ORPHAN = 2


def features_of(syntax: SyntaxId) -> Feature | None:
    """Read a bind-time feature negotiation out of the transfer syntax that carries it; None when it is none.

    Source: [MS-RPCE] 2.2.2.14.
    """
    data = syntax.uuid.bytes_le
    if data[:8] != _FEATURES or syntax.major != 1:
        return None
    return Feature(int.from_bytes(data[8:10], "little") & 3)


def features_syntax(features: Feature) -> SyntaxId:
    """Make the transfer syntax that asks for features."""
    return SyntaxId(UUID(bytes_le=_FEATURES + int(features).to_bytes(8, "little")), 1)
