"""The input of CLUSCTL_RESOURCE_VM_START_MIGRATION: a node's name, and by our own extension the name of a policy.

The contract has one text with its NUL, in UTF-16LE ([MS-CMRP] 3.1.4.3.1.49); without an input buffer the cluster takes
the best node. Ours may follow as a second text with its NUL; then the first may be empty, for the best node.
"""

from quorate.clusapi.property_lists import pack_sz, parse_sz


def pack_destination(node: str | None, policy: str = "") -> bytes | None:
    """Pack what START_MIGRATION is given; None is no input buffer.

    Raises ValueError for a NUL in a name, or half a surrogate pair.
    """
    if policy:
        return pack_sz(node or "") + pack_sz(policy)
    return None if node is None else pack_sz(node)


def split_destination(data: bytes) -> tuple[bytes, str | None]:
    """Part the text that names the node, with its NUL, from the name of the policy.

    None: there is no second text, or so much that it is not two. Raises TextBufferError for a second that is no UTF-16.
    """
    ends = [at + 2 for at in range(0, len(data) - 1, 2) if data[at : at + 2] == b"\0\0"]
    if len(ends) != 2 or ends[1] != len(data):
        return data, None
    return data[: ends[0]], parse_sz(data[ends[0] :], may_be_empty=True)
