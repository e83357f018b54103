"""Security descriptors of registry keys: read, put together again, and asked who may do what.

A descriptor is self-relative: a header with offsets of the owner's and the group's SID and of two access control lists.
Of the lists only the DACL counts here; its entries allow or deny rights to SIDs, the first that says something decides.

Source: [MS-DTYP] 2.4.2 SID, 2.4.4 ACE, 2.4.5 ACL, 2.4.6 SECURITY_DESCRIPTOR; access rights of registry keys: [MS-RRP]
2.2.3.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntFlag
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status

_HEADER: Final = struct.Struct("<BBHIIII")  # revision, 0, control, offsets of owner, group, SACL, DACL
_ACL: Final = struct.Struct("<BBHHH")  # revision, 0, size, number of entries, 0
_ACE: Final = struct.Struct("<BBHI")  # type, flags, size, rights; a SID follows
_DACL_PRESENT: Final = 0x0004
_SELF_RELATIVE: Final = 0x8000
_ALLOWED: Final = 0
_DENIED: Final = 1
_CONTAINER_INHERIT: Final = 0x02
_INHERIT_ONLY: Final = 0x08
_NO_PROPAGATE: Final = 0x04


class KeyAccess(IntFlag):
    """Rights on a registry key."""

    NONE = 0
    QUERY_VALUE = 0x00000001
    SET_VALUE = 0x00000002
    CREATE_SUB_KEY = 0x00000004
    ENUMERATE_SUB_KEYS = 0x00000008
    NOTIFY = 0x00000010
    CREATE_LINK = 0x00000020
    DELETE = 0x00010000
    READ_CONTROL = 0x00020000
    WRITE_DAC = 0x00040000
    WRITE_OWNER = 0x00080000
    KEY_READ = 0x00020019
    KEY_WRITE = 0x00020006
    KEY_ALL_ACCESS = 0x000F003F


class SecurityInformation(IntFlag):
    """Parts of a descriptor."""

    OWNER = 1
    GROUP = 2
    DACL = 4
    SACL = 8


_GENERIC: Final = {
    0x80000000: KeyAccess.KEY_READ,
    0x40000000: KeyAccess.KEY_WRITE,
    0x20000000: KeyAccess.KEY_READ,
    0x10000000: KeyAccess.KEY_ALL_ACCESS,
}


def sid(authority: int, *parts: int) -> bytes:
    """Write a SID: ``sid(5, 32, 544)`` is S-1-5-32-544."""
    return struct.pack("<BB6s", 1, len(parts), authority.to_bytes(6, "big")) + struct.pack(f"<{len(parts)}I", *parts)


EVERYONE: Final = sid(1, 0)
AUTHENTICATED_USERS: Final = sid(5, 11)
SYSTEM: Final = sid(5, 18)
ADMINISTRATORS: Final = sid(5, 32, 544)
USERS: Final = sid(5, 32, 545)


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """An entry of a DACL; of a type other than allow or deny it says nothing here."""

    type: int
    flags: int
    rights: int
    sid: bytes


@dataclass(frozen=True, slots=True)
class SecurityDescriptor:
    """A descriptor. Owner and group are SIDs as bytes, b"" where there is none; a DACL of None allows everything."""

    owner: bytes = b""
    group: bytes = b""
    dacl: tuple[AccessEntry, ...] | None = None

    def encode(self) -> bytes:
        """Write it, self-relative."""
        parts = [self.owner, self.group, b"", b"" if self.dacl is None else _encode_acl(self.dacl)]
        offsets, at = [], _HEADER.size
        for part in parts:
            offsets.append(at if part else 0)
            at += len(part)
        control = _SELF_RELATIVE | (0 if self.dacl is None else _DACL_PRESENT)
        return _HEADER.pack(1, 0, control, *offsets) + b"".join(parts)

    @classmethod
    def decode(cls, data: bytes) -> "SecurityDescriptor":
        """Read one. Raises CallerError ERROR_CLUSTER_INVALID_SECURITY_DESCRIPTOR."""
        try:
            revision, _, control, owner, group, _, dacl = _HEADER.unpack_from(data)
            if revision != 1 or not control & _SELF_RELATIVE:
                raise ValueError("it is not self-relative, or of another revision than 1")
            entries = tuple(_entries(data, dacl)) if control & _DACL_PRESENT and dacl else None
            return cls(_sid_at(data, owner), _sid_at(data, group), entries)
        except (struct.error, ValueError) as error:
            raise CallerError(
                Status.ERROR_CLUSTER_INVALID_SECURITY_DESCRIPTOR, f"no security descriptor: {error}"
            ) from error

    def only(self, parts: int) -> "SecurityDescriptor":
        """The parts that were asked for."""
        return SecurityDescriptor(
            self.owner if parts & SecurityInformation.OWNER else b"",
            self.group if parts & SecurityInformation.GROUP else b"",
            self.dacl if parts & SecurityInformation.DACL else None,
        )

    def with_parts(self, other: "SecurityDescriptor", parts: int) -> "SecurityDescriptor":
        """This one with some parts of another."""
        return SecurityDescriptor(
            other.owner if parts & SecurityInformation.OWNER else self.owner,
            other.group if parts & SecurityInformation.GROUP else self.group,
            other.dacl if parts & SecurityInformation.DACL else self.dacl,
        )

    def inherited(self) -> "SecurityDescriptor | None":
        """What of it holds for the keys below, where they have no descriptor of their own; None: nothing."""
        if self.dacl is None:
            return self
        entries = tuple(
            AccessEntry(entry.type, entry.flags & ~_INHERIT_ONLY, entry.rights, entry.sid)
            for entry in self.dacl
            if entry.flags & _CONTAINER_INHERIT and not entry.flags & _NO_PROPAGATE
        )
        return SecurityDescriptor(self.owner, self.group, entries) if entries else None

    def grants(self, sids: frozenset[bytes], wanted: int) -> bool:
        """Answer whether somebody with these SIDs has all of these rights. An owner may always read and change them."""
        left = specific(wanted)
        if self.owner in sids:
            left &= ~(KeyAccess.READ_CONTROL | KeyAccess.WRITE_DAC)
        if self.dacl is None:
            return True
        for entry in self.dacl:
            if entry.flags & _INHERIT_ONLY or entry.sid not in sids:
                continue
            rights = specific(entry.rights)
            if entry.type == _DENIED and rights & left:
                return False
            if entry.type == _ALLOWED:
                left &= ~rights
        return not left


def specific(rights: int) -> int:
    """Rights on keys, with the generic ones spelled out."""
    for generic, meant in _GENERIC.items():
        if rights & generic:
            rights = rights & ~generic | meant
    return rights


DEFAULT_DESCRIPTOR: Final = SecurityDescriptor(
    ADMINISTRATORS,
    SYSTEM,
    (
        AccessEntry(_ALLOWED, _CONTAINER_INHERIT, KeyAccess.KEY_ALL_ACCESS, ADMINISTRATORS),
        AccessEntry(_ALLOWED, _CONTAINER_INHERIT, KeyAccess.KEY_ALL_ACCESS, SYSTEM),
        AccessEntry(_ALLOWED, _CONTAINER_INHERIT, KeyAccess.KEY_READ, AUTHENTICATED_USERS),
    ),
)
"""What holds for keys of which nobody has said anything else."""


def effective(own: bytes | None, above: Iterable[bytes | None]) -> SecurityDescriptor:
    """What holds for a key: its own descriptor, or what the nearest key above hands down that has one to hand down.

    Raises CallerError ERROR_CLUSTER_INVALID_SECURITY_DESCRIPTOR when one of them is damaged.
    """
    if own is not None:
        return SecurityDescriptor.decode(own)
    for descriptor in above:
        if descriptor is not None and (found := SecurityDescriptor.decode(descriptor).inherited()) is not None:
            return found
    return DEFAULT_DESCRIPTOR


def sids_of(*, full_access: bool) -> frozenset[bytes]:
    """Who a caller is: with full access an administrator, else a user."""
    return frozenset({EVERYONE, AUTHENTICATED_USERS, ADMINISTRATORS if full_access else USERS})


def _encode_acl(entries: tuple[AccessEntry, ...]) -> bytes:
    body = b"".join(
        _ACE.pack(entry.type, entry.flags, _ACE.size + len(entry.sid), entry.rights) + entry.sid for entry in entries
    )
    return _ACL.pack(2, 0, _ACL.size + len(body), len(entries), 0) + body


def _entries(data: bytes, offset: int) -> Iterator[AccessEntry]:
    _, _, size, count, _ = _ACL.unpack_from(data, offset)
    at, end = offset + _ACL.size, offset + size
    if end > len(data):
        raise ValueError("an access control list is longer than the descriptor")
    for _ in range(count):
        type_, flags, length, rights = _ACE.unpack_from(data, at)
        if length < _ACE.size or at + length > end:
            raise ValueError("an entry is longer than its access control list")
        if type_ not in (_ALLOWED, _DENIED):
            raise ValueError(f"entries of type {type_} are not kept: 0 (allow) and 1 (deny) are")
        yield AccessEntry(type_, flags, rights, _sid_at(data[: at + length], at + _ACE.size))
        at += length


def _sid_at(data: bytes, offset: int) -> bytes:
    if not offset:
        return b""
    revision, parts = struct.unpack_from("<BB", data, offset)
    found = data[offset : offset + 8 + 4 * parts]
    if revision != 1 or len(found) != 8 + 4 * parts:
        raise ValueError("a SID is cut off, or of another revision than 1")
    return found
