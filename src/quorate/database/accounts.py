"""Accounts with passwords: who may log on where no certificate is shown, such as MS-CMRP with NTLM.

What is kept of a password is its NT hash, from which nobody finds a good password, but with which anybody can log on:
for NTLM it is the password. So it lies in the private namespace, where no registry, property or HTTP call reads it, and
is left out of everything that is printed. Who changes accounts: :mod:`quorate.database.credentials`.

Source: [MS-NLMP] 3.3.2 (NTOWFv2 begins with it).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Self

from quorate.clusapi.json_types import JsonValue
from quorate.database import keys
from quorate.database.documents import Document, Fields, damaged, parse_document, write_document
from quorate.database.member_records import write_time
from quorate.database.records import Versioned

NT_HASH_SIZE: Final = 16
FULL: Final = "full"


@dataclass(frozen=True, slots=True)
class Account:
    """A user who has a password."""

    name: str
    role: str
    """"full", or "read"."""
    nt_hash: bytes = field(repr=False)
    """16 bytes, as secret as the password."""
    changed: datetime
    """When the password was set."""
    extra: Mapping[str, JsonValue] = field(default_factory=dict)

    VERSION = 1

    @property
    def full_access(self) -> bool:
        """Tell whether it may change anything."""
        return self.role == FULL

    def encode(self) -> bytes:
        """Write it."""
        fields: Document = {
            "name": self.name,
            "role": self.role,
            "nt_hash": self.nt_hash.hex(),
            "changed": write_time(self.changed),
        }
        return write_document(self.VERSION, fields, self.extra)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read it. Raises FaultError when it is damaged or newer than this program."""
        what = "the record of an account"
        fields = Fields(what, parse_document(data, cls.VERSION, what))
        try:
            nt_hash = bytes.fromhex(fields.text("nt_hash"))
            changed = datetime.fromisoformat(fields.text("changed"))
        except ValueError:
            raise damaged(what, "its hash or its time is not one") from None  # the cause would show the hash
        if len(nt_hash) != NT_HASH_SIZE:
            raise damaged(what, f"its hash has {len(nt_hash)} bytes")
        return cls(fields.text("name"), fields.text("role"), nt_hash, changed, fields.rest())


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts of one cluster, as they are whenever somebody asks: ``records`` is a snapshot's ``accounts``."""

    records: Callable[[], Mapping[str, Versioned[Account]]]

    def find(self, name: str) -> Account | None:
        """The account of this name, whatever its case; None when there is none."""
        record = self.records().get(keys.fold(name))
        return None if record is None else record.value
