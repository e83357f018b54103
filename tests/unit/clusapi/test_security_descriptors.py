import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate.clusapi.errors import CallerError
from quorate.clusapi.security_descriptors import (
    ADMINISTRATORS,
    AUTHENTICATED_USERS,
    DEFAULT_DESCRIPTOR,
    EVERYONE,
    USERS,
    AccessEntry,
    KeyAccess,
    SecurityDescriptor,
    SecurityInformation,
    sid,
)
from quorate.clusapi.status import Status

FULL = frozenset({EVERYONE, AUTHENTICATED_USERS, ADMINISTRATORS})
READ = frozenset({EVERYONE, AUTHENTICATED_USERS, USERS})
_SIDS = st.builds(lambda parts: sid(5, *parts), st.lists(st.integers(0, 0xFFFFFFFF), max_size=15))
_ENTRIES = st.builds(AccessEntry, st.integers(0, 1), st.integers(0, 31), st.integers(0, 0xFFFFFFFF), _SIDS)
_DESCRIPTORS = st.builds(
    SecurityDescriptor,
    st.one_of(st.just(b""), _SIDS),
    st.one_of(st.just(b""), _SIDS),
    st.one_of(st.none(), st.lists(_ENTRIES, max_size=5).map(tuple)),
)


@given(_DESCRIPTORS)
def test_descriptors_survive(descriptor: SecurityDescriptor) -> None:
    assert SecurityDescriptor.decode(descriptor.encode()) == descriptor


def test_the_default_looks_as_windows_writes_it() -> None:
    data = DEFAULT_DESCRIPTOR.encode()
    assert data[:20] == struct.pack("<BBHIIII", 1, 0, 0x8004, 20, 36, 0, 48)
    assert data[20:36].hex() == "01020000000000052000000020020000"  # S-1-5-32-544
    assert data[48:56] == struct.pack("<BBHHH", 2, 0, 8 + 24 + 20 + 20, 3, 0)


@given(st.binary(max_size=120))
def test_what_is_no_descriptor_is_refused_and_nothing_worse(data: bytes) -> None:
    try:
        SecurityDescriptor.decode(data)
    except CallerError as error:
        assert error.status == Status.ERROR_CLUSTER_INVALID_SECURITY_DESCRIPTOR


@given(st.data())
def test_a_damaged_descriptor_is_refused_and_nothing_worse(data: st.DataObject) -> None:
    whole = bytearray(DEFAULT_DESCRIPTOR.encode())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    try:
        SecurityDescriptor.decode(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    except CallerError as error:
        assert error.status == Status.ERROR_CLUSTER_INVALID_SECURITY_DESCRIPTOR


def test_administrators_may_everything_and_others_read() -> None:
    assert DEFAULT_DESCRIPTOR.grants(FULL, KeyAccess.KEY_ALL_ACCESS)
    assert DEFAULT_DESCRIPTOR.grants(READ, KeyAccess.KEY_READ)
    assert DEFAULT_DESCRIPTOR.grants(READ, 0x80000000)  # GENERIC_READ
    assert not DEFAULT_DESCRIPTOR.grants(READ, KeyAccess.SET_VALUE)
    assert not DEFAULT_DESCRIPTOR.grants(READ, 0x40000000)


def test_the_first_entry_that_says_something_decides() -> None:
    deny = AccessEntry(1, 0, KeyAccess.SET_VALUE, EVERYONE)
    allow = AccessEntry(0, 0, KeyAccess.KEY_ALL_ACCESS, ADMINISTRATORS)
    assert not SecurityDescriptor(dacl=(deny, allow)).grants(FULL, KeyAccess.SET_VALUE)
    assert SecurityDescriptor(dacl=(allow, deny)).grants(FULL, KeyAccess.SET_VALUE)
    assert SecurityDescriptor(dacl=(deny, allow)).grants(FULL, KeyAccess.QUERY_VALUE)


def test_nobody_is_locked_out_for_good() -> None:
    empty = SecurityDescriptor(owner=ADMINISTRATORS, dacl=())
    assert not empty.grants(FULL, KeyAccess.QUERY_VALUE)
    assert empty.grants(FULL, KeyAccess.READ_CONTROL | KeyAccess.WRITE_DAC)
    assert not empty.grants(READ, KeyAccess.READ_CONTROL)
    assert SecurityDescriptor().grants(READ, KeyAccess.KEY_ALL_ACCESS)


def test_what_the_keys_below_inherit() -> None:
    own = AccessEntry(0, 0, KeyAccess.KEY_READ, USERS)
    both = AccessEntry(0, 2, KeyAccess.KEY_READ, EVERYONE)
    below = AccessEntry(1, 2 | 8, KeyAccess.SET_VALUE, EVERYONE)
    inherited = SecurityDescriptor(dacl=(own, both, below)).inherited()
    assert inherited is not None
    assert inherited.dacl == (both, AccessEntry(1, 2, KeyAccess.SET_VALUE, EVERYONE))
    assert SecurityDescriptor(dacl=(own,)).inherited() is None
    assert SecurityDescriptor(dacl=(below,)).grants(FULL, KeyAccess.NONE)
    assert not SecurityDescriptor(dacl=(below,)).grants(FULL, KeyAccess.SET_VALUE)


@pytest.mark.parametrize("part", list(SecurityInformation))
def test_parts_are_taken_one_by_one(part: SecurityInformation) -> None:
    other = SecurityDescriptor(USERS, EVERYONE, ())
    mixed = DEFAULT_DESCRIPTOR.with_parts(other, part)
    assert mixed.only(part) == other.only(part)
    assert mixed.only(15 & ~part) == DEFAULT_DESCRIPTOR.only(15 & ~part)
