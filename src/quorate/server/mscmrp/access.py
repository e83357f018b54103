"""What a context handle may be used for: everything, or reading only.

The calls Open… without "Ex" want everything and get nothing less; Open…Ex say what they want, and are told what they
got. A handle never allows more than its user may do when it is used.

Source: [MS-CMRP] 3.1.4, 3.1.4.2.117 (access levels Read and All).
"""

from enum import IntEnum
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.status import Status
from quorate.server.callers import Caller

MAXIMUM_ALLOWED: Final = 0x02000000
_CLUSAPI_READ: Final = 0x1
_CLUSAPI_CHANGE: Final = 0x2
_GENERIC_READ: Final = 0x80000000
_GENERIC_ALL: Final = 0x10000000
_ALL_BITS: Final = _CLUSAPI_CHANGE | _GENERIC_ALL
_KNOWN_BITS: Final = _ALL_BITS | _CLUSAPI_READ | _GENERIC_READ | MAXIMUM_ALLOWED
# KEY_SET_VALUE, KEY_CREATE_SUB_KEY, KEY_CREATE_LINK, DELETE, WRITE_DAC, WRITE_OWNER, GENERIC_WRITE, GENERIC_ALL
_KEY_WRITE_BITS: Final = 0x2 | 0x4 | 0x20 | 0x10000 | 0x40000 | 0x80000 | 0x40000000 | _GENERIC_ALL


class GrantedAccess(IntEnum):
    """The two levels of access, as the number that a client is told."""

    READ = _GENERIC_READ
    ALL = _GENERIC_ALL


def granted(desired: int, caller: Caller) -> GrantedAccess:
    """What a handle of a cluster object is opened with.

    Raises:
        CallerError: 87 for bits that mean nothing; 5 for no access at all, and for more than the caller may have.
    """
    if desired & ~_KNOWN_BITS:
        raise CallerError(Status.ERROR_INVALID_PARAMETER, f"desired access {desired:#x} is not an access mask")
    if not desired:
        raise CallerError(Status.ERROR_ACCESS_DENIED, "a handle without any access cannot be opened")
    return _granted(caller, wants_all=bool(desired & _ALL_BITS), takes_less=bool(desired & MAXIMUM_ALLOWED))


def granted_key(desired: int, caller: Caller) -> GrantedAccess:
    """What a handle of a registry key is opened with, of a registry access mask (KEY_READ, KEY_ALL_ACCESS, …).

    Raises:
        CallerError: 5, the mask has rights to write and the caller may only read.
    """
    return _granted(caller, wants_all=bool(desired & _KEY_WRITE_BITS), takes_less=bool(desired & MAXIMUM_ALLOWED))


def all_access(caller: Caller) -> GrantedAccess:
    """What the calls without "Ex" open with. Raises CallerError 5."""
    return _granted(caller, wants_all=True, takes_less=False)


def _granted(caller: Caller, *, wants_all: bool, takes_less: bool) -> GrantedAccess:
    if caller.full_access and (wants_all or takes_less):
        return GrantedAccess.ALL
    if wants_all:
        raise CallerError(
            Status.ERROR_ACCESS_DENIED, f'"{caller.actor}" has read access only: open it with Open…Ex for reading'
        )
    return GrantedAccess.READ
