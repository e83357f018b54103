"""The input of CLUSCTL_RESOURCE_VM_START_MIGRATION: a node's name, and by our own extension a policy and a limit.

The contract has one text with its NUL, in UTF-16LE ([MS-CMRP] 3.1.4.3.1.49); without an input buffer the cluster takes
the best node. Ours may follow: the name of a policy as a second text with its NUL; then the first may be empty, for the
best node. And a bandwidth limit, MiB/s in decimal digits, as a third; then the second may be empty, for no policy.
"""

from dataclasses import dataclass
from typing import Final

from quorate.clusapi.errors import CallerError
from quorate.clusapi.property_lists import pack_sz, parse_sz
from quorate.clusapi.status import Status

MOST_BANDWIDTH: Final = 1 << 20
"""MiB/s that a bandwidth limit may be."""


@dataclass(frozen=True, slots=True)
class MigrationInput:
    """The parts of the input."""

    node: bytes
    """The text that names the node, with its NUL; whatever came, where it is not two or three texts."""
    policy: str | None = None
    """None: there is no second text."""
    bandwidth_limit: str | None = None
    """None: there is no third text."""


def pack_destination(node: str | None, policy: str = "", bandwidth_limit: int = 0) -> bytes | None:
    """Pack what START_MIGRATION is given, with a limit in MiB/s (0: none); None is no input buffer.

    Raises ValueError for a NUL in a name, or half a surrogate pair.
    """
    if bandwidth_limit:
        return pack_sz(node or "") + pack_sz(policy) + pack_sz(str(bandwidth_limit))
    if policy:
        return pack_sz(node or "") + pack_sz(policy)
    return None if node is None else pack_sz(node)


def split_destination(data: bytes) -> MigrationInput:
    """Part the text that names the node from the name of the policy and from the limit.

    Raises TextBufferError for a text of ours that is no UTF-16.
    """
    ends = [at + 2 for at in range(0, len(data) - 1, 2) if data[at : at + 2] == b"\0\0"]
    if len(ends) not in (2, 3) or ends[-1] != len(data):
        return MigrationInput(data)
    policy = parse_sz(data[ends[0] : ends[1]], may_be_empty=True)
    limit = parse_sz(data[ends[1] :], may_be_empty=True) if len(ends) == 3 else None
    return MigrationInput(data[: ends[0]], policy, limit)


def check_bandwidth_limit(limit: int) -> int:
    """Give a limit that a call names, in MiB/s; 0: none. Raises CallerError 87: less or more than there can be."""
    if not 0 <= limit <= MOST_BANDWIDTH:
        sentence = f"a bandwidth limit is a number of MiB/s up to {MOST_BANDWIDTH}, or 0 for none; {limit} is not"
        raise CallerError(Status.ERROR_INVALID_PARAMETER, sentence)
    return limit
